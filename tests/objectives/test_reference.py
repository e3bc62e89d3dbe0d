"""Every objective agrees with the slow reference, values and gradients, with weights, schedules and missing data."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from objectives.parts import Parts
from objectives.reference import (
    Reference,
    Stratified,
    aligned_elbo,
    component_elbo,
    consensus_elbo,
    coordinated_elbo,
    cross_subset_elbo,
    elbo_of_pool,
    geometric_pool,
    jensen_shannon,
    masked_bound,
    mixture_elbo,
    moments_of_roots,
    plain_elbo,
    record,
    sampled_alignment,
    soft_sharing,
    subset_elbo,
    total_correlation,
    triple_elbo,
)
from torch import Tensor

from mmvae import models
from mmvae.objectives import LinearWarmup, Loss

WEIGHTS = {"bits": 0.5, "codes": 3.0}
BETAS = {"plain": 1.0, "weighted": 0.7, "schedule": LinearWarmup(end=2.0, epochs=10, start=0.5)}
BETA_VALUES = {"plain": 1.0, "weighted": 0.7, "schedule": 1.025}  # after 3.5 epochs


def setup(kind: str, beta: str, missing: bool, **arguments: Any) -> tuple[Any, Loss, Reference, Any]:
    parts = Parts()
    model = getattr(models, kind)(
        parts.make_modalities(),
        2,
        beta=BETAS[beta],
        weights=None if beta == "plain" else WEIGHTS,
        **arguments,
    )
    model.epoch.fill_(3.5)
    for name, parameter in model.named_parameters():
        if "logits" in name:
            torch.nn.init.normal_(parameter)
    if model.prior.raw_scale is not None:
        torch.nn.init.normal_(model.prior.raw_scale)
    data, observed = parts.make_data(), parts.make_observed() if missing else None
    reference = Reference(model, data, observed)
    drawn = record(model)
    loss = model.loss(data, observed)
    assert len(drawn) == 1
    return model, loss, reference, drawn[0]


def assert_same_gradients(model: Any, loss: Tensor, reference: Reference, expected: Tensor) -> None:
    loss.backward()
    expected.backward()
    for (name, parameter), other in zip(model.named_parameters(), reference.model.parameters(), strict=True):
        other_grad = torch.zeros_like(other) if other.grad is None else other.grad
        grad = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        torch.testing.assert_close(
            grad.double(), other_grad, rtol=1e-3, atol=2e-5, msg=lambda text, n=name: f"{n}: {text}"
        )


def assert_close(value: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(value.detach().double(), expected.detach(), rtol=1e-4, atol=1e-5)


each_beta = pytest.mark.parametrize("beta", list(BETAS))
each_missing = pytest.mark.parametrize("missing", [False, True], ids=["complete", "missing"])

CASES: dict[str, tuple[str, dict[str, Any], Callable[..., Tensor], dict[str, Any]]] = {
    "MVAE": ("MVAE", {}, subset_elbo, {}),
    "MVAE with random subsets": ("MVAE", {"num_random_subsets": 2}, subset_elbo, {}),
    "MoPoE": ("MoPoE", {}, mixture_elbo, {}),
    "DMVAE": ("DMVAE", {"private_dim": {"real": 1, "codes": 2}}, cross_subset_elbo, {}),
    "WeightedMVAE": ("WeightedMVAE", {}, plain_elbo, {"fuse": geometric_pool}),
    "CoDEVAE": ("CoDEVAE", {"entropy": 3.0}, consensus_elbo, {"entropy": 3.0}),
    "HoelderVAE": ("HoelderVAE", {"num_samples": 2}, elbo_of_pool, {}),
    "HELVAE": ("HELVAE", {}, plain_elbo, {"fuse": moments_of_roots}),
    "MMJSD": ("MMJSD", {}, jensen_shannon, {}),
    "MCVAE": ("MCVAE", {"num_samples": 2}, component_elbo, {}),
    "CRMVAE": ("CRMVAE", {}, coordinated_elbo, {}),
    "MMVM": ("MMVM", {"alpha": 0.3}, soft_sharing, {"alpha": 0.3}),
    "MVTCAE": ("MVTCAE", {"alpha": 0.6}, total_correlation, {"alpha": 0.6}),
}


@pytest.mark.parametrize("case", list(CASES))
@each_beta
@each_missing
def test_gaussian_objectives(case: str, beta: str, missing: bool) -> None:
    kind, arguments, slow, options = CASES[case]
    model, loss, reference, drawn = setup(kind, beta, missing, **arguments)
    expected = slow(reference, drawn, BETA_VALUES[beta], **options)
    assert_close(loss.total, expected)
    assert_same_gradients(model, loss.total, reference, expected)


@pytest.mark.parametrize(("warmup", "factor"), [(0, 1.0), (7, 0.5)])
@each_beta
def test_aligned_elbo(beta: str, warmup: int, factor: float) -> None:
    options = {"alpha": 0.3, "warmup_epochs": warmup, "trunk_width": 4, "hidden": 8}
    model, loss, reference, drawn = setup("JMVAE", beta, missing=False, **options)
    expected = aligned_elbo(reference, drawn, factor * BETA_VALUES[beta], factor * 0.3)
    assert_close(loss.total, expected)
    assert_same_gradients(model, loss.total, reference, expected)


@each_beta
@each_missing
def test_masked_bound(beta: str, missing: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some parts are empty, some are the whole."""
    kept = torch.tensor([[1, 0, 0], [0, 0, 0], [1, 1, 1], [0, 1, 1], [1, 0, 1], [0, 0, 1]]).bool()
    monkeypatch.setattr("mmvae.objectives.MaskedBound._kept", lambda objective, observed: kept)
    model, loss, reference, drawn = setup("SetVAE", beta, missing, hidden=4, pooled=5)
    expected = masked_bound(reference, drawn, BETA_VALUES[beta], kept)
    assert_close(loss.total, expected)
    assert_same_gradients(model, loss.total, reference, expected)


