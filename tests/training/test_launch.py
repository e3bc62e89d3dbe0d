"""What is known of the processes of a run without starting any."""

from __future__ import annotations

import os

import pytest
import torch

from mmvae import Batch
from mmvae.training import fit
from mmvae.training.alike import alike
from mmvae.training.launch import launch
from mmvae.training.means import Means
from mmvae.training.process_guard import is_loss_of_process


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    """No launcher, whatever these tests run under."""
    for name in [name for name in os.environ if name.startswith(("SLURM_", "TORCHELASTIC_"))]:
        monkeypatch.delenv(name)


def variables(monkeypatch, **values):
    for name, value in values.items():
        monkeypatch.setenv(name, value)


def test_fit_starts_as_many_as_devices_are_asked_for():
    assert launch(3) == ("fit", 3, 1)


def test_torchrun_says_how_many_there_are(monkeypatch):
    variables(monkeypatch, TORCHELASTIC_RUN_ID="x", LOCAL_WORLD_SIZE="4", WORLD_SIZE="8")
    assert launch(1) == launch(4) == ("torchrun", 4, 2)
    with pytest.raises(ValueError, match=r"devices: 3 .* torchrun started 4 processes .* torchrun --nproc-per-node=3"):
        launch(3)


def test_srun_says_how_many_there_are(monkeypatch):
    variables(monkeypatch, SLURM_STEP_NUM_TASKS="8", SLURM_STEP_NUM_NODES="2", SLURM_NTASKS_PER_NODE="4")
    assert launch(1) == launch(4) == ("srun", 4, 2)
    with pytest.raises(ValueError, match=r"devices: 3 were asked for, but srun started 4 .* srun --ntasks-per-node=3"):
        launch(3)


@pytest.mark.parametrize("per_machine", [{}, {"SLURM_NTASKS_PER_NODE": "3"}], ids=["not said", "uneven"])
def test_srun_must_say_how_many_each_machine_has(monkeypatch, per_machine):
    variables(monkeypatch, SLURM_STEP_NUM_TASKS="4", SLURM_STEP_NUM_NODES="2", **per_machine)
    with pytest.raises(ValueError, match=r"srun started 4 processes on 2 machines.*--nodes=2 --ntasks-per-node=2"):
        launch(1)


def test_tasks_that_are_reserved_are_not_started(monkeypatch):
    """In a batch script, in a task that is alone in its step, and in a shell."""
    variables(monkeypatch, SLURM_NTASKS="8", SLURM_NTASKS_PER_NODE="4", SLURM_NNODES="2", SLURM_PROCID="0")
    assert launch(4) == ("fit", 4, 1)
    variables(monkeypatch, SLURM_STEP_NUM_TASKS="1", SLURM_STEP_NUM_NODES="1")
    assert launch(4) == ("fit", 4, 1)
    variables(monkeypatch, SLURM_STEP_NUM_TASKS="4", SLURM_JOB_NAME="bash")
    assert launch(4) == ("fit", 4, 1)


def test_torchrun_that_srun_starts(monkeypatch):
    """One task a machine."""
    variables(monkeypatch, SLURM_STEP_NUM_TASKS="2", SLURM_STEP_NUM_NODES="2", SLURM_NTASKS_PER_NODE="1")
    variables(monkeypatch, TORCHELASTIC_RUN_ID="x", LOCAL_WORLD_SIZE="4", WORLD_SIZE="8")
    assert launch(1) == ("torchrun", 4, 2)


def test_which_errors_tell_of_a_process_that_is_gone():
    assert is_loss_of_process(RuntimeError("[pair.cc:545] Read error [127.0.0.1]:1: Connection reset by peer"))
    assert is_loss_of_process(torch.distributed.DistNetworkError("socket"))
    assert not is_loss_of_process(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))


def test_a_modality_that_only_another_process_has():
    batch = Batch({"a": torch.randn(3, 2)}, labels=torch.arange(3))
    other = {"b": ([5], "torch.int64"), "a": ([2], "torch.float32")}
    found = alike(batch, lambda own: [own, other])
    assert torch.equal(found.data["a"], batch.data["a"])
    assert torch.equal(found.labels, batch.labels)
    assert (found.data["b"].shape, found.data["b"].dtype) == ((3, 5), torch.int64)
    assert not found.observed["b"].any()
    assert alike(batch, lambda own: [own, own]) is batch


def test_means_of_several_processes_as_one():
    parts = []
    for value, rows in ((1.0, 2), (4.0, 1)):
        means = Means()
        means.add(0, Batch({"a": torch.zeros(rows, 1)}), torch.tensor(value), {"kl": torch.tensor(value + 1)})
        parts.append(means.state())
    merged = Means.merged(parts, torch.device("cpu"))
    assert merged.result() == {"loss": 2.0, "kl": 3.0}


def test_another_number_of_rows_in_all_is_refused(new_model, data, tmp_path):
    fit(new_model(), data, epochs=1, batch_size=8, device="cpu", progress=False, out=tmp_path)
    with pytest.raises(ValueError, match=r"batch_size x devices is 8 there and 16 here.*the number of devices if"):
        fit(new_model(), data, epochs=2, batch_size=16, device="cpu", progress=False, out=tmp_path, resume=True)
