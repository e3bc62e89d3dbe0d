"""Encoders of tables of mixed types."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from mmvae.arguments import Remembers
from mmvae.networks.mlp import MLPEncoder


class ColumnsEncoder(Remembers, nn.Module):
    """A table ``[N, P]`` of numbers and codes to features ``[N, hidden[-1]]``.

    Numbers are read as they are, codes as indicators of their categories. The mask, if there is one, stands behind
    them, and a missing code indicates no category.

    Args:
        categories: Number of categories of each column of codes, ``None`` for a column of numbers.
        has_mask: Whether it is called with a mask of the data too.
        hidden: Sizes of the layers.
    """

    def __init__(
        self, categories: Sequence[int | None], has_mask: bool = False, hidden: Sequence[int] = (512, 512)
    ) -> None:
        super().__init__()
        numbers = [place for place, count in enumerate(categories) if count is None]
        levels = [(place, code) for place, count in enumerate(categories) for code in range(count or 0)]
        self.has_mask = has_mask
        self.register_buffer("numbers", torch.tensor(numbers, dtype=torch.int64), persistent=False)
        self.register_buffer(
            "places", torch.tensor([place for place, _ in levels], dtype=torch.int64), persistent=False
        )
        self.register_buffer("codes", torch.tensor([float(code) for _, code in levels]), persistent=False)
        read = len(numbers) + len(levels) + (len(categories) if has_mask else 0)
        self.layers = MLPEncoder((read,), hidden)

    numbers: Tensor
    places: Tensor
    codes: Tensor

    def forward(self, data: Float[Tensor, "N P"], observed: Bool[Tensor, "N P"] | None = None) -> Tensor:
        """Features ``[N, hidden[-1]]``.

        Args:
            data: Numbers, and codes as numbers; anything where a mask says that they are missing.
            observed: Where they are present.
        """
        indicated = data.index_select(1, self.places) == self.codes
        parts = [data.index_select(1, self.numbers)]
        if observed is not None:
            indicated = indicated & observed.index_select(1, self.places)
        parts.append(indicated.to(data.dtype))
        if self.has_mask:
            parts.append((torch.ones_like(data) if observed is None else observed).to(data.dtype))
        return self.layers(torch.cat(parts, 1))
