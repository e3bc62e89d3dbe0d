"""A model described in plain values, from which it can be built again, and two descriptions compared."""

from __future__ import annotations

import functools
import inspect
import numbers
from collections.abc import Iterator, Mapping
from typing import Any

from torch import nn

from mmvae import likelihoods
from mmvae.families import models, networks
from mmvae.modality import Modality
from mmvae.objectives.schedules import LinearWarmup

_YOURS = "yours"
"""Marks what the description cannot rebuild: code of the user's."""

Description = dict[str, Any]
"""JSON: the class of a model, its arguments and, where they are more than names in these, its modalities."""


def describe(model: Any) -> Description:
    """The description of a model.

    Parts that only the user's code can build (a lambda, a module, a class of their own) stand in it as
    ``{"yours": what it is}``.

    Args:
        model: any model of :mod:`mmvae.models`, or of a subclass.
    """
    kind = type(model)
    cls: Any = kind.__name__ if _is_public(kind, models) else {_YOURS: _path(kind)}
    description = {"class": cls, "arguments": _encoded_arguments(kind, model.arguments)}
    if hasattr(model, "modalities"):
        description["modalities"] = [_describe_modality(modality) for modality in model.modalities]
    return description


def rebuild(description: Description) -> Any:
    """A new model as described, with fresh weights.

    Raises:
        ValueError: if the description has parts that only the user's code can build, or names what this version of
            the library does not have.
    """
    parts = list(user_parts(description))
    if parts:
        raise ValueError(
            f"the model has parts that its description cannot build: {'; '.join(parts)}. Build the model as you did "
            f"for training, and hand it over: mmvae.load(path, model=vae)."
        )
    recipe = _named(models, description["class"], "model")
    arguments = {name: _decode(value) for name, value in description["arguments"].items()}
    if "modalities" in description:
        arguments["modalities"] = [_rebuild_modality(modality) for modality in description["modalities"]]
    return recipe(**arguments)


def user_parts(description: Any, place: str = "") -> Iterator[str]:
    """The parts of a description that only the user's code can build, each as a place and what it is."""
    if isinstance(description, Mapping):
        if _YOURS in description:
            yield f"{place or 'model'} ({description[_YOURS]})"
            return
        for key, value in description.items():
            yield from user_parts(value, _join(place, key))
    elif isinstance(description, list):
        for index, value in enumerate(description):
            yield from user_parts(value, _join(place, _label(value, index)))


def first_difference(saved: Description, given: Description) -> str | None:
    """The first place where the descriptions of two models differ, and how, or ``None``.

    Parts of the user's are taken to be alike: their weights tell.
    """
    one, other = _class_name(saved), _class_name(given)
    return f"the model is a {one} there and a {other} here" if one != other else difference(saved, given)


def _class_name(description: Description) -> str:
    """Without the module, since a script is ``__main__`` when it runs and not when it is imported."""
    cls = description["class"]
    return str(cls[_YOURS]).rpartition(".")[2] if isinstance(cls, Mapping) else str(cls)


def difference(saved: Any, given: Any, place: str = "") -> str | None:
    """The first place where two pieces of JSON differ, and how, or ``None``; the user's parts are taken to be alike."""
    if any(isinstance(side, Mapping) and _YOURS in side for side in (saved, given)):
        return None
    if isinstance(saved, Mapping) and isinstance(given, Mapping):
        pairs = [(str(key), saved.get(key), given.get(key)) for key in dict.fromkeys([*saved, *given])]
    elif isinstance(saved, list) and isinstance(given, list) and len(saved) == len(given):
        pairs = [(_label(one, index), one, other) for index, (one, other) in enumerate(zip(saved, given, strict=True))]
    else:
        return None if saved == given else f"{place} is {_short(saved)} there and {_short(given)} here"
    differences = (difference(one, other, _join(place, key)) for key, one, other in pairs)
    return next((difference for difference in differences if difference), None)


def _describe_modality(modality: Modality) -> Description:
    return {
        "name": modality.name,
        "shape": list(modality.shape),
        "weight": float(modality.weight),
        "likelihood": _describe_likelihood(modality.likelihood),
        "encoder": _describe_network(modality.encoder),
        "decoder": _describe_network(modality.decoder),
    }


def _rebuild_modality(description: Description) -> Modality:
    likelihood = description["likelihood"]
    kind = _named(likelihoods, likelihood["class"], "likelihood")
    return Modality(
        description["name"],
        shape=tuple(description["shape"]),
        likelihood=kind(**{name: _decode(value) for name, value in likelihood["arguments"].items()}),
        encoder=_rebuild_network(description["encoder"]),
        decoder=_rebuild_network(description["decoder"]),
        weight=description["weight"],
    )


