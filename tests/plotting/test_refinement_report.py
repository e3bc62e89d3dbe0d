"""The report of a model that refines itself: its section, its pictures, and reports of others as they were."""

from __future__ import annotations

from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
import torch

from mmvae import Batch, models
from mmvae import plotting as plot
from mmvae.evaluation import Evaluation, make_row
from mmvae.models.base import MultimodalVAE
from mmvae.plotting import refinement_pictures, run_report
from mmvae.refinement import HMC

OF_REFINEMENT = {"refinement_trace", "posterior_against_hmc", "students_against_teacher"}
GAPS = Evaluation(
    [
        make_row("amortization_gap", 2.0, ("picture",), stderr=0.25, note="of the Gaussian with the posterior's mean"),
        make_row("approximation_gap", 0.75, ("picture",), stderr=0.5),
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


@pytest.fixture(scope="module")
def refining(model: MultimodalVAE) -> models.IterativeVAE:
    torch.manual_seed(0)
    return models.IterativeVAE(model.modalities, 4, num_steps=2, trunk_width=8, hidden=8, refinement_hidden=8)


def plots(folder: Path) -> set[str]:
    return {file.stem for file in (folder / "plots").glob("*.png")}


def test_a_model_that_refines_itself_has_a_section(refining: models.IterativeVAE, batch: Batch, tmp_path: Path) -> None:
    page = plot.report(tmp_path, refining, batch, evaluation=GAPS).read_text(encoding="utf-8")
    assert plots(tmp_path) == OF_REFINEMENT | {"inference_gaps"}
    assert page.count("<img") == 4
    for file in (tmp_path / "plots").glob("*.png"):
        assert np.ptp(matplotlib.image.imread(file)) > 0.5
    assert ">Refinement<" in page
    assert "over 10 data points" in page  # two of twelve lack a modality
    assert "8 draws, worst dimension" in page
    assert "amortisation gap given picture 2, approximation gap given picture 0.75" in page
    assert "those of the Gaussian with the posterior&#x27;s mean." in page


def test_a_model_that_does_not_has_gaps_alone(model: MultimodalVAE, batch: Batch, tmp_path: Path) -> None:
    page = plot.report(tmp_path, model, batch, evaluation=GAPS).read_text(encoding="utf-8")
    assert plots(tmp_path) == {"inference_gaps"}
    assert ">Refinement<" not in page


def test_data_of_which_none_is_whole_have_no_section(
    refining: models.IterativeVAE, batch: Batch, tmp_path: Path
) -> None:
    nothing = torch.zeros(12, dtype=torch.bool)
    for data in (batch.restrict(["codes", "vector"]), Batch(batch.data, {"codes": nothing})):
        assert ">Refinement<" not in plot.report(tmp_path, refining, data).read_text(encoding="utf-8")


def test_one_modality_and_one_dimension_have_what_can_be_drawn(model: MultimodalVAE, batch: Batch) -> None:
    vector = [each for each in model.modalities if each.name == "vector"]
    narrow = models.IterativeVAE(vector, 1, num_steps=1, trunk_width=8, hidden=8, refinement_hidden=8)
    found = list(refinement_pictures.refinement_pictures(narrow, {"vector": batch.data["vector"][:4]}))
    assert [each.name for each in found] == ["refinement_trace"]
