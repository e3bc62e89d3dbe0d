"""Weighted mVAE, CoDE-VAE, HoelderVAE and HELVAE: the contract, and what each of them learns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from objectives.parts import make

import mmvae
from mmvae import Modality, likelihoods, models
from mmvae.models import HELVAE, CoDEVAE, HoelderVAE, MultimodalVAE, WeightedMVAE
from mmvae.testing import ModelContract

PRIVATE = {"real": 1, "codes": 2}


class TestWeightedMVAE(ModelContract):
    def make_model(self, modalities: Sequence[Modality]) -> MultimodalVAE:
        return WeightedMVAE(modalities, 2)


class TestPrivateWeightedMVAE(ModelContract):
    def make_model(self, modalities: Sequence[Modality]) -> MultimodalVAE:
        return WeightedMVAE(modalities, 2, private_dim=PRIVATE)


class TestCoDEVAE(ModelContract):
    def make_model(self, modalities: Sequence[Modality]) -> MultimodalVAE:
        return CoDEVAE(modalities, 2)


class TestPrivateCoDEVAE(ModelContract):
    def make_model(self, modalities: Sequence[Modality]) -> MultimodalVAE:
        return CoDEVAE(modalities, 2, private_dim=PRIVATE, correlation=0.8, entropy=1.0)


class TestHoelderVAE(ModelContract):
    def make_model(self, modalities: Sequence[Modality]) -> MultimodalVAE:
        return HoelderVAE(modalities, 2)


class TestPrivateHoelderVAE(ModelContract):
    def make_model(self, modalities: Sequence[Modality]) -> MultimodalVAE:
        return HoelderVAE(modalities, 2, private_dim=PRIVATE, num_samples=2)


class TestHELVAE(ModelContract):
    def make_model(self, modalities: Sequence[Modality]) -> MultimodalVAE:
        return HELVAE(modalities, 2)


class TestPrivateHELVAE(ModelContract):
    def make_model(self, modalities: Sequence[Modality]) -> MultimodalVAE:
        return HELVAE(modalities, 2, private_dim=PRIVATE)


def test_weights_tell_a_useful_modality_from_noise() -> None:
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(600, 1, generator=generator)
    data = {
        "signal": hidden @ torch.randn(1, 4, generator=generator) + 0.1 * torch.randn(600, 4, generator=generator),
        "noise": torch.randn(600, 4, generator=generator),
    }
    torch.manual_seed(0)
    modalities = [
        Modality("signal", (4,), likelihoods.Normal(0.1)),
        Modality("noise", (4,), likelihoods.Normal(1.0)),
    ]
    vae = WeightedMVAE(modalities, 1)
    mmvae.fit(vae, data, epochs=15, lr=5e-3, progress=False)
    signal, noise = vae.joint_posterior.weights.flatten().tolist()  # type: ignore[operator, union-attr]
    assert signal > noise


def test_weights_of_subsets_follow_their_bounds() -> None:
    """With a small bonus for entropy, training counts the subset with the best bound most; the weights sum to one."""
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(400, 1, generator=generator)
    data = {
        name: hidden @ torch.randn(1, 4, generator=generator) + spread * torch.randn(400, 4, generator=generator)
        for name, spread in (("sharp", 0.1), ("blurred", 2.0))
    }
    torch.manual_seed(0)
    modalities = [
        Modality("sharp", (4,), likelihoods.Normal(0.1), transform=None),
        Modality("blurred", (4,), likelihoods.Normal(2.0), transform=None),
    ]
    vae = CoDEVAE(modalities, 1, entropy=1.0)
    mmvae.fit(vae, data, epochs=15, lr=1e-2, progress=False)
    weights = vae.subset_weights
    assert abs(sum(weights.values()) - 1) < 1e-6
    assert weights["blurred",] < min(weights["sharp",], weights["sharp", "blurred"])


def test_weights_of_incomplete_rows_are_those_of_the_subsets_that_they_have() -> None:
    from mmvae.objectives.cross_subsets import subsets_whole_first

    model, data = make("CoDEVAE")
    with torch.no_grad():
        model.subset_logits.copy_(torch.arange(7.0))
    observed = {"real": torch.tensor([True, False] * 3), "bits": torch.tensor([True] * 6)}
    batch = model.prepare(data, observed)
    experts = model.experts(batch)
    members, _ = subsets_whole_first(model.names, batch.names, batch.device)
    amounts = model.objective._amounts(model, experts, members)
    torch.testing.assert_close(amounts[:, 0], torch.arange(7.0).softmax(0))
    without = ~members[:, 0]
    torch.testing.assert_close(amounts[without, 1], torch.arange(7.0)[without].softmax(0))
    assert (amounts[~without, 1] == 0).all()
    part = model.prepare({name: data[name] for name in ("bits", "codes")})
    few, _ = subsets_whole_first(model.names, part.names, part.device)
    torch.testing.assert_close(model.objective._amounts(model, model.experts(part), few)[:, 1], amounts[without, 1])


def test_too_many_modalities_are_refused() -> None:
    modalities = [Modality(f"m{index}", (2,), likelihoods.Normal()) for index in range(11)]
    with pytest.raises(ValueError, match=r"at most 10 modalities, got 11; take MoPoE"):
        CoDEVAE(modalities, 2)
    with pytest.raises(ValueError, match="entropy: expected a number of at least 0"):
        CoDEVAE(modalities[:2], 2, entropy=-1.0)


@pytest.mark.parametrize("kind", ["HoelderVAE", "HELVAE"])
def test_posteriors_are_wider_where_modalities_disagree(kind: str) -> None:
    """Unlike those of a product of the same experts."""
    model, data = make(kind, 2)
    with torch.no_grad():
        for name, shift in (("real", -3.0), ("bits", 3.0)):
            model.experts.heads[name].linear.bias[:2] += shift
    both, alone = model.infer(data).scale, model.infer(data, "real").scale
    assert (both > 1.5 * alone).all()
    product: Any = models.MVTCAE(model.modalities, 2)
    product.experts.load_state_dict(model.experts.state_dict())
    assert (product.infer(data).scale < alone).all()
