"""The networks of a model, made from what its modalities say."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence

import torch
from torch import nn

from mmvae import nn as networks
from mmvae.likelihoods import Likelihood, as_likelihood
from mmvae.modality import Modality
from mmvae.nn.mode import mode


def checked_names(modalities: Sequence[Modality], latent_dim: int) -> tuple[str, ...]:
    """The names of a model's modalities.

    Raises:
        ValueError: for no modality, duplicate names, or a latent size below one.
        TypeError: for something that is no modality.
    """
    for modality in modalities:
        if not isinstance(modality, Modality):
            raise TypeError(f"modalities: expected mmvae.Modality objects, got {type(modality).__name__}.")
    names = tuple(modality.name for modality in modalities)
    if not names:
        raise ValueError("modalities: at least one is needed.")
    duplicates = sorted({name for name in names if names.count(name) > 1})
    if duplicates:
        raise ValueError(f"modalities: duplicate names {', '.join(map(repr, duplicates))}; each needs its own.")
    if latent_dim < 1:
        raise ValueError(f"latent_dim: expected at least 1, got {latent_dim}.")
    return names


def make_likelihoods(modalities: Sequence[Modality]) -> dict[str, Likelihood]:
    """The likelihood of each modality, copied, since some have parameters."""
    return {modality.name: as_likelihood(copy.deepcopy(modality.likelihood)) for modality in modalities}


def make_encoders(
    modalities: Sequence[Modality], likelihoods: Mapping[str, Likelihood]
) -> tuple[dict[str, nn.Module], dict[str, int]]:
    """A fresh encoder for each modality, and how many features it gives."""
    encoders = {each.name: _make_encoder(each, likelihoods[each.name]) for each in modalities}
    features = {each.name: _count_features(each, likelihoods[each.name], encoders[each.name]) for each in modalities}
    return encoders, features


def make_decoders(
    modalities: Sequence[Modality], likelihoods: Mapping[str, Likelihood], latent_dim: int
) -> dict[str, nn.Module]:
    """A decoder for each modality, made for the latent size and checked to give what the likelihood needs."""
    return {each.name: _make_decoder(each, likelihoods[each.name], latent_dim) for each in modalities}


def _make_encoder(modality: Modality, likelihood: Likelihood) -> nn.Module:
    """The modality's encoder: a copy of the module it names, what its callable makes, or the default for its shape.

    Raises:
        TypeError: if the callable does not make a module.
    """
    if modality.encoder is None:
        return networks.default_encoder(tuple(modality.shape), likelihood)
    if isinstance(modality.encoder, nn.Module):
        return copy.deepcopy(modality.encoder)
    encoder = modality.encoder()
    if not isinstance(encoder, nn.Module):
        raise TypeError(f"{modality.name}: encoder() must make an nn.Module, it made {type(encoder).__name__}.")
    return encoder


def _make_decoder(modality: Modality, likelihood: Likelihood, latent_dim: int) -> nn.Module:
    """The modality's decoder for a latent size, checked to give the shape that the likelihood needs.

    Raises:
        TypeError: if the callable does not make a module.
        ValueError: if the decoder's output has another shape.
    """
    if modality.decoder is None:
        return networks.default_decoder(tuple(modality.shape), likelihood, latent_dim)
    decoder = modality.decoder(latent_dim)
    if not isinstance(decoder, nn.Module):
        raise TypeError(f"{modality.name}: decoder({latent_dim}) must make an nn.Module, it made {decoder!r}.")
    expected = likelihood.parameter_shape(tuple(modality.shape))
    output = _probe(decoder, torch.zeros(2, latent_dim), f"{modality.name}: decoder", f"latents [2, {latent_dim}]")
    if tuple(output.shape[1:]) != expected:
        raise ValueError(
            f"{modality.name}: the decoder must give [N, {', '.join(map(str, expected))}], the parameters of "
            f"{type(likelihood).__name__} for data of shape {tuple(modality.shape)}; it gave {tuple(output.shape)}."
        )
    return decoder


def _count_features(modality: Modality, likelihood: Likelihood, encoder: nn.Module) -> int:
    """How many features an encoder gives, found by passing two data of zeros through it.

    Raises:
        ValueError: if the encoder cannot take data of the modality's shape, or does not give ``[N, features]``.
    """
    data = torch.zeros(2, *modality.shape, dtype=likelihood.data_dtype)
    features = _probe(encoder, data, f"{modality.name}: encoder", f"data of shape {tuple(data.shape)}")
    if features.ndim != 2:
        raise ValueError(
            f"{modality.name}: the encoder must give features [N, features], got {tuple(features.shape)}; flatten them."
        )
    return features.shape[1]


def resolve_weights(modalities: Sequence[Modality], weights: object) -> dict[str, float]:
    """The likelihood weight of each modality.

    Args:
        modalities: of the model.
        weights: ``None`` for the modalities' own, ``"balanced"`` for largest size / size, or ``{name: weight}`` where
            modalities left out keep their own.

    Raises:
        ValueError: for an unknown modality, a weight not above zero, or another string.
    """
    own = {modality.name: float(modality.weight) for modality in modalities}
    if weights is None:
        return own
    if weights == "balanced":
        largest = max(modality.size for modality in modalities)
        return {modality.name: largest / modality.size for modality in modalities}
    if not isinstance(weights, Mapping):
        raise ValueError(f'weights: expected None, "balanced" or a dict by modality, got {weights!r}.')
    for name, weight in weights.items():
        if name not in own:
            raise ValueError(f"weights: {name!r} is no modality of this model, which has {', '.join(map(repr, own))}.")
        if not 0 < weight < float("inf"):
            raise ValueError(f"weights: {name!r} must be a finite number above 0, got {weight!r}.")
    return {**own, **{name: float(weight) for name, weight in weights.items()}}


def _probe(module: nn.Module, inputs: torch.Tensor, what: str, given: str) -> torch.Tensor:
    """What a module makes of trial inputs, in evaluation mode, leaving its mode as it was."""
    try:
        with torch.no_grad(), mode(module, training=False):
            return module(inputs)
    except (RuntimeError, TypeError, IndexError, ValueError) as error:
        raise ValueError(f"{what} cannot take {given} of {inputs.dtype}: {error}") from error
