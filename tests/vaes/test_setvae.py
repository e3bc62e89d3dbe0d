"""SetVAE: the contract, what its masks are, and that one network learns the posteriors of all subsets."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch

import mmvae
from mmvae import Modality, posteriors
from mmvae.models import SetVAE
from mmvae.objectives import MaskedBound
from mmvae.subsets import powerset
from mmvae.testing import LinearGaussian, ModelContract


class TestSetVAE(ModelContract):
    def make_model(self, modalities: Sequence[Modality]) -> SetVAE:
        return SetVAE(modalities, 2, hidden=8, pooled=8)


class TestPrivateSetVAE(ModelContract):
    def make_model(self, modalities: Sequence[Modality]) -> SetVAE:
        return SetVAE(modalities, 2, hidden=8, pooled=8, private_dim={"real": 1, "codes": 2})


def test_parts_have_every_size_alike() -> None:
    """With a chance that is uniform itself, all numbers of modalities are as frequent."""
    torch.manual_seed(0)
    kept = MaskedBound()._kept(torch.ones(40_000, 3, dtype=torch.bool))
    counts = kept.sum(1).bincount(minlength=4) / 40_000
    torch.testing.assert_close(counts, torch.full((4,), 0.25), atol=0.015, rtol=0)
    torch.testing.assert_close(kept.float().mean(0), torch.full((3,), 0.5), atol=0.015, rtol=0)


def test_one_network_learns_the_posterior_of_every_subset() -> None:
    """Of a linear-Gaussian model with its true decoders: the bound of each subset comes near its likelihood."""
    yardstick = LinearGaussian.orthogonal({"a": 3, "b": 4}, 1, seed=1)
    data, few = yardstick.sample(1500), yardstick.sample(300, seed=5)
    torch.manual_seed(0)
    vae = SetVAE(yardstick.modalities(), 1, hidden=32, pooled=32)
    for parameter in vae.decoders.parameters():
        parameter.requires_grad_(False)
    gaps = []
    for epochs in (0, 25):
        if epochs:
            mmvae.fit(vae, data, epochs=epochs, batch_size=100, lr=5e-3, progress=False)
        with torch.no_grad():
            bounds = {subset: vae.elbo(few, subset, num_samples=20).mean() for subset in powerset(vae.names)}
        gaps.append({subset: float(yardstick.log_likelihood(few, subset).mean() - bounds[subset]) for subset in bounds})
    before, after = gaps
    assert all(after[subset] + 0.02 >= 0 and after[subset] < 0.1 < before[subset] for subset in after), gaps


def test_sizes_are_checked() -> None:
    with pytest.raises(ValueError, match="pooled: expected at least 1, got 0"):
        posteriors.SetPooling(2, 8, 0)
