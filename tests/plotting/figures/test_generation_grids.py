"""Grids of generated data: what is shown, where, and what is left empty."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from mmvae import Batch, models, plot
from mmvae.plotting.figures.cells import Cells
from mmvae.vaes.base import MultimodalVAE

RENDER = {"codes": lambda codes: "".join("abcde"[code] for code in codes.tolist())}


def test_every_subset_has_a_block_beside_the_data(model: MultimodalVAE, batch: Batch) -> None:
    arrays = plot.CrossGeneration.of(model, batch, rows=4)
    assert arrays.generated["codes",]["picture"].shape == (4, 1, 8, 8)
    panels = [ax for ax in plot.cross_generation(arrays, RENDER).axes if ax.get_visible()]
    titles = [ax.get_title(loc="left") for ax in panels]
    assert titles[:3] == ["data", "given picture", "given codes"]
    assert len(titles) == 8
    assert titles[-1] == "given all"
    assert len(panels[0].images) == 3 + int(arrays.observed["picture"][2])
    assert len(panels[2].images) == 4


def test_pictures_and_strings_are_those_of_the_arrays(model: MultimodalVAE, batch: Batch) -> None:
    arrays = plot.CrossGeneration.of(model, batch, ["codes"], rows=2)
    data, generated = (ax for ax in plot.cross_generation(arrays, RENDER).axes if ax.get_visible())
    shown = np.asarray(data.images[0].get_array())[..., 0]
    np.testing.assert_allclose(shown, arrays.data["picture"][0, 0], atol=1e-6)
    strings = {text.get_text() for text in generated.texts}
    assert {RENDER["codes"](torch.from_numpy(row)) for row in arrays.generated["codes",]["codes"]} <= strings
    weights = {text.get_text(): text.get_weight() for text in generated.texts if text.get_text() in arrays.names}
    assert weights == {"picture": "normal", "codes": "bold", "vector": "normal"}


def test_rows_that_lack_the_subset_are_empty(model: MultimodalVAE, batch: Batch) -> None:
    arrays = plot.CrossGeneration.of(model, batch[[2, 3]], ["picture"], rows=2)
    assert arrays.inferred["picture",].tolist() == [True, False]  # by class: row 3 is of class 0, row 2 of class 2
    assert arrays.generated["picture",]["vector"].shape == (1, 3)
    _, block = (ax for ax in plot.cross_generation(arrays).axes if ax.get_visible())
    assert len(block.images) == 1


def test_rows_are_of_different_classes_and_the_seed_decides(model: MultimodalVAE, batch: Batch) -> None:
    one, same = (plot.CrossGeneration.of(model, batch, ["codes"], rows=3) for _ in range(2))
    np.testing.assert_array_equal(one.data["vector"], batch.data["vector"][:3])  # labels 0, 1, 2
    np.testing.assert_array_equal(one.generated["codes",]["picture"], same.generated["codes",]["picture"])


def test_samples_from_the_prior(model: MultimodalVAE) -> None:
    arrays = plot.PriorSamples.of(model, 5)
    assert {name: value.shape for name, value in arrays.data.items()} == {
        "picture": (5, 1, 8, 8),
        "codes": (5, 4),
        "vector": (5, 3),
    }
    figure = plot.prior_samples(arrays, RENDER, columns=3)
    assert isinstance(figure, Figure)
    assert len(figure.axes[0].images) == 5


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (np.zeros((2, 1, 4, 4), np.float32), "image"),
        (np.zeros((2, 3, 4, 4), np.float32), "image"),
        (np.zeros((2, 8), np.int64), "text"),
        (np.zeros((2, 5), np.float32), "vector"),
        (np.zeros((2, 6, 4), np.float32), "vector"),
        (np.zeros((2,), np.float32), "vector"),
    ],
)
def test_kinds_of_cells(values: np.ndarray, kind: str) -> None:
    assert Cells.of("m", values).kind == kind
    ax = Figure().subplots()
    Cells.of("m", values).draw(ax, values[0], (0, 0, 1, 1))


def test_colours_and_ranges() -> None:
    rgb = np.zeros((2, 3, 2, 2), np.float32)
    rgb[:, 0] = 1.0
    ax = Figure().subplots()
    Cells.of("m", rgb).draw(ax, rgb[0], (0, 0, 1, 1))
    np.testing.assert_array_equal(np.asarray(ax.images[0].get_array())[0, 0], [1, 0, 0])
    wide = Cells.of("m", np.linspace(-3, 3, 2 * 16, dtype=np.float32).reshape(2, 1, 4, 4))
    assert wide.low < -2.5
    assert wide.high > 2.5
    assert Cells.of("codes", np.array([[1, 2]])).string(torch.tensor([1, 2])) == "1 2"


def test_models_that_do_not_generate_are_refused(batch: Batch) -> None:
    with pytest.raises(TypeError, match="Linear does not generate"):
        plot.CrossGeneration.of(torch.nn.Linear(1, 1), batch)


def test_a_codebook_generates_from_codes_but_has_no_prior(codebook: models.DCID, pair: Batch) -> None:
    arrays = plot.CrossGeneration.of(codebook, pair, ["codes"], rows=2)
    assert arrays.generated["codes",]["picture"].shape == (2, 1, 8, 8)
    with pytest.raises(TypeError, match="DCID has no prior to draw from"):
        plot.PriorSamples.of(codebook)
