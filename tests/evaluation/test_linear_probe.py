from __future__ import annotations

import pytest
import torch

from mmvae import Batch
from mmvae.evaluation import evaluate
from mmvae.evaluation import linear_probe as module
from mmvae.evaluation.linear_probe import fit_predict

METRICS = ["linear_probe"]


def one_hot(classes: torch.Tensor, count: int) -> torch.Tensor:
    return torch.nn.functional.one_hot(classes, count).float()


def make_task(known, rows: int = 200):
    """Modality ``plain`` is the class, modality ``blind`` is noise; latents are the mean of what is given."""
    generator = torch.Generator().manual_seed(1)
    classes = torch.arange(rows) % 4
    noise = one_hot(torch.randint(4, (rows,), generator=generator), 4)
    model = known({"plain": lambda z: z, "blind": lambda z: z}, torch.eye(4))
    return model, Batch({"plain": one_hot(classes, 4), "blind": noise}, labels=classes)


def test_separable_means_are_read_and_noise_is_not(known) -> None:
    model, data = make_task(known)
    found = evaluate(model, data[:100], METRICS, train=data[100:], progress=False)
    for metric in ("linear_probe", "linear_probe_all", "linear_probe_protocol"):
        assert found.value(metric, "plain") == 1
        assert found.value(metric, "blind") < 0.5
        assert 0.5 < found.value(metric, "plain+blind") < 0.9  # e_i + e_j does not tell i from j
    (row,) = found.select("linear_probe", "blind")
    assert (row["n"], row["n_train"]) == (100, 500)
    assert row["stderr"] == pytest.approx((row["value"] * (1 - row["value"]) / 100) ** 0.5)
    assert found.select("linear_probe_all", "blind")[0]["n_train"] == 100


def test_probe_on_all_data_is_scikit_learns_on_standardised_latents(exact_model, linear_data) -> None:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model, train, test = exact_model(), linear_data(80, seed=1), linear_data(50, seed=2)
    reference = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000, random_state=0))
    reference.fit(model.infer(train, "a").mean.detach().numpy(), train.labels.numpy())
    expected = reference.score(model.infer(test, "a").mean.detach().numpy(), test.labels.numpy())
    found = evaluate(model, test, METRICS, train=train, progress=False)
    assert found.value("linear_probe_all", "a") == pytest.approx(expected)


@pytest.mark.parametrize("scale", [1e-4, 0.01, 1.0, 100.0])
def test_the_scale_of_latents_changes_nothing_but_the_row_of_the_protocol(known, scale: float) -> None:
    generator = torch.Generator().manual_seed(3)
    classes = torch.arange(600) % 6
    corners = torch.randn(6, 5, generator=generator)
    points = corners[classes] + 0.7 * torch.randn(600, 5, generator=generator)
    points[:, 4] = 0.5  # a dimension that never varies
    offset = torch.tensor([3.0, 0, 0, 0, 0])
    model = known({"a": lambda z: z, "b": lambda z: z}, torch.eye(5))

    def evaluated(latents: torch.Tensor):
        data = Batch({"a": latents, "b": latents}, labels=classes)
        return evaluate(model, data[:300], METRICS, train=data[300:], subsets=["a"], progress=False)

    plain, other = evaluated(points), evaluated(scale * points + offset)
    for metric in ("linear_probe", "linear_probe_all"):
        assert other.value(metric) == pytest.approx(plain.value(metric), abs=0.01)
        assert plain.value(metric) > 0.6
    if scale == 1e-4:
        assert other.value("linear_probe_protocol") < 0.9 * plain.value("linear_probe_protocol")


def test_rows_without_the_subset_neither_train_nor_count(known) -> None:
    model, data = make_task(known)
    there = torch.arange(200) % 3 == 0
    wrong = Batch(
        data.data | {"plain": torch.where(there[:, None], data.data["plain"], data.data["plain"].roll(1, 1))},
        {"plain": there},
        data.labels,
    )
    found = evaluate(model, wrong, METRICS, train=wrong, progress=False)
    (row,) = found.select("linear_probe_all", "plain")
    assert (row["value"], row["n"], row["n_train"]) == (1, int(there.sum()), int(there.sum()))


def test_no_convergence_is_noted_and_not_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    features = torch.randn(60, 30, generator=torch.Generator().manual_seed(0))
    predicted, note = fit_predict(features, torch.arange(60) % 3, features[:5], seed=0, standardised=False)
    assert len(predicted) == 5
    assert note is None
    monkeypatch.setattr(module, "_MAX_ITERATIONS", 2)
    predicted, note = fit_predict(features, torch.arange(60) % 3, features[:5], seed=0, standardised=False)
    assert len(predicted) == 5
    assert note == "not converged after 2 iterations"


def test_one_class_to_train_on_is_noted(known) -> None:
    model, data = make_task(known)
    found = evaluate(model, data, METRICS, train=data[data.labels == 2], progress=False)
    assert not found.rows
    assert any("one class" in note for note in found.notes)
