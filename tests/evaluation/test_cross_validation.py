"""Cross-validation: folds, seeds, folders, and the metrics of the best epoch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.model_selection import KFold, LeaveOneGroupOut

import mmvae
from mmvae import Batch, Modality, likelihoods, models
from mmvae.data import MultimodalDataset

ROWS = 30
QUICK: dict[str, Any] = {"epochs": 1, "batch_size": 10, "metrics": ["cosine"], "progress": False}


def make() -> Any:
    return models.MVAE([Modality(name, (3,), likelihoods.Normal()) for name in "ab"], latent_dim=2)


def data() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {name: torch.randn(ROWS, 3, generator=generator) for name in "ab"}


def test_every_row_is_evaluated_once_by_a_model_that_never_saw_it() -> None:
    found = mmvae.cross_validate(make, data(), 4, **QUICK)
    assert torch.cat([test for _, test in found.folds]).sort().values.tolist() == list(range(ROWS))
    for (train, test), run, evaluation in zip(found.folds, found.runs, found.evaluations, strict=True):
        assert torch.cat([train, test]).sort().values.tolist() == list(range(ROWS))
        assert evaluation.settings["n"] == len(test)
        part = {name: value[test] for name, value in data().items()}
        assert evaluation.rows == mmvae.evaluate(run.model, part, ["cosine"], progress=False).rows
    row = found.summary.rows[0]
    values = [each.value("cosine", row["given"], row["target"]) for each in found.evaluations]
    assert row["value"] == pytest.approx(np.mean(values))
    assert row["sd"] == pytest.approx(np.std(values, ddof=1))


def test_a_fold_is_fit_on_its_rows() -> None:
    found = mmvae.cross_validate(make, data(), [(range(20), range(20, 30))], seed=5, **QUICK)
    from mmvae.seeds import derive_seed

    seed = derive_seed(5, "fold", 0) % 2**32
    torch.manual_seed(seed)
    model = make()
    mmvae.fit(model, {n: v[:20] for n, v in data().items()}, epochs=1, batch_size=10, seed=seed, progress=False)
    for one, other in zip(model.state_dict().values(), found.runs[0].model.state_dict().values(), strict=True):
        assert torch.equal(one, other)


def test_seeds_decide_and_global_generators_stay() -> None:
    torch.manual_seed(7)
    before = torch.get_rng_state()
    found = [mmvae.cross_validate(make, data(), 3, seed=seed, **QUICK) for seed in (1, 1, 2)]
    assert torch.equal(torch.get_rng_state(), before)
    assert found[0].summary.rows == found[1].summary.rows != found[2].summary.rows
    assert len({run.metrics[0]["loss"] for run in found[0].runs}) == 3  # each fold has weights and noise of its own


def test_classes_are_spread_over_folds() -> None:
    labels = torch.arange(ROWS) // 24  # 24 and 6
    for source in (Batch(data(), labels=labels), MultimodalDataset(data(), labels=labels)):
        found = mmvae.cross_validate(make, source, 3, **QUICK)
        assert all(labels[test].bincount().tolist() == [8, 2] for _, test in found.folds)
    names = [None if row % 10 == 0 else "xy"[int(label)] for row, label in enumerate(labels)]
    assert len(mmvae.cross_validate(make, data(), 3, labels=names, **QUICK).folds) == 3
    assert len(mmvae.cross_validate(make, data(), 3, labels=torch.randn(ROWS), **QUICK).folds) == 3


@pytest.mark.parametrize("folds", [3, LeaveOneGroupOut()])
def test_groups_stay_together(folds: Any) -> None:
    subjects = [f"subject {row % 6}" for row in range(ROWS)]
    found = mmvae.cross_validate(make, data(), folds, groups=subjects, **QUICK)
    for train, test in found.folds:
        assert not {subjects[row] for row in train} & {subjects[row] for row in test}


def test_splitters_of_scikit_learn_and_masks_are_folds() -> None:
    found = mmvae.cross_validate(make, data(), KFold(3), **QUICK)
    assert found.folds[0][1].tolist() == list(range(10))
    first = np.arange(ROWS) < 12
    found = mmvae.cross_validate(make, data(), [(first, ~first)], **QUICK)
    assert found.folds[0][0].tolist() == list(range(12))


def test_masks_and_covariates_are_cut_too() -> None:
    observed = {"a": torch.arange(ROWS) % 3 > 0}
    found = mmvae.cross_validate(make, data(), 3, observed=observed, **QUICK)
    assert len(found.runs) == 3

    def with_site() -> Any:
        modalities = [Modality(name, (3,), likelihoods.Normal()) for name in "ab"]
        return models.MVAE(modalities, latent_dim=2, covariates={"site": 3})

    found = mmvae.cross_validate(with_site, data(), 3, covariates={"site": torch.arange(ROWS) % 3}, **QUICK)
    assert len(found.evaluations) == 3


def test_each_fold_has_a_folder(tmp_path: Path) -> None:
    found = mmvae.cross_validate(make, data(), 2, out=tmp_path, validation=0.2, **{**QUICK, "epochs": 2})
    for number, run in enumerate(found.runs):
        assert run.path == tmp_path / f"fold_{number}"
        loaded: Any = mmvae.load(tmp_path / f"fold_{number}")
        assert torch.equal(loaded.infer(data()).mean, run.model.infer(data()).mean)


def test_metrics_of_the_best_epoch() -> None:
    run = mmvae.fit(make(), data(), epochs=3, validation=0.3, progress=False)
    assert run.best is not None
    assert run.best["split"] == "validation"
    assert run.best["elbo"] == max(row["elbo"] for row in run.metrics if row["split"] == "validation")
    assert mmvae.fit(make(), data(), epochs=1, progress=False).best is None


def test_errors_say_what_to_do() -> None:
    with pytest.raises(TypeError, match=r"make: expected a function that makes a fresh model .* make=lambda"):
        mmvae.cross_validate(make(), data(), 3, **QUICK)
    with pytest.raises(ValueError, match=r"folds: expected at least 2, got 1"):
        mmvae.cross_validate(make, data(), 1, **QUICK)
    with pytest.raises(ValueError, match=r"folds: 40 folds need at least as many rows, got 30"):
        mmvae.cross_validate(make, data(), 40, **QUICK)
    with pytest.raises(ValueError, match=r"folds: fold 0 trains on rows that it is evaluated on"):
        mmvae.cross_validate(make, data(), [([0, 1], [1, 2])], **QUICK)
    with pytest.raises(ValueError, match=r"folds: the test rows of fold 0 must lie in 0..29"):
        mmvae.cross_validate(make, data(), [([0, 1], [30])], **QUICK)
    with pytest.raises(ValueError, match=r"folds: the train rows of fold 0 must be row numbers"):
        mmvae.cross_validate(make, data(), [([], [3])], **QUICK)
    with pytest.raises(TypeError, match=r"folds: expected a number of folds, a splitter .* fold 0 is int"):
        mmvae.cross_validate(make, data(), [1, 2], **QUICK)
    with pytest.raises(ValueError, match=r"groups: expected one for each of the 30 rows, got shape \(3,\)"):
        mmvae.cross_validate(make, data(), 3, groups=[0, 1, 2], **QUICK)
