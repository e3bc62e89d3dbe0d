"""Every model learns from two processes with half a batch each what it learns from one with the whole batch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from mmvae import models
from mmvae.storage import read_tensors

SCRIPT = Path(__file__).parent / "same_batch.py"
BASES = {
    *("CodebookModel", "DeterministicAutoencoder", "FrozenEncoderClassifier", "MultimodalAutoencoder"),
    *("MultimodalClassifier", "MultimodalModel", "MultimodalVAE"),
}

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory: Any) -> Path:
    """All models trained by one process, and by two; a file of weights for each model and process."""
    folder: Path = tmp_path_factory.mktemp("same")
    variables = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    for devices in (1, 2):
        command = [sys.executable, str(SCRIPT), str(folder), str(devices)]
        subprocess.run(command, env=variables, check=True, timeout=400, cwd=folder)
    return folder


def weights(folder: Path, suffix: str) -> dict[str, dict[str, torch.Tensor]]:
    """By case, what a process ended with."""
    return {path.name.removesuffix(suffix): read_tensors(path)[0] for path in sorted(folder.glob(f"*{suffix}"))}


def test_every_model_takes_part(folder: Path) -> None:
    assert {name.split("-")[0] for name in weights(folder, "-1-0.safetensors")} == set(models.__all__) - BASES


def test_both_processes_have_the_same_weights(folder: Path) -> None:
    """Bit for bit: codebooks that start again, and means in training, among them."""
    first, second = weights(folder, "-2-0.safetensors"), weights(folder, "-2-1.safetensors")
    assert [
        (case, key) for case in first for key in first[case] if not torch.equal(first[case][key], second[case][key])
    ] == []


def test_the_weights_are_those_of_one_process(folder: Path) -> None:
    """After four steps of plain gradient descent, so each gradient was the same; draws do not differ between rows."""
    alone, together = weights(folder, "-1-0.safetensors"), weights(folder, "-2-0.safetensors")
    assert alone.keys() == together.keys()
    far = [
        (case, key)
        for case in alone
        for key, value in alone[case].items()
        if not torch.allclose(value, together[case][key], rtol=1e-4, atol=5e-5)
    ]
    assert far == []


def test_the_metrics_are_those_of_one_process(folder: Path) -> None:
    alone, together = (json.loads((folder / f"metrics-{devices}.json").read_text()) for devices in (1, 2))
    for case, rows in alone.items():
        for one, other in zip(rows, together[case], strict=True):
            assert one == pytest.approx(other, rel=1e-3, abs=1e-4), case


def test_codes_did_start_again(folder: Path) -> None:
    for case, state in weights(folder, "-2-0.safetensors").items():
        if case.startswith(("DCID", "FCID")):
            assert (state["quantiser.idle"] == 0).all(), case  # after one batch without use
