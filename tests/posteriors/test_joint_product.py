from __future__ import annotations

import pytest
import torch
from posteriors.test_contracts import TestJointProduct as Setting
from posteriors.test_contracts import TestJointProductWithPrior as SettingWithPrior

from mmvae.posteriors import JointProduct


@pytest.mark.parametrize("setting", [Setting(), SettingWithPrior()])
def test_the_product_of_its_own_experts(setting: Setting) -> None:
    """Expert by expert: features, location and scale, their precisions, and the prior if it is one of them."""
    posterior, batch = setting.make_posterior(setting.names, 2), setting.make_batch()
    assert isinstance(posterior, JointProduct)
    features, loc, scale = posterior.read(batch)
    precision, weighted = torch.full((6, 2), float(setting.prior_expert)), torch.zeros(6, 2)
    for index, name in enumerate(setting.names):
        feature = posterior.own.encoders[name](batch.data[name])
        torch.testing.assert_close(features[:, 5 * index : 5 * index + 5], feature)
        own_loc, own_scale = posterior.own.heads[name](feature)
        precision, weighted = precision + 1 / own_scale**2, weighted + own_loc / own_scale**2
    torch.testing.assert_close(loc, weighted / precision)
    torch.testing.assert_close(scale, precision.rsqrt())


def test_each_encoder_runs_once() -> None:
    setting = Setting()
    posterior, calls = setting.make_posterior(setting.names, 2), []
    assert isinstance(posterior, JointProduct)
    for name in setting.names:
        posterior.own.encoders[name].register_forward_hook(lambda *_, n=name: calls.append(n))
    posterior.read(setting.make_batch())
    assert calls == list(setting.names)


def test_it_shares_nothing_with_the_experts() -> None:
    setting = Setting()
    posterior, experts = setting.make_posterior(setting.names, 2), setting.make_experts()
    assert not set(map(id, posterior.parameters())) & set(map(id, experts.parameters()))
    batch = setting.make_batch()
    before = posterior(batch, experts).mean
    with torch.no_grad():
        for parameter in experts.parameters():
            parameter.zero_()
    assert torch.equal(posterior(batch, experts).mean, before)
    assert (posterior(batch.restrict("a"), experts).mean == 0).all()
