"""The ablation of iterative amortized inference runs end to end, on data it makes, and does not repeat what is done."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="module")
def experiment(script: Callable[[str], ModuleType]) -> ModuleType:
    return script("ablation_iterative")


@pytest.mark.slow
def test_smoke(experiment: ModuleType, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    nothing = tmp_path_factory.mktemp("nothing")
    arguments = experiment.Arguments(
        preset="smoke", groups=("students",), seeds=(0, 1), data=nothing, out=tmp_path / "runs"
    )
    tables = experiment.main(arguments)
    text = tables.read_text()
    assert "rendered small digits" in text  # what stands for the files that are not there
    assert "### Linear accuracy, 500 labels" in text
    assert "| students of the refined | " in text
    assert "| students of the refined minus students of the initial | " in text
    weights = sorted(tmp_path.rglob("model.safetensors"))
    assert len(weights) == 6  # the frozen model and two sets of students, for each seed
    written = [path.stat().st_mtime_ns for path in weights]
    assert experiment.main(arguments).read_text() == text
    assert [path.stat().st_mtime_ns for path in weights] == written


def test_paired_variants_exist(experiment: ModuleType) -> None:
    assert {name for pair in experiment.PAIRS for name in pair} <= set(experiment.VARIANTS)
