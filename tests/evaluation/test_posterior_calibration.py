"""Ranks of simulated latents among the draws of their posteriors, against exact posteriors and against wrong ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import mmvae
from mmvae import Modality, likelihoods, models
from mmvae.evaluation import Ranks, simulation_based_calibration
from mmvae.models import MultimodalVAE
from mmvae.testing import LinearGaussian, exact_model

YARDSTICK = LinearGaussian.orthogonal({"a": 3, "b": 4}, latent_dim=2, seed=1)


def exact() -> MultimodalVAE:
    return exact_model(YARDSTICK, "MVAE")


class Bent:
    """A posterior of the wrong width or place."""

    def __init__(self, joint: Any, stretch: float, shift: float) -> None:
        self.joint, self.stretch, self.shift = joint, stretch, shift

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        right = self.joint(*args, **kwargs)
        loc, scale = right.base_dist.loc, right.base_dist.scale
        bent = torch.distributions.Normal(loc + self.shift * scale, self.stretch * scale)
        return torch.distributions.Independent(bent, 1)


def bent(stretch: float = 1.0, shift: float = 0.0) -> MultimodalVAE:
    model = exact()
    posterior = model.posterior
    model.posterior = Bent(posterior, stretch, shift)  # type: ignore[method-assign]
    return model


@pytest.mark.parametrize("subset", [("a",), ("b",), ("a", "b")])
def test_ranks_of_an_exact_posterior_are_uniform(subset: tuple[str, ...]) -> None:
    ranks = simulation_based_calibration(exact(), subset, num_rows=4000)
    assert ranks.ranks.shape == (4000, 2)
    assert ranks.subset == subset
    assert 0 <= int(ranks.ranks.min()) <= int(ranks.ranks.max()) <= 99
    assert ranks.is_uniform
    for level in (0.5, 0.9):  # four standard errors
        assert ranks.coverage(level).sub(level).abs().max() < 4 * (level * (1 - level) / 4000) ** 0.5


@pytest.mark.parametrize(
    ("wrong", "coverage"),
    [
        # A central interval of 0.9 of a Normal with half the width covers P(|z| < 1.645 / 2) = 0.589 of the truth.
        ({"stretch": 0.5}, 0.589),
        ({"stretch": 2.0}, 0.999),
        ({"shift": 1.0}, 0.736),
    ],
)
def test_wrong_posteriors_show(wrong: dict[str, float], coverage: float) -> None:
    ranks = simulation_based_calibration(bent(**wrong), num_rows=4000)
    assert not ranks.is_uniform
    assert ranks.coverage(0.9).tolist() == pytest.approx([coverage] * 2, abs=0.03)


def test_distance_and_coverage_against_loops() -> None:
    generator = torch.Generator().manual_seed(0)
    ranks = Ranks(torch.randint(8, (50, 3), generator=generator), 7, ("a",))
    for column, distance in enumerate(ranks.distances().tolist()):
        values = ranks.ranks[:, column].tolist()
        apart = [abs(sum(v <= r for v in values) / 50 - (r + 1) / 8) for r in range(8)]
        assert distance == pytest.approx(max(apart))
    # Of 8 places a level of 0.6 leaves 1.6 out at each end: the second place counts for 0.4 of its ranks.
    weights = [0.0, 0.4, 1.0, 1.0, 1.0, 1.0, 0.4, 0.0]
    for column, share in enumerate(ranks.coverage(0.6).tolist()):
        assert share == pytest.approx(sum(weights[r] for r in ranks.ranks[:, column].tolist()) / 50)


def test_uniform_ranks_cover_as_they_should() -> None:
    """However few the draws: the interval is weighed, not rounded."""
    ranks = Ranks(torch.arange(5).repeat(20)[:, None], 4, ("a",))
    for level in (0.1, 0.5, 0.77, 0.95):
        assert float(ranks.coverage(level)) == pytest.approx(level)
    assert float(ranks.distances()) == pytest.approx(0.0, abs=1e-12)


def test_uniform_ranks_stay_within_the_band() -> None:
    """At most one of twenty may leave it; the bound over dimensions makes it fewer."""
    generator = torch.Generator().manual_seed(0)
    found = [Ranks(torch.randint(100, (500, 4), generator=generator), 99, ("a",)).is_uniform for _ in range(200)]
    assert sum(found) >= 190


def test_refinement_towards_the_posterior_calibrates() -> None:
    """A posterior that starts shifted climbs to the exact one, which is of its family."""
    model = bent(shift=1.0)
    start = simulation_based_calibration(model, num_rows=400)
    refined = simulation_based_calibration(model, num_rows=400, refine=mmvae.refinement.Gradient(steps=300, lr=0.05))
    assert not start.is_uniform
    assert float(refined.distances().max()) < 0.5 * float(start.distances().max())


def test_covariates_of_the_simulated_rows() -> None:
    yardstick = LinearGaussian.random({"a": 3, "b": 3}, latent_dim=2, covariates=1, seed=0)
    vae = models.MVAE(yardstick.modalities(), latent_dim=2, covariates=yardstick.covariates)
    name = next(iter(yardstick.covariates))
    ranks = simulation_based_calibration(vae, "a", num_rows=20, covariates={name: torch.randn(20)})
    assert ranks.ranks.shape == (20, 2)
    with pytest.raises(ValueError, match=f"covariates: '{name}' is missing"):
        simulation_based_calibration(vae, "a", num_rows=20)


def test_seeds_and_the_state_of_the_caller() -> None:
    model = exact().train()
    torch.manual_seed(3)
    before = torch.get_rng_state()
    one = simulation_based_calibration(model, num_rows=30, seed=1)
    assert torch.equal(torch.get_rng_state(), before)
    assert model.training
    assert torch.equal(one.ranks, simulation_based_calibration(model, num_rows=30, seed=1).ranks)
    assert not torch.equal(one.ranks, simulation_based_calibration(model, num_rows=30, seed=2).ranks)


def test_as_a_metric() -> None:
    data = {name: value.float() for name, value in YARDSTICK.sample(6).items()}
    found = mmvae.evaluate(exact(), data, ["posterior_calibration"], progress=False)
    rows = {(row["metric"], row["given"]): row["value"] for row in found.rows}
    assert len(rows) == 4 * 3
    for given in ("a", "b", "a+b"):
        assert rows["calibration_distance", given] < rows["calibration_band", given]
        assert rows["posterior_coverage_90", given] == pytest.approx(0.9, abs=0.03)
        assert rows["posterior_coverage_50", given] == pytest.approx(0.5, abs=0.05)


def test_the_metric_draws_from_the_seed_of_the_evaluation() -> None:
    data = {name: value.float() for name, value in YARDSTICK.sample(6).items()}

    def values(seed: int) -> list[float]:
        found = mmvae.evaluate(exact(), data, ["posterior_calibration"], seed=seed, progress=False)
        return [row["value"] for row in found.select("calibration_distance")]

    assert values(1) == values(1)
    assert values(1) != values(2)


def test_a_figure_of_ranks() -> None:
    ranks = simulation_based_calibration(bent(stretch=0.5), "a", num_rows=500)
    ax = mmvae.plot.posterior_ranks(ranks)
    line = next(each for each in ax.lines if str(each.get_label()).startswith("furthest"))
    assert np.abs(line.get_ydata()).max() == pytest.approx(float(ranks.distances().max()), abs=1e-6)
    assert ax.get_title(loc="left") == "given a"
    assert "2 of 2 leave the band" in {text.get_text() for text in ax.get_legend().get_texts()}


def test_what_cannot_be_simulated() -> None:
    vae = models.MVAE([Modality("a", (2,), likelihoods.Normal())], latent_dim=2)
    with pytest.raises(ValueError, match="num_rows: expected at least 1, got 0"):
        simulation_based_calibration(vae, num_rows=0)
    with pytest.raises(TypeError, match="Linear has no prior and no decoders to simulate from; give it a VAE"):
        simulation_based_calibration(torch.nn.Linear(2, 2))  # type: ignore[arg-type]
    ranks = simulation_based_calibration(vae, num_rows=5)
    with pytest.raises(ValueError, match="level: expected a probability above 0 and below 1, got 1"):
        ranks.coverage(1.0)
