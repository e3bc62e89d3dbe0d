"""One memory of constructor arguments, for every part of a model that is saved in words."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Mapping
from inspect import Parameter, Signature
from typing import Any, ClassVar

from mmvae.choices import check_numbers


class Remembers:
    """A part that remembers the arguments of its constructor, so that a description can rebuild it.

    Modalities, models, likelihoods, posteriors, objectives, priors, schedules, transforms and networks inherit it,
    beside ``nn.Module`` or alone.

    Attributes:
        arguments: Arguments of the constructor by name, as the caller passed them; defaults are left out. A constructor
            may put the normal form of an argument in its place, so that equal parts have equal descriptions.
        before: Values that arguments had before they existed, where today's default is another. Descriptions that
            earlier versions wrote are read with them.
    """

    arguments: dict[str, Any]
    before: ClassVar[Mapping[str, Any]] = {}

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        """Make the part, and bind what the constructor is about to receive; the library's own parts check its numbers.

        Raises:
            TypeError: For something in the place of a number.
            ValueError: For a number that is not finite, or out of its range.
        """
        part = super().__new__(cls)
        arguments: dict[str, Any] = {}
        signature = constructor(cls)
        with contextlib.suppress(TypeError):  # wrong arguments: the constructor says so in its own words
            bound = signature.bind_partial(*args, **kwargs)
            arguments = {name: _kept(value) for name, value in bound.arguments.items()}
        home = getattr(inspect.unwrap(cls.__init__), "__module__", "")
        if home.startswith("mmvae."):  # the parts of others have ranges of their own
            name = arguments.get("name")
            cls._check_arguments(name if isinstance(name, str) else cls.__name__, signature, arguments)
        object.__setattr__(part, "arguments", arguments)
        return part

    @classmethod
    def _check_arguments(cls, owner: str, signature: Signature, arguments: Mapping[str, Any]) -> None:
        """Check the arguments of a part of the library; ``owner`` begins messages."""
        check_numbers(owner, signature, arguments)


def constructor(cls: type) -> Signature:
    """Return the signature of a class's ``__init__``, without ``self``."""
    signature = inspect.signature(cls.__init__)  # type: ignore[misc]  # not that of the class, which may be of __new__
    return signature.replace(parameters=list(signature.parameters.values())[1:])


def with_defaults(cls: type, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of a constructor in its order, with the defaults of those that were not given."""
    parameters = constructor(cls).parameters.values()
    whole = {**{each.name: each.default for each in parameters if each.default is not Parameter.empty}, **arguments}
    return {each.name: whole[each.name] for each in parameters if each.name in whole}


def _kept(value: Any) -> Any:
    """Copy containers, which the caller may change later; the parts in them stay the caller's."""
    if type(value) in (list, tuple):
        return type(value)(map(_kept, value))
    return {key: _kept(item) for key, item in value.items()} if type(value) is dict else value
