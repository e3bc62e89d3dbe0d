from __future__ import annotations

import torch
from posteriors.test_contracts import TestJointEncoder as Setting

from mmvae.batch import Batch
from mmvae.posteriors import Product


def test_incomplete_rows_get_the_product_of_the_unimodal_posteriors() -> None:
    setting = Setting()
    batch, experts = setting.make_batch(), setting.make_experts()
    posterior = setting.make_posterior(setting.names, 2)
    observed = {"b": torch.tensor([True, False, True, True, False, True])}
    found = posterior(Batch(batch.data, observed), experts)
    joint, product = posterior(batch, experts), Product(prior_expert=False)(batch.restrict(["a", "c"]), experts)
    rows = observed["b"]
    torch.testing.assert_close(found.mean[rows], joint.mean[rows])
    torch.testing.assert_close(found.mean[~rows], product.mean[~rows])
    torch.testing.assert_close(found.variance[~rows], product.variance[~rows])


def test_the_joint_encoder_shares_nothing_with_the_experts() -> None:
    setting = Setting()
    posterior, experts = setting.make_posterior(setting.names, 2), setting.make_experts()
    assert not set(map(id, posterior.parameters())) & set(map(id, experts.parameters()))
