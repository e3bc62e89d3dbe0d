"""A modality: a name, a data shape, an encoder, a decoder, a likelihood, a weight."""

from __future__ import annotations

import numbers
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.distributions import Distribution

from mmvae.arguments import Remembers

EncoderSpec = nn.Module | Callable[[], nn.Module]
DecoderSpec = Callable[[int], nn.Module]
LikelihoodSpec = nn.Module | Callable[[Tensor], Distribution]

RESERVED_NAMES = frozenset({"z", "data", "total", "kl", "elbo"})
"""Names that sites, plates and loss terms use; no modality may bear one, nor that of a method of ``nn.ModuleDict``."""


def check_name(name: object) -> None:
    """Raises a ``TypeError`` or ``ValueError`` unless a modality can bear this name."""
    if not isinstance(name, str):
        raise TypeError(f"modality name: expected a string, got {name!r}.")
    if not name or "." in name:
        raise ValueError(f"modality name: {name!r} must be a non-empty string without a dot.")
    if name in RESERVED_NAMES or hasattr(nn.ModuleDict, name):
        raise ValueError(f"modality name: {name!r} is reserved; choose another.")


@dataclass(frozen=True, eq=False)
class Modality(Remembers):
    """One kind of data a model sees, and how it is read and written.

    A modality is a description: models copy the networks they are given, so the same modality can be handed to
    several models, and their weights stay apart.

    Args:
        name: how data, subsets, sample sites and results call it.
        shape: of one datum, without the batch: ``(1, 28, 28)`` for a grey image, ``(8,)`` for eight codes.
        likelihood: one of :mod:`mmvae.likelihoods`, or any callable from decoder output to a distribution.
        encoder: a module ``[N, *shape] -> [N, features]``, or a callable without arguments that makes one.
            By default a network that suits the shape. The heads that a posterior needs are added by the model.
        decoder: a callable from the latent size ``d`` to a module ``[N, d] -> [N, *parameter_shape]``, where the
            likelihood says what its ``parameter_shape`` is. By default a network that suits the shape.
        weight: multiplies this modality's log-likelihood in the training objective (and nowhere else).

    Raises:
        ValueError: for a name that is empty or reserved, a shape with a size below one, or a weight not above zero.
        TypeError: for a part of the wrong kind.

    Example:
        >>> from mmvae import likelihoods
        >>> Modality("text", shape=(8,), likelihood=likelihoods.Categorical(71), weight=10.0).name
        'text'
    """

    name: str
    shape: Sequence[int]
    likelihood: LikelihoodSpec
    encoder: EncoderSpec | None = None
    decoder: DecoderSpec | None = None
    weight: float = 1.0

    def __post_init__(self) -> None:
        check_name(self.name)
        shape = (self.shape,) if isinstance(self.shape, numbers.Integral) else tuple(self.shape)
        if not all(isinstance(size, numbers.Integral) for size in shape):
            raise TypeError(f"{self.name}: shape must be whole numbers, without the batch, got {shape}.")
        if any(size < 1 for size in shape):
            raise ValueError(f"{self.name}: every size of shape must be at least 1, got {shape}.")
        object.__setattr__(self, "shape", tuple(map(int, shape)))
        self.arguments["shape"] = self.shape
        if isinstance(self.likelihood, type) and issubclass(self.likelihood, nn.Module):
            raise TypeError(
                f"{self.name}: likelihood is the class {self.likelihood.__name__}; make one of it, such as "
                f"{self.likelihood.__name__}()."
            )
        if not callable(self.likelihood):
            raise TypeError(
                f"{self.name}: likelihood must be one of mmvae.likelihoods or a callable that returns a distribution, "
                f"got {self.likelihood!r}."
            )
        if self.encoder is not None and not callable(self.encoder):
            raise TypeError(f"{self.name}: encoder must be an nn.Module or a callable that makes one.")
        if isinstance(self.decoder, nn.Module):
            raise TypeError(
                f"{self.name}: decoder must be a callable from the latent size to a module, since the model decides "
                f"that size; wrap it: decoder=lambda latent_dim: my_decoder."
            )
        if self.decoder is not None and not callable(self.decoder):
            raise TypeError(f"{self.name}: decoder must be a callable from the latent size to an nn.Module.")
        if isinstance(self.weight, str):
            raise TypeError(
                f'{self.name}: weight must be a number; to balance modalities by size pass weights="balanced" to '
                f"the model."
            )
        if not 0 < float(self.weight) < float("inf"):
            raise ValueError(f"{self.name}: weight must be a finite number above 0, got {self.weight!r}.")

    @property
    def size(self) -> int:
        """How many numbers (or codes) one datum has."""
        size = 1
        for length in self.shape:
            size *= length
        return size


def checked_modality_names(parts: Mapping[str, Any], what: str) -> tuple[str, ...]:
    """The keys of a dict by modality.

    Args:
        parts: ``{name: anything}``.
        what: the argument is called, for messages.

    Raises:
        ValueError: for an empty dict, or a name that is reserved.
        TypeError: for something that is no dict, or a name that is no string.
    """
    if not isinstance(parts, Mapping):
        raise TypeError(f"{what}: expected a dict by modality, got {type(parts).__name__}.")
    if not parts:
        raise ValueError(f"{what}: at least one modality is needed.")
    for name in parts:
        check_name(name)
    return tuple(parts)
