"""Figures leave matplotlib's state alone, and look the same wherever they are rendered."""

from __future__ import annotations

import contextlib
import subprocess
import sys

import matplotlib

from mmvae.plotting.figures.curves import elbo_curves
from mmvae.plotting.figures.style import STYLE, new_figure, style, to_png


def test_neither_import_nor_drawing_loads_pyplot() -> None:
    code = (
        "import sys, mmvae; assert 'matplotlib' not in sys.modules;"
        "from mmvae import plotting; from mmvae.plotting.figures.style import to_png;"
        "to_png(plotting.elbo_curves([{'epoch': 1, 'split': 'train', 'loss': 1.0}]));"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_settings_come_back_even_after_an_error() -> None:
    before = dict(matplotlib.rcParams)
    with contextlib.suppress(RuntimeError), style():
        assert matplotlib.rcParams["font.size"] == STYLE["font.size"]
        raise RuntimeError
    assert dict(matplotlib.rcParams) == before


def test_the_style_holds_when_a_figure_is_rendered_under_other_settings() -> None:
    def picture() -> bytes:
        return to_png(elbo_curves([{"epoch": 1, "split": "train", "loss": 1.0}]))

    plain = picture()
    with matplotlib.rc_context({"xtick.major.size": 30, "font.size": 20, "savefig.dpi": 30}):
        assert picture() == plain


def test_a_figure_shows_itself_in_a_notebook() -> None:
    assert new_figure(1, 1)._repr_png_().startswith(b"\x89PNG")
