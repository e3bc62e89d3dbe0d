"""A part of a model described in plain values, from which it can be built again, and two descriptions compared."""

from __future__ import annotations

import functools
import importlib
import math
import numbers
import re
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from inspect import BoundArguments, Parameter
from types import ModuleType
from typing import Any

import numpy as np
import pyro.distributions as dist
import torch
from torch import Tensor, nn

import mmvae
from mmvae.arguments import Remembers, constructor, with_defaults

_CLASS, _ARGUMENTS, _POSITIONAL = "class", "arguments", "positional"
_YOURS = "yours"
"""Marks what a description cannot rebuild: code of the user's."""

_MAPPING, _TENSOR = "mapping", "tensor"
_MARKS = frozenset({_CLASS, _YOURS, _MAPPING, _TENSOR})

_MISSING = object()

_NETWORKS = frozenset({"encoder", "decoder", "encoders"})
"""Arguments that are networks: where the user makes one, its weights tell whether it is another."""

_FAMILIES = {f"pyro.distributions.{family.__name__}": family for family in (dist.Normal, dist.Laplace)}
"""Classes of another library that a description may name."""

_FIRST_FACES = ("", "models", "nn")
"""Public modules that a class is looked for in before the package that defines it; the first is ``mmvae`` itself."""

_LARGEST_TENSOR = 10_000
"""Numbers of a tensor that a description holds; a larger one counts as the user's."""

Description = dict[str, Any]
"""JSON of a part: ``{"class": public name, "arguments": {...}}``, or ``{"yours": path}`` of one of the user's."""


def describe(part: Any) -> Any:
    """Describe a part, or any argument of one, as JSON from which :func:`rebuild` makes it again.

    A part of the library is its public name and its arguments, defaults included, as deep as it goes. A part that only
    the user's code can build (a lambda, a module, a class of their own, a subclass of the library's too) is the path of
    its class or function, beside the arguments that it remembers, which :func:`first_difference` compares.
    """
    if isinstance(part, np.generic):
        part = part.item()
    if part is None or isinstance(part, bool | str):
        return part
    if isinstance(part, numbers.Integral):
        return int(part)
    if isinstance(part, numbers.Real):
        return float(part)
    if isinstance(part, list | tuple):
        return [describe(item) for item in part]
    if isinstance(part, set | frozenset):
        return sorted((describe(item) for item in part), key=str)
    if isinstance(part, Mapping) and all(isinstance(key, str) for key in part):
        items = {key: describe(item) for key, item in part.items()}
        return {_MAPPING: items} if _MARKS & set(items) else items
    if isinstance(part, Tensor | np.ndarray) and math.prod(part.shape) <= _LARGEST_TENSOR:
        return _tensor_in_words(torch.as_tensor(part))
    if isinstance(part, functools.partial):
        bound = {_POSITIONAL: describe(part.args), _ARGUMENTS: _each(part.keywords)}
        return {**_named(part.func), **bound}
    if isinstance(part, Remembers):
        return {**_named(type(part), part), _ARGUMENTS: _each(with_defaults(type(part), part.arguments))}
    return _named(part)


def rebuild(description: Any, complete: bool = True) -> Any:
    """Build the part that was described anew, with fresh weights.

    Only parts and networks of the library are ever built: a description cannot name other code.

    Args:
        description: As :func:`describe` gives it, without parts of the user's (see :func:`user_parts`).
        complete: Whether every argument must be there. Descriptions of earlier versions lack those that came later.

    Raises:
        ValueError: If the description names what this version of the library does not have, lacks an argument, or has
            one that a constructor refuses.
        TypeError: If it is not a description.
    """
    if isinstance(description, list):
        return [rebuild(item, complete) for item in description]
    if not isinstance(description, Mapping):
        return description
    if _TENSOR in description:
        return torch.tensor(description[_TENSOR], dtype=getattr(torch, description["dtype"]))
    if _CLASS not in description:
        return {key: rebuild(value, complete) for key, value in _items(description).items()}
    name = description[_CLASS]
    made_by = _FAMILIES.get(name) or _found(name)
    if made_by is None or not (name in _FAMILIES or _is_buildable(made_by)):
        raise ValueError(f"there is no part {name!r}")
    if _ARGUMENTS not in description:
        return made_by
    arguments = {key: rebuild(value, complete) for key, value in description[_ARGUMENTS].items()}
    if _POSITIONAL in description:
        return functools.partial(made_by, *rebuild(description[_POSITIONAL], complete), **arguments)
    return _made(made_by, name, arguments, complete)


