"""The networks a modality gets when it names none, chosen by the shape of its data."""

from __future__ import annotations

import torch
from torch import nn

from mmvae.likelihoods import Categorical, Columns, Likelihood
from mmvae.networks.codes import CodesDecoder, CodesEncoder
from mmvae.networks.columns import ColumnsEncoder
from mmvae.networks.conv import ConvDecoder, ConvEncoder
from mmvae.networks.mlp import MLPDecoder, MLPEncoder
from mmvae.networks.with_mask import MissingCode, WithMask, shape_with_mask

_SMALLEST_IMAGE = 8
_SHORTEST_SEQUENCE = 4


class _OneHot(nn.Module):
    """Integer codes of any shape as real-valued indicators, for networks that take numbers."""

    def __init__(self, num_categories: int) -> None:
        super().__init__()
        self.num_categories = num_categories

    def forward(self, codes: torch.Tensor) -> torch.Tensor:
        return nn.functional.one_hot(codes, self.num_categories).to(torch.get_default_dtype())


def default_encoder(shape: tuple[int, ...], likelihood: Likelihood, has_cells: bool = False) -> nn.Module:
    """An encoder ``[N, *shape] -> [N, features]``: convolutional for images and for codes, otherwise an MLP.

    Args:
        shape: of one datum.
        likelihood: of the modality; integer codes are embedded.
        has_cells: Whether it is called with a mask of the data too.
    """
    if isinstance(likelihood, Columns):
        return ColumnsEncoder(likelihood.categories, has_cells)
    if has_cells:
        if isinstance(likelihood, Categorical):
            encoder = default_encoder(shape, Categorical(likelihood.num_categories + 1))
            return MissingCode(encoder, likelihood.num_categories)
        return WithMask(default_encoder(shape_with_mask(shape), likelihood))
    if isinstance(likelihood, Categorical):
        if _is_sequence(shape):
            return CodesEncoder(shape, likelihood.num_categories)
        encoder = MLPEncoder((*shape, likelihood.num_categories))
        return nn.Sequential(_OneHot(likelihood.num_categories), encoder)
    return ConvEncoder(shape) if _is_image(shape) else MLPEncoder(shape)


def default_decoder(shape: tuple[int, ...], likelihood: Likelihood, latent_dim: int) -> nn.Module:
    """A decoder ``[N, latent_dim] -> [N, *parameter_shape]``, the counterpart of :func:`default_encoder`."""
    parameter_shape = likelihood.parameter_shape(shape)
    if isinstance(likelihood, Categorical) and _is_sequence(shape):
        return CodesDecoder(latent_dim, parameter_shape)
    if _is_image(shape) and parameter_shape[: len(shape)] == shape:
        return ConvDecoder(latent_dim, parameter_shape)
    return MLPDecoder(latent_dim, parameter_shape)


def _is_image(shape: tuple[int, ...]) -> bool:
    return len(shape) == 3 and min(shape[1:]) >= _SMALLEST_IMAGE


def _is_sequence(shape: tuple[int, ...]) -> bool:
    return len(shape) == 1 and shape[0] >= _SHORTEST_SEQUENCE
