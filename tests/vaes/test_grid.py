"""Every joint posterior with every objective trains, or is refused at construction by a sentence that helps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from mmvae import Modality, likelihoods, objectives, posteriors
from mmvae.autoencoders.parts import make_encoders, make_likelihoods
from mmvae.models import MultimodalVAE
from mmvae.posteriors import JointPosterior, Product

NAMES = ("a", "b", "c")
SIZE = 2


def modalities() -> list[Modality]:
    return [Modality(name, (4,), likelihoods.Normal()) for name in NAMES]


def networks() -> tuple[Any, Any]:
    return make_encoders(modalities(), make_likelihoods(modalities()))


POSTERIORS: dict[str, Callable[[], JointPosterior]] = {
    "Product": lambda: posteriors.Product(prior_expert=True),
    "CorrectedProduct": posteriors.CorrectedProduct,
    "Mixture": posteriors.Mixture,
    "MixtureOfProducts": lambda: posteriors.MixtureOfProducts(3),
    "JointEncoder": lambda: posteriors.JointEncoder(*networks(), SIZE, 8, 8),
    "JointProduct": lambda: posteriors.JointProduct(*networks(), SIZE, True, Product(False)),
    "GeometricPool": lambda: posteriors.GeometricPool(3, SIZE),
    "DependentProduct": lambda: posteriors.DependentProduct(0.4),
    "HoelderPool": posteriors.HoelderPool,
    "HoelderGaussian": posteriors.HoelderGaussian,
    "SetPooling": lambda: posteriors.SetPooling(SIZE, 8, 8),
    "Flow": lambda: posteriors.Flow(Product(True), SIZE, transforms=1, hidden=8),
}
OBJECTIVES: dict[str, Callable[[], Any]] = {
    "ELBO": objectives.ELBO,
    "SubsetELBO": lambda: objectives.SubsetELBO(num_random_subsets=1),
    "CoordinatedELBO": objectives.CoordinatedELBO,
    "CrossSubsetELBO": objectives.CrossSubsetELBO,
    "MaskedBound": objectives.MaskedBound,
    "MixtureELBO": objectives.MixtureELBO,
    "TotalCorrelation": objectives.TotalCorrelation,
    "TripleELBO": objectives.TripleELBO,
    "SampledAlignment": objectives.SampledAlignment,
    "AlignedELBO": objectives.AlignedELBO,
    "StratifiedELBO": objectives.StratifiedELBO,
    "StratifiedIWAE": lambda: objectives.StratifiedIWAE(2),
    "StratifiedDReG": lambda: objectives.StratifiedDReG(2),
}
SINGLE = (
    "Product",
    "CorrectedProduct",
    "GeometricPool",
    "DependentProduct",
    "HoelderPool",
    "HoelderGaussian",
    "SetPooling",
    "Flow",
)
"""Posteriors that are no mixture in which every component counts as much."""
NETWORKS = ("JointEncoder", "JointProduct")
REFUSED = {
    **{(name, "MixtureELBO"): "ELBO" for name in SINGLE},
    **{
        (name, objective): "AlignedELBO"
        for name in NETWORKS
        for objective in ("ELBO", "StratifiedELBO", "StratifiedIWAE", "StratifiedDReG")
    },
    **{(name, "MixtureELBO"): "Mixture or MixtureOfProducts" for name in NETWORKS},
    **{(name, "MaskedBound"): "a fusion such as SetPooling" for name in NETWORKS},
    ("Flow", "StratifiedDReG"): "StratifiedIWAE",
    **{(name, "SampledAlignment"): "JointEncoder" for name in (*SINGLE, "Mixture", "MixtureOfProducts")},
    **{
        ("HoelderPool", objective): "StratifiedELBO or StratifiedIWAE"
        for objective in OBJECTIVES
        if objective not in ("MixtureELBO", "SampledAlignment", "StratifiedELBO", "StratifiedIWAE")
    },
}
PAIRS = [(posterior, objective) for posterior in POSTERIORS for objective in OBJECTIVES]


def build(posterior: str, objective: str) -> MultimodalVAE:
    torch.manual_seed(0)
    return MultimodalVAE(modalities(), SIZE, joint_posterior=POSTERIORS[posterior](), objective=OBJECTIVES[objective]())


def test_the_grid_is_of_all_parts_of_the_library() -> None:
    """A new posterior or objective belongs here."""
    kinds = [getattr(posteriors, name) for name in posteriors.__all__]
    abstract = ("JointPosterior", "Fusion", "SharedFusion", "JointNetwork")
    public = {each.__name__ for each in kinds if issubclass(each, JointPosterior) and each.__name__ not in abstract}
    assert public == set(POSTERIORS)
    kinds = [getattr(objectives, name) for name in objectives.__all__]
    assert {
        each.__name__ for each in kinds if issubclass(each, objectives.Objective) and each is not objectives.Objective
    } == set(OBJECTIVES)


@pytest.mark.parametrize(("posterior", "objective"), [pair for pair in PAIRS if pair not in REFUSED])
def test_a_pair_trains(posterior: str, objective: str) -> None:
    """Every encoder and decoder learns, the loss falls, and every subset is inferred."""
    model = build(posterior, objective)
    data = {name: torch.randn(32, 4) * 0.5 + 1 for name in NAMES}
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    losses = []
    for step in range(40):
        loss = model.loss(data).total
        optimizer.zero_grad()
        loss.backward()
        if step == 0:
            for name, parameter in model.named_parameters():
                assert parameter.grad is not None, name
        optimizer.step()
        losses.append(loss.item())
    assert sum(losses[-10:]) < sum(losses[:10])
    for subset in (("a",), ("b", "c"), NAMES):
        assert model.infer(data, subset).mean.isfinite().all()
        assert model.elbo(data, subset).isfinite().all()
        assert model.log_likelihood(data, subset, num_samples=4).isfinite().all()


@pytest.mark.parametrize(("posterior", "objective"), list(REFUSED))
def test_a_pair_that_cannot_train_is_refused(posterior: str, objective: str) -> None:
    """At construction, with both names and what to pair instead."""
    with pytest.raises(ValueError, match=rf"{posterior} with {objective}: .*[Pp]air .*{REFUSED[posterior, objective]}"):
        build(posterior, objective)


def test_families_that_cannot_be_fused_are_refused() -> None:
    import pyro.distributions as dist

    with pytest.raises(ValueError, match="Product fuses Normal experts, got Laplace"):
        MultimodalVAE(modalities(), 2, joint_posterior=Product(True), objective=objectives.ELBO(), family=dist.Laplace)
