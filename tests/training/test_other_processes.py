"""Runs whose processes end, are started by torchrun or srun, or become more or fewer."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from mmvae.storage import read_state, read_tensors
from mmvae.training.run import Run

SCRIPT = """
import os, signal, sys, torch, mmvae
from functools import partial
from mmvae import Modality, likelihoods, models, nn
from mmvae.objectives import Loss

folder, devices, dies, world = sys.argv[1], *map(int, sys.argv[2:])
torch.manual_seed(0)
small = dict(encoder=partial(nn.MLPEncoder, (4,), hidden=(6,)), decoder=partial(nn.MLPDecoder, shape=(4,), hidden=(6,)))
vae = models.MVAE([Modality(name, (4,), likelihoods.Normal(), **small) for name in ("a", "b")], latent_dim=2)
data = {name: torch.randn(240, 4) for name in ("a", "b")}
calls = 0

def noiseless(model, batch):  # a loss without draws, so that numbers of processes can be compared
    global calls
    calls += 1
    if calls == dies and os.environ.get("LOCAL_RANK", "0") == str(devices - 1):
        os.kill(os.getpid(), signal.SIGKILL)
    decoded = model.decode(model.joint_posterior(batch, model.experts).mean)
    log_p = {name: decoded[name].log_prob(batch.data[name]).mean() for name in batch.names}
    return Loss(-sum(log_p.values()), {**log_p, "elbo": sum(log_p.values())})

vae.objective = noiseless
mmvae.fit(vae, data, epochs=2, batch_size=4 // world, device="cpu", devices=devices, progress=False, out=folder,
          optimizer=partial(torch.optim.SGD, lr=0.02, momentum=0.9), resume=True,
          checkpoint_seconds=0.0 if dies else 600.0)
"""
DEATH = 55  # in the first epoch, after the checkpoint of its step 50

pytestmark = pytest.mark.slow


def begin(folder: Path, devices: int, dies: int = 0, torchrun: int = 0, srun: int = 0, **variables: str) -> Any:
    """A process of the script; the first of all, or of ``srun`` one."""
    script = folder.parent / "script.py"
    script.write_text(SCRIPT)
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={torchrun}"] if torchrun else []
    numbers = (devices, dies, torchrun or srun or devices)
    command = [sys.executable, *launcher, str(script), str(folder), *map(str, numbers)]
    apart = {name: value for name, value in os.environ.items() if not name.startswith("SLURM_")}
    environment = {**apart, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", **variables}
    pipes: Any = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, env=environment, cwd=folder.parent, **pipes)


def finish(process: Any) -> Any:
    """What it ended with and said."""
    try:
        output, errors = process.communicate(timeout=120)
    finally:
        process.kill()
    return subprocess.CompletedProcess(process.args, process.returncode, output, errors)


def start(folder: Path, devices: int, **options: Any) -> Any:
    return finish(begin(folder, devices, **options))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: Any) -> Path:
    """The run of one process, from beginning to end."""
    folder: Path = tmp_path_factory.mktemp("whole") / "run"
    assert start(folder, 1).returncode == 0
    return folder


def job() -> str:
    """The number of a job whose port is free: Fabric makes one of the other."""
    for number in range(4000, 9999):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", 15000 + number)):
                return str(120000 + number)
    raise AssertionError("no port is free")


def assert_alike(folder: Path, whole: Path) -> None:
    one, other = (read_tensors(each / "model.safetensors")[0] for each in (folder, whole))
    for name, value in one.items():
        torch.testing.assert_close(value, other[name], rtol=1e-4, atol=1e-5)
    for row, expected in zip(Run.load(folder).metrics, Run.load(whole).metrics, strict=True):
        assert row["epoch"] == expected["epoch"]
        assert row["elbo"] == pytest.approx(expected["elbo"], rel=1e-4)


def test_a_process_is_killed_and_one_goes_on(tmp_path: Path, whole: Path) -> None:
    """The other says where the checkpoint is; one process continues in the middle of the epoch, on the same rows."""
    folder = tmp_path / "run"
    ended = start(folder, 2, dies=DEATH)
    assert ended.returncode != 0
    assert "another process of this run has ended" in ended.stderr
    assert f"The last checkpoint: {folder / 'checkpoints' / 'last.safetensors'}" in ended.stderr
    assert "process 1 was ended by SIGKILL" in ended.stderr or "RuntimeError: process 0 of 2" in ended.stderr
    state = read_state(folder / "checkpoints" / "last.safetensors")
    assert (state["epoch"], state["step"], len(state["random"])) == (0, 50, 2)
    assert start(folder, 1).returncode == 0
    assert_alike(folder, whole)


def test_one_process_is_killed_and_two_go_on(tmp_path: Path, whole: Path) -> None:
    folder = tmp_path / "run"
    assert start(folder, 1, dies=DEATH).returncode != 0
    state = read_state(folder / "checkpoints" / "last.safetensors")
    assert (state["epoch"], state["step"], len(state["random"])) == (0, 54, 1)
    assert start(folder, 2).returncode == 0
    assert_alike(folder, whole)


def assert_written_once(folder: Path) -> None:
    lines = (folder / "metrics.csv").read_text().splitlines()
    assert len(lines) == 1 + 2  # a head and a row an epoch: nobody else wrote
    assert len(list((folder / "tensorboard").rglob("events*"))) == 1
    assert len(list((folder / "checkpoints").iterdir())) == 1


def test_torchrun(tmp_path: Path, whole: Path) -> None:
    """The script asks for one device; torchrun starts two processes, of which one writes."""
    ended = start(tmp_path / "run", 1, torchrun=2)
    assert ended.returncode == 0, ended.stderr
    assert_alike(tmp_path / "run", whole)
    assert_written_once(tmp_path / "run")


def test_srun(tmp_path: Path, whole: Path) -> None:
    """Two processes with the variables of two tasks on one machine; the rest is as with torchrun."""
    variables = {
        **{"SLURM_JOB_ID": job(), "SLURM_JOB_NAME": "train", "SLURM_NODELIST": "localhost", "SLURM_NODEID": "0"},
        **{"SLURM_NNODES": "1", "SLURM_NTASKS": "2", "SLURM_NTASKS_PER_NODE": "2"},
        **{"SLURM_STEP_NUM_NODES": "1", "SLURM_STEP_NUM_TASKS": "2"},
    }
    tasks = [
        begin(tmp_path / "run", 1, srun=2, **variables, SLURM_PROCID=rank, SLURM_LOCALID=rank) for rank in ("0", "1")
    ]
    for ended in [finish(task) for task in tasks]:
        assert ended.returncode == 0, ended.stderr
    assert_alike(tmp_path / "run", whole)
    assert_written_once(tmp_path / "run")


def test_batch_script_of_slurm(tmp_path: Path, whole: Path) -> None:
    """Without srun nobody has started other processes, whatever is reserved: ``fit`` does."""
    variables = {"SLURM_JOB_ID": job(), "SLURM_JOB_NAME": "train", "SLURM_NTASKS": "2", "SLURM_PROCID": "0"}
    ended = start(tmp_path / "run", 2, **variables)
    assert ended.returncode == 0, ended.stderr
    assert_alike(tmp_path / "run", whole)
