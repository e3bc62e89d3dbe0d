"""A modality: a name, a data shape, an encoder, a decoder, a likelihood, a weight."""

from __future__ import annotations

import numbers
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from inspect import Signature
from typing import Any, ClassVar, Literal

from torch import Tensor, nn
from torch.distributions import Distribution

from mmvae.arguments import Remembers
from mmvae.transforms import Transform

EncoderSpec = nn.Module | Callable[[], nn.Module]
DecoderSpec = Callable[[int], nn.Module]
LikelihoodSpec = nn.Module | Callable[[Tensor], Distribution]
TransformSpec = Transform | Literal["auto"] | None

_SITES = ("z", "data")
_COLUMNS = (
    *("epoch", "split", "stage", "seconds", "loss", "total"),
    *("labels", "observed", "steps", "covariates", "context"),
)
_TERMS = (
    *("elbo", "kl", "iwae", "bound", "initial_elbo", "log_likelihood", "alignment", "conditional_kl", "contrast"),
    *(
        "augmentation",
        "divergence",
        "prior",
        "posterior",
        "reconstruction",
        "adversarial",
        "mmd",
        "wasserstein",
        "swd",
        "clusters",
    ),
    "imputation",
    *(
        "total_correlation",
        "mutual_information",
        "entropy",
        "penalty",
        "regulariser",
        "task",
        "accuracy",
        "cca",
        "club",
    ),
    *("cpc", "matching", "commitment", "perplexity", "usage", "readout", "coarse_alignment", "reconstruction_fine"),
    *("reconstruction_coarse", "correlation_before", "correlation_after"),
)

RESERVED_NAMES = frozenset({*_SITES, *_COLUMNS, *_TERMS, *dir(nn.ModuleDict())})
"""Names that no modality may bear: sites and plates of the Pyro programs, columns of metrics and tables, terms of
losses (those of the future among them; a term that is added joins this list), and attributes of ``nn.ModuleDict``."""

_LONGEST = 100
_NOT_FIRST = "=-@'_"


def check_name(name: object) -> None:
    """Raise an error unless a modality can bear this name.

    A name stands in weights (where a dot parts modules), in labels of subsets (``"a+b"``), in names of files, in
    columns of tables (where a spreadsheet takes a first ``=``, ``-`` or ``@`` for a formula), and in legends (which
    leave out what begins with ``_``). It therefore can be printed, begins with none of these, and holds none of
    ``. + / \\``.

    Raises:
        TypeError: If it is not a string.
        ValueError: If it is empty or too long, holds what would be ambiguous, or is a name of the library's own.
    """
    if not isinstance(name, str):
        raise TypeError(f"modality name: expected a string, got {name!r}.")
    if not name or len(name) > _LONGEST:
        raise ValueError(f"modality name: expected 1 to {_LONGEST} characters, got {len(name)}; choose another.")
    found = next((sign for sign in ".+/\\" if sign in name), None)
    if found is not None:
        suggestion = re.sub(r"[^\w]+", "_", name).strip("_") or "modality"
        raise ValueError(
            f"modality name: {name!r} holds {found!r}, which parts names in subsets, weights and files; choose "
            f"another, such as {suggestion!r}."
        )
    if not name.isprintable() or name != name.strip() or name[0] in _NOT_FIRST:
        raise ValueError(
            f"modality name: {name!r} must not begin with one of {_NOT_FIRST}, begin or end with a space, or hold "
            f"control characters; choose another."
        )
    if name in RESERVED_NAMES:
        raise ValueError(
            f"modality name: {name!r} is reserved, a name of the library's own; choose another, such as "
            f"{name + '_data'!r}."
        )


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
        transform: one of :mod:`mmvae.transforms`, the units in which networks see the data; ``None`` for the data as it
            is. By default the likelihood says: vectors under a Normal or Laplace are standardised, of images under them
            encoders read standardised channels, encoders of counts read log(1 + x), all else is taken as it is. The
            default is for networks of the library: an encoder of your own reads the data as it is, and beside a decoder
            of your own no data that is scored is transformed. A transform that you name holds for your networks too.
        missing: ``"rows"``: a row is there or missing as a whole. ``"cells"``: single numbers may be missing, by NaN or
            by a mask ``bool [N, *shape]`` (of the steps of a sequence ``[N, T]``). The likelihood of a row is then the
            sum over what is there, and encoders are called with two tensors: the data, zeros where a number is missing,
            and the mask, ``bool [N, *shape]``. :class:`mmvae.nn.WithMask` makes such an encoder of a plain one.

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
    transform: TransformSpec = "auto"
    missing: Literal["rows", "cells"] = "rows"

    before: ClassVar[Mapping[str, Any]] = {"transform": None}

    @classmethod
    def _check_arguments(cls, owner: str, signature: Signature, arguments: Mapping[str, Any]) -> None:
        if isinstance(arguments.get("weight"), str):
            raise TypeError(
                f'{owner}: weight must be a number; to balance modalities by size pass weights="balanced" to the model.'
            )
        super()._check_arguments(owner, signature, arguments)

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
        if not 0 < float(self.weight) < float("inf"):
            raise ValueError(f"{self.name}: weight must be a finite number above 0, got {self.weight!r}.")
        if not (self.transform is None or self.transform == "auto" or isinstance(self.transform, Transform)):
            raise TypeError(
                f'{self.name}: transform must be one of mmvae.transforms, such as transforms.Standardize(), "auto" or '
                f"None, got {self.transform!r}."
            )

        if self.missing not in ("rows", "cells"):
            raise ValueError(f'{self.name}: missing must be "rows" or "cells", got {self.missing!r}.')

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
