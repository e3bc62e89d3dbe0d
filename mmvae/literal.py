"""Text that comes from elsewhere, shown as it is: no terminal, table or spreadsheet takes it for a command."""

from __future__ import annotations

from typing import Any

_FORMULAS = ("=", "+", "-", "@", "\t", "\r", "'")
"""First characters by which spreadsheets know a formula, and the one by which they know a text."""


def printable(text: str) -> str:
    """Return text without control characters: those of a terminal are written as escapes, line breaks stay."""
    return "".join(sign if sign == "\n" or sign.isprintable() else ascii(sign)[1:-1] for sign in text)


def without_markup(text: str) -> str:
    """Return text for a table or a bar of rich, whose square brackets are no markup."""
    from rich.markup import escape

    shown = printable(text)
    body = shown.rstrip("\\")
    # Rich reads backslashes as such only before a tag; an empty one keeps those at the end what they are.
    last = 2 * (len(shown) - len(body)) * "\\"
    return escape(body) + (f"{last}[none][/none]" if last else "")


def as_cell(value: Any) -> Any:
    """Return a cell of a CSV file: a text that a spreadsheet would take for a formula gets an apostrophe before it.

    Example:
        >>> as_cell("=1+1"), as_cell(-1.5), as_cell("a+b")
        ("'=1+1", -1.5, 'a+b')
    """
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULAS) else value


def from_cell(text: str) -> str:
    """Return the text that :func:`as_cell` made a cell of."""
    return text[1:] if text.startswith("'") and text[1:].startswith(_FORMULAS) else text
