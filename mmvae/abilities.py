"""What metrics ask of models."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from torch import Tensor, nn

from mmvae.latents import Latents
from mmvae.modality import Modality
from mmvae.subsets import Subset


@runtime_checkable
class Evaluated(Protocol):
    """What every metric needs of a model."""

    names: tuple[str, ...]
    training: bool

    def infer(self, batch: Any, subset: Subset = None, observed: Any = None) -> Latents:
        """The posterior of one batch."""

    def eval(self) -> Any:
        """Evaluation mode."""

    def train(self, mode: bool = True) -> Any:
        """Training mode."""

    def modules(self) -> Iterator[nn.Module]:
        """The model and its parts."""

    def parameters(self) -> Iterator[nn.Parameter]:
        """Its weights."""


@runtime_checkable
class Weighs(Protocol):
    """A model with densities: it can weigh draws of its posterior."""

    def log_weights(self, batch: Any, subset: Subset = None, num_samples: int = 1000) -> Tensor:
        """log p(x_S, z_k) - log q(z_k | x_S), ``[K, N]``."""


@runtime_checkable
class Generates(Protocol):
    """A model that makes data from latents."""

    def generate(self, latents: Latents, num_samples: int | None = None) -> dict[str, Tensor]:
        """Data of every modality."""


@runtime_checkable
class Samples(Protocol):
    """A model that makes data from nothing: it has a prior."""

    def sample(self, num_samples: int, covariates: Mapping[str, Any] | None = None) -> dict[str, Tensor]:
        """Data from draws of the prior, given covariates if the model has some."""


@runtime_checkable
class Predicts(Protocol):
    """A model that classifies."""

    def predict(self, latents: Latents) -> Tensor:
        """The logits of classes or of labels, ``[N, C]``."""


@runtime_checkable
class Describes(Protocol):
    """A model that says what data its modalities are, as judges of generated data need to know."""

    modalities: Sequence[Modality]