def _describe_likelihood(likelihood: Any) -> Description:
    if not isinstance(likelihood, likelihoods.Likelihood) or not _is_public(type(likelihood), likelihoods):
        return {_YOURS: _path(likelihood)}
    arguments = _encoded_arguments(type(likelihood), likelihood.arguments)
    return {"class": type(likelihood).__name__, "arguments": arguments}


def _describe_network(network: Any) -> Description | None:
    """A network as the class of :mod:`mmvae.nn` that makes it, with what ``functools.partial`` binds."""
    if network is None:
        return None
    if isinstance(network, type) and _is_public(network, networks):
        return {"class": network.__name__}
    if isinstance(network, functools.partial) and _is_public(network.func, networks):
        return {
            "class": network.func.__name__,
            "positional": [_encode(value) for value in network.args],
            "arguments": {name: _encode(value) for name, value in network.keywords.items()},
        }
    is_ours = isinstance(network, nn.Module) and _is_public(type(network), networks)
    if is_ours and not inspect.signature(type(network)).parameters:  # there is nothing to remember but the class
        return {"class": type(network).__name__}
    return {_YOURS: _path(network)}


def _rebuild_network(description: Description | None) -> Any:
    if description is None:
        return None
    cls = _named(networks, description["class"], "network")
    if "arguments" not in description:
        return cls
    arguments = {name: _decode(value) for name, value in description["arguments"].items()}
    return functools.partial(cls, *map(_decode, description["positional"]), **arguments)


def _encoded_arguments(cls: type, given: Mapping[str, Any]) -> Description:
    """The arguments of a constructor as JSON, with the defaults of those that were not given."""
    parameters = inspect.signature(cls).parameters.values()
    defaults = {each.name: each.default for each in parameters if each.default is not inspect.Parameter.empty}
    return {name: _encode(value) for name, value in {**defaults, **given}.items()}


def _encode(value: Any) -> Any:
    """An argument as JSON."""
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real):
        return float(value)
    if isinstance(value, LinearWarmup):
        return {"schedule": "LinearWarmup", "end": value.end, "epochs": value.epochs, "start": value.start}
    if isinstance(value, list | tuple):
        return [_encode(item) for item in value]
    if isinstance(value, nn.Module) and _is_public(type(value), networks) and hasattr(value, "arguments"):
        arguments: Any = value.arguments
        return {"network": type(value).__name__, "arguments": _encoded_arguments(type(value), arguments)}
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return {key: _encode(item) for key, item in value.items()}
    return {_YOURS: _path(value)}


def _decode(value: Any) -> Any:
    if isinstance(value, list):
        return [_decode(item) for item in value]
    if isinstance(value, dict):
        if value.get("schedule") == "LinearWarmup":
            return LinearWarmup(value["end"], value["epochs"], value["start"])
        if set(value) == {"network", "arguments"}:
            arguments = {key: _decode(item) for key, item in value["arguments"].items()}
            return _named(networks, value["network"], "network")(**arguments)
        return {key: _decode(item) for key, item in value.items()}
    return value


def _is_public(cls: Any, module: Any) -> bool:
    name = getattr(cls, "__name__", "")
    return name in getattr(module, "__all__", dir(module)) and getattr(module, name, None) is cls


def _named(module: Any, name: str, what: str) -> Any:
    if not isinstance(name, str) or not isinstance(getattr(module, name, None), type):
        raise ValueError(f"this version of mmvae has no {what} {name!r}.")
    return getattr(module, name)


def _path(value: Any) -> str:
    """What a part is, in words that are the same at each run: the path of its class or function."""
    function = value.func if isinstance(value, functools.partial) else value
    named = function if hasattr(function, "__qualname__") else type(function)
    return f"{named.__module__}.{named.__qualname__}"


def _label(value: Any, index: int) -> str:
    """What to call an item of a list: its name, if it has one."""
    return str(value["name"]) if isinstance(value, Mapping) and "name" in value else str(index)


def _join(place: str, key: Any) -> str:
    return f"{place}.{key}" if place else str(key)


def _short(value: Any) -> str:
    if isinstance(value, list) and value and isinstance(value[0], Mapping) and "name" in value[0]:
        return ", ".join(str(item.get("name")) for item in value)
    if isinstance(value, Mapping) and _YOURS in value:
        return str(value[_YOURS])
    return repr(value)
