"""Data from draws of a prior."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributions import Distribution

from mmvae.autoencoders.base import MultimodalAutoencoder
from mmvae.choices import numbers_checked
from mmvae.modes import in_evaluation_mode


class SamplesPrior(MultimodalAutoencoder):
    """An autoencoder with a prior over its latent.

    Attributes:
        prior: Gives p(z), or p(z | c) given encoded covariates.
    """

    prior: Callable[..., Distribution]

    @torch.no_grad()
    @in_evaluation_mode
    @numbers_checked
    def sample(self, num_samples: int, covariates: Mapping[str, Any] | None = None) -> dict[str, Tensor]:
        """Data generated from ``num_samples`` draws of the prior, ``{name: [num_samples, *shape]}``.

        Args:
            num_samples: Number of draws.
            covariates: ``{name: value or values [num_samples]}``, for a model that has some.
        """
        known = self.covariates.of_rows(num_samples, {}, covariates)
        return self._points(self.sample_latents(num_samples, known), known)

    def sample_latents(self, num_samples: int, covariates: Mapping[str, Any] | None = None) -> Float[Tensor, "N D"]:
        """Draws of the prior, without their data.

        Args:
            num_samples: N.
            covariates: ``{name: value or values [N]}``, for a model that has some.
        """
        context = self._encoded(self.covariates.of_rows(num_samples, {}, covariates))
        prior = self.prior(context)
        return prior.sample(torch.Size((num_samples,)) if context is None or not prior.batch_shape else torch.Size())
