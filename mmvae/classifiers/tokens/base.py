"""What an encoder of tokens is, and what it returns."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn


@dataclass(frozen=True, eq=False)
class EncoderOutput:
    """What a token encoder makes of N data points.

    Attributes:
        cls: the class token after the last norm, ``[N, d]``; the masked mean of the tokens where the encoder has none.
        tokens: the others after the last norm, ``[N, n, d]``.
        mask: which tokens are valid, ``[N, n]``; ``None`` for all of them.
        hidden: what comes out of each block, ``[N, 1 + n, d]`` each, the class token (or the masked mean) at position 0
            and before the last norm where the encoder has one; ``None`` where the encoder does not offer them.
        extra: the outputs at the extra tokens that were handed in, ``[N, k, d]``.
    """

    cls: Float[Tensor, "N d"]
    tokens: Float[Tensor, "N n d"]
    mask: Bool[Tensor, "N n"] | None = None
    hidden: tuple[Float[Tensor, "N 1+n d"], ...] | None = None
    extra: Float[Tensor, "N k d"] | None = None

    @property
    def final(self) -> Float[Tensor, "N S d"]:
        """The class token and the tokens after the last norm, ``[N, 1 + n, d]``."""
        return torch.cat([self.cls[:, None], self.tokens], 1)

    @property
    def valid(self) -> Bool[Tensor, "N S"]:
        """Which of the class token, which always is, and the tokens are valid, ``[N, 1 + n]``."""
        if self.mask is None:
            rows, tokens = self.tokens.shape[:2]
            return torch.ones(rows, 1 + tokens, dtype=torch.bool, device=self.cls.device)
        return nn.functional.pad(self.mask, (1, 0), value=True)

    @property
    def layers(self) -> tuple[Tensor, ...]:
        """The hidden states, ``[N, 1 + n, d]`` each; the final tokens alone where none are offered."""
        return (self.final,) if self.hidden is None else self.hidden

    @property
    def states(self) -> Float[Tensor, "N S L d"]:
        """The layers and, last, the final tokens, ``[N, 1 + n, depth + 1, d]``: the data of :class:`Precomputed`."""
        return torch.stack([*self.layers, self.final], 2)


class TokenEncoder(nn.Module, ABC):
    """A network from a datum to a class token and a sequence of tokens, from every layer where it can.

    What an encoder offers decides what a model can do with it: only the final tokens; the hidden states of its
    blocks too; or, besides, a place for learned tokens of the model's own inside it.

    Attributes:
        dim: d, the width of a token.
        depth: how many hidden states there are; 1 where only the final tokens are offered.
        shape: of one datum, ``None`` where it is not known or may vary.
        dtype: of the data, ``torch.float32`` for numbers, ``torch.int64`` for ids of tokens.
        offers_hidden: whether the output has hidden states.
        takes_extra: whether learned tokens can stand among the encoder's own.
    """

    dim: int
    depth: int
    shape: tuple[int, ...] | None
    dtype: torch.dtype
    offers_hidden: bool
    takes_extra: bool

    @abstractmethod
    def forward(
        self,
        inputs: Tensor,
        mask: Bool[Tensor, "N T"] | None = None,
        extra: Float[Tensor, "k d"] | None = None,
        isolate: bool = False,
    ) -> EncoderOutput:
        """The tokens of N data points.

        Args:
            inputs: ``[N, *shape]``.
            mask: which tokens are valid, ``[N, n]``, besides what the encoder finds out by itself (ids of padding).
                Where the class token is one of the steps of the data, ``[N, 1 + n]`` is understood too.
            extra: k learned tokens that are put behind the embedded ones, ``[k, d]``; they see all valid tokens, and
                are seen by them.
            isolate: no other token sees the extra ones, so that nothing but ``output.extra`` depends on them.

        Raises:
            ValueError: for inputs, masks or extra tokens of the wrong shape, and extra tokens where there is no place
                for them.
            TypeError: for inputs of the wrong dtype.
        """

    @property
    def name(self) -> str:
        """What reports call this encoder."""
        return type(self).__name__

    def settings(self) -> dict[str, Any]:
        """What decides the outputs besides the weights, as plain values by name."""
        return {}

    def check(self, inputs: Tensor, extra: Tensor | None) -> None:
        """Refuses data and extra tokens that this encoder cannot take.

        Raises:
            ValueError: for a wrong shape, or extra tokens where there is no place for them.
            TypeError: for real numbers where ids are expected, or the other way round.
        """
        if inputs.is_floating_point() != self.dtype.is_floating_point or inputs.dtype == torch.bool:
            hint = "for images with x.float() / 255." if self.dtype.is_floating_point else "for whole numbers x.long()."
            raise TypeError(f"{self.name}: expected data of {self.dtype}, got {inputs.dtype}; convert, {hint}")
        if self.shape is not None and inputs.shape[1:] != self.shape:
            raise ValueError(
                f"{self.name}: expected data of shape [N, {', '.join(map(str, self.shape))}], got "
                f"{list(inputs.shape)}; resize, crop or pad the data, or build the encoder for its shape."
            )
        if extra is None:
            return
        if not self.takes_extra:
            raise ValueError(
                f"{self.name}: extra tokens were given, but this encoder has no place for them; put them behind the "
                f"encoder, or name the submodule that embeds the data: wrap_encoder(module, embed=...)."
            )
        if extra.ndim != 2 or extra.shape[1] != self.dim:
            raise ValueError(
                f"{self.name}: expected extra tokens of shape [k, {self.dim}], got {list(extra.shape)}; they need the "
                f"width of the encoder."
            )


def joined_mask(
    name: str, given: Tensor | None, derived: Bool[Tensor, "N n"] | None, tokens: tuple[int, int]
) -> Bool[Tensor, "N n"] | None:
    """The tokens that are valid both by the mask that was given and by the one that the encoder derived itself.

    Args:
        name: of the encoder, for the error.
        given: bool ``[N, n]``, or ``[N, 1 + n]`` with the class token first.
        derived: of the encoder.
        tokens: ``(N, n)``.

    Raises:
        ValueError: for a mask of another shape or dtype.
    """
    if given is None:
        return derived
    rows, steps = tokens
    if given.dtype != torch.bool or given.shape not in ((rows, steps), (rows, 1 + steps)):
        raise ValueError(
            f"{name}: expected a mask of torch.bool and shape [{rows}, {steps}], one per token (or [{rows}, "
            f"{1 + steps}] with the class token first), got {given.dtype} {list(given.shape)}."
        )
    given = given[:, given.shape[1] - steps :]
    return given if derived is None else given & derived
