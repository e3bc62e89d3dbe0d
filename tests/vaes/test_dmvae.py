"""DMVAE: the contract, and where private latents come from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from objectives.parts import Parts, make

from mmvae import Modality, priors
from mmvae.models import DMVAE
from mmvae.posteriors import Product
from mmvae.testing import ModelContract

PRIVATE = {"real": 1, "codes": 2}


class TestDMVAE(ModelContract):
    def make_model(self, modalities: Sequence[Modality]) -> DMVAE:
        return DMVAE(modalities, 2, PRIVATE)


class TestDMVAEWithCovariates(ModelContract):
    def make_covariates(self) -> dict[str, float]:
        return {"lane": 0.0}

    def make_model(self, modalities: Sequence[Modality]) -> DMVAE:
        return DMVAE(modalities, 2, 1, covariates={"lane": 2}, prior=priors.GaussianMixture(2))


def test_shared_latents_are_products_and_private_ones_the_owners() -> None:
    """The shared part is that of MVAE's product with the prior; a private part is its expert, without the prior."""
    model, data = make("DMVAE", private_dim=PRIVATE)
    experts = model.experts(model.prepare(data))
    for subset in (("real",), ("real", "codes"), model.names):
        latents = model.infer(data, subset)
        rows = [model.names.index(name) for name in subset]
        precision = 1 + experts.scale[rows, :, :2].pow(-2).sum(0)
        torch.testing.assert_close(latents.shared.scale, precision.rsqrt())
        for owner in model.layout.private:
            columns = model.layout.columns(owner)
            expected = experts.scale[model.names.index(owner)][:, columns]
            expected = expected if owner in subset else torch.ones_like(expected)
            torch.testing.assert_close(latents.private[owner].scale, expected)


def test_every_bound_has_the_private_latents_of_all_modalities() -> None:
    """Draws of the shared latent differ between the bounds; private ones have their owner's posterior in each."""
    model, data = make("DMVAE", private_dim=PRIVATE)
    with torch.no_grad():
        for name, head in model.experts.heads.items():
            width = model.layout.width(name)
            head.linear.bias[2:width] += 50.0  # locations of private columns far from the prior
    drawn: list[Any] = []
    score = model.score
    model.score = lambda batch, z, rows=None: drawn.append(z.detach()) or score(batch, z, rows)
    model.loss(data)
    (z,) = drawn
    assert z.shape == (4, 6, 5)
    assert (z[..., 2:] > 20).all()


def test_with_one_modality_both_bounds_are_those_of_a_vae() -> None:
    parts = Parts()
    data = {"real": parts.make_data()["real"].repeat(200, 1)}
    model = DMVAE(parts.make_modalities()[:1], 2, 1, weights={"real": 1.0})
    torch.manual_seed(1)
    with torch.no_grad():
        loss, elbo = model.loss(data).total, model.elbo(data)
    assert (loss + 2 * elbo.mean()).abs() < 5 * 3 * elbo.std() / 1200**0.5


def test_columns_of_the_prior_are_all_or_the_shared_ones() -> None:
    with pytest.raises(ValueError, match="prior_columns: expected one of 'all', 'shared', got 'private'"):
        Product(prior_expert=True, prior_columns="private")  # type: ignore[arg-type]
