"""Where numbers come from: versions, hardware, command line, date."""

from __future__ import annotations

import os
import platform
import shlex
import sys
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from mmvae import __version__

_PACKAGES = {"Pyro": "pyro-ppl", "Lightning": "lightning", "NumPy": "numpy", "Matplotlib": "matplotlib"}


def provenance(model: Any | None = None) -> dict[str, str]:
    """What a report says about how it came to be, by heading.

    Args:
        model: whose device is named, if there is one.
    """
    facts = {
        "Written": datetime.now().astimezone().strftime("%d %B %Y, %H:%M (%Z)"),
        "Command": shlex.join([Path(sys.executable).name, *sys.argv]),
        "mmvae": __version__,
        "Python": platform.python_version(),
        "PyTorch": torch.__version__,
    }
    for name, package in _PACKAGES.items():
        try:
            facts[name] = version(package)
        except PackageNotFoundError:
            facts[name] = "not installed"
    if torch.version.cuda:
        facts["CUDA of PyTorch"] = torch.version.cuda
    facts["System"] = f"{platform.system()} {platform.release()}, {platform.machine()}"
    facts["Processor"] = f"{_processor()}, {os.cpu_count()} logical cores, {torch.get_num_threads()} threads used"
    if torch.cuda.is_available():
        facts["Accelerators"] = ", ".join(
            torch.cuda.get_device_name(place) for place in range(torch.cuda.device_count())
        )
    if model is not None:
        facts["Model lies on"] = str(next(iter(model.parameters())).device)
    return facts


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
