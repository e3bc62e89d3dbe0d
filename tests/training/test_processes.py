"""Whole processes: one that is killed, and two that train together."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time

import pytest
import torch

import mmvae
from mmvae.storage import read_state, read_tensors

SCRIPT = """
import json, os, sys, torch, mmvae
from mmvae import Modality, likelihoods, models, nn
from functools import partial

torch.manual_seed(int(sys.argv[2]))
small = dict(encoder=partial(nn.MLPEncoder, (4,), hidden=(6,)), decoder=partial(nn.MLPDecoder, shape=(4,), hidden=(6,)))
vae = models.MoPoE([Modality(name, (4,), likelihoods.Normal(), **small) for name in ("a", "b")], latent_dim=2)
generator = torch.Generator().manual_seed(5)
data = {name: torch.randn(33, 4, generator=generator) for name in ("a", "b")}
"""


def start(tmp_path, body, *arguments, **environment):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT + textwrap.dedent(body))
    variables = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", **environment}
    return subprocess.Popen([sys.executable, str(script), *map(str, arguments)], env=variables, cwd=tmp_path)


@pytest.mark.slow
def test_a_killed_run_continues(tmp_path, assert_same):
    """Killed without warning while it writes a checkpoint at every step."""
    body = """
    mmvae.fit(vae, data, epochs=int(sys.argv[3]), batch_size=8, validation=0.25, out=sys.argv[1], resume=True,
              progress=False, device="cpu", checkpoint_seconds=0.0)
    """
    folder, checkpoint = tmp_path / "killed", tmp_path / "killed" / "checkpoints" / "last.safetensors"
    process = start(tmp_path, body, folder, 0, 100000)
    deadline = time.monotonic() + 120
    while not (checkpoint.exists() and read_state(checkpoint)["epoch"] >= 2):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    mmvae.load(folder)  # usable as it is
    epochs = read_state(checkpoint)["epoch"] + 2
    assert start(tmp_path, body, folder, 9, epochs).wait() == 0
    assert start(tmp_path, body, tmp_path / "whole", 0, epochs).wait() == 0
    assert_same(mmvae.load(folder), mmvae.load(tmp_path / "whole"))
    one, other = (read_state(path / "checkpoints" / "last.safetensors") for path in (folder, tmp_path / "whole"))
    assert all(torch.equal(value, other["model"][name]) for name, value in one["model"].items())


@pytest.mark.slow
def test_two_processes_average_their_gradients(tmp_path):
    """Two processes with half a batch each end where one process with plain gradient descent does."""
    body = """
    from mmvae.objectives import Loss
    def noiseless(model, batch):  # a loss without draws, so that processes can be compared
        posterior = model.joint_posterior(batch, model.experts)
        decoded = model.decode(posterior.components.mean.mean(0))
        log_p = {name: decoded[name].log_prob(batch.data[name]).mean() for name in batch.names}
        return Loss(-sum(log_p.values()), {**log_p, "elbo": sum(log_p.values())})
    vae.objective = noiseless
    devices = int(sys.argv[3])
    run = mmvae.fit(vae, {name: x[:32] for name, x in data.items()}, epochs=3, batch_size=8 // devices, device="cpu",
                    devices=devices, optimizer=partial(torch.optim.SGD, lr=0.1), progress=False, out=sys.argv[1],
                    validation={name: x[:7] for name, x in data.items()}, resume=True)
    rank = os.environ.get("LOCAL_RANK", "0")
    mmvae.save(vae, sys.argv[1] + "-" + rank)
    """
    for devices in (1, 2):
        assert start(tmp_path, body, tmp_path / f"run{devices}", 0, devices).wait(timeout=200) == 0
    alone, _ = read_tensors(tmp_path / "run1-0" / "model.safetensors")
    ranks = [read_tensors(tmp_path / f"run2-{rank}" / "model.safetensors")[0] for rank in (0, 1)]
    for name, value in alone.items():
        assert torch.equal(ranks[0][name], ranks[1][name])
        torch.testing.assert_close(ranks[0][name], value)
    metrics = [mmvae.training.Run.load(tmp_path / f"run{devices}").metrics for devices in (1, 2)]
    for one, other in zip(*metrics, strict=True):
        assert one["split"] == other["split"]
        assert one["elbo"] == pytest.approx(other["elbo"], rel=1e-5)


@pytest.mark.slow
def test_two_processes_resume(tmp_path):
    body = """
    data["b"][::2] = float("nan")
    for name in (sys.argv[1], sys.argv[1] + "-parts"):
        for epochs in ((4,) if name == sys.argv[1] else (2, 4)):
            torch.manual_seed(0)
            vae = models.MMVAE(vae.modalities, latent_dim=2)
            mmvae.fit(vae, data, epochs=epochs, batch_size=8, device="cpu", devices=2, progress=False, out=name,
                      validation=0.25, resume=True)
    """
    assert start(tmp_path, body, tmp_path / "run", 0).wait(timeout=200) == 0
    states = [read_state(tmp_path / name / "checkpoints" / "last.safetensors") for name in ("run", "run-parts")]
    assert len(states[0]["random"]) == 2
    for name, value in states[0]["model"].items():
        assert torch.equal(value, states[1]["model"][name])


@pytest.mark.slow
def test_two_processes_learn_one_codebook(tmp_path):
    """The codebook moves by the rows of both as it does in one process, whatever starts again and is fitted aside."""
    body = """
    devices, rank = int(sys.argv[3]), os.environ.get("LOCAL_RANK", "0")
    generator = torch.Generator().manual_seed(5)
    data = {name: torch.randn(32, 4, 3, generator=generator) for name in ("a", "b")}
    small = dict(num_codes=6, code_dim=4, heads=2, layers=1, dropout=0.0)
    alike = dict(club=0.0, cpc=0.0, matching=0.0, reset_after=None)  # terms that do not compare rows, and no draws
    for name, options in (("alike", alike), ("whole", dict(club_hidden=5, inner_steps=2, reset_after=1))):
        torch.manual_seed(0)
        model = models.DCID({"a": 3, "b": 3}, **small, **options)
        if name == "alike":
            model.loss(data)  # the codes start
        mmvae.fit(model, data, epochs=2, batch_size=16 // devices, device="cpu", devices=devices, progress=False,
                  optimizer=partial(torch.optim.SGD, lr=0.1), max_grad_norm=0.5)
        mmvae.save(model, f"{sys.argv[1]}-{name}-{devices}-{rank}")
    """
    for devices in (1, 2):
        assert start(tmp_path, body, tmp_path / "run", 0, devices).wait(timeout=200) == 0
    found = {
        (name, part): read_tensors(tmp_path / f"run-{name}-{part}" / "model.safetensors")[0]
        for name in ("alike", "whole")
        for part in ("1-0", "2-0", "2-1")
    }
    for name in ("alike", "whole"):
        for key, value in found[name, "2-0"].items():
            assert torch.equal(value, found[name, "2-1"][key]), key
    for key, value in found["alike", "1-0"].items():
        torch.testing.assert_close(found["alike", "2-0"][key], value)
    assert found["alike", "1-0"]["quantiser.counts"].std() > 0.1  # it moved


@pytest.mark.slow
def test_two_processes_compare_no_batches_of_sources_that_are_uniform(tmp_path):
    """Even if a batch of one has no row with a modality; all such sources train the same, as the same rows come."""
    body = """
    observed = {"b": torch.arange(32) % 3 == 0}
    data = {name: x[:32] for name, x in data.items()}
    whole = mmvae.data.MultimodalDataset(data, observed=observed)
    class Items(torch.utils.data.Dataset):
        __len__ = lambda self: 32
        __getitem__ = lambda self, row: whole[row]
    rank = os.environ.get("LOCAL_RANK", "0")
    mmvae.data.write_mapped(sys.argv[1] + rank, [data])
    mapped = mmvae.data.mapped(sys.argv[1] + rank)
    mapped.blocks = None  # shuffled like the others
    sources = {
        "tensors": mmvae.Batch(data, observed),
        "dataset": whole,
        "mapped": mapped.with_observed(observed),
        "noisy": mmvae.data.Noisy(whole, {}),
        "items": Items(),
    }
    compared, inner = dict.fromkeys(sources, 0), mmvae.training.loop.alike
    def counting(batch, gather):
        compared[name] += 1
        return inner(batch, gather)
    mmvae.training.loop.alike = counting
    ends = {}
    for name, source in sources.items():
        torch.manual_seed(0)
        vae = models.MoPoE(vae.modalities, latent_dim=2)
        mmvae.fit(vae, source, epochs=1, batch_size=2, device="cpu", devices=2, progress=False)
        ends[name] = torch.cat([each.flatten() for each in vae.parameters()]).tolist()
    with open(sys.argv[1] + "-" + rank, "w") as file:
        json.dump([compared, ends], file)
    """
    assert start(tmp_path, body, tmp_path / "run", 0).wait(timeout=200) == 0
    (compared, ends), (others, same) = (json.loads((tmp_path / f"run-{rank}").read_text()) for rank in (0, 1))
    assert compared == others == {"tensors": 0, "dataset": 0, "mapped": 0, "noisy": 0, "items": 8}
    assert ends == same
    for name in ("dataset", "mapped", "noisy"):
        assert ends[name] == ends["tensors"]


@pytest.mark.slow
def test_two_processes_share_a_stream(tmp_path):
    """Each takes its share of what the workers read, and what is over is left out; the run resumes."""
    body = """
    class Items(torch.utils.data.IterableDataset):
        def __iter__(self):
            worker = torch.utils.data.get_worker_info()
            return ({name: x[row] for name, x in data.items()} for row in range(worker.id, 33, worker.num_workers))
    seen = []
    inner = vae.objective
    def noting(model, batch):
        seen.extend(batch.data["a"][:, 0].tolist())
        return inner(model, batch)
    vae.objective = noting
    stream = mmvae.data.Streamed(Items(), length=32, workers=1)
    for epochs in (1, 2):
        mmvae.fit(vae, stream, epochs=epochs, batch_size=6, device="cpu", devices=2, progress=False, out=sys.argv[1],
                  validation=data, resume=True)
    with open(sys.argv[1] + "-" + os.environ.get("LOCAL_RANK", "0"), "w") as file:
        json.dump(seen[:16], file)  # of the first epoch
    """
    assert start(tmp_path, body, tmp_path / "run", 0).wait(timeout=200) == 0
    shares = [torch.tensor(json.loads((tmp_path / f"run-{rank}").read_text())) for rank in (0, 1)]
    first = torch.randn(33, 4, generator=torch.Generator().manual_seed(5))[:32, 0]
    assert torch.equal(torch.stack(shares, 1).flatten(), first)
    epochs = [row["epoch"] for row in mmvae.training.Run.load(tmp_path / "run").metrics]
    assert epochs == [1, 1, 2, 2]