def user_parts(description: Any, place: str = "") -> Iterator[str]:
    """Yield the parts of a description that only the user's code can build, each as a place and what it is."""
    if isinstance(description, Mapping):
        if _YOURS in description:
            yield f"{place or 'model'} ({description[_YOURS]})"
            return
        for key, value in _items(description).items():
            yield from user_parts(value, _join(place, key))
    elif isinstance(description, list):
        for index, value in enumerate(description):
            yield from user_parts(value, _join(place, _label(value, index)))


def first_difference(
    saved: Any, given: Any, place: str = "", by_weights: bool = False, complete: bool = True
) -> str | None:
    """Say where two descriptions differ first, and how; ``None`` where they do not.

    Parts of the user's differ if their names do (without the module, which is ``__main__`` when a script runs and not
    when it is imported), or the arguments that they remember. Networks of the user's are taken to be alike: their
    weights tell.

    Args:
        saved: Description in the file.
        given: Description of what is at hand.
        place: Dotted path of the two, for the sentence.
        by_weights: Whether parts of the user's are told apart by their weights alone, as networks are.
        complete: Whether both must have the same arguments. Those of another version are compared where they do.
    """
    if by_weights and any(isinstance(side, Mapping) and _YOURS in side for side in (saved, given)):
        return None
    if isinstance(saved, Mapping) and isinstance(given, Mapping):
        if (_kind(saved), _YOURS in saved) != (_kind(given), _YOURS in given):
            return f"{place or 'the model'} is {_short(saved)} there and {_short(given)} here"
        left, right = _items(saved), _items(given)
        keys = [key for key in dict.fromkeys([*left, *right]) if complete or (key in left and key in right)]
        pairs = [(str(key), left.get(key, _MISSING), right.get(key, _MISSING)) for key in keys]
    elif isinstance(saved, list) and isinstance(given, list) and len(saved) == len(given):
        pairs = [(_label(one, index), one, other) for index, (one, other) in enumerate(zip(saved, given, strict=True))]
    else:
        return None if saved == given else f"{place} is {_short(saved)} there and {_short(given)} here"
    differences = (
        first_difference(one, other, _join(place, key), by_weights or key in _NETWORKS, complete)
        for key, one, other in pairs
    )
    return next((found for found in differences if found), None)


def called(description: Any) -> str:
    """Write a description as the call that makes the part, for a reader."""
    if isinstance(description, list):
        return f"[{', '.join(map(called, description))}]"
    if not isinstance(description, Mapping):
        return repr(description)
    if not _kind(description):
        return f"{{{', '.join(f'{key!r}: {called(value)}' for key, value in _items(description).items())}}}"
    arguments = [called(value) for value in description.get(_POSITIONAL, ())]
    arguments += [f"{key}={called(value)}" for key, value in description.get(_ARGUMENTS, {}).items()]
    made = f"({', '.join(arguments)})" if _ARGUMENTS in description else ""
    return f"{_kind(description)}{made}"


def from_format_1(description: Any, face: str = "models") -> Any:
    """Turn a description of format 1, which has short names and a place of its own for modalities, into today's.

    Args:
        description: Of a model, as it stands in a ``config.json`` of format 1, or a part of it.
        face: Public module that the names in it are of.
    """
    if isinstance(description, list):
        return [from_format_1(item, face) for item in description]
    if not isinstance(description, Mapping) or set(description) == {_YOURS}:
        return description
    if "schedule" in description:
        arguments = {key: value for key, value in description.items() if key != "schedule"}
        return {_CLASS: f"objectives.{description['schedule']}", _ARGUMENTS: arguments}
    if set(description) == {"network", _ARGUMENTS}:
        return {_CLASS: f"nn.{description['network']}", _ARGUMENTS: from_format_1(description[_ARGUMENTS])}
    if _CLASS not in description:
        return {key: from_format_1(value) for key, value in description.items()}
    cls = description[_CLASS]
    named = cls if isinstance(cls, Mapping) else {_CLASS: f"{face}.{cls}"}
    rest = {key: from_format_1(description[key]) for key in (_POSITIONAL, _ARGUMENTS) if key in description}
    if "modalities" in description:
        modalities = [_modality_of_format_1(each) for each in description["modalities"]]
        rest[_ARGUMENTS] = {"modalities": modalities, **rest[_ARGUMENTS]}
    return {**named, **rest}


def _modality_of_format_1(description: Mapping[str, Any]) -> Description:
    faces = {"likelihood": "likelihoods", "encoder": "nn", "decoder": "nn"}
    arguments = {key: from_format_1(value, faces.get(key, "")) for key, value in description.items()}
    return {_CLASS: "Modality", _ARGUMENTS: arguments}


