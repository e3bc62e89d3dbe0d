"""Reads the code that stands in Markdown pages."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]

_FENCE = re.compile(r"^(?P<fence>`{3,})(?P<kind>\{code-cell\} ipython3|python)\n(?P<code>.*?)^(?P=fence)$", re.M | re.S)
NOT_RUN = "<!-- not run -->"
"""Stands in the line above a block that tests leave out."""


def code_blocks(page: Path) -> list[tuple[int, str]]:
    """The Python blocks of a page (``python`` fences and notebook cells), each with the line where its code starts."""
    text = page.read_text(encoding="utf-8")
    blocks = []
    for match in _FENCE.finditer(text):
        if text[: match.start()].rstrip().endswith(NOT_RUN):
            continue
        blocks.append((text.count("\n", 0, match.start("code")) + 1, match["code"]))
    return blocks


def run_blocks(page: Path, replacements: dict[str, str], names: dict[str, object] | None = None) -> dict[str, object]:
    """Runs the blocks of a page in turn, in one namespace, and returns it.

    Args:
        page: Markdown.
        replacements: regular expressions and what to put in their place, such as fewer epochs. Each must occur.
        names: what the page takes for given.
    """
    space: dict[str, object] = {"__name__": "__main__", **(names or {})}
    unused = dict(replacements)
    for line, code in code_blocks(page):
        for pattern, replacement in replacements.items():
            code, count = re.subn(pattern, replacement, code)
            if count:
                unused.pop(pattern, None)
        compiled = compile("\n" * (line - 1) + code, str(page), "exec")
        exec(compiled, space)
    assert not unused, f"{page.name}: nothing there to replace: {', '.join(unused)}"
    return space
