"""Encoders of data of which single numbers may be missing."""

from __future__ import annotations

import torch
from jaxtyping import Bool
from torch import Tensor, nn

from mmvae.arguments import Remembers


class WithMask(Remembers, nn.Module):
    """Data and its mask as columns, or channels, of one tensor, for an encoder of plain data.

    Args:
        encoder: Module from ``[N, 2 P]`` for vectors ``[N, P]``, from ``[N, T, 2 C]`` for sequences ``[N, T, C]``, from
            ``[N, 2 C, H, W]`` for images ``[N, C, H, W]``, to features: the data, and behind it 1 where it is present.

    Example:
        >>> import torch
        >>> from mmvae import nn
        >>> encoder = nn.WithMask(nn.MLPEncoder((6,), hidden=(8,)))
        >>> encoder(torch.randn(4, 3), torch.rand(4, 3) < 0.5).shape
        torch.Size([4, 8])
    """

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, data: Tensor, observed: Bool[Tensor, "N *shape"]) -> Tensor:
        """Features ``[N, F]``.

        Args:
            data: Data ``[N, *shape]``, zeros where a number is missing.
            observed: Where it is present.
        """
        if data.ndim == 1:
            return self.encoder(torch.stack([data, observed.to(data.dtype)], 1))
        return self.encoder(torch.cat([data, observed.to(data.dtype)], -1 if data.ndim <= 3 else 1))


def shape_with_mask(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of what the encoder in :class:`WithMask` reads, of data of ``shape``."""
    if not shape:
        return (2,)
    return (*shape[:-1], 2 * shape[-1]) if len(shape) <= 2 else (2 * shape[0], *shape[1:])


class MissingCode(nn.Module):
    """Codes of which some are missing, as codes of one category more.

    Args:
        encoder: Module from codes ``[N, *shape]`` of K + 1 categories to features.
        num_categories: K; this code stands for a missing one.
    """

    def __init__(self, encoder: nn.Module, num_categories: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.num_categories = num_categories

    def forward(self, codes: Tensor, observed: Bool[Tensor, "N *shape"]) -> Tensor:
        """Features ``[N, F]`` of codes and of where they are present."""
        return self.encoder(torch.where(observed, codes, self.num_categories))
