"""A prior made of posteriors: those of pseudo-inputs, which are learned."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from mmvae.batch import Batch
from mmvae.choices import check_count
from mmvae.distributions import MixtureOfExperts, as_mixture
from mmvae.priors.base import Prior


@runtime_checkable
class Encodes(Protocol):
    """A model's way from inputs to posteriors."""

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of one input of each modality."""

    def inputs_of(self, batch: Batch) -> dict[str, Tensor]:
        """What stands for the rows of a batch among inputs, ``{name: [N, *shape]}``."""

    def __call__(self, inputs: Mapping[str, Tensor]) -> Distribution:
        """The joint posterior of C inputs in all modalities, ``{name: [C, *shape]}``, of batch shape ``[C]``."""


class Vamp(Prior):
    """p(z) = (1/C) Σ_c q(z | u_c): the aggregate posterior of C learned pseudo-inputs, one in each modality.

    The posteriors are those of the model, so that the prior moves with its encoders. A pseudo-input is a value of the
    data where data is real, and features of the encoder where data is codes, into which no gradient flows. For a model
    with a joint network the fusion of its unimodal posteriors takes the network's place.

    Args:
        num_components: C, at least 1.

    Raises:
        ValueError: For fewer than one component; when a model makes it that has covariates, or whose posterior is
            neither Gaussian, Laplace nor a mixture of these.

    Source: Tomczak and Welling 2018, "VAE with a VampPrior"; tuples of pseudo-inputs through the joint posterior are
    this library's. The paper bounds pseudo-inputs to the range of its images; here they are free.
    """

    _encode: Encodes

    def __init__(self, num_components: int) -> None:
        super().__init__()
        check_count("num_components", num_components, 1)
        self.num_components = num_components

    def build(self) -> None:
        """Nothing yet: the shapes of pseudo-inputs are the model's."""
        if self.context_dim:
            raise ValueError(
                "prior: Vamp does not read covariates and the model has some; take priors.Flow() or "
                "priors.ConditionalNormal()."
            )

    def attach(self, model: Encodes) -> None:
        """Make pseudo-inputs at random for the modalities of a model, and keep its encoders at hand."""
        self._encode = model
        shapes = model.shapes
        self.inputs = nn.ParameterDict(
            {name: nn.Parameter(torch.randn(self.num_components, *shape)) for name, shape in shapes.items()}
        )
        with torch.no_grad():
            posterior = as_mixture(model(dict(self.inputs.items())))
        if not isinstance(posterior, MixtureOfExperts):
            raise ValueError(
                "prior: Vamp is a mixture of the model's posteriors, which are flows here; take priors.Flow() or "
                "priors.GaussianMixture(20)."
            )

    def forward(self, context: Tensor | None = None) -> Distribution:
        """p(z), of batch shape ``[]`` and event shape ``[D]``."""
        posterior = as_mixture(self._encode(dict(self.inputs.items())))
        assert isinstance(posterior, MixtureOfExperts)  # attach() has made sure
        shared = slice(0, self.latent_dim)
        loc, scale = posterior.loc[..., shared].flatten(0, 1), posterior.scale[..., shared].flatten(0, 1)
        return MixtureOfExperts(loc, scale, posterior.weights.flatten(), posterior.family, validate_args=False)

    @property
    def num_start_rows(self) -> int:
        """C: every pseudo-input starts from a row."""
        return self.num_components

    def start_from_rows(self, batch: Batch) -> None:
        """Set the first pseudo-inputs to the rows of a batch."""
        with torch.no_grad():
            for name, value in self._encode.inputs_of(batch).items():
                self.inputs[name][: len(value)] = value
