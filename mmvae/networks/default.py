"""The networks a modality gets when it names none, chosen by the shape of its data."""

from __future__ import annotations

import torch
from torch import nn

from mmvae.likelihoods import Categorical, Columns, Likelihood
from mmvae.networks.codes import CodesDecoder, CodesEncoder
from mmvae.networks.columns import ColumnsEncoder
from mmvae.networks.conv import ConvDecoder, ConvEncoder
from mmvae.networks.mlp import MLPDecoder, MLPEncoder
from mmvae.networks.series import SeriesConvDecoder, SeriesConvEncoder
from mmvae.networks.with_mask import MissingCode, WithMask, shape_with_mask

_SMALLEST_IMAGE = 8
_SHORTEST_SEQUENCE = 4
_SHORTEST_SERIES = 8


class _OneHot(nn.Module):
    """Integer codes of any shape as real-valued indicators, for networks that take numbers."""

    def __init__(self, num_categories: int) -> None:
        super().__init__()
        self.num_categories = num_categories

    def forward(self, codes: torch.Tensor) -> torch.Tensor:
        return nn.functional.one_hot(codes, self.num_categories).to(torch.get_default_dtype())


def default_encoder(shape: tuple[int, ...], likelihood: Likelihood, has_cells: bool = False) -> nn.Module:
    """An encoder ``[N, *shape] -> [N, features]`` that suits the shape.

    Convolutional for images ``(C, H, W)`` and volumes ``(C, D, H, W)`` with sides of at least 8, for time series
    ``(T, C)`` of at least 8 steps and for sequences of codes ``(L,)``; otherwise an MLP.

    Args:
        shape: Shape of one row.
        likelihood: Likelihood of the modality; integer codes are embedded, or turned into indicators.
        has_cells: Whether it is called with a mask of the data too.
    """
    if isinstance(likelihood, Columns):
        return ColumnsEncoder(likelihood.categories, has_cells)
    if has_cells:
        if isinstance(likelihood, Categorical):
            encoder = default_encoder(shape, Categorical(likelihood.num_categories + 1))
            return MissingCode(encoder, likelihood.num_categories)
        if _is_series(shape):
            return SeriesConvEncoder(shape)  # which reads the mask itself
        return WithMask(default_encoder(shape_with_mask(shape), likelihood))
    if isinstance(likelihood, Categorical):
        codes = likelihood.num_categories
        if _is_sequence(shape):
            return CodesEncoder(shape, codes)
        if _is_series(shape):
            return nn.Sequential(_OneHot(codes), nn.Flatten(2), SeriesConvEncoder((shape[0], shape[1] * codes)))
        return nn.Sequential(_OneHot(codes), MLPEncoder((*shape, codes)))
    if _is_series(shape):
        return SeriesConvEncoder(shape)
    return ConvEncoder(shape) if _is_image_or_volume(shape) else MLPEncoder(shape)


def default_decoder(shape: tuple[int, ...], likelihood: Likelihood, latent_dim: int) -> nn.Module:
    """A decoder ``[N, latent_dim] -> [N, *parameter_shape]``, the counterpart of :func:`default_encoder`."""
    parameter_shape = likelihood.parameter_shape(shape)
    if isinstance(likelihood, Categorical) and _is_sequence(shape):
        return CodesDecoder(latent_dim, parameter_shape)
    if parameter_shape[: len(shape)] == shape:
        if _is_series(shape):
            return SeriesConvDecoder(latent_dim, parameter_shape)
        if _is_image_or_volume(shape):
            return ConvDecoder(latent_dim, parameter_shape, sides=len(shape) - 1)
    return MLPDecoder(latent_dim, parameter_shape)


def _is_image_or_volume(shape: tuple[int, ...]) -> bool:
    return len(shape) in (3, 4) and min(shape[1:]) >= _SMALLEST_IMAGE


def _is_series(shape: tuple[int, ...]) -> bool:
    return len(shape) == 2 and shape[0] >= _SHORTEST_SERIES


def _is_sequence(shape: tuple[int, ...]) -> bool:
    return len(shape) == 1 and shape[0] >= _SHORTEST_SEQUENCE
