"""Imports go only towards the ground: a module imports from layers before its own, and the core from no family."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import mmvae

ROOT = Path(mmvae.__file__).parent
CONTRIBUTING = ROOT.parent / "CONTRIBUTING.md"

STOREYS = {
    name: line.replace(",", " ").split()
    for name, line in re.findall(
        r"^(ground|core|wings|faces) +(.+)$", CONTRIBUTING.read_text(encoding="utf-8"), flags=re.MULTILINE
    )
}
"""The one list of layers, as CONTRIBUTING.md tells it; from the ground up."""

ORDER = [layer for storey in STOREYS.values() for layer in storey]


def layer(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def storey_of(name: str) -> str:
    return next(storey for storey, layers in STOREYS.items() if name in layers)


def imported(path: Path) -> set[str]:
    """Dotted modules of the library that a file imports, wherever in the file it does so; docstrings do not count."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: write the whole path in imports"
            whole = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if is_module(name) else str(node.module) for name in whole}
    return {name for name in found if name.startswith("mmvae.")}


def is_module(dotted: str) -> bool:
    place = ROOT.parent.joinpath(*dotted.split("."))
    return place.is_dir() or place.with_suffix(".py").is_file()


def dotted(path: Path) -> str:
    return ".".join(path.relative_to(ROOT.parent).with_suffix("").parts).removesuffix(".__init__")


FILES = [path for path in sorted(ROOT.rglob("*.py")) if path != ROOT / "__init__.py"]


def test_every_layer_is_in_the_list_once_and_every_name_of_the_list_is_a_layer() -> None:
    assert sorted(ORDER) == sorted({layer(path) for path in FILES})


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_towards_the_ground(path: Path) -> None:
    here = layer(path)
    allowed = set(ORDER[: ORDER.index(here)]) | {here}
    if storey_of(here) == "wings":
        allowed -= set(STOREYS["wings"]) - {here}  # families know nothing of each other
    if here == "data":
        allowed = {*STOREYS["ground"], "likelihoods", here}
    assert {name.split(".")[1] for name in imported(path)} <= allowed


def test_no_modules_import_each_other_in_a_circle() -> None:
    imports = {dotted(path): imported(path) for path in FILES}
    done: set[str] = set()

    def visit(module: str, trail: tuple[str, ...]) -> None:
        assert module not in trail, f"circle: {' -> '.join((*trail, module))}"
        if module not in done:
            for other in imports.get(module, ()):
                visit(other, (*trail, module))
            done.add(module)

    for module in imports:
        visit(module, ())


def test_import_mmvae_is_light() -> None:
    code = "import sys, mmvae; print(*{'torchvision', 'matplotlib', 'lightning', 'sklearn'}.intersection(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_no_two_files_of_one_name() -> None:
    """Names that every family has (its metrics, its report) are the same subject in each."""
    shared = {"__init__", "base", "metrics", "report"}
    names = [path.stem for path in FILES if path.stem not in shared]
    assert sorted({name for name in names if names.count(name) > 1}) == []
