"""The reference names everything that is public, and the navigation leads to every page."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Callable
from typing import Any

import pytest
from docs.blocks import ROOT

import mmvae

DOCS = ROOT / "docs"
BASES = {
    *("CodebookModel", "DeterministicAutoencoder", "FrozenEncoderClassifier", "MultimodalAutoencoder"),
    *("MultimodalClassifier", "MultimodalModel", "MultimodalVAE"),
}
REFERENCE = "\n".join(page.read_text(encoding="utf-8") for page in sorted((DOCS / "reference").glob("*.md")))


@pytest.mark.parametrize("name", mmvae.__all__)
def test_every_public_name_is_in_the_reference(name: str) -> None:
    value = getattr(mmvae, name)
    if inspect.ismodule(value):  # automodule documents all of its __all__; the build checks that it did
        assert re.search(rf"^\.\. automodule:: {re.escape(value.__name__)}$", REFERENCE, re.M)
    else:
        assert re.search(rf"^\.\. auto(class|function):: mmvae\.{name}$", REFERENCE, re.M)


def test_every_documented_module_exists() -> None:
    for name in re.findall(r"^\.\. automodule:: (\S+)$", REFERENCE, re.M):
        __import__(name)


def test_every_public_model_has_a_page() -> None:
    for name in set(mmvae.models.__all__) - BASES:
        page = DOCS / "models" / f"{name.lower()}.md"
        text = page.read_text(encoding="utf-8")
        missing = [
            each for each in ("Posterior", "Objective", "Missing data", "Options", "Source") if f"## {each}" not in text
        ]
        assert not missing, f"{page.name} lacks the sections {missing}"


@pytest.mark.parametrize("name", sorted(set(mmvae.models.__all__) - BASES))
def test_options_of_a_model_are_those_of_its_constructor(name: str) -> None:
    text = (DOCS / "models" / f"{name.lower()}.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `(\w+)` \| `?([^|`]+?)`? \|", text, re.M))
    parameters = inspect.signature(getattr(mmvae.models, name)).parameters.values()
    defaults = {each.name: each.default for each in parameters if each.kind is inspect.Parameter.KEYWORD_ONLY}
    expected = {key: f'"{value}"' if isinstance(value, str) else str(value) for key, value in defaults.items()}
    assert {key: rows.get(key) for key in expected} == expected


def test_all_pages_are_in_a_table_of_contents() -> None:
    for folder in ("", "tutorials", "models", "reference"):
        for page in (DOCS / folder).glob("*.md"):
            if page.name == "index.md":
                continue
            whole, own = page.relative_to(DOCS).with_suffix("").as_posix(), DOCS / folder / "index.md"
            found = re.search(rf"^{re.escape(whole)}$", (DOCS / "index.md").read_text(encoding="utf-8"), re.M)
            if own.exists():
                found = found or re.search(rf"^{re.escape(page.stem)}$", own.read_text(encoding="utf-8"), re.M)
            assert found, f"{whole} is listed nowhere"


def _cells_of_digits(preset: Any) -> list[Any]:
    size = "all" if preset.train_size is None else preset.train_size
    draws = f"{preset.importance_samples} ({preset.importance_rows})"
    return [size, preset.repeats, preset.epochs, preset.batch_size, preset.mmvae_samples, preset.evaluated, draws]


def _cells_of_missing(preset: Any) -> list[Any]:
    size = preset.size
    return [size.pretraining, size.train, size.test, preset.pretraining_epochs, preset.epochs, preset.tables]


def _cells_of_generalization(preset: Any) -> list[Any]:
    return [preset.size.pretraining, preset.size.heads, preset.size.test, preset.epochs, preset.batch_size]


@pytest.mark.parametrize(
    ("script", "cells_of"),
    [
        ("mnist_svhn_text", _cells_of_digits),
        ("missing_modality", _cells_of_missing),
        ("cross_modal_generalization", _cells_of_generalization),
    ],
)
def test_presets_of_the_experiments_are_those_of_the_scripts(
    script: str, cells_of: Callable[[Any], list[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "experiments"))
    module = importlib.import_module(script)
    text = (DOCS / "experiments.md").read_text(encoding="utf-8")
    for name, preset in module.PRESETS.items():
        assert f"| `{name}` | " + " | ".join(map(str, cells_of(preset))) in text
