"""One codebook in two processes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

SCRIPT = """
import sys, torch, torch.distributed
from safetensors.torch import save_file
from mmvae.nn import Quantiser, together

rank, world, folder = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
if world > 1:
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=world)
generator = torch.Generator().manual_seed(3)
batches = [{name: torch.randn(8, 2, 3, generator=generator) for name in ("a", "b")} for _ in range(6)]
codebook = torch.randn(9, 3, generator=generator)
given = {"codebook": codebook, "sums": codebook, "counts": torch.ones(9), "started": torch.tensor(True)}

def run(update, reset_after, state):
    torch.manual_seed(0)  # distributed engines hand out one state at the start
    each = Quantiser(9, 3, update=update, reset_after=reset_after)
    torch.manual_seed(rank)  # later draws differ
    each.load_state_dict({**each.state_dict(), **state})
    for batch in batches:
        with together():
            each({name: value[rank::world] for name, value in batch.items()})
    return each.state_dict()

found = {}
for update in ("safe", "reference", "paper"):
    for case, state in (("given", run(update, None, given)), ("reset", run(update, 1, {}))):
        found |= {f"{case}.{update}.{name}": value.clone() for name, value in state.items()}
save_file(found, f"{folder}/{world}-{rank}.safetensors")
if world > 1:
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()
"""


@pytest.mark.slow
def test_two_processes_are_one_batch(tmp_path: Path) -> None:
    """Half the rows each, the same codebook, which is that of all rows; starts and resets are those of the first."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    variables = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    ranks = [(0, 1), (0, 2), (1, 2)]
    commands = [[sys.executable, str(script), str(rank), str(world), str(tmp_path)] for rank, world in ranks]
    processes = [subprocess.Popen(command, env=variables) for command in commands]
    assert [process.wait(timeout=200) for process in processes] == [0, 0, 0]
    alone, first, second = (load_file(tmp_path / f"{world}-{rank}.safetensors") for rank, world in ranks)
    for name, value in first.items():
        assert torch.equal(value, second[name])
        if name.startswith("given"):
            torch.testing.assert_close(value, alone[name])
