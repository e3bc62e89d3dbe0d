"""Private latents, priors, flow posteriors and covariates, each under the whole contract of a model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mmvae import Modality, models, priors
from mmvae.models import MultimodalVAE
from mmvae.objectives import ELBO
from mmvae.posteriors import Flow, Mixture, MixtureOfProducts, Product
from mmvae.testing import ModelContract

PRIVATE = {"real": 1, "codes": 2}


class _Contract(ModelContract):
    kind: str
    options: dict[str, Any]

    def make_model(self, modalities: Sequence[Modality]) -> MultimodalVAE:
        return getattr(models, self.kind)(modalities, 2, **self.options)


# Private latents.


class TestPrivateMVAE(_Contract):
    kind, options = "MVAE", {"private_dim": PRIVATE, "num_random_subsets": 1}


class TestPrivateMVTCAE(_Contract):
    kind, options = "MVTCAE", {"private_dim": 1}


class TestPrivateMoPoE(_Contract):
    kind, options = "MoPoE", {"private_dim": PRIVATE}


class TestPrivateMMVAE(_Contract):
    kind, options = "MMVAE", {"private_dim": PRIVATE, "num_samples": 2}


class TestPrivateJMVAE(_Contract):
    kind, options = "JMVAE", {"private_dim": PRIVATE, "trunk_width": 4, "hidden": 8}
    trains_on_incomplete_data = False


# Priors, learned with the model.


class TestMixturePriorMVAE(_Contract):
    kind, options = "MVAE", {"prior": priors.GaussianMixture(3)}


class TestMixturePriorMMVAE(_Contract):
    kind, options = "MMVAE", {"prior": priors.GaussianMixture(3, learned_scale=False), "num_samples": 2}


class TestMixturePriorMoPoE(_Contract):
    kind, options = "MoPoE", {"prior": priors.GaussianMixture(3), "private_dim": 1}


class TestMixturePriorJMVAE(_Contract):
    kind, options = "JMVAE", {"prior": priors.GaussianMixture(2), "trunk_width": 4, "hidden": 8}
    trains_on_incomplete_data = False


class TestFlowPriorMVTCAE(_Contract):
    kind, options = "MVTCAE", {"prior": priors.Flow(2, 8)}


class TestFlowPriorMMVAE(_Contract):
    kind, options = "MMVAE", {"prior": priors.Flow(2, 8), "num_samples": 2, "objective": "iwae"}


class TestFlowPriorMoPoE(_Contract):
    kind, options = "MoPoE", {"prior": priors.Flow(1, 8)}


class TestFlowPriorMVAE(_Contract):
    kind, options = "MVAE", {"prior": priors.Flow(1, 8), "private_dim": PRIVATE}


class TestVampPriorMVAE(_Contract):
    kind, options = "MVAE", {"prior": priors.Vamp(3), "private_dim": PRIVATE}


class TestVampPriorMMVAE(_Contract):
    kind, options = "MMVAE", {"prior": priors.Vamp(2), "num_samples": 2}


# A posterior that is not Gaussian.


class FlowVAE(MultimodalVAE):
    def __init__(self, modalities: Sequence[Modality], latent_dim: int) -> None:
        posterior = Flow(Product(prior_expert=True), latent_dim, transforms=2, hidden=8)
        super().__init__(modalities, latent_dim, joint_posterior=posterior, objective=ELBO())


class TestFlowPosterior(ModelContract):
    def make_model(self, modalities: Sequence[Modality]) -> MultimodalVAE:
        return FlowVAE(modalities, 2)


class TestPlainMixture(ModelContract):
    def make_model(self, modalities: Sequence[Modality]) -> MultimodalVAE:
        return MultimodalVAE(modalities, 2, joint_posterior=Mixture(), objective=ELBO(num_samples=3))


class TestPrivateMixtureOfProducts(ModelContract):
    """Beyond the cap on its components."""

    def make_model(self, modalities: Sequence[Modality]) -> MultimodalVAE:
        posterior = MixtureOfProducts(3, "all", max_components=5)
        return MultimodalVAE(modalities, 2, joint_posterior=posterior, objective=ELBO(), private_dim=1)


# Covariates.


class _Conditional(_Contract):
    def make_covariates(self) -> dict[str, float]:
        return {"lane": 0.0, "age": 0.25}


COVARIATES = {"lane": 2, "age": None}


class TestConditionalMVAE(_Conditional):
    """A conditional VAE: the prior reads covariates too."""

    kind, options = "MVAE", {"covariates": COVARIATES, "prior": priors.ConditionalNormal(4)}


class TestConditionalFlowPrior(_Conditional):
    kind, options = "MVTCAE", {"covariates": COVARIATES, "prior": priors.Flow(2, 8)}


class TestCovariatesOfMMVAE(_Conditional):
    kind, options = "MMVAE", {"covariates": COVARIATES, "num_samples": 2, "private_dim": 1}


class TestCovariatesOfMoPoE(_Conditional):
    kind, options = "MoPoE", {"covariates": COVARIATES}


class TestCovariatesOfJMVAE(_Conditional):
    kind, options = "JMVAE", {"covariates": COVARIATES, "trunk_width": 4, "hidden": 8}
    trains_on_incomplete_data = False


class TestCovariatesOfIterativeVAE(_Conditional):
    kind, options = (
        "IterativeVAE",
        {"covariates": COVARIATES, "trunk_width": 4, "hidden": 8, "refinement_hidden": 8, "num_steps": 2},
    )
    trains_on_incomplete_data = False
