"""Contrast and augmentation: slow loops, values and gradients, and every recipe that takes them."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from objectives.parts import make
from test_abilities import PRIVATE, VAES
from torch import Tensor

import mmvae
from mmvae import Batch, Modality, likelihoods, models
from mmvae.models import IDMVAE, MultimodalVAE
from mmvae.objectives.further_terms import augmentation, contrast, info_nce
from mmvae.objectives.judging import BY_ELBO, BY_LOSS
from mmvae.testing import ModelContract


class TestIDMVAE(ModelContract):
    def make_model(self, modalities: Sequence[Modality]) -> MultimodalVAE:
        return IDMVAE(modalities, 2, {"real": 1, "codes": 2})


class TestContrastedMVAE(ModelContract):
    def make_model(self, modalities: Sequence[Modality]) -> MultimodalVAE:
        return models.MVAE(modalities, 2, contrast=2.0, num_random_subsets=1)


OBSERVED = {
    "real": torch.tensor([True, True, False, True, True, False]),
    "bits": torch.tensor([True, False, True, True, True, True]),
}


def slow_info_nce(query: Tensor, key: Tensor, pairs: Sequence[bool], candidates: Sequence[bool]) -> Tensor:
    losses = []
    for row in range(len(query)):
        if not (pairs[row] and candidates[row]):
            continue
        scores = [
            (query[row] @ key[other]) / query[row].norm() / key[other].norm()
            for other in range(len(key))
            if candidates[other]
        ]
        own = (query[row] @ key[row]) / query[row].norm() / key[row].norm()
        losses.append(sum((each.exp() for each in scores), start=torch.zeros(())).log() - own)
    return sum(losses, start=torch.zeros(())) / len(losses)


def setup(kind: str = "MVAE", **options: Any) -> tuple[Any, Batch, list[list[bool]]]:
    torch.manual_seed(0)
    model, data = make(kind, private_dim={"real": 2, "bits": 2, "codes": 1}, **options)
    batch = model.prepare(data, OBSERVED)
    model = model.double()
    batch = batch.map(lambda value: value.double() if value.is_floating_point() else value)
    seen = [OBSERVED.get(name, torch.ones(6, dtype=torch.bool)).tolist() for name in model.names]
    return model, batch, seen


def assert_same(model: Any, fast: Tensor, slow: Tensor) -> None:
    torch.testing.assert_close(fast, slow)
    parameters = [each for each in model.parameters() if each.requires_grad]
    for one, other in zip(
        torch.autograd.grad(fast, parameters, allow_unused=True, retain_graph=True),
        torch.autograd.grad(slow, parameters, allow_unused=True),
        strict=True,
    ):
        assert (one is None) == (other is None)
        if one is not None:
            torch.testing.assert_close(one, other)


def test_contrast_is_that_of_slow_loops() -> None:
    model, batch, seen = setup()
    experts = model.experts(batch)
    terms = [
        slow_info_nce(experts.loc[one, :, :2], experts.loc[two, :, :2], seen[one], seen[two])
        for one in range(3)
        for two in range(3)
        if one != two
    ]
    assert_same(model, contrast(experts), sum(terms, start=torch.zeros(())) / 6)


def test_augmentation_is_that_of_slow_loops() -> None:
    """With the same draws; codes, which have no differentiable data, are left out."""
    model, batch, seen = setup()
    experts = model.experts(batch)
    torch.manual_seed(1)
    fast = augmentation(model, batch, experts)
    torch.manual_seed(1)
    terms = []
    for row, name in enumerate(("real", "bits")):
        z = torch.distributions.Normal(experts.loc[row], experts.scale[row]).rsample()
        shared, private = slice(0, 2), model.layout.columns(name)
        for kept, exchanged in ((shared, private), (private, shared)):
            again = []
            for each in range(6):
                mixed = z[each].clone()
                mixed[exchanged] = z[each - 1, exchanged]
                decoded = model.decode(mixed[None], name)[name].mean
                part = model.experts(Batch.trusted({name: decoded}, conforms_to=batch.conforms_to))
                again.append(part.loc[0, 0, kept])
            both = [seen[row][each] and seen[row][each - 1] for each in range(6)]
            terms.append(slow_info_nce(experts.loc[row][:, kept], torch.stack(again), both, both))
    assert_same(model, fast, sum(terms, start=torch.zeros(())) / len(terms))


def test_rows_without_a_partner_leave_the_contrast_zero() -> None:
    nobody = torch.zeros(4, dtype=torch.bool)
    query = torch.randn(4, 2, requires_grad=True)
    found = info_nce(query, torch.randn(4, 2), nobody, nobody)
    assert found == 0
    (slope,) = torch.autograd.grad(found, query)
    assert (slope == 0).all()


TAKERS = [name for name in VAES if "contrast" in inspect.signature(getattr(models, name)).parameters]


def test_every_recipe_with_trained_experts_takes_a_contrast() -> None:
    assert set(VAES) - set(TAKERS) == {"DVCCA", "IterativeVAE"}


@pytest.mark.parametrize("kind", TAKERS)
def test_terms_come_on_top_and_encoders_run_once(kind: str) -> None:
    model, data = make(kind, contrast=3.0, **({"private_dim": 1} if kind in PRIVATE else {}))
    if "augmentation" in inspect.signature(getattr(models, kind)).parameters:
        model.further_terms.augmentation = 0.0
    calls: list[int] = []
    model.experts.register_forward_hook(lambda *_: calls.append(1))
    torch.manual_seed(0)
    loss = model.loss(data)
    assert calls == [1]
    expected = model.further_terms.contrast * loss.terms["contrast"]
    model.further_terms.contrast = 0.0
    torch.manual_seed(0)
    torch.testing.assert_close(loss.total, model.loss(data).total + expected)


def test_the_loss_judges_models_with_further_terms() -> None:
    modalities = [Modality(name, (3,), likelihoods.Normal()) for name in "ab"]
    for options, judge in (({}, BY_ELBO), ({"contrast": 1.0}, BY_LOSS)):
        model = models.MoPoE(modalities, 2, **options)
        assert model.objective.judged_by(model) == judge


def test_augmentation_without_private_latents_is_refused() -> None:
    with pytest.raises(ValueError, match="augmentation: it exchanges private latents, and this model has none; pass"):
        make("MVAE", augmentation=1.0)
    with pytest.raises(ValueError, match=r"contrast: expected a number of at least 0, got -1\.0"):
        make("MVAE", contrast=-1.0)


def test_a_contrast_makes_shared_latents_alike() -> None:
    """Modalities whose common part is small in their data: the shared means of both find each other's rows."""
    generator = torch.Generator().manual_seed(0)
    common = torch.randn(400, 2, generator=generator)
    data = {
        name: torch.cat([0.7 * common, torch.randn(400, 4, generator=generator)], 1)
        @ torch.linalg.qr(torch.randn(6, 6, generator=generator))[0]
        for name in "ab"
    }
    found = {}
    for weight in (0.0, 30.0):
        torch.manual_seed(0)
        modalities = [Modality(name, (6,), likelihoods.Normal(0.3)) for name in "ab"]
        vae = models.MMVAEPlus(modalities, 2, 4, family="normal", contrast=weight)
        mmvae.fit(vae, data, epochs=20, batch_size=50, lr=1e-2, progress=False)
        with torch.no_grad():
            found[weight] = float(contrast(vae.experts(vae.prepare(data))))
    assert found[30.0] < found[0.0] - 0.1
