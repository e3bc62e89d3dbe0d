"""What PyTorch's profiler says of a step: the tensors it holds at most, and where its time goes."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

import torch
from timing import Step
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile


def peak_allocated(step: Step, device: str = "cpu") -> float:
    """MiB of tensors that a step holds at most, above what was there when it began.

    On CUDA what PyTorch's allocator counts; on the CPU the sum of all allocations and releases that the profiler
    reports. The resident set of the process would say more about the allocator of the system than about a step.
    """
    if device.startswith("cuda"):
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        step()
        torch.cuda.synchronize()
        return (torch.cuda.max_memory_allocated() - before) / 2**20
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        step()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.json"
        profiler.export_chrome_trace(str(path))
        events = json.loads(path.read_text())["traceEvents"]
    changes = [(event["ts"], event["args"]["Bytes"]) for event in events if event.get("name") == "[memory]"]
    return highest(change for _, change in sorted(changes, key=lambda each: each[0])) / 2**20


def highest(changes: Iterable[int]) -> int:
    """The most that a sum of changes comes to on its way; zero, where it never rises."""
    total = most = 0
    for change in changes:
        total += change
        most = max(most, total)
    return most


def busy_share(step: Step, steps: int = 20) -> float:
    """The part of the time of some steps in which a CUDA device computes or copies.

    The profiler slows the processor and not the device, so that the share is rather too small.
    """
    torch.cuda.synchronize()
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as profiler:
        start = time.perf_counter()
        for _ in range(steps):
            step()
        torch.cuda.synchronize()
        seconds = time.perf_counter() - start
    spans = [
        (event.time_range.start, event.time_range.end)
        for event in profiler.events()
        if event.device_type == DeviceType.CUDA
    ]
    return covered(spans) / (1e6 * seconds)


_NETWORK = ("convolution", "mm", "addmm", "bmm", "baddbmm")
"""What layers of networks come down to, by the ends of the names of PyTorch's operators."""


def network_share(step: Step, steps: int = 5) -> float:
    """The part of the processor's time of some steps that convolutions and products of matrices take, with gradients.

    It is what a library cannot save that computes the same networks on the same data.
    """
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        for _ in range(steps):
            step()
    seconds = {event.key: event.self_cpu_time_total for event in profiler.key_averages()}
    return sum(taken for name, taken in seconds.items() if is_network(name)) / sum(seconds.values())


def is_network(name: str) -> bool:
    """Whether an operator of PyTorch is a convolution or a product of matrices, or the gradient of one."""
    return name.startswith("aten::") and name.removesuffix("_backward").endswith(_NETWORK)


def covered(spans: Iterable[tuple[float, float]]) -> float:
    """The length of what some spans cover together."""
    total, end = 0.0, float("-inf")
    for start, stop in sorted(spans):
        total += max(0.0, stop - max(start, end))
        end = max(end, stop)
    return total
