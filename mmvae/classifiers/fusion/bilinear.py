"""Factorised bilinear pooling: two vectors into one, through the products of their features."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from mmvae.choices import numbers_checked

_TINY = 1e-12
"""Under the root, so that its gradient at zero is finite."""


@numbers_checked
class BilinearPooling(nn.Module):
    """Products of the features of two vectors, summed over groups of neighbours: ``[N, D], [N, D] -> [N, self.dim]``.

    The plain form has no weights: ``z[j] = Σ_k a[js + k] b[js + k]`` over the s features of a group. The expanded one
    first maps both vectors to ``expand`` groups, with maps of their own and without bias; each output is then a
    bilinear form a'Wb whose matrix has rank s.

    Args:
        dim: D.
        window: s, features of a group.
        expand: how many outputs the expanded form has; ``None`` for the plain form, whose number is D / s.
        power_norm: take the signed square root of the outputs, and divide each vector by its length.
        dropout: of the products in the expanded form.

    Attributes:
        dim: how many outputs there are.

    Raises:
        ValueError: if groups of this size do not fill the features in the plain form, or a number is below one.

    Source: Yu et al. 2017, "Multi-modal factorized bilinear pooling with co-attention learning for visual question
    answering".
    """

    def __init__(
        self,
        dim: int,
        window: int = 2,
        expand: int | None = None,
        power_norm: bool = False,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        if expand is None and dim % window:
            raise ValueError(f"window: {dim} features cannot be cut into groups of {window}; take a divisor of {dim}.")
        self.window = window
        self.power_norm = power_norm
        self.dim = dim // window if expand is None else expand
        self.maps = None if expand is None else nn.ModuleList(nn.Linear(dim, expand * window, False) for _ in range(2))
        self.dropout = nn.Dropout(dropout)

    def forward(self, a: Float[Tensor, "*N D"], b: Float[Tensor, "*N D"]) -> Float[Tensor, "*N O"]:
        """The pooled products, ``[*N, self.dim]``."""
        products = a * b if self.maps is None else self.dropout(self.maps[0](a) * self.maps[1](b))
        pooled = products.unflatten(-1, (self.dim, self.window)).sum(-1)
        if not self.power_norm:
            return pooled
        pooled = pooled.to(torch.promote_types(pooled.dtype, torch.float32))  # halves would lose what is tiny
        return F.normalize(pooled.sign() * torch.sqrt(pooled.abs() + _TINY), dim=-1)
