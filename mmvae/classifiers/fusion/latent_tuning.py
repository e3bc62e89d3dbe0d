"""Latent tuning of two encoders: their layers, pair by pair, projected to a common width and read by each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from mmvae.choices import numbers_checked
from mmvae.collectives import gathered
from mmvae.networks.masked import masked_mean

Pool = Literal["mean", "cls"]
"""How the tokens of a layer become one vector: the mean of those that are valid, or the first of them."""

LayerTokens = tuple[tuple[Tensor, ...], tuple[Tensor, ...]]
"""The projected tokens of both modalities at each of L layers, ``[N, S, d]`` and ``[N, T, d]``."""


@dataclass(frozen=True, eq=False)
class TunedLatents:
    """What latent tuning makes of N data points at each of L layers, for two modalities.

    Attributes:
        before: the pooled projections of each, ``[L, N, d]``, in which the modalities have not met.
        after: the pooled latents of each, ``[L, N, d]``, after each has read the other.
    """

    before: tuple[Float[Tensor, "L N d"], Float[Tensor, "L N d"]]
    after: tuple[Float[Tensor, "L N d"], Float[Tensor, "L N d"]]

    def rows(self, chosen: slice | Tensor) -> TunedLatents:
        """Those of the chosen rows."""
        (a, b), (read_a, read_b) = self.before, self.after
        return TunedLatents((a[:, chosen], b[:, chosen]), (read_a[:, chosen], read_b[:, chosen]))

    def gathered(self) -> TunedLatents:
        """Those of the rows of all processes that count as one, see :func:`~mmvae.nn.together`."""
        each = gathered(*(view.transpose(0, 1) for view in (*self.before, *self.after)))
        a, b, read_a, read_b = (view.transpose(0, 1) for view in each)
        return TunedLatents((a, b), (read_a, read_b))

    @staticmethod
    def cat(parts: Sequence[TunedLatents], dim: int) -> TunedLatents:
        """Several as one: layer after layer (``dim=0``), or rows below rows (``dim=1``)."""
        return TunedLatents(
            (torch.cat([each.before[0] for each in parts], dim), torch.cat([each.before[1] for each in parts], dim)),
            (torch.cat([each.after[0] for each in parts], dim), torch.cat([each.after[1] for each in parts], dim)),
        )


def paired_layers(depths: Sequence[int], max_layers: int | None = None) -> list[tuple[int, ...]]:
    """Which layers of encoders of different depths belong together: evenly spaced, the last always among them.

    Args:
        depths: L_m, how many layers each encoder has.
        max_layers: pair no more than this number, by default as many as the shallowest has.

    Returns:
        For each encoder the indices of its layers, ``round((k + 1) L_m / L) - 1`` for k from 0 to L - 1.

    Raises:
        ValueError: for a number of layers below one.
    """
    if max_layers is not None and max_layers < 1:
        raise ValueError(f"max_layers: expected at least 1, or None for all, got {max_layers}.")
    count = min(depths) if max_layers is None else min(*depths, max_layers)
    return [tuple(round((k + 1) * depth / count) - 1 for k in range(count)) for depth in depths]


class _Side(nn.Module):
    """One modality in a block: its null token, and how it reads the other and is read."""

    def __init__(self, dim: int, heads: int, cross_attention: bool, null_token: bool) -> None:
        super().__init__()
        self.heads = heads
        self.attends = cross_attention
        if cross_attention:
            self.query, self.key, self.value = (nn.Linear(dim, dim, bias=False) for _ in range(3))
        self.norm = nn.LayerNorm(dim)
        self.null_token = nn.Parameter(0.02 * torch.randn(dim)) if null_token else None

    def fill(
        self, tokens: Float[Tensor, "N S d"], valid: Bool[Tensor, "N S"], shown: Bool[Tensor, "N"]
    ) -> tuple[Float[Tensor, "N S d"], Bool[Tensor, "N S"]]:
        """The null token, and no other, in the rows that are not shown."""
        if self.null_token is None:
            return tokens, valid
        first, rows = torch.arange(valid.shape[1], device=valid.device) == 0, shown[:, None]
        filled = torch.where(rows[..., None], tokens, self.null_token.to(tokens.dtype))
        return filled, rows & valid | ~rows & first  # ONNX Runtime has no "where" for booleans

    def read(
        self, tokens: Float[Tensor, "N S d"], other: _Side, keys: Float[Tensor, "N T d"], valid: Bool[Tensor, "N T"]
    ) -> Float[Tensor, "N S d"]:
        """The tokens after they have looked at the valid ones of the other side."""
        if not self.attends:
            return self.norm(tokens)
        query, key, value = (
            each.unflatten(-1, (self.heads, -1)).transpose(1, 2)  # [N, heads, tokens, d / heads]
            for each in (self.query(tokens), other.key(keys), other.value(keys))
        )
        attended = F.scaled_dot_product_attention(query, key, value, attn_mask=valid[:, None, None])
        return self.norm(attended.transpose(1, 2).flatten(2) + tokens)


@numbers_checked
class LatentTuningBlock(nn.Module):
    """Cross-attention between the projected tokens of two modalities at one pair of layers.

    Each side's tokens query those of the other; the result is added to them and normalised. There is no feed-forward
    part. In a row that is not shown a modality its tokens are replaced by one learned null token, which queries what
    is there: the latent of the missing side becomes a translation of the present one.

    Args:
        dim: d, the common width.
        heads: of the attention, each of width d / heads.
        cross_attention: let the sides read each other; without, tokens are normalised alone.
        pool: ``"mean"`` (of the valid tokens) or ``"cls"`` (the first).
        null_tokens: have null tokens. Without, rows count as shown throughout.

    Raises:
        ValueError: for a width that heads do not divide, or an unknown way to pool.

    Source: Sun and Song 2024, "Robust latent representation tuning for image-text classification", in a
    reconstruction: norm, pooling and null tokens are ours.
    """

    def __init__(
        self,
        dim: int,
        heads: int = 1,
        cross_attention: bool = True,
        pool: Pool = "mean",
        null_tokens: bool = True,
    ) -> None:
        super().__init__()
        if heads < 1 or dim % heads:
            raise ValueError(f"heads: {dim} features cannot be cut into {heads} heads; take a divisor of {dim}.")
        if pool not in ("mean", "cls"):
            raise ValueError(f'pool: expected "mean" or "cls", got {pool!r}.')
        self.pool = pool
        self.first = _Side(dim, heads, cross_attention, null_tokens)
        self.second = _Side(dim, heads, cross_attention, null_tokens)

    def forward(
        self,
        tokens: tuple[Float[Tensor, "N S d"], Float[Tensor, "N T d"]],
        valid: tuple[Bool[Tensor, "N S"], Bool[Tensor, "N T"]],
        shown: tuple[Bool[Tensor, "N"], Bool[Tensor, "N"]],
    ) -> TunedLatents:
        """The pooled latents of both sides, before and after the attention, with L = 1.

        Args:
            tokens: of both, projected.
            valid: which of them are no padding; the first always is.
            shown: the rows that may look at a modality.
        """
        (a, valid_a), (b, valid_b) = (
            side.fill(*each)
            for side, each in zip((self.first, self.second), zip(tokens, valid, shown, strict=True), strict=True)
        )
        read_a = self.first.read(a, self.second, b, valid_b)
        read_b = self.second.read(b, self.first, a, valid_a)
        return TunedLatents(
            (self._pooled(a, valid_a)[None], self._pooled(b, valid_b)[None]),
            (self._pooled(read_a, valid_a)[None], self._pooled(read_b, valid_b)[None]),
        )

    def _pooled(self, tokens: Float[Tensor, "N S d"], valid: Bool[Tensor, "N S"]) -> Float[Tensor, "N d"]:
        return tokens[:, 0] if self.pool == "cls" else masked_mean(tokens, valid)


@numbers_checked
class LatentTuning(nn.Module):
    """A projection of each modality and a :class:`LatentTuningBlock` for each of L pairs of layers.

    Args:
        widths: of the tokens of both encoders.
        layers: L.
        dim: d, the common width.
        share_projections: one projection of each modality for all layers.
        share_blocks: one block for all layers.
        heads: of the attention.
        cross_attention: let the sides read each other.
        pool: ``"mean"`` or ``"cls"``.
        null_tokens: have null tokens.
    """

    def __init__(
        self,
        widths: tuple[int, int],
        layers: int,
        dim: int = 64,
        *,
        share_projections: bool = False,
        share_blocks: bool = False,
        heads: int = 1,
        cross_attention: bool = True,
        pool: Pool = "mean",
        null_tokens: bool = True,
    ) -> None:
        super().__init__()
        self.layers = layers
        self.projections = nn.ModuleList(
            nn.ModuleList(nn.Linear(width, dim) for width in widths) for _ in range(1 if share_projections else layers)
        )
        self.blocks = nn.ModuleList(
            LatentTuningBlock(dim, heads, cross_attention, pool, null_tokens)
            for _ in range(1 if share_blocks else layers)
        )

    def forward(
        self,
        states: tuple[Sequence[Tensor], Sequence[Tensor]],
        valid: tuple[Bool[Tensor, "N S"], Bool[Tensor, "N T"]],
        shown: tuple[Bool[Tensor, "N"], Bool[Tensor, "N"]],
    ) -> TunedLatents:
        """The pooled latents at all layers.

        Args:
            states: of both encoders, the hidden states of the L layers, ``[N, S, width]`` each.
            valid: which tokens are no padding; the first always is.
            shown: the rows that may look at a modality. Rows of another hold anything finite, and it reaches no number.
        """
        return self.read(self.project(states), valid, shown)

    def project(self, states: tuple[Sequence[Tensor], Sequence[Tensor]]) -> LayerTokens:
        """The states of both encoders, ``[..., width]``, at the common width, ``[..., d]``."""
        projected = []
        for layer, pair in enumerate(zip(*states, strict=True)):
            maps: Any = self.projections[min(layer, len(self.projections) - 1)]
            projected.append([linear(each) for linear, each in zip(maps, pair, strict=True)])
        first, second = zip(*projected, strict=True)
        return first, second

    def read(
        self,
        tokens: LayerTokens,
        valid: tuple[Bool[Tensor, "N S"], Bool[Tensor, "N T"]],
        shown: tuple[Bool[Tensor, "N"], Bool[Tensor, "N"]],
    ) -> TunedLatents:
        """The pooled latents at all layers, of projected tokens; other arguments as of :meth:`forward`."""
        tuned = []
        for layer, pair in enumerate(zip(*tokens, strict=True)):
            block = self.blocks[min(layer, len(self.blocks) - 1)]
            tuned.append(block(pair, valid, shown))
        return TunedLatents.cat(tuned, 0)
