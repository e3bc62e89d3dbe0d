"""The experiment with missing modalities runs end to end, on data it makes, and does not repeat what is done."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
import torch

pytestmark = pytest.mark.filterwarnings("ignore:canonical correlations")  # of so few rows


@pytest.fixture(scope="module")
def experiment(script: Callable[[str], ModuleType]) -> ModuleType:
    return script("missing_modality")


@pytest.fixture(scope="module")
def arguments(experiment: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Any:
    return experiment.Arguments(
        task="street",
        preset="smoke",
        seeds=(0,),
        data=tmp_path_factory.mktemp("nothing"),
        out=tmp_path_factory.mktemp("runs"),
        device="cpu",
    )


@pytest.mark.slow
def test_smoke(experiment: ModuleType, arguments: Any) -> None:
    path = experiment.main(arguments)
    text = path.read_text()
    assert "rendered street digits" in text  # what stands for the files that are not there
    for heading in ("Accuracy given only these modalities", "F1-macro, a share", "more noise on both", "Cost"):
        assert heading in text
    for name in ("MoLT", "CMPT without alignment", "late fusion, mean", "MoPoE and linear probe"):
        assert text.count(f"| {name} |") > 5
    root = arguments.out / "street-labels"
    for picture in ("robustness-complete.png", "complete/cmpt/seed0/attention.png", "complete/molt/seed0/latents.png"):
        assert (root / picture).stat().st_size > 1000
    written = {file: file.stat().st_mtime_ns for file in root.rglob("facts.json")}
    assert len(written) == 2 * 8
    assert experiment.main(arguments).read_text() == text
    assert {file: file.stat().st_mtime_ns for file in root.rglob("facts.json")} == written


def test_rows_are_judged_by_what_a_table_leaves_of_them(experiment: ModuleType) -> None:
    measuring = importlib.import_module("missing.measuring")
    predicted = {"a": torch.tensor([0, 1, 2]), "b": torch.tensor([3, 4, 5]), "a+b": torch.tensor([6, 7, 8])}
    observed = {"a": torch.tensor([True, False, True]), "b": torch.tensor([True, True, False])}
    assert measuring.judged(predicted, observed).tolist() == [6, 4, 2]


def test_every_method_builds(experiment: ModuleType) -> None:
    """Also those of the ablations, over encoders of two modalities; what a method leaves out is left out."""
    methods, training = importlib.import_module("missing.methods"), importlib.import_module("missing.training")
    encoders = {"mnist": training.MAKERS["mnist"](), "usps": training.MAKERS["usps"]()}
    for method in methods.METHODS.values():
        assert method.over(encoders).num_classes == 10
    outside = methods.METHODS["CMPT, proxy outside"].over(encoders)
    assert set(outside.places.values()) == {"outside"}
    assert encoders["mnist"].takes_extra  # those that were given stay as they are
