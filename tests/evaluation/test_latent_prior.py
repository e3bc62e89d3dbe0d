"""A fitted prior lifts joint coherence where the latents of the data are clusters, and the model stays as it is."""

from __future__ import annotations

import pytest
import torch
from evaluation.conftest import SLOPE
from torch import nn

from mmvae import Batch
from mmvae.evaluation import evaluate

METRICS = ["latent_prior"]


class Quadrant(nn.Module):
    """Tells the quadrant of z; one that is ``strict`` names the next one where z is not beyond 2 in each dimension."""

    def __init__(self, name: str, *, strict: bool) -> None:
        super().__init__()
        self.slope, self.strict = torch.tensor(SLOPE[name]), strict

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        z = x / self.slope
        quadrant = (z > 0).long() @ torch.tensor([1, 2])
        if self.strict:
            quadrant = torch.where((z.abs() > 2).all(-1), quadrant, (quadrant + 1) % 4)
        return nn.functional.one_hot(quadrant, 4).float()


JUDGES = {"a": Quadrant("a", strict=False), "b": Quadrant("b", strict=True)}


def corners(seed: int) -> Batch:
    """Data whose latents are at four corners, far from where the standard prior has its mass."""
    generator = torch.Generator().manual_seed(seed)
    z = 8.0 * torch.randint(2, (400, 2), generator=generator) - 4 + 0.1 * torch.randn(400, 2, generator=generator)
    return Batch({name: z * torch.tensor(SLOPE[name]) for name in ("a", "b")})


def test_a_fitted_prior_lifts_joint_coherence(exact_model) -> None:
    model = exact_model()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    prior = model.prior
    found = evaluate(model, corners(0), METRICS, train=corners(1), classifiers=JUDGES, max_data=2000, progress=False)
    (row,) = found.select("joint_coherence_fitted")
    assert row["value"] > 0.9  # posteriors are about half a unit wide around (3.5, 3.4)
    assert (row["n"], row["components"]) == (2000, 20)
    # A standard normal is beyond 2 in both dimensions with a probability of 0.0455 squared.
    assert row["as_trained"] == found.value("joint_coherence") == pytest.approx(0.0455**2, abs=0.004)
    assert model.prior is prior
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_the_same_seed_gives_the_same_number_and_leaves_generators_alone(exact_model) -> None:
    model, options = exact_model(), {"train": corners(1), "classifiers": JUDGES, "max_data": 300, "progress": False}
    state = torch.get_rng_state()
    one, other = (evaluate(model, corners(0), METRICS, **options) for _ in range(2))
    assert one.rows == other.rows
    assert torch.equal(torch.get_rng_state(), state)


def test_what_it_needs_is_noted(exact_model, known) -> None:
    untrained = evaluate(exact_model(), corners(0), METRICS, classifiers=JUDGES, progress=False)
    assert not untrained.select("joint_coherence_fitted")
    assert any("no training data to fit a prior to; pass train=" in note for note in untrained.notes)
    options = {"train": corners(1), "progress": False}
    alone = evaluate(exact_model(), corners(0), METRICS, classifiers={"a": JUDGES["a"]}, **options)
    assert any("nothing to agree on" in note for note in alone.notes)
    other = known({"a": lambda z: z, "b": lambda z: z}, torch.eye(2))
    found = evaluate(other, corners(0), METRICS, classifiers=JUDGES, **options)
    assert any("Known is no VAE" in note for note in found.notes)
