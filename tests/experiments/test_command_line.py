"""The command lines that the documentation and the Makefile give are those that the script understands."""

from __future__ import annotations

import dataclasses
import importlib.util
import re
import shlex
import sys
from pathlib import Path
from types import ModuleType
from typing import get_args, get_type_hints

import pytest
import tyro

ROOT = Path(__file__).parents[2]
SCRIPT = "experiments/mnist_svhn_text.py"


@pytest.fixture(scope="module")
def experiment() -> ModuleType:
    specification = importlib.util.spec_from_file_location("command_line_of_mnist_svhn_text", ROOT / SCRIPT)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules[specification.name] = module  # dataclasses look their module up
    specification.loader.exec_module(module)
    return module


def commands() -> list[tuple[str, str]]:
    """Every call of the script in the README, the documentation, the Makefile and the script itself."""
    pages = [ROOT / "README.md", ROOT / "Makefile", ROOT / SCRIPT, *sorted((ROOT / "docs").rglob("*.md"))]
    found = []
    for page in pages:
        if "_build" not in page.parts:
            text = page.read_text(encoding="utf-8").replace("$(RUN)", "runs/quick")
            found += [(page.name, call) for call in re.findall(rf"{re.escape(SCRIPT)}( --[^\n`]*)", text)]
    return found


@pytest.mark.parametrize(("page", "arguments"), commands())
def test_commands_are_understood(experiment: ModuleType, page: str, arguments: str) -> None:
    parsed = tyro.cli(experiment.Arguments, args=shlex.split(arguments))
    assert isinstance(parsed, experiment.Arguments)


def test_makefile_has_a_command() -> None:
    assert "Makefile" in {page for page, _ in commands()}


def test_every_option_stands_on_the_page_of_the_experiment(experiment: ModuleType) -> None:
    page = (ROOT / "docs" / "experiments.md").read_text(encoding="utf-8")
    options = {f"--{field.name.replace('_', '-')}" for field in dataclasses.fields(experiment.Arguments)}
    assert options <= set(re.findall(r"`(--[a-z-]+)`", page))


def test_a_download_without_a_folder_is_refused(experiment: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """In one line and before anything else is done, rather than with other digits after all."""
    monkeypatch.setenv("MMVAE_DATA", "")
    with pytest.raises(SystemExit, match=r"^--download needs a folder to write to: pass --data, or set MMVAE_DATA\.$"):
        experiment.main(tyro.cli(experiment.Arguments, args=["--download"]))


def test_every_model_stands_on_the_page_of_the_experiment(experiment: ModuleType) -> None:
    page = (ROOT / "docs" / "experiments.md").read_text(encoding="utf-8")
    row = next(line for line in page.splitlines() if line.startswith("| `--model`"))
    assert set(get_args(get_type_hints(experiment.Arguments)["model"])) == set(re.findall(r"`([a-z]+)`", row))


def test_wrong_words_are_refused(experiment: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["--model", "vae"], ["--preset", "huge"], ["--epoch-count", "3"]):
        with pytest.raises(SystemExit):
            tyro.cli(experiment.Arguments, args=words)
        assert words[0] in capsys.readouterr().err
