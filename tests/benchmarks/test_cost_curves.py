"""Curves come out, at the smallest size, and count what theory says."""

from __future__ import annotations

from pathlib import Path

import cost_curves
import pytest
import torch
from cost_curves import PRESETS, Config, Curve, curves, inference_models, main, measure, training


@pytest.mark.parametrize("heading", list(curves(PRESETS["tiny"])))
def test_every_curve_has_its_points(heading: str) -> None:
    curve = curves(PRESETS["tiny"])[heading]
    name, make = list(curve.series.items())[-1]
    points = measure({name: make}, curve.xs, repeats=2)
    assert [point.x for point in points] == list(curve.xs)
    assert all(len(point.seconds) == 2 and point.operations > 0 for point in points)


def test_multiplications_are_those_of_the_recipes() -> None:
    """Those of MMVAE grow with the draws; those of MoPoE with the modalities, and hardly with their subsets."""
    mopoe = measure({"MoPoE": lambda x: training("MoPoE", 64, count=x, latent_dim=4, rows=4)}, (2, 8), 1)
    assert 4 * mopoe[0].operations < mopoe[1].operations < 5 * mopoe[0].operations
    first, second, third = measure({"MMVAE": lambda x: training("MMVAE", 8, num_samples=x)}, (1, 2, 3), 1)
    assert third.operations - second.operations == second.operations - first.operations


def test_every_model_has_a_throughput() -> None:
    known = set(inference_models(PRESETS["tiny"]))
    bases = {
        *("CodebookModel", "DeterministicAutoencoder", "FrozenEncoderClassifier", "MultimodalAutoencoder"),
        *("MultimodalClassifier", "MultimodalModel", "MultimodalVAE"),
    }
    assert known == set(cost_curves.models.__all__) - bases


def test_a_page_with_its_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    preset = PRESETS["tiny"]
    few = {kind: inference_models(preset)[kind] for kind in ("MVAE", "FCID")}
    one = {"Modalities": Curve("M", (2, 3), {"MVAE": lambda x: training("MVAE", 4, count=x)})}
    monkeypatch.setattr(torch, "set_num_threads", lambda threads: None)
    monkeypatch.setattr(cost_curves, "inference_models", lambda preset: few)
    monkeypatch.setattr(cost_curves, "curves", lambda preset: one)
    main(Config("tiny", out=tmp_path / "page.md", note="alone"))
    text = (tmp_path / "page.md").read_text()
    assert text.startswith("# Cost curves\n")
    assert "| MVAE | 3 | 7 |" in text
    assert "| FCID | audio+video |" in text
    assert "- alone" in text
    assert (tmp_path / "page.png").read_bytes().startswith(b"\x89PNG")
