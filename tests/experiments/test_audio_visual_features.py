"""The experiment with audio-visual features runs end to end, on small files in the published layouts."""

from __future__ import annotations

import importlib
import re
import runpy
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
import tyro
from data.clips.made import write_ave, write_avvp, write_vggsound_avel

import mmvae
from mmvae.evaluation import Evaluation

ROOT = Path(__file__).parents[2]
EXPERIMENTS = ROOT / "experiments"
SCRIPT = EXPERIMENTS / "audio_visual_features.py"

pytest.importorskip("h5py")


@pytest.fixture(scope="module")
def experiment(script: Callable[[str], ModuleType]) -> ModuleType:
    return script("audio_visual_features")


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    write_vggsound_avel(folder / "VGGSound-AVEL", per_class=8)
    write_ave(folder / "AVE", clips=36)
    write_avvp(folder / "AVVP", clips=24)
    (folder / "AVVP" / "audio" / f"{3:011d}.npy").unlink()
    return folder


@pytest.mark.parametrize("name", ["dcid", "fcid"])
def test_a_run_measures_both_directions_on_both_data_sets(
    experiment: ModuleType, clips: Path, tmp_path: Path, name: Any
) -> None:
    arguments = experiment.Arguments(model=name, preset="smoke", data=clips, out=tmp_path, device="cpu")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(experiment, "SHARES", (0.5,))
        patch.setattr(importlib.import_module("step_events"), "STRENGTHS", (0.1, 1.0))
        text = experiment.main(arguments).read_text(encoding="utf-8")
    evaluation = Evaluation.load(tmp_path)
    for metric in ("ave", "ave_toc", "avvp", "avvp_toc"):
        for given in ("audio", "video"):
            for target in ("audio", "video"):
                assert 0 <= evaluation.value(metric, given, target) <= 1
    assert mmvae.load(tmp_path).names == (("audio", "video") if name == "dcid" else ("audio", "video", "text"))
    row = evaluation.select("avvp", "audio", "video")[0]
    assert (row["n"], row["n_train"]) == (120, 90)  # 12 clips for testing; 11 for heads, two of them held out
    assert "AVVP: 1 of 12 clips lack a file of features and are left out." in text
    assert "pretrained on VGGSound-AVEL (24 clips)" in text
    for line in experiment.LINES.values():
        assert re.search(rf"^\| {line} (\| [01]\.\d+ ){{4}}\|$", text, re.MULTILINE)


def test_what_is_kept_is_chosen_at_home(experiment: ModuleType) -> None:
    def row(source: str, target: str, value: float, validation: float) -> dict[str, Any]:
        return {"metric": "ave", "given": source, "target": target, "value": value, "validation": validation}

    names = ("audio", "video")
    scores = {"everything": (0.5, {"audio": 0.8, "video": 0.6}), "half": (0.9, {"audio": 0.8, "video": 0.7})}
    found = {
        read: {(one, other): row(one, other, value, home[one]) for one in names for other in names}
        for read, (value, home) in scores.items()
    }
    evaluation = Evaluation(list(experiment.measured("ave", found)))
    assert evaluation.value("ave", "video", "audio") == 0.5
    assert evaluation.value("ave_toc", "video", "audio") == 0.9
    assert evaluation.value("ave_toc", "audio", "video") == 0.5  # as good at home, so everything is kept
    assert evaluation.select("ave_toc", "audio", "video")[0]["kept"] == "everything"


def test_events_that_are_linear_in_the_latents_are_found(experiment: ModuleType) -> None:
    step_events = importlib.import_module("step_events")
    generator = torch.Generator().manual_seed(0)
    features = 100 * torch.randn(300, 4, generator=generator)
    events = features[:, :3] > torch.tensor([0.0, 50.0, 100.0])
    parts = [step_events.Steps(features[rows], events[rows]) for rows in (slice(200), slice(200, 250), slice(250, 300))]
    fitted = step_events.fit(*parts[:2])
    assert step_events.f1(fitted, parts[2]) > 0.9
    predicted, truth = torch.zeros(50, 3, dtype=torch.bool), parts[2].events
    predicted[:, 0] = True  # the most frequent one
    hits = (predicted & truth).sum()
    expected = float(2 * hits / (predicted.sum() + truth.sum()))
    assert step_events.constant_f1(parts[0], parts[2]) == pytest.approx(expected)


def test_without_the_files_a_line_says_what_was_sought(
    experiment: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), "--data", str(tmp_path), "--out", str(tmp_path / "out")])
    monkeypatch.syspath_prepend(str(EXPERIMENTS))
    with pytest.raises(SystemExit) as stopped:
        runpy.run_path(str(SCRIPT), run_name="__main__")
    said = stopped.value.code  # Python prints a string that it exits with, and gives back 1
    assert isinstance(said, str)
    assert said.startswith("VGGSound-AVEL: looked for vggsound-avel40k.csv in ")
    assert not (tmp_path / "out").exists()


def test_commands_and_options_on_the_page_are_those_of_the_script(experiment: ModuleType) -> None:
    page = (ROOT / "docs" / "experiments.md").read_text(encoding="utf-8")
    commands = re.findall(r"experiments/audio_visual_features\.py( --[^\n`]*)", page + SCRIPT.read_text("utf-8"))
    assert len(commands) >= 3
    for words in commands:
        tyro.cli(experiment.Arguments, args=shlex.split(words))
    section = page.partition("## Audio and video")[2].partition("\n## ")[0]
    for option in ("model", "text", "tasks", "space"):
        assert f"| `--{option}` |" in section
