"""Settings that are one of a few words."""

from __future__ import annotations

import numbers
from collections.abc import Collection


def check_choice(setting: str, value: object, choices: Collection[str]) -> None:
    """Raises a ``ValueError`` that names the setting and all choices, unless the value is one of them.

    Args:
        setting: as the user writes it.
        value: that came.
        choices: in the order in which the message lists them; of a ``Literal``, its ``get_args``.
    """
    if value not in choices:
        raise ValueError(f"{setting}: expected one of {', '.join(map(repr, choices))}, got {value!r}.")


def check_count(setting: str, value: object, least: int) -> None:
    """Raise an error that names the setting, unless the value is a whole number of at least ``least``.

    Raises:
        TypeError: For something that is not a whole number.
        ValueError: For a number below ``least``.
    """
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise TypeError(f"{setting}: expected a whole number, got {value!r}.")
    if value < least:
        raise ValueError(f"{setting}: expected at least {least}, got {value}.")
