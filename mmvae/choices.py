"""Settings that are one of a few words."""

from __future__ import annotations

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
