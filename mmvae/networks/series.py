"""Networks for time series ``[N, T, C]``: convolutions over time, GRUs, transformers, and decoders to match.

Encoders take a mask beside the data: of steps, ``[N, T]``, or of single numbers, ``[N, T, C]``. They read zeros where a
number is missing, and the mask beside the data. Without a mask everything is there.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from mmvae.arguments import Remembers
from mmvae.networks.conv import ConvDecoder, ConvEncoder
from mmvae.networks.hidden import Norm
from mmvae.networks.masked import in_turn, masked_mean
from mmvae.networks.sequence_encoder import POSITION_SCALE, SequenceEncoder


class SeriesConvEncoder(Remembers, nn.Module):
    """Convolutions that halve a series until it is about four steps long: ``[N, T, C] -> [N, features]``.

    Args:
        shape: ``(T, C)``, with T of at least 2.
        width: Channels after the first convolution; they double at each further one, up to eight times this.
        norm: Normalisation after each convolution: ``"batch"``, ``"layer"`` or ``None``. ``"layer"`` hides the scale of
            a series as a whole.
        dropout: Share of hidden numbers that training sets to zero.
    """

    def __init__(self, shape: Sequence[int], width: int = 32, norm: Norm = None, dropout: float = 0.0) -> None:
        super().__init__()
        length, channels = shape
        self.layers = ConvEncoder((2 * channels, length), width, norm, dropout)

    def forward(
        self, series: Float[Tensor, "N T C"], observed: Bool[Tensor, "N T *C"] | None = None
    ) -> Float[Tensor, "N F"]:
        """Features of each series, of what is there of it."""
        return self.layers(_beside_mask(series, observed).mT)


class SeriesConvDecoder(Remembers, nn.Module):
    """The mirror image of :class:`SeriesConvEncoder`: ``[N, latent_dim] -> [N, T, C, *rest]``.

    Args:
        latent_dim: D.
        shape: ``(T, C)``, or ``(T, C, P)`` where the likelihood has P parameters per number.
        width: As of the encoder.
        norm: Normalisation of hidden layers: ``"batch"``, ``"layer"`` or ``None``.
        dropout: Share of hidden numbers that training sets to zero.
    """

    def __init__(
        self, latent_dim: int, shape: Sequence[int], width: int = 32, norm: Norm = None, dropout: float = 0.0
    ) -> None:
        super().__init__()
        length, *self.step = shape
        self.layers = ConvDecoder(latent_dim, (math.prod(self.step), length), width, norm, dropout, sides=1)

    def forward(self, latent: Float[Tensor, "N D"]) -> Tensor:
        """Parameters ``[N, T, C, *rest]``."""
        return self.layers(latent).mT.unflatten(-1, self.step)


class SeriesGRUEncoder(Remembers, nn.Module):
    """A GRU in both directions over the steps that are there: ``[N, T, C] -> [N, 4 width]``.

    Features are the last state of each direction and the mean over all steps. Steps that a mask hides are skipped, so
    that padding at either end changes nothing.

    Args:
        shape: ``(T, C)``.
        width: Features of a state.
        layers: Number of GRU layers in each direction.
        dropout: Share of hidden numbers that training sets to zero: between layers, and of the features.
    """

    def __init__(self, shape: Sequence[int], width: int = 64, layers: int = 1, dropout: float = 0.0) -> None:
        super().__init__()
        between = dropout if layers > 1 else 0.0
        self.directions = nn.ModuleList(
            nn.GRU(2 * shape[1], width, layers, batch_first=True, dropout=between) for _ in range(2)
        )
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, series: Float[Tensor, "N T C"], observed: Bool[Tensor, "N T *C"] | None = None
    ) -> Float[Tensor, "N F"]:
        """Features of each series, of the steps that are there; zeros if there is none."""
        steps, valid = _beside_mask(series, observed), _steps(observed)
        features = []
        for direction, gru in enumerate(self.directions):
            turned, there = (steps.flip(1), None if valid is None else valid.flip(1)) if direction else (steps, valid)
            features += self._read(gru, turned, there)
        return self.dropout(torch.cat(features, -1))

    @staticmethod
    def _read(gru: nn.Module, steps: Tensor, valid: Tensor | None) -> list[Tensor]:
        """The last state of one direction and the mean over its states."""
        if valid is None:
            states, _ = gru(steps)
            return [states[:, -1], states.mean(1)]
        order = in_turn(valid)  # a GRU reads the steps that are there first: what follows cannot change their states
        states, _ = gru(steps.gather(1, order.unsqueeze(-1).expand_as(steps)))
        count = valid.sum(1, keepdim=True)
        there = torch.arange(valid.shape[1], device=valid.device) < count
        last = torch.arange(valid.shape[1], device=valid.device) == count - 1
        return [(states * last.to(states.dtype).unsqueeze(-1)).sum(1), masked_mean(states, there)]


class SeriesGRUDecoder(Remembers, nn.Module):
    """A GRU that writes a series from its latent: ``[N, latent_dim] -> [N, T, C, *rest]``.

    The latent sets the first state and is read at every step, beside a learned vector for the step.

    Args:
        latent_dim: D.
        shape: ``(T, C)``, or ``(T, C, P)`` where the likelihood has P parameters per number.
        width: Features of a state.
        layers: Number of GRU layers.
        dropout: Share of hidden numbers that training sets to zero, between layers.
    """

    def __init__(
        self, latent_dim: int, shape: Sequence[int], width: int = 64, layers: int = 1, dropout: float = 0.0
    ) -> None:
        super().__init__()
        length, *self.step = shape
        self.start = nn.Linear(latent_dim, layers * width)
        self.latent = nn.Linear(latent_dim, width)
        self.positions = nn.Parameter(torch.randn(length, width))
        self.gru = nn.GRU(width, width, layers, batch_first=True, dropout=dropout if layers > 1 else 0.0)
        self.output = nn.Linear(width, math.prod(self.step))

    def forward(self, latent: Float[Tensor, "N D"]) -> Tensor:
        """Parameters ``[N, T, C, *rest]``."""
        start = self.start(latent).unflatten(-1, (self.gru.num_layers, -1)).movedim(1, 0).contiguous().tanh()
        states, _ = self.gru(self.latent(latent).unsqueeze(1) + self.positions, start)
        return self.output(states).unflatten(-1, self.step)


class SeriesTransformerEncoder(Remembers, nn.Module):
    """A transformer over the steps that are there, and their mean: ``[N, T, C] -> [N, width]``.

    Args:
        shape: ``(T, C)``; each of the T steps has a learned position.
        width: Features of a step.
        layers: Number of layers.
        heads: Number of heads of attention, a divisor of ``width``.
        dropout: Share of hidden numbers that training sets to zero.

    Raises:
        ValueError: If ``heads`` does not divide ``width``.
    """

    def __init__(
        self, shape: Sequence[int], width: int = 64, layers: int = 2, heads: int = 4, dropout: float = 0.0
    ) -> None:
        super().__init__()
        _check_heads(width, heads)
        length, channels = shape
        self.steps = SequenceEncoder(2 * channels, width, layers=layers, heads=heads, dropout=dropout, positions=length)

    def forward(
        self, series: Float[Tensor, "N T C"], observed: Bool[Tensor, "N T *C"] | None = None
    ) -> Float[Tensor, "N F"]:
        """Features of each series, of the steps that are there; zeros if there is none."""
        valid = _steps(observed)
        return masked_mean(self.steps(_beside_mask(series, observed), valid), valid)


class SeriesTransformerDecoder(Remembers, nn.Module):
    """A transformer over learned steps to which the latent is added: ``[N, latent_dim] -> [N, T, C, *rest]``.

    Args:
        latent_dim: D.
        shape: ``(T, C)``, or ``(T, C, P)`` where the likelihood has P parameters per number.
        width: Features of a step.
        layers: Number of layers.
        heads: Number of heads of attention, a divisor of ``width``.
        dropout: Share of hidden numbers that training sets to zero.

    Raises:
        ValueError: If ``heads`` does not divide ``width``.
    """

    def __init__(
        self,
        latent_dim: int,
        shape: Sequence[int],
        width: int = 64,
        layers: int = 2,
        heads: int = 4,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        _check_heads(width, heads)
        length, *self.step = shape
        self.positions = nn.Parameter(POSITION_SCALE * torch.randn(length, width))
        self.latent = nn.Linear(latent_dim, width)
        self.steps = SequenceEncoder(width, width, layers=layers, heads=heads, dropout=dropout)
        self.output = nn.Linear(width, math.prod(self.step))

    def forward(self, latent: Float[Tensor, "N D"]) -> Tensor:
        """Parameters ``[N, T, C, *rest]``."""
        steps = self.latent(latent).unsqueeze(1) + self.positions
        return self.output(self.steps(steps)).unflatten(-1, self.step)


def _check_heads(width: int, heads: int) -> None:
    if heads < 1 or width % heads:
        raise ValueError(f"heads: expected a divisor of width, which is {width}, got {heads}.")


def _beside_mask(series: Float[Tensor, "N T C"], observed: Tensor | None) -> Float[Tensor, "N T E"]:
    """The data, zeros where it is missing, and behind it 1 where it is there; E = 2 C."""
    if observed is None:
        return torch.cat([series, torch.ones_like(series)], -1)
    there = (observed.unsqueeze(-1) if observed.ndim == 2 else observed).expand_as(series)
    return torch.cat([torch.where(there, series, torch.zeros_like(series)), there.to(series.dtype)], -1)


def _steps(observed: Tensor | None) -> Bool[Tensor, "N T"] | None:
    """Steps of which something is there."""
    return observed if observed is None or observed.ndim == 2 else observed.any(-1)
