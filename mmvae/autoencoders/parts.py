"""The networks of a model, made from what its modalities say."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from pyro.distributions.torch_distribution import TorchDistributionMixin
from torch import nn

from mmvae import networks
from mmvae.covariates import Covariates
from mmvae.likelihoods import Categorical, Columns, Likelihood, as_likelihood
from mmvae.likelihoods.count_data import OBSERVED
from mmvae.modality import Modality
from mmvae.modes import mode
from mmvae.transforms import ByColumn, Transform


def checked_names(modalities: Sequence[Modality]) -> tuple[str, ...]:
    """The names of a model's modalities.

    Raises:
        ValueError: For no modality, or duplicate names.
        TypeError: For something that is not a modality, or one modality in the place of several.
    """
    if isinstance(modalities, Modality):
        raise TypeError(f"modalities: expected several, got {modalities.name!r} alone; put it in a list.")
    for modality in modalities:
        if not isinstance(modality, Modality):
            raise TypeError(f"modalities: expected mmvae.Modality objects, got {type(modality).__name__}.")
    names = tuple(modality.name for modality in modalities)
    if not names:
        raise ValueError("modalities: at least one is needed.")
    duplicates = sorted({name for name in names if names.count(name) > 1})
    if duplicates:
        raise ValueError(f"modalities: duplicate names {', '.join(map(repr, duplicates))}; each needs its own.")
    return names


def make_likelihoods(modalities: Sequence[Modality]) -> dict[str, Likelihood]:
    """The likelihood of each modality, copied, since some have parameters."""
    return {
        each.name: as_likelihood(copy.deepcopy(each.likelihood)).for_shape(tuple(each.shape)) for each in modalities
    }


def check_libraries(likelihoods: Mapping[str, Likelihood], covariates: Covariates) -> None:
    """Raise ``ValueError`` for size factors that are no numeric covariate of the model."""
    for name, likelihood in likelihoods.items():
        library = likelihood.library
        if library not in (None, OBSERVED) and covariates.levels.get(str(library), 0) is not None:
            raise ValueError(
                f"{name}: library={library!r} is not a numeric covariate of this model; pass "
                f'covariates={{{library!r}: None}} to it, or library="observed".'
            )


def make_encoders(
    modalities: Sequence[Modality], likelihoods: Mapping[str, Likelihood]
) -> tuple[dict[str, nn.Module], dict[str, int]]:
    """A fresh encoder for each modality, and how many features it gives."""
    encoders = {each.name: _make_encoder(each, likelihoods[each.name]) for each in modalities}
    features = {each.name: _count_features(each, likelihoods[each.name], encoders[each.name]) for each in modalities}
    return encoders, features


def make_transforms(
    modalities: Sequence[Modality],
    likelihoods: Mapping[str, Likelihood],
    encoders: Mapping[str, nn.Module],
    decoders: Mapping[str, nn.Module],
) -> tuple[dict[str, Transform], frozenset[str]]:
    """The transforms of those modalities that have one, and the names of those whose encoder reads through it.

    Args:
        modalities: Modalities of the model.
        likelihoods: Their likelihoods, by name.
        encoders: Their encoders: the default holds for those of the library.
        decoders: Their decoders, likewise.

    Raises:
        ValueError: For a transform that does not suit the likelihood.
    """
    made, read = {}, set()
    for each in modalities:
        name, likelihood, shape = each.name, likelihoods[each.name], tuple(each.shape)
        is_default = each.transform == "auto"
        chosen = likelihood.default_transform(shape) if is_default else each.transform
        is_written = not is_default or _is_of_the_library(decoders[name])
        is_read = not is_default or _is_of_the_library(encoders[name])
        if not isinstance(chosen, Transform) or not (chosen.scored or is_read):
            continue
        if likelihood.scored(chosen) is not None and not is_written:
            continue
        _check_transform(name, chosen, likelihood)
        made[name] = copy.deepcopy(chosen)
        if not made[name].is_fitted:
            made[name].for_shape(shape)
        if is_read:
            read.add(name)
    return made, frozenset(read)


def _is_of_the_library(network: nn.Module) -> bool:
    if isinstance(network, networks.WithMask):
        return _is_of_the_library(network.encoder)
    return type(network).__module__.split(".")[0] == __name__.split(".")[0]


def _check_transform(name: str, transform: Transform, likelihood: Likelihood) -> None:
    kind, scores = type(transform).__name__, type(likelihood).__name__
    if isinstance(likelihood, Categorical):
        raise ValueError(f"{name}: transform {kind} is for numbers, and {scores} scores codes; pass transform=None.")
    if isinstance(likelihood, Columns) and not isinstance(transform, ByColumn):
        raise ValueError(
            f"{name}: transform {kind} is one for all columns, and Columns has several kinds of them; pass "
            f"transform=transforms.ByColumn({{...}}), or leave it out."
        )
    if likelihood.scored(transform) is not None and not transform.has_density:
        raise ValueError(
            f"{name}: transform {kind} has no inverse, so {scores} would have no density of the data. Take a "
            f"likelihood of counts, or transforms.Log1p()."
        )


def make_decoders(
    modalities: Sequence[Modality], likelihoods: Mapping[str, Likelihood], inputs: Mapping[str, int]
) -> dict[str, nn.Module]:
    """A decoder for each modality, made for the numbers that it reads and checked together with its likelihood.

    Args:
        modalities: Modalities of the model.
        likelihoods: Their likelihoods, by name.
        inputs: How many numbers each decoder reads, by name: latent columns and encoded covariates.
    """
    return {each.name: _make_decoder(each, likelihoods[each.name], inputs[each.name]) for each in modalities}


def _make_encoder(modality: Modality, likelihood: Likelihood) -> nn.Module:
    """The modality's encoder: a copy of the module it names, what its callable makes, or the default for its shape.

    Raises:
        TypeError: if the callable does not make a module.
    """
    if modality.encoder is None:
        return networks.default_encoder(tuple(modality.shape), likelihood, modality.missing == "cells")
    if isinstance(modality.encoder, nn.Module):
        return copy.deepcopy(modality.encoder)
    encoder = modality.encoder()
    if not isinstance(encoder, nn.Module):
        raise TypeError(f"{modality.name}: encoder() must make an nn.Module, it made {type(encoder).__name__}.")
    return encoder


def _make_decoder(modality: Modality, likelihood: Likelihood, latent_dim: int) -> nn.Module:
    """The modality's decoder for a latent size, which gives what the likelihood needs for a distribution of the data.

    Raises:
        TypeError: if the callable does not make a module, or the likelihood no distribution of Pyro.
        ValueError: if the decoder's output, or the likelihood's distribution, has another shape.
    """
    decoder = _new_decoder(modality, likelihood, latent_dim)
    shape = tuple(modality.shape)
    expected = likelihood.parameter_shape(shape)
    output = _probe(decoder, (torch.zeros(2, latent_dim),), f"{modality.name}: decoder", f"latents [2, {latent_dim}]")
    if tuple(output.shape[1:]) != expected:
        raise ValueError(
            f"{modality.name}: the decoder must give [N, {', '.join(map(str, expected))}], the parameters of "
            f"{type(likelihood).__name__} for data of shape {shape}; it gave {tuple(output.shape)}."
        )
    made = _probe(likelihood, (output,), f"{modality.name}: likelihood", f"the decoder's output {tuple(output.shape)}")
    _check_distribution(modality, made)
    return decoder


def _new_decoder(modality: Modality, likelihood: Likelihood, latent_dim: int) -> nn.Module:
    if modality.decoder is None:
        return networks.default_decoder(tuple(modality.shape), likelihood, latent_dim)
    decoder = modality.decoder(latent_dim)
    if not isinstance(decoder, nn.Module):
        raise TypeError(f"{modality.name}: decoder({latent_dim}) must make an nn.Module, it made {decoder!r}.")
    return decoder


def _check_distribution(modality: Modality, made: Any) -> None:
    """Raises unless what a likelihood made of two outputs of the decoder is a distribution over two data."""
    if not isinstance(made, TorchDistributionMixin):
        raise TypeError(
            f"{modality.name}: the likelihood must give a distribution of Pyro, it gave {type(made).__module__}."
            f"{type(made).__name__}; take one of pyro.distributions, or a likelihood of mmvae.likelihoods."
        )
    if modality.missing == "cells" and made.event_shape:
        raise ValueError(
            f"{modality.name}: of a likelihood with the event shape {tuple(made.event_shape)} no single number can be "
            f'left out; make its numbers independent, or take missing="rows".'
        )
    shape = (2, *modality.shape)
    if made.shape() != shape or len(made.event_shape) > len(modality.shape):
        raise ValueError(
            f"{modality.name}: the likelihood must give a distribution over data of shape {shape}, two of them; "
            f"it gave one of batch shape {tuple(made.batch_shape)} and event shape {tuple(made.event_shape)}."
        )


def _count_features(modality: Modality, likelihood: Likelihood, encoder: nn.Module) -> int:
    """How many features an encoder gives, found by passing two data of zeros through it, with cells and a mask.

    Raises:
        ValueError: if the encoder cannot take data of the modality's shape, or does not give ``[N, features]``.
    """
    data = torch.zeros(2, *modality.shape, dtype=likelihood.data_dtype)
    given = f"data of shape {tuple(data.shape)}"
    inputs: tuple[torch.Tensor, ...] = (data,)
    if modality.missing == "cells":
        inputs, given = (data, torch.ones_like(data, dtype=torch.bool)), f"{given} and a mask of that shape,"
    features = _probe(encoder, inputs, f"{modality.name}: encoder", given)
    if features.ndim != 2:
        raise ValueError(
            f"{modality.name}: the encoder must give features [N, features], got {tuple(features.shape)}; flatten them."
        )
    return features.shape[1]


def resolve_weights(modalities: Sequence[Modality], weights: object) -> dict[str, float]:
    """The likelihood weight of each modality.

    Args:
        modalities: of the model.
        weights: ``None`` for the modalities' own, ``"balanced"`` for largest size / size, ``"auto"`` for those that
            ``fit`` chooses (until then their own), or ``{name: weight}`` where modalities left out keep their own.

    Raises:
        ValueError: for an unknown modality, a weight not above zero, or another string.
    """
    own = {modality.name: float(modality.weight) for modality in modalities}
    if weights is None or weights == "auto":
        return own
    if weights == "balanced":
        largest = max(modality.size for modality in modalities)
        return {modality.name: largest / modality.size for modality in modalities}
    if not isinstance(weights, Mapping):
        raise ValueError(f'weights: expected None, "balanced", "auto" or a dict by modality, got {weights!r}.')
    for name, weight in weights.items():
        if name not in own:
            raise ValueError(f"weights: {name!r} is no modality of this model, which has {', '.join(map(repr, own))}.")
        if not 0 < weight < float("inf"):
            raise ValueError(f"weights: {name!r} must be a finite number above 0, got {weight!r}.")
    return {**own, **{name: float(weight) for name, weight in weights.items()}}


def _probe(module: nn.Module, inputs: tuple[torch.Tensor, ...], what: str, given: str) -> Any:
    """What a module makes of trial inputs, in evaluation mode, leaving its mode as it was."""
    try:
        with torch.no_grad(), mode(module, training=False):
            return module(*inputs)
    except (RuntimeError, TypeError, IndexError, ValueError) as error:
        raise ValueError(f"{what} cannot take {given} of {inputs[0].dtype}: {error}") from error
