"""DVCCA: the contract, and what each modality has a say in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from objectives.parts import make

from mmvae import Modality
from mmvae.models import DVCCA
from mmvae.subsets import powerset
from mmvae.testing import ModelContract


class TestDVCCA(ModelContract):
    def make_model(self, modalities: Sequence[Modality]) -> DVCCA:
        return DVCCA(modalities, 2)


class TestPrivateDVCCA(ModelContract):
    def make_model(self, modalities: Sequence[Modality]) -> DVCCA:
        return DVCCA(modalities, 2, primary="bits", private_dim={"real": 1, "codes": 2})


def test_the_primary_modality_alone_says_what_the_shared_latent_is() -> None:
    """Given any subset with it, its expert; given any other, the standard normal, by names and by masks."""
    model, data = make("DVCCA", primary="bits", private_dim={"codes": 1})
    experts = model.experts(model.prepare(data))
    own = experts.scale[model.names.index("bits")][:, :2]
    for subset in powerset(model.names):
        expected = own if "bits" in subset else torch.ones_like(own)
        torch.testing.assert_close(model.infer(data, subset).shared.scale, expected)
    mask = torch.tensor([True, False] * 3)
    found = model.infer(data, observed={"bits": mask}).shared.scale
    torch.testing.assert_close(found, torch.where(mask[:, None], own, 1.0))
    members = torch.tensor([[True, False, True], [False, True, False]])
    both: Any = model.joint_posterior.of_subsets(model.prepare(data), experts, members)
    torch.testing.assert_close(both.base_dist.scale[0, :, :2], torch.ones_like(own))
    torch.testing.assert_close(both.base_dist.scale[1, :, :2], own)


def test_encoders_without_a_say_do_not_learn() -> None:
    model, _ = make("DVCCA", private_dim={"codes": 1})
    learns = {name for name, each in model.experts.named_parameters() if each.requires_grad}
    assert {name.split(".")[1] for name in learns} == {"real", "codes"}
    with pytest.raises(ValueError, match="primary: expected one of 'real', 'bits', 'codes', got 'voice'"):
        make("DVCCA", primary="voice")


def test_the_objective_is_the_elbo_of_the_primary_posterior() -> None:
    model, data = make("DVCCA", weights={"real": 1.0})
    repeated = {name: value.repeat(300, *[1] * (value.ndim - 1)) for name, value in data.items()}
    torch.manual_seed(0)
    with torch.no_grad():
        loss, elbo = model.loss(repeated).total, model.elbo(repeated)
    assert (loss + elbo.mean()).abs() < 5 * 2 * elbo.std() / 1800**0.5
