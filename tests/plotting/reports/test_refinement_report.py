"""The report of a model that refines itself: its section, its pictures, and reports of others as they were."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib.image
import numpy as np
import pytest
import torch

from mmvae import Batch, Modality, likelihoods, models, plot
from mmvae.evaluation import Evaluation, make_row
from mmvae.plotting.reports import refinement_pictures, run_report
from mmvae.refinement import HMC
from mmvae.testing import LinearGaussian
from mmvae.vaes.base import MultimodalVAE

OF_REFINEMENT = {"refinement_trace", "posterior_against_hmc", "students_against_teacher"}
GAPS = Evaluation(
    [
        make_row("amortization_gap", 2.0, ("a",), stderr=0.25, note="of the Gaussian with the posterior's mean"),
        make_row("approximation_gap", 0.75, ("a",), stderr=0.5),
    ],
    [],
)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the other plots of the data, and with a few draws."""
    for name in ("posterior_pictures", "generation_pictures"):
        monkeypatch.setattr(run_report, name, lambda *_: [])
    monkeypatch.setattr(refinement_pictures, "_FEW_DRAWS", HMC(4, warmup=2))
    monkeypatch.setattr(refinement_pictures, "_ASCENT", 2)


SMALL: dict[str, Any] = {"num_steps": 2, "trunk_width": 8, "hidden": 8, "refinement_hidden": 8}
YARDSTICK = LinearGaussian.random({"a": 3, "b": 2}, latent_dim=2)
DATA = Batch(YARDSTICK.sample(12), {"b": torch.arange(12) != 5})


@pytest.fixture(scope="module")
def refining() -> models.IterativeVAE:
    torch.manual_seed(0)
    return models.IterativeVAE(
        [Modality("a", (3,), likelihoods.Normal()), Modality("b", (2,), likelihoods.Normal())], 2, **SMALL
    )


def plots(folder: Path) -> set[str]:
    return {file.stem for file in (folder / "plots").glob("*.png")}


def test_a_model_that_refines_itself_has_a_section(refining: models.IterativeVAE, tmp_path: Path) -> None:
    page = plot.report(tmp_path, refining, DATA, evaluation=GAPS).read_text(encoding="utf-8")
    assert plots(tmp_path) == OF_REFINEMENT | {"inference_gaps"}
    assert page.count("<img") == 4
    for file in (tmp_path / "plots").glob("*.png"):
        assert np.ptp(matplotlib.image.imread(file)) > 0.5
    assert ">Refinement<" in page
    assert "over 11 data points" in page  # one of twelve lacks a modality
    assert "16 draws, worst dimension" in page
    assert "amortisation gap given a 2, approximation gap given a 0.75" in page
    assert "those of the Gaussian with the posterior&#x27;s mean." in page


def test_a_model_that_does_not_has_gaps_alone(model: MultimodalVAE, batch: Batch, tmp_path: Path) -> None:
    page = plot.report(tmp_path, model, batch, evaluation=GAPS).read_text(encoding="utf-8")
    assert plots(tmp_path) == {"inference_gaps"}
    assert ">Refinement<" not in page


def test_data_of_which_none_is_whole_have_no_section(refining: models.IterativeVAE, tmp_path: Path) -> None:
    nothing = torch.zeros(12, dtype=torch.bool)
    for data in (DATA.restrict("a"), Batch(DATA.data, {"a": nothing})):
        assert ">Refinement<" not in plot.report(tmp_path, refining, data).read_text(encoding="utf-8")


def test_one_modality_and_one_dimension_have_what_can_be_drawn() -> None:
    narrow = models.IterativeVAE([Modality("a", (3,), likelihoods.Normal())], 1, **SMALL)
    found = list(refinement_pictures.refinement_pictures(narrow, DATA.restrict("a")))
    assert [each.draw().name for each in found] == ["refinement_trace"]
