"""Training in each precision is scored by the same judges, and differences are held against the spread."""

from __future__ import annotations

import pytest

pytest.importorskip("multivae", reason="MultiVae is not installed; see the extra 'peers'")

import precision
from presets import PRESETS


@pytest.mark.usefixtures("threads_kept")
def test_a_call_writes_the_page_and_trains_once(tmp_path, monkeypatch):
    config = precision.Config(
        preset="smoke", models=("MVAE",), device="cpu", data=tmp_path, work=tmp_path / "work", out=tmp_path / "page.md"
    )
    precision.main(config)
    page = config.out.read_text()
    assert "| MVAE | float32 |" in page
    assert "| MVAE | bf16-mixed |" in page
    assert "TF32" not in page

    def again(*arguments, **settings):
        raise AssertionError("trained again")

    monkeypatch.setattr(precision, "train", again)
    precision.main(config)
    assert config.out.read_text() == page


def test_each_way_trains_in_its_own_precision(tmp_path, monkeypatch):
    told = {}
    monkeypatch.setattr(precision, "train", lambda model, data, **settings: told.update(settings))
    monkeypatch.setattr(precision, "scores", lambda *arguments, **settings: {"a": 1.0})
    run = precision.Run(PRESETS["smoke"], "cpu", tmp_path, tmp_path)
    task = run.task(run.preset.trained)
    assert precision.trained(run, task, {}, "MVAE", "bf16-mixed", 3) == {"a": 1.0}
    assert (told["precision"], told["seed"]) == ("bf16-mixed", 3)


def test_differences_beyond_the_spread_are_named():
    found = {
        "MVAE": {
            "float32": [{"a": 0.5, "b": 1.0}, {"a": 0.6, "b": 2.0}],
            "bf16-mixed": [{"a": 0.1, "b": 1.1}, {"a": 0.2, "b": 1.9}],
        }
    }
    text = precision.section(found)
    assert "together: a of MVAE in bf16-mixed (-0.4). Of 2." in text
    assert "| MVAE | bf16-mixed | 0.150 ± 0.071 | 1.500 ± 0.566 |" in text
