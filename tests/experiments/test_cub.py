"""The experiment with birds runs end to end, on images and captions that the test makes in the published layout."""

from __future__ import annotations

import csv
import importlib.util
import re
import runpy
import shlex
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
import tyro
from data.birds.made import write_caption_folder, write_images

import mmvae
from mmvae.data import CaptionVocabulary, cub_vocabulary

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "experiments" / "cub.py"
TRAINED = ("jmvae", "iterative")


@pytest.fixture(scope="module")
def experiment() -> ModuleType:
    specification = importlib.util.spec_from_file_location("experiment_with_birds", SCRIPT)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules[specification.name] = module  # dataclasses look their module up
    specification.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def birds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("birds")
    write_caption_folder(folder, write_images(folder, per_species=12))
    return folder


@pytest.fixture(scope="module")
def finished(experiment: ModuleType, birds: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of smoke runs, of fewer models than the experiment has: it is their data that is tried here."""
    folder = tmp_path_factory.mktemp("smoke")
    arguments = experiment.Arguments(model="all", preset="smoke", data=birds, out=folder, device="cpu")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(experiment, "NAMES", TRAINED)
        assert experiment.main(arguments) == folder / "report.html"
    return folder


@pytest.mark.parametrize("name", TRAINED)
def test_a_model_leaves_a_complete_run(finished: Path, name: str) -> None:
    run = finished / name
    vae = mmvae.load(run)
    assert vae.names == ("image", "text")
    assert vae.weights == {"image": pytest.approx(32 / (64 * 64 * 3)), "text": 1.0}
    with (run / "metrics.csv").open() as file:
        assert [row["split"] for row in csv.DictReader(file)] == ["train", "validation"]
    evaluation = mmvae.evaluation.Evaluation.load(run)
    for subset in ("image", "text", "image+text"):
        assert 0 <= evaluation.value("linear_probe_all", subset) <= 1
        assert torch.tensor(evaluation.value("log_likelihood", subset)).isfinite()
    assert -1 <= evaluation.value("cosine", "text") <= 1
    assert "data:image/png;base64" in (run / "report.html").read_text()


def test_the_words_of_the_captions_are_kept(finished: Path, birds: Path) -> None:
    assert CaptionVocabulary.load(finished / "vocabulary.json") == cub_vocabulary(birds)


def test_training_and_validation_share_no_image(experiment: ModuleType, birds: Path, tmp_path: Path) -> None:
    arguments = experiment.Arguments(preset="smoke", data=birds, out=tmp_path)
    splits = experiment.read(arguments, experiment.PRESETS["smoke"])
    assert [len(part) for part in (splits.train, splits.validation, splits.test)] == [20, 4, 24]
    train, validation, test = (
        {tuple((pixel[:2, 32, 48] * 255 / 20).round().tolist()) for pixel in part.everything().data["image"]}
        for part in (splits.train, splits.validation, splits.test)
    )
    assert not train & validation
    assert not (train | validation) & test
    shown = splits.render["text"](splits.train.everything().data["text"][0])
    assert shown.startswith("this bird of class")
    assert max(map(len, shown.splitlines())) <= 20


def test_species_that_were_never_seen_are_not_probed_for(experiment: ModuleType) -> None:
    official, classes = (experiment.metrics(experiment.Arguments(split=split)) for split in ("official", "classes"))
    assert set(official) - set(classes) == {"linear_probe"}
    assert "frechet" not in official
    assert "frechet" in experiment.metrics(experiment.Arguments(inception_weights=Path("weights.pth")))


def test_without_the_files_a_line_says_what_was_sought(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["--data", str(tmp_path), "--out", str(tmp_path / "out")]
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), *words])
    with pytest.raises(SystemExit) as stopped:
        runpy.run_path(str(SCRIPT), run_name="__main__")
    said = stopped.value.code  # Python prints a string that it exits with, and gives back 1
    assert isinstance(said, str)
    assert said.startswith("CUB: looked for CUB_200_2011 in ")
    assert "\n" not in said
    assert not (tmp_path / "out").exists()


def test_commands_and_presets_on_the_page_are_those_of_the_script(experiment: ModuleType) -> None:
    page = (ROOT / "docs" / "experiments.md").read_text(encoding="utf-8")
    commands = re.findall(r"experiments/cub\.py( --[^\n`]*)", page + SCRIPT.read_text(encoding="utf-8"))
    assert len(commands) >= 2
    for words in commands:
        tyro.cli(experiment.Arguments, args=shlex.split(words))
    for name, preset in experiment.PRESETS.items():
        cells = ["all" if preset.train_size is None else preset.train_size, preset.captions, preset.epochs]
        cells += [preset.batch_size, preset.evaluated, f"{preset.importance_samples} ({preset.importance_rows})"]
        assert f"| `{name}` | " + " | ".join(map(str, cells)) in page
