"""The page on composing says which posterior of the library trains with which objective, and why not."""

from __future__ import annotations

import re

from docs.blocks import ROOT
from vaes.test_grid import OBJECTIVES, POSTERIORS, REFUSED

PAGE = (ROOT / "docs" / "composing.md").read_text(encoding="utf-8")


def grid() -> str:
    """The grid in Markdown: a row for each objective, a letter for each reason of a refusal, the reasons below it."""
    posteriors = {name: make() for name, make in POSTERIORS.items()}
    letters: dict[str, str] = {}
    heads = ["objective", *(f"`{name}`" for name in posteriors)]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for objective, make in OBJECTIVES.items():
        cells = []
        for name, posterior in posteriors.items():
            reason = make().refusal(posterior)
            assert (reason is not None) == ((name, objective) in REFUSED)
            if reason is not None:
                letters.setdefault(reason, chr(ord("a") + len(letters)))
            cells.append("✓" if reason is None else f"no ({letters[reason]})")
        lines.append(f"| {{class}}`~mmvae.objectives.{objective}` | " + " | ".join(cells) + " |")
    return "\n".join([*lines, "", *(f"({letter}) {reason}\n" for reason, letter in letters.items())]).strip()


def test_the_grid_of_the_page_is_that_of_the_library() -> None:
    """Of every posterior and objective; print(grid()) gives the new one."""
    found = re.search(r"<!-- grid -->\n(.*?)\n<!-- end of the grid -->", PAGE, re.DOTALL)
    assert found is not None
    assert found[1] == grid()


def test_the_posteriors_of_the_page_are_those_of_the_library() -> None:
    """Their families of experts, and whether they train on incomplete data."""
    rows = re.findall(r"^\| \{class\}`~mmvae\.posteriors\.(\w+)` \| ([\w, ]+) \| .* \| (yes|no) \|$", PAGE, re.M)
    made = {name: make() for name, make in POSTERIORS.items()}
    expected = [
        (name, ", ".join(family.__name__ for family in each.families), "no" if each.needs_complete_data else "yes")
        for name, each in made.items()
    ]
    assert rows == expected
