"""mmJSD, mcVAE, CRMVAE and MMVM: the contract, and the limits in which they are known."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyro.distributions as dist
import pytest
import torch
from objectives.parts import make

import mmvae
from mmvae import Modality, likelihoods
from mmvae.models import CRMVAE, MCVAE, MMJSD, MMVM, MultimodalVAE
from mmvae.objectives import LinearWarmup
from mmvae.objectives.jensen_shannon import jensen_shannon
from mmvae.posteriors import Experts
from mmvae.testing import ModelContract

PRIVATE = {"real": 1, "codes": 2}


class TestMMJSD(ModelContract):
    def make_model(self, modalities: Sequence[Modality]) -> MultimodalVAE:
        return MMJSD(modalities, 2)


class TestPrivateMMJSD(ModelContract):
    def make_model(self, modalities: Sequence[Modality]) -> MultimodalVAE:
        return MMJSD(modalities, 2, private_dim=PRIVATE)


class TestMCVAE(ModelContract):
    def make_model(self, modalities: Sequence[Modality]) -> MultimodalVAE:
        return MCVAE(modalities, 2)


class TestPrivateMCVAE(ModelContract):
    def make_model(self, modalities: Sequence[Modality]) -> MultimodalVAE:
        return MCVAE(modalities, 2, private_dim=PRIVATE, num_samples=2)


class TestCRMVAE(ModelContract):
    def make_model(self, modalities: Sequence[Modality]) -> MultimodalVAE:
        return CRMVAE(modalities, 2)


class TestPrivateCRMVAE(ModelContract):
    def make_model(self, modalities: Sequence[Modality]) -> MultimodalVAE:
        return CRMVAE(modalities, 2, private_dim=PRIVATE)


class TestMMVM(ModelContract):
    def make_model(self, modalities: Sequence[Modality]) -> MultimodalVAE:
        return MMVM(modalities, 2)

    def test_terms_of_the_loss(self) -> None:
        """Each modality scores itself alone, so there is no ELBO of all of them to report."""
        model = self.make()
        assert set(model.loss(self.make_data()).terms) == {*model.names, "kl", "divergence"}


class TestPrivateMMVM(TestMMVM):
    def make_model(self, modalities: Sequence[Modality]) -> MultimodalVAE:
        return MMVM(modalities, 2, private_dim=PRIVATE, alpha=0.5)


# The Jensen-Shannon divergence.


def one_row(*gaussians: tuple[float, float]) -> Experts:
    loc, scale = (torch.tensor([each[side] for each in gaussians]).reshape(-1, 1, 1) for side in (0, 1))
    return Experts(tuple("abc"[: len(gaussians)]), loc, scale, None, dist.Normal)


def test_the_divergence_of_experts_that_equal_the_prior_is_zero() -> None:
    assert jensen_shannon(one_row((0.0, 1.0), (0.0, 1.0))).abs().item() < 1e-6
    assert jensen_shannon(one_row((0.5, 1.0), (0.0, 1.0))).item() > 0.01


@pytest.mark.parametrize(("loc", "scale"), [(0.7, 1.0), (-1.3, 0.4), (2.0, 3.0)])
def test_the_divergence_of_one_expert_is_that_of_two_gaussians(loc: float, scale: float) -> None:
    """With the geometric mean, in closed form: half of the sum of both divergences from it (Nielsen 2019)."""
    variance = 2 / (1 + 1 / scale**2)
    middle = variance * loc / scale**2 / 2
    pool = torch.distributions.Normal(torch.tensor(middle), torch.tensor(variance**0.5))
    each = [torch.distributions.Normal(*map(torch.tensor, pair)) for pair in ((loc, scale), (0.0, 1.0))]
    expected = sum(torch.distributions.kl_divergence(q, pool) for q in each) / 2
    torch.testing.assert_close(jensen_shannon(one_row((loc, scale)))[0], torch.as_tensor(expected))


def test_experts_of_missing_rows_have_no_part_in_the_divergence() -> None:
    whole = one_row((0.7, 0.5), (9.0, 0.1))
    masked = Experts(whole.names, whole.loc, whole.scale, torch.tensor([[True], [False]]), dist.Normal)
    torch.testing.assert_close(jensen_shannon(masked), jensen_shannon(one_row((0.7, 0.5))))


# Soft sharing.


def test_with_all_weight_on_the_prior_mmvm_is_independent_vaes() -> None:
    """The loss is the sum of those of VAEs of one modality each, draw by draw."""
    model, data = make("MMVM", alpha=1.0)
    torch.manual_seed(0)
    loss = model.loss(data).total
    experts = model.experts(model.prepare(data))
    torch.manual_seed(0)
    z = experts.distribution.rsample()
    expected = torch.zeros(())
    for row, name in enumerate(model.names):
        log_p = model.decode(z[row], name)[name].log_prob(model.prepare(data).data[name])
        normal = torch.distributions.Normal(experts.loc[row], experts.scale[row])
        kl = torch.distributions.kl_divergence(normal, torch.distributions.Normal(0.0, 1.0)).sum(-1)
        expected = expected + (kl - model.weights[name] * log_p).mean()
    torch.testing.assert_close(loss, expected)


def test_equal_experts_have_nothing_to_share() -> None:
    model, data = make("MMVM", alpha=0.0)
    with torch.no_grad():
        for head in model.experts.heads.values():
            head.linear.weight.zero_()
            head.linear.bias.fill_(0.3)
    terms = model.loss(data).terms
    assert terms["divergence"].abs().item() < 1e-6
    assert terms["kl"].item() > 0.05


def test_alpha_falls_from_one_to_zero_and_stays_between() -> None:
    model, _ = make("MMVM")
    assert model.objective.alpha == LinearWarmup(end=0.0, epochs=50.0, start=1.0)
    for wrong in (1.5, LinearWarmup(end=2.0, epochs=3.0)):
        with pytest.raises(ValueError, match="alpha: expected a number from 0 to 1"):
            make("MMVM", alpha=wrong)


def test_soft_sharing_translates_between_modalities() -> None:
    """No decoder ever sees a draw of another modality in training, yet one modality predicts the other."""
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(800, 1, generator=generator)
    data = {
        name: hidden @ torch.randn(1, 4, generator=generator) + 0.1 * torch.randn(800, 4, generator=generator)
        for name in "ab"
    }
    torch.manual_seed(0)
    vae = MMVM([Modality(name, (4,), likelihoods.Normal(0.1)) for name in "ab"], 1, alpha=LinearWarmup(0.0, 5.0, 1.0))
    mmvae.fit(vae, data, epochs=25, lr=3e-3, progress=False)
    predicted = vae.generate(mmvae.infer(vae, data, "a"))["b"]
    residual = (predicted - data["b"]).square().mean() / data["b"].var()
    assert residual < 0.2


# The others.


def test_each_component_of_mcvae_bounds_the_likelihood() -> None:
    """The mean of the bounds of components is below the ELBO of the mixture."""
    model, data = make("MCVAE")
    repeated: dict[str, Any] = {name: value.repeat(300, *[1] * (value.ndim - 1)) for name, value in data.items()}
    with torch.no_grad():
        own, mixture = model.loss(repeated).terms["elbo"], model.elbo(repeated)
    assert own < mixture.mean() + 5 * mixture.std() / 1800**0.5


def test_coordinated_experts_also_reconstruct_themselves() -> None:
    """Latents that each modality is scored at: the joint draw, and its own."""
    model, data = make("CRMVAE")
    found: list[Any] = []
    score = model.score
    model.score = lambda batch, z, rows=None: found.append((z.shape, rows)) or score(batch, z, rows)
    model.loss(data)
    ((shape, rows),) = found
    assert shape == (4, 6, 2)
    assert {name: value.tolist() for name, value in rows.items()} == {"real": [0, 1], "bits": [0, 2], "codes": [0, 3]}
