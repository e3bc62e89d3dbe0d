"""Hidden states that stand in for those of a missing modality."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from mmvae.classifiers.tokens.base import TokenEncoder


class StandIn(nn.Module):
    """The same hidden states in every row that is not shown a modality.

    Args:
        states: of the L layers, ``[L, S, d]``; with S = 1 they stand at every token.
        valid: which tokens are valid, ``[S]``.
    """

    states: Tensor
    valid: Tensor

    def __init__(self, states: Float[Tensor, "L S d"], valid: Bool[Tensor, "S"]) -> None:
        super().__init__()
        self.register_buffer("states", states)
        self.register_buffer("valid", valid)

    @classmethod
    def of_zeros(cls, layers: int, dim: int) -> StandIn:
        """Zeros at every token."""
        return cls(torch.zeros(layers, 1, dim), torch.ones(1, dtype=torch.bool))

    @classmethod
    def of_datum(cls, encoder: TokenEncoder, datum: Tensor, layers: Sequence[int]) -> StandIn:
        """What an encoder makes of one datum, ``[*shape]``, at some of its layers."""
        weight = next(encoder.parameters(), None)
        with torch.no_grad():
            output = encoder(datum[None] if weight is None else datum[None].to(weight.device))
        return cls(torch.cat([output.layers[index] for index in layers]), output.valid[0])

    def fill(
        self,
        tokens: Sequence[Float[Tensor, "N T d"]],
        own: Sequence[Float[Tensor, "O d"]],
        valid: Bool[Tensor, "N T"],
        shown: Bool[Tensor, "N"],
    ) -> tuple[tuple[Float[Tensor, "N S d"], ...], Bool[Tensor, "N S"]]:
        """The projected tokens, those that stand in in the rows that are not shown.

        Args:
            tokens: of the L layers; with T = 1, of data that no row has, the result has S = O tokens.
            own: what the same projections make of the states that stand in.
            valid: which tokens are valid.
            shown: which rows are.

        Raises:
            ValueError: if the tokens of the data and those that stand in differ in number.
        """
        here, there = len(self.valid), valid.shape[1]
        if here != there and 1 not in (here, there):
            raise ValueError(
                f"dummy: it has {here} tokens, but the data {there}; give one of the length of the data, padded."
            )
        rows = shown[:, None]
        filled = tuple(torch.where(rows[..., None], *pair) for pair in zip(tokens, own, strict=True))
        return filled, rows & valid | ~rows & self.valid  # ONNX Runtime has no "where" for booleans


def dummy_datum(name: str, encoder: TokenEncoder, value: Any) -> Tensor:
    """The datum in the place of a missing one, ``[*shape]``.

    Args:
        name: of the modality.
        encoder: that is to read it.
        value: a number that fills it, or the datum itself; by default one, or the id zero.

    Raises:
        ValueError: for a number where the encoder does not know the shape of its data.
    """
    if value is None:
        value = 1 if encoder.dtype.is_floating_point else 0
    datum = torch.as_tensor(value, dtype=encoder.dtype)
    if datum.ndim:
        return datum
    if encoder.shape is None:
        raise ValueError(
            f"dummy: the encoder of {name!r} does not know the shape of its data, so that a number makes no datum; "
            f"give the datum itself: dummy={{{name!r}: [...]}}."
        )
    return datum.expand(encoder.shape)
