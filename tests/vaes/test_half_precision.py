"""Under autocast networks round, and nothing behind them does: heads, fusion, refinement, densities."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from mmvae import Modality, likelihoods, models
from mmvae.posteriors import Experts, UnimodalExperts

RECIPES = {
    "MVAE": models.MVAE,
    "MMVAE": models.MMVAE,
    "MoPoE": models.MoPoE,
    "JMVAE": models.JMVAE,
    "MVTCAE": models.MVTCAE,
    "IterativeVAE": models.IterativeVAE,
}


def make(name: str) -> tuple[Any, Any]:
    torch.manual_seed(0)
    modalities = [
        Modality("real", (5,), likelihoods.Normal(0.1)),
        Modality("counts", (4,), likelihoods.NegativeBinomial()),
        Modality("codes", (), likelihoods.Categorical(3)),
    ]
    small = {"trunk_width": 8, "hidden": 8} if name in ("JMVAE", "IterativeVAE") else {}
    model = RECIPES[name](modalities, 3, **small).eval()
    data = {"real": torch.randn(6, 5), "counts": torch.randint(0, 900, (6, 4)), "codes": torch.arange(6) % 3}
    return model, model.prepare(data)


def numbers(distribution: Any) -> list[Tensor]:
    """The parameters of a posterior."""
    distribution = getattr(distribution, "base_dist", distribution)
    return [distribution.loc, distribution.scale]


@pytest.mark.parametrize("name", RECIPES)
def test_posteriors_bounds_and_losses_are_float32(name: str) -> None:
    model, batch = make(name)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = model.loss(batch)
        posterior = model.posterior(batch)
        bound = model.elbo(batch.data)
    assert loss.total.dtype == bound.dtype == torch.float32
    assert all(each.dtype == torch.float32 for each in numbers(posterior))
    loss.total.backward()
    assert all(each.grad is None or each.grad.isfinite().all() for each in model.parameters())


@pytest.mark.parametrize("name", ["MVAE", "MMVAE", "MoPoE", "MVTCAE"])
def test_fusion_does_not_round_what_the_heads_gave(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The posterior of experts in float32, whether it is computed under autocast or not."""
    model, batch = make(name)
    with torch.autocast("cpu", dtype=torch.bfloat16), torch.no_grad():
        experts: Experts = model.experts(batch)
    assert experts.loc.dtype == experts.scale.dtype == torch.float32
    monkeypatch.setattr(UnimodalExperts, "forward", lambda *_: experts)
    with torch.no_grad():
        expected = model.posterior(batch)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found = model.posterior(batch)
    z = torch.randn(6, 3)
    torch.testing.assert_close(numbers(found), numbers(expected), rtol=0, atol=0)
    torch.testing.assert_close(found.log_prob(z), expected.log_prob(z))


@pytest.mark.parametrize("name", ["MVTCAE", "MoPoE"])
def test_densities_are_those_of_the_rounded_outputs_of_decoders(name: str) -> None:
    model, batch = make(name)
    z = torch.randn(6, 3)
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        outputs = {each: model.decoders[each](z) for each in model.names}
        found = {each: likelihood.log_prob(batch.data[each]) for each, likelihood in model.decode(z).items()}
    for each, output in outputs.items():
        assert output.dtype == torch.bfloat16
        likelihood, shape = model.likelihoods[each], model.shapes[each]
        exact = likelihood(output.double().reshape(6, *likelihood.parameter_shape(shape)))
        expected = exact.log_prob(batch.data[each]).reshape(6, -1).sum(-1)
        torch.testing.assert_close(found[each].double(), expected.double(), rtol=1e-4, atol=1e-4)
