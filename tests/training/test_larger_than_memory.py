"""Training on, and inference over, a file several times as large as the memory that the process may still take."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

SCRIPT = """
import resource, sys
from functools import partial
from pathlib import Path

import numpy as np, torch, mmvae
from mmvae import Modality, likelihoods, models, nn
from mmvae.data import Blocks, mapped, write_mapped
from mmvae.objectives import Loss

HEAD_ROOM, GROWTH, ROWS, BATCH, MIB = 24, 8, 24576, 128, 2**20  # memory in MiB

def status(name):
    return int(next(line for line in open("/proc/self/status") if line.startswith(name)).split()[1]) // 1024

def make():
    def modality(name, shape, likelihood):
        encoder = partial(nn.MLPEncoder, shape, hidden=(8,))
        return Modality(name, shape, likelihood, encoder, partial(nn.MLPDecoder, shape=shape, hidden=(8,)))
    image = modality("image", (1, 64, 64), likelihoods.Bernoulli(relaxed=True))
    return models.MVAE([image, modality("vector", (4,), likelihoods.Normal())], latent_dim=2)

def pieces(rows):
    generator = torch.Generator().manual_seed(0)
    for _ in range(rows // 256):
        image = torch.randint(256, (256, 1, 64, 64), generator=generator, dtype=torch.uint8)
        yield {"image": image, "vector": torch.randn(256, 4, generator=generator)}

def fit(model, data, epochs):
    return mmvae.fit(model, data, epochs=epochs, batch_size=BATCH, device="cpu", progress=False)

class Watching:  # an objective that costs little, reads all that there is, and looks at the memory now and then
    def __init__(self):
        self.calls, self.seen = 0, []
    def __call__(self, model, batch):
        self.calls += 1
        if self.calls % 32 == 0:
            self.seen.append(status("RssAnon"))
        size = sum(parameter.square().sum() for parameter in model.parameters())
        return Loss(size + batch.data["image"].mean() + batch.data["vector"].mean(), {})

folder = Path(sys.argv[1])
small = {name: value.float().div(255) if name == "image" else value for name, value in next(pieces(256)).items()}
warm = make()
warm.objective = Watching()
fit(warm, small, 1)  # all that is loaded late is there
mmvae.infer(warm, small, batch_size=64)
del warm, small

limit = status("VmData") + HEAD_ROOM
resource.setrlimit(resource.RLIMIT_DATA, (limit * MIB, limit * MIB))
data = write_mapped(folder, pieces(ROWS))
assert (folder / "image.npy").stat().st_size > 3.9 * HEAD_ROOM * MIB
try:
    np.load(folder / "image.npy")
    raise SystemExit("the file fits: the limit shows nothing")
except MemoryError:
    pass

model = make()
watching = model.objective = Watching()
fit(model, mapped(folder, blocks=Blocks(256, 8)), 2)
steps = ROWS // BATCH
assert watching.calls == 2 * steps
first, second = watching.seen[: steps // 32], watching.seen[steps // 32 :]
assert max(second) - min(second) < GROWTH, (first, second)
assert max(second) - max(first) < GROWTH, (first, second)
latents = mmvae.infer(model, data, subset="image", batch_size=BATCH, progress=False)
assert latents.mean.shape == (ROWS, 2)
assert status("RssAnon") - max(second) < GROWTH
"""


MALLOC = {"MALLOC_ARENA_MAX": "1", "MALLOC_MMAP_THRESHOLD_": str(2**18)}
"""Gives what is freed back at once, so that the limit meets what is in use."""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc, and RLIMIT_DATA counts anonymous memory on Linux")
def test_a_file_of_four_times_the_memory_that_is_left(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    variables = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", **MALLOC}
    command = [sys.executable, str(script), str(tmp_path / "data")]
    done = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr + done.stdout
