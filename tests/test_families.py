"""A third family of models is a new package and nothing else: its metrics and sections join when they are asked for."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

import mmvae
from mmvae import Modality, evaluation, families, likelihoods, models
from mmvae.evaluation import METRICS
from mmvae.plotting.reports.sections import SECTIONS

MEASURES = """
from mmvae.evaluation import Words, make_row, metric

__all__ = ["half", "halves"]


def half() -> float:
    return 0.5


@metric(Words("halves", "Halves", "Always one half."), about="latent", kinds="of the third family")
def halves(context):
    yield make_row("halves", half())
"""
SECTION = """
from mmvae.plotting.reports.sections import section


@section("after evaluation")
def third(reported):
    reported.page.section("Third family")
    reported.page.paragraph(f"A model of {len(reported.model.names)} modalities.")
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A package of a third family that has registered itself, until the test is over."""
    folder = tmp_path / "third_family"
    folder.mkdir()
    (folder / "__init__.py").write_text(
        "from mmvae.families import register\n"
        'register(metrics="third_family.measures", report="third_family.section")\n'
    )
    (folder / "measures.py").write_text(MEASURES)
    (folder / "section.py").write_text(SECTION)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(families, "_modules", {key: list(value) for key, value in families._modules.items()})
    metrics, sections = dict(METRICS), {place: list(each) for place, each in SECTIONS.items()}
    __import__("third_family")
    yield "third_family"
    METRICS.clear()
    METRICS.update(metrics)
    SECTIONS.update(sections)
    for name in [name for name in sys.modules if name.startswith("third_family")]:
        del sys.modules[name]


def test_registering_imports_nothing(package: str) -> None:
    assert f"{package}.measures" not in sys.modules
    assert f"{package}.section" not in sys.modules


def test_evaluate_and_report_know_a_family_that_registered(package: str, tmp_path: Path) -> None:
    modalities = [Modality(name, (3,), likelihoods.Normal()) for name in ("a", "b")]
    vae, data = models.MVAE(modalities, latent_dim=2), {"a": torch.randn(20, 3), "b": torch.randn(20, 3)}
    found = mmvae.evaluate(vae, data, num_samples=5, progress=False)
    assert found.value("halves") == 0.5
    assert evaluation.half() == 0.5  # public functions beside the metrics of families
    run = SimpleNamespace(path=tmp_path / "run", metrics=[])
    page = mmvae.report(run, vae, data, evaluation=found).read_text()
    assert "Third family" in page
    assert "A model of 2 modalities." in page
    assert "Halves" in page


def test_what_nobody_published_is_no_attribute_of_evaluation() -> None:
    with pytest.raises(AttributeError, match=r"mmvae\.evaluation.* has no attribute 'quarter'"):
        getattr(evaluation, "quarter")  # noqa: B009 (for its error)