@each_beta
@pytest.mark.parametrize("kind", ["TELBO", "JNF"])
def test_objectives_of_joint_encoders(kind: str, beta: str) -> None:
    options = {"trunk_width": 4, "hidden": 8, **({"unimodal": 0.4} if kind == "TELBO" else {"flow_hidden": 4})}
    model, loss, reference, drawn = setup(kind, beta, missing=False, **options)
    value = BETA_VALUES[beta]
    expected = (
        triple_elbo(reference, drawn, value, 0.4) if kind == "TELBO" else sampled_alignment(reference, drawn, value)
    )
    assert_close(loss.total, expected)
    assert_same_gradients(model, loss.total, reference, expected)


@pytest.mark.parametrize(("family", "beta"), [("laplace", "plain"), ("normal", "weighted"), ("laplace", "schedule")])
@pytest.mark.parametrize("objective", ["elbo", "iwae", "dreg"])
@each_missing
def test_stratified_objectives(objective: str, family: str, beta: str, missing: bool) -> None:
    options = {"num_samples": 4, "objective": objective, "family": family}
    model, loss, reference, drawn = setup("MMVAE", beta, missing, **options)
    assert drawn.z.shape == (4, 3, 6, 2)
    slow = Stratified(reference, drawn, BETA_VALUES[beta], laplace=family == "laplace")
    value = slow.elbo() if objective == "elbo" else slow.iwae()
    assert_close(loss.total, value)
    assert_close(-loss.terms["elbo"], slow.elbo(honest=True))
    assert ("iwae" in loss.terms) == (objective != "elbo")
    if objective != "elbo":
        assert_close(-loss.terms["iwae"], slow.iwae(honest=True))
    assert_same_gradients(model, loss.total, reference, slow.dreg() if objective == "dreg" else value)


@pytest.mark.parametrize("kind", ["MVAE", "MoPoE", "MVTCAE", "JMVAE"])
def test_terms_are_in_honest_nats(kind: str) -> None:
    """No weight acts on the terms: they are those of the same model without weights."""
    torch.manual_seed(1)
    _, weighted, *_ = setup(kind, "schedule", missing=False)
    torch.manual_seed(1)
    _, plain, *_ = setup(kind, "plain", missing=False)
    assert weighted.total != plain.total
    for name, term in plain.terms.items():
        assert_close(weighted.terms[name], term.double())
    parts = sum(plain.terms[name] for name in ("real", "bits", "codes"))
    assert_close(plain.terms["elbo"], (parts - plain.terms["kl"]).double())
