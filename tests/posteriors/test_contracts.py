"""Every joint posterior keeps the contract."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyro.distributions as dist
import torch
from torch import nn

from mmvae.posteriors import (
    CorrectedProduct,
    JointEncoder,
    JointPosterior,
    JointProduct,
    Mixture,
    MixtureOfProducts,
    Product,
)
from mmvae.testing import PosteriorContract


class TestProduct(PosteriorContract):
    def make_posterior(self, names: Sequence[str], latent_dim: int) -> JointPosterior:
        return Product(prior_expert=False)


class TestProductWithPrior(PosteriorContract):
    def make_posterior(self, names: Sequence[str], latent_dim: int) -> JointPosterior:
        return Product(prior_expert=True)


class TestCorrectedProduct(PosteriorContract):
    def make_posterior(self, names: Sequence[str], latent_dim: int) -> JointPosterior:
        return CorrectedProduct()


class TestMixture(PosteriorContract):
    def make_posterior(self, names: Sequence[str], latent_dim: int) -> JointPosterior:
        return Mixture()


class TestLaplaceMixture(TestMixture):
    family = dist.Laplace


class TestMixtureOfProducts(PosteriorContract):
    def make_posterior(self, names: Sequence[str], latent_dim: int) -> JointPosterior:
        return MixtureOfProducts(len(names))


class TestCappedMixtureOfProducts(PosteriorContract):
    def make_posterior(self, names: Sequence[str], latent_dim: int) -> JointPosterior:
        return MixtureOfProducts(len(names), prior_expert="all", max_components=5)


class TestOneModality(TestMixtureOfProducts):
    names = ("a",)


class TestJointEncoder(PosteriorContract):
    between: JointPosterior | None = None

    def make_posterior(self, names: Sequence[str], latent_dim: int) -> JointPosterior:
        with torch.random.fork_rng():
            torch.manual_seed(2)
            encoders: dict[str, Any] = {name: nn.Sequential(nn.Linear(4, 5), nn.Tanh()) for name in names}
            return JointEncoder(encoders, dict.fromkeys(names, 5), latent_dim, 6, 7, self.between)


class TestJointEncoderOverCorrectedProducts(TestJointEncoder):
    between = CorrectedProduct()


class TestJointProduct(PosteriorContract):
    prior_expert = False

    def make_posterior(self, names: Sequence[str], latent_dim: int) -> JointPosterior:
        with torch.random.fork_rng():
            torch.manual_seed(2)
            encoders: dict[str, Any] = {name: nn.Sequential(nn.Linear(4, 5), nn.Tanh()) for name in names}
            features = dict.fromkeys(names, 5)
            return JointProduct(encoders, features, latent_dim, self.prior_expert, between=Product(prior_expert=False))


class TestJointProductWithPrior(TestJointProduct):
    prior_expert = True
