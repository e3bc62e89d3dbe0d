"""Settings that are one of a few words, a whole number or a real number, checked where they come in."""

from __future__ import annotations

import functools
import inspect
import math
import numbers
from collections.abc import Callable, Collection, Mapping
from inspect import Signature
from typing import Any, TypeVar, cast

_Part = TypeVar("_Part", bound=Callable[..., Any])


def check_choice(setting: str, value: object, choices: Collection[str]) -> None:
    """Raises a ``ValueError`` that names the setting and all choices, unless the value is one of them.

    Args:
        setting: as the user writes it.
        value: that came.
        choices: in the order in which the message lists them; of a ``Literal``, its ``get_args``.
    """
    if value not in choices:
        raise ValueError(f"{setting}: expected one of {', '.join(map(repr, choices))}, got {value!r}.")


def check_count(setting: str, value: object, least: int) -> int:
    """Return a whole number of at least ``least``, as a plain ``int``.

    Args:
        setting: Name of the setting, as the user writes it.
        value: Value that came; whole numbers of numpy are fine.
        least: Smallest value.

    Raises:
        TypeError: For something that is not a whole number.
        ValueError: For a number below ``least``.
    """
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise TypeError(f"{setting}: expected a whole number, got {value!r}.")
    if value < least:
        raise ValueError(f"{setting}: expected at least {least}, got {value}.")
    return int(value)


def check_number(setting: str, value: object, least: float = -math.inf, most: float = math.inf) -> float:
    """Return a finite number from ``least`` to ``most``, as a plain ``float``.

    Args:
        setting: Name of the setting, as the user writes it.
        value: Value that came; numbers of numpy and tensors of one number are fine.
        least: Smallest value.
        most: Largest value.

    Raises:
        TypeError: For something that is not a number.
        ValueError: For NaN, infinity, or a number outside of the range.
    """
    if isinstance(value, bool | str | bytes) or not hasattr(value, "__float__") or bool(getattr(value, "ndim", False)):
        raise TypeError(f"{setting}: expected a number, got {value!r}.")
    number = float(cast("Any", value))
    if not math.isfinite(number):
        raise ValueError(f"{setting}: expected a finite number, got {value!r}.")
    if not least <= number <= most:
        end = f"from {least:g} to {most:g}" if math.isfinite(most) else f"of at least {least:g}"
        raise ValueError(f"{setting}: expected a number {end}, got {value!r}.")
    return number


_ANY = -math.inf

_FROM_ZERO = (
    "steps",
    "layers",
    "num_random_subsets",
    "inner_steps",
    "warmup",
    "num_steps",
    "context_dim",
    "positions",
    "rank",
)

_LEAST: dict[str, float] = {
    **dict.fromkeys(("seed", "padding", "mask", "lims", "low", "high", "start", "end"), _ANY),
    **dict.fromkeys(_FROM_ZERO, 0),
    "num_categories": 2,
}
"""Smallest values of arguments by name, where another holds than 1 for whole numbers and 0 for real ones."""

_MOST: dict[str, float] = {"dropout": 1.0, "share": 1.0, "decay": 1.0, "test_fraction": 1.0}
"""Largest values of arguments by name, where there is one."""


def check_numbers(owner: str, signature: Signature, arguments: Mapping[str, Any]) -> dict[str, int | float]:
    """Check the arguments of a call that its annotations call numbers.

    An argument annotated ``int`` is a whole number, of at least 1; ``float`` and ``Weight`` stand for a finite number
    of at least 0. Arguments of some names have other ends. What an annotation allows besides numbers is left alone.

    Args:
        owner: Name of the class that is made, for the message; empty for a function.
        signature: Signature of the call, whose annotations are strings.
        arguments: Arguments by name.

    Returns:
        The numbers among the arguments, as plain ``int`` and ``float``.

    Raises:
        TypeError: For something in the place of a number, or a fraction in the place of a whole number.
        ValueError: For NaN, infinity, or a number outside of its range.
    """
    prefix = f"{owner}: " if owner else ""
    found: dict[str, int | float] = {}
    for name, value in arguments.items():
        parameter = signature.parameters.get(name)
        kinds = {part.strip() for part in str(parameter.annotation).split("|")} if parameter is not None else set()
        kinds.discard("None")
        if not kinds & {"int", "float", "Weight"} or value is None:
            continue
        if (len(kinds) > 1 or "Weight" in kinds) and not isinstance(value, numbers.Number):
            continue  # a schedule, a word, a mapping, which the part knows
        if kinds & {"float", "Weight"}:
            number = check_number(prefix + name, value, _LEAST.get(name, 0.0), _MOST.get(name, math.inf))
            found[name] = int(number) if isinstance(value, numbers.Integral) else number
        else:
            least = _LEAST.get(name, 1)
            found[name] = check_count(prefix + name, value, -(2**63) if least == _ANY else int(least))
    return found


def numbers_checked(part: _Part) -> _Part:
    """Let a function, or the constructor of a class, check its numbers before it runs; see :func:`check_numbers`."""
    function: Callable[..., Any] = part.__init__ if inspect.isclass(part) else part
    signature, owner = inspect.signature(function), part.__name__ if inspect.isclass(part) else ""

    @functools.wraps(function)
    def checked(*args: Any, **kwargs: Any) -> Any:
        try:
            bound = signature.bind(*args, **kwargs)
        except TypeError:  # too many, too few or unknown ones, which the function says in its own words
            return function(*args, **kwargs)
        bound.arguments.update(check_numbers(owner, signature, bound.arguments))
        return function(*bound.args, **bound.kwargs)

    if inspect.isclass(part):
        part.__init__ = checked  # type: ignore[method-assign]
        return part
    return cast("_Part", checked)
