"""Who starts the processes of a training, and how many."""

from __future__ import annotations

import atexit
import gc
import os
from typing import Literal, NamedTuple

import torch.distributed

Starter = Literal["fit", "torchrun", "srun"]

_OPTION = {"torchrun": "--nproc-per-node", "srun": "--ntasks-per-node"}
"""That says how many processes to start on a machine."""

_SHELLS = ("bash", "interactive")
"""Names of jobs whose tasks are shells: a script that one of them runs is alone. Fabric goes by the same names."""


class Launch(NamedTuple):
    """Who starts the processes of a training, and how many."""

    by: Starter
    per_machine: int
    machines: int


def launch(devices: int) -> Launch:
    """What ``torchrun`` or ``srun`` has started, of which this process is one; a script need not repeat it.

    Otherwise there is one machine, on which ``fit`` starts as many processes as devices are asked for.

    Args:
        devices: of each machine, as asked for; 1 leaves it to ``torchrun`` and ``srun``.

    Raises:
        ValueError: for another number of devices than was started, or numbers of tasks that differ between machines.
    """
    started = _by_torchrun() or _by_srun()
    if started is None:
        return Launch("fit", devices, 1)
    if devices not in (1, started.per_machine):
        raise ValueError(
            f"devices: {devices} were asked for, but {started.by} started {started.per_machine} processes on this "
            f"machine; leave devices out, or call {started.by} {_OPTION[started.by]}={devices}."
        )
    return started


def leave_at_exit() -> None:
    """Let this process leave the others before Python shuts down.

    Otherwise threads of gloo still hold tensors of the last exchange, for which they would ask an interpreter that is
    gone; the process is then ended by SIGABRT, after all its work is done.
    """
    atexit.unregister(_leave)
    atexit.register(_leave)


def _leave() -> None:
    gc.collect()  # what wraps a model holds the group too, and its threads end with the last holder
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def _by_torchrun() -> Launch | None:
    if not (torch.distributed.is_available() and torch.distributed.is_torchelastic_launched()):
        return None
    here, everywhere = int(os.environ["LOCAL_WORLD_SIZE"]), int(os.environ["WORLD_SIZE"])
    return Launch("torchrun", here, everywhere // here)


def _by_srun() -> Launch | None:
    """The tasks of the step that this process is of; a batch script is not one of ``srun``, whatever it reserved."""
    tasks = int(os.environ.get("SLURM_STEP_NUM_TASKS", "1"))
    if tasks == 1 or os.environ.get("SLURM_JOB_NAME") in _SHELLS:
        return None
    machines = int(os.environ["SLURM_STEP_NUM_NODES"])
    per_machine = int(os.environ.get("SLURM_NTASKS_PER_NODE", "0"))  # which Fabric needs to be told
    if per_machine * machines != tasks:
        raise ValueError(
            f"devices: srun started {tasks} processes on {machines} machines, without saying that each has as many; "
            f"call srun --nodes={machines} --ntasks-per-node={max(1, tasks // machines)}."
        )
    return Launch("srun", per_machine, machines)
