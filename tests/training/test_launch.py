"""What is known of the processes of a run without starting any."""

from __future__ import annotations

import pytest
import torch

from mmvae import Batch
from mmvae.training import fit
from mmvae.training.alike import alike
from mmvae.training.launch import is_loss_of_process, processes
from mmvae.training.means import Means


def test_torchrun_says_how_many_there_are(monkeypatch):
    assert processes(3) == (3, 1)
    for name, value in (("TORCHELASTIC_RUN_ID", "x"), ("LOCAL_WORLD_SIZE", "4"), ("WORLD_SIZE", "8")):
        monkeypatch.setenv(name, value)
    assert processes(1) == processes(4) == (4, 2)
    with pytest.raises(ValueError, match=r"devices: 3 were asked for, but torchrun started 4 processes"):
        processes(3)


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
        means.add(0, rows, torch.tensor(value), {"kl": torch.tensor(value + 1)})
        parts.append(means.state())
    merged = Means.merged(parts, torch.device("cpu"))
    assert merged.result() == {"loss": 2.0, "kl": 3.0}


def test_another_number_of_rows_in_all_is_refused(new_model, data, tmp_path):
    fit(new_model(), data, epochs=1, batch_size=8, device="cpu", progress=False, out=tmp_path)
    with pytest.raises(ValueError, match=r"batch_size x devices is 8 there and 16 here.*the number of devices if"):
        fit(new_model(), data, epochs=2, batch_size=16, device="cpu", progress=False, out=tmp_path, resume=True)
