"""The reference names everything that is public, and the navigation leads to every page."""

from __future__ import annotations

import importlib.util
import inspect
import re
import sys

import pytest
from docs.blocks import ROOT

import mmvae

DOCS = ROOT / "docs"
BASES = {"CodebookModel", "FrozenEncoderClassifier", "MultimodalClassifier", "MultimodalModel", "MultimodalVAE"}
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
            indices = [DOCS / "index.md", DOCS / folder / "index.md"]
            listed = "\n".join(index.read_text(encoding="utf-8") for index in indices if index.exists())
            name = page.relative_to(DOCS).with_suffix("").as_posix()
            assert re.search(rf"^({re.escape(name)}|{re.escape(page.stem)})$", listed, re.M), (
                f"{name} is listed nowhere"
            )


def test_presets_of_the_experiment_are_those_of_the_script() -> None:
    script = ROOT / "experiments" / "mnist_svhn_text.py"
    specification = importlib.util.spec_from_file_location("mnist_svhn_text", script)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules["mnist_svhn_text"] = module  # dataclasses look their module up
    specification.loader.exec_module(module)
    text = (DOCS / "experiments.md").read_text(encoding="utf-8")
    for name, preset in module.PRESETS.items():
        size = "all" if preset.train_size is None else preset.train_size
        cells = [size, preset.repeats, preset.epochs, preset.batch_size, preset.mmvae_samples, preset.evaluated]
        cells.append(f"{preset.importance_samples} ({preset.importance_rows})")
        assert f"| `{name}` | " + " | ".join(map(str, cells)) in text
