"""How much memory is free, on machines and in containers that are folders of a test."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from mmvae import free_memory as module
from mmvae.free_memory import free_memory

CPU = torch.device("cpu")
MIB = 2**20
HUGE = 9223372036854771712
"""What the first version says where there is no limit."""


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Puts a file into a system of which 1000 MiB are free."""

    def write(name: str, text: str) -> None:
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    monkeypatch.setattr(module, "_ROOT", tmp_path)
    write("proc/meminfo", f"MemTotal:       9999999 kB\nMemFree:         5 kB\nMemAvailable:    {1000 * 1024} kB\n")
    return write


Write = Callable[[str, str], None]


def limited(write: Write, group: str, limit: int | str, usage: int, cache: int | None = None) -> None:
    """A group of the second version, in MiB."""
    folder = f"sys/fs/cgroup/{group}"
    write(f"{folder}/memory.max", f"{limit if isinstance(limit, str) else limit * MIB}\n")
    write(f"{folder}/memory.current", f"{usage * MIB}\n")
    if cache is not None:
        write(f"{folder}/memory.stat", f"anon 77\nactive_file 99\ninactive_file {cache * MIB}\nslab 3\n")


def limited_v1(write: Write, group: str, limit: int, usage: int, cache: int) -> None:
    """A group of the first version, in MiB."""
    folder = f"sys/fs/cgroup/memory/{group}"
    write(f"{folder}/memory.limit_in_bytes", f"{limit * MIB}\n")
    write(f"{folder}/memory.usage_in_bytes", f"{usage * MIB}\n")
    write(f"{folder}/memory.stat", f"cache 1\ninactive_file 5\ntotal_inactive_file {cache * MIB}\n")


def test_of_this_machine() -> None:
    free = free_memory(CPU)
    assert free is None or free > 0


def test_machines_without_groups(write: Write) -> None:
    assert free_memory(CPU) == 1000 * MIB


def test_systems_that_say_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_ROOT", tmp_path)
    monkeypatch.setattr(module.os, "sysconf", {"SC_AVPHYS_PAGES": 3, "SC_PAGE_SIZE": 4096}.__getitem__)
    assert free_memory(CPU) == 3 * 4096
    monkeypatch.delattr(module.os, "sysconf")
    assert free_memory(CPU) is None


def test_a_group_and_those_around_it(write: Write) -> None:
    """The nearest limit counts, wherever it stands; cached files are free."""
    write("proc/self/cgroup", "0::/slurm/job_7/step_0\n")
    limited(write, "slurm/job_7/step_0", "max", 30)
    assert free_memory(CPU) == 1000 * MIB
    limited(write, "slurm", 600, 100, 0)
    assert free_memory(CPU) == 500 * MIB
    limited(write, "slurm/job_7", 400, 300)
    assert free_memory(CPU) == 100 * MIB
    limited(write, "slurm/job_7", 400, 300, 50)
    assert free_memory(CPU) == 150 * MIB
    limited(write, "slurm/job_8", 1, 1)  # another job's
    assert free_memory(CPU) == 150 * MIB


def test_more_than_the_limit_is_used(write: Write) -> None:
    write("proc/self/cgroup", "0::/\n")
    limited(write, "", 400, 401)
    assert free_memory(CPU) == 0


@pytest.mark.parametrize("path", ["/", "/docker/3f2a/of-the-host", "/../outside"])
def test_a_container_that_sees_its_group_as_the_root(write: Write, path: str) -> None:
    write("proc/self/cgroup", f"0::{path}\n")
    limited(write, "", 300, 200, 20)
    assert free_memory(CPU) == 120 * MIB


def test_the_first_version(write: Write) -> None:
    """Beside the second, which holds no limits of memory then."""
    write("proc/self/cgroup", "12:cpu,cpuacct:/docker/a\n4:memory:/docker/a\n1:name=systemd:/a:b\n0::/docker/a\n")
    for name, value in (("limit", HUGE), ("usage", 5)):
        write(f"sys/fs/cgroup/memory/memory.{name}_in_bytes", str(value))
    assert free_memory(CPU) == 1000 * MIB
    limited_v1(write, "docker", 900, 50, 0)
    assert free_memory(CPU) == 850 * MIB
    limited_v1(write, "docker/a", 400, 300, 100)
    assert free_memory(CPU) == 200 * MIB


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_of_a_gpu() -> None:
    device = torch.device("cuda", 0)
    free = free_memory(device)
    assert free is not None
    assert 0 < free <= torch.cuda.get_device_properties(device).total_memory
