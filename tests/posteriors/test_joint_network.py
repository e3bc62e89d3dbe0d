"""What the posteriors have in common whose networks need every modality."""

from __future__ import annotations

import pytest
import torch
from posteriors.test_contracts import TestJointEncoder as OfEncoder
from posteriors.test_contracts import TestJointEncoderOverCorrectedProducts as OfEncoderOverCorrectedProducts
from posteriors.test_contracts import TestJointProduct as OfProduct
from posteriors.test_contracts import TestJointProductWithPrior as OfProductWithPrior

from mmvae.batch import Batch
from mmvae.posteriors import CorrectedProduct, JointNetwork, Product
from mmvae.testing import PosteriorContract

OBSERVED = {"b": torch.tensor([True, False, True, True, False, True]), "c": torch.tensor([True] * 5 + [False])}
WHOLE = torch.tensor([True, False, True, True, False, False])

SETTINGS = {
    "joint encoder": (OfEncoder, Product(prior_expert=False)),
    "over corrected products": (OfEncoderOverCorrectedProducts, CorrectedProduct()),
    "joint product": (OfProduct, Product(prior_expert=False)),
    "with prior": (OfProductWithPrior, Product(prior_expert=False)),
}
each_setting = pytest.mark.parametrize("name", list(SETTINGS))


def made(setting: PosteriorContract) -> JointNetwork:
    posterior = setting.make_posterior(setting.names, 2)
    assert isinstance(posterior, JointNetwork)
    return posterior


@each_setting
def test_whole_rows_get_what_is_read_and_others_what_is_between(name: str) -> None:
    setting, between = SETTINGS[name][0](), SETTINGS[name][1]
    posterior, experts, batch = made(setting), setting.make_experts(), setting.make_batch()
    incomplete = Batch(batch.data, OBSERVED)
    found, read, other = posterior(incomplete, experts), posterior.read(batch), between(incomplete, experts)
    assert torch.equal(posterior.whole(incomplete), WHOLE)
    torch.testing.assert_close(found.mean[WHOLE], read.loc[WHOLE])
    torch.testing.assert_close(found.variance[WHOLE].sqrt(), read.scale[WHOLE])
    torch.testing.assert_close(found.mean[~WHOLE], other.mean[~WHOLE])
    torch.testing.assert_close(found.variance[~WHOLE], other.variance[~WHOLE])
    assert not torch.allclose(found.mean[WHOLE], other.mean[WHOLE])


@each_setting
def test_a_batch_without_a_modality_has_no_whole_row(name: str) -> None:
    setting, between = SETTINGS[name][0](), SETTINGS[name][1]
    posterior, experts = made(setting), setting.make_experts()
    batch = setting.make_batch().restrict(["a", "c"])
    assert torch.equal(posterior.whole(batch), torch.zeros(6, dtype=torch.bool))
    torch.testing.assert_close(posterior(batch, experts).mean, between(batch, experts).mean)
    assert posterior.whole(setting.make_batch()).all()


@each_setting
def test_features_are_those_of_all_modalities(name: str) -> None:
    setting = SETTINGS[name][0]()
    posterior, batch = made(setting), setting.make_batch()
    assert posterior.names == setting.names
    features, loc, scale = posterior.read(batch)
    assert features.shape == (6, posterior.num_features)
    assert loc.shape == scale.shape == (6, 2)
    for changed in setting.names:
        other = Batch({**batch.data, changed: batch.data[changed] + 1})
        same = (posterior.read(other).features == features).all(0)
        assert 0 < same.sum() < len(same)


@each_setting
def test_gradients_do_not_come_from_rows_that_are_not_read(name: str) -> None:
    """What the networks make of the zeros in the place of missing data trains nothing."""
    setting = SETTINGS[name][0]()
    posterior, experts, batch = made(setting), setting.make_experts(), setting.make_batch()
    incomplete = posterior(Batch(batch.data, OBSERVED), experts)
    incomplete.mean[~WHOLE].sum().backward()
    own = [each for part, each in posterior.named_parameters() if not part.startswith("between")]
    assert all(each.grad is None or (each.grad == 0).all() for each in own)
    assert any((each.grad != 0).any() for each in experts.parameters() if each.grad is not None)