# From parts to words.


def _each(arguments: Mapping[str, Any]) -> Description:
    return {name: describe(value) for name, value in arguments.items()}


def _named(made_by: Any, part: Any = None) -> Description:
    """The public name of a class, or the path of what the user wrote."""
    name = _public_name(made_by)
    return {_YOURS: _path(made_by if part is None else part)} if name is None else {_CLASS: name}


def _public_name(cls: Any) -> str | None:
    """The name under which a class of the library, or one of the families, is found; ``None`` for other things."""
    for name, family in _FAMILIES.items():
        if cls is family:
            return name
    if not _is_buildable(cls):
        return None
    defined_in = cls.__module__.split(".")[1] if "." in cls.__module__ else ""
    for face in dict.fromkeys([*_FIRST_FACES, defined_in]):
        name = f"{face}.{cls.__name__}" if face else cls.__name__
        if _found(name) is cls:
            return name
    return None


def _is_buildable(cls: Any) -> bool:
    return isinstance(cls, type) and issubclass(cls, Remembers | nn.Module) and cls.__module__.split(".")[0] == "mmvae"


def _path(value: Any) -> str:
    """What a part of the user's is, in words that are the same at each run: the path of its class or function."""
    named = value if hasattr(value, "__qualname__") else type(value)
    return f"{named.__module__}.{named.__qualname__}"


def _tensor_in_words(tensor: Tensor) -> Description:
    return {_TENSOR: tensor.detach().cpu().tolist(), "dtype": str(tensor.dtype).removeprefix("torch.")}


# From words to parts.


def _made(cls: type, name: str, arguments: dict[str, Any], complete: bool) -> Any:
    """A part of a class, if its constructor takes these arguments and no other is missing."""
    signature = constructor(cls)
    unknown = [key for key in arguments if key not in signature.parameters]
    if unknown:
        raise ValueError(f"{name} has no argument {unknown[0]!r}")
    any_number = (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)
    expected = [each.name for each in signature.parameters.values() if each.kind not in any_number]
    missing = [key for key in expected if key not in arguments]
    if missing and complete:
        raise ValueError(f"the argument {missing[0]!r} of {name} is missing")
    if issubclass(cls, Remembers):
        arguments = {**{key: value for key, value in cls.before.items() if key in missing}, **arguments}
    ordered = OrderedDict((key, arguments[key]) for key in signature.parameters if key in arguments)
    bound = BoundArguments(signature, ordered)
    return cls(*bound.args, **bound.kwargs)


def _found(name: Any) -> Any:
    """What a public name stands for: an attribute of ``mmvae``, or of a module that ``mmvae`` makes public."""
    if not isinstance(name, str) or not (parts := re.fullmatch(r"(?:([a-z]\w*)\.)?([A-Z]\w*)", name, re.ASCII)):
        return None
    face, attribute = parts.groups()
    if face is None:
        module: ModuleType = mmvae
    elif face in mmvae.__all__:
        try:
            module = importlib.import_module(f"mmvae.{face}")
        except ImportError:  # the name of a function, such as mmvae.fit
            return None
    else:
        return None
    return getattr(module, attribute, None) if attribute in getattr(module, "__all__", dir(module)) else None


# Words for a reader.


def _kind(description: Mapping[str, Any]) -> str:
    """The name of a part without its module, or nothing for a plain mapping."""
    return str(description.get(_CLASS, description.get(_YOURS, ""))).rpartition(".")[2]


def _items(description: Mapping[str, Any]) -> Mapping[str, Any]:
    """What stands in a mapping, or beside the name of a part."""
    if _MAPPING in description:
        return description[_MAPPING]
    return {key: value for key, value in description.items() if key not in (_CLASS, _YOURS)}


def _label(value: Any, index: int) -> str:
    """What to call an item of a list: the name that it was given, if it has one."""
    name = value.get(_ARGUMENTS, {}).get("name") if isinstance(value, Mapping) else None
    return name if isinstance(name, str) else str(index)


def _join(place: str, key: Any) -> str:
    """The place of an argument; that it stands under "arguments" tells a reader nothing."""
    if key == _ARGUMENTS:
        return place
    return f"{place}.{key}" if place else str(key)


def _short(value: Any) -> str:
    """A value in a few words: the kind of a part, the names of several."""
    if value is _MISSING:
        return "missing"
    if isinstance(value, Mapping) and _kind(value):
        return f"a {_kind(value)}" + (" of your own" if _YOURS in value else "")
    if isinstance(value, list) and value and not _label(value[0], 0).isdigit():
        return ", ".join(_label(item, index) for index, item in enumerate(value))
    return repr(value)
