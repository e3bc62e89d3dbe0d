"""Imports go only towards the ground: a room imports from rooms that stand before it."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import mmvae

ROOT = Path(mmvae.__file__).parent
FLOORS = [
    "files",
    "arguments",
    "choices",
    "casting",
    "labels",
    "free_memory",
    "subsets",
    "modality",
    "batch",
    "sources",
    "streamed",
    "latents",
    "distributions",
    "likelihoods",
    "nn",
    "posteriors",
    "objectives",
    "refinement",
    "models",
    "inference",
    "exporting",
    "training",
    "evaluation",
    "plotting",
    "data",
    "testing",
    "cli",
]
GROUND = {
    "files",
    "arguments",
    "choices",
    "casting",
    "labels",
    "subsets",
    "modality",
    "batch",
    "sources",
    "streamed",
    "latents",
}


def room(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imported_rooms(path: Path) -> set[str]:
    """Rooms of the library that a file imports, wherever in the file it does so."""
    rooms = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            rooms |= {alias.name.split(".")[1] for alias in node.names if alias.name.startswith("mmvae.")}
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "mmvae":
            parts = node.module.split(".")
            rooms |= {parts[1]} if len(parts) > 1 else {alias.name for alias in node.names if alias.name in FLOORS}
    return rooms


FILES = [path for path in sorted(ROOT.rglob("*.py")) if path != ROOT / "__init__.py"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_towards_the_ground(path: Path) -> None:
    here = room(path)
    allowed = GROUND if here == "data" else set(FLOORS[: FLOORS.index(here)])
    assert imported_rooms(path) <= allowed | {here}


def test_every_room_has_a_floor() -> None:
    assert {room(path) for path in FILES} <= set(FLOORS)
