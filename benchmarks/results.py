"""Tables of results, and the sections of the files that hold them."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import torch


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; the first column to the left, the others to the right."""
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def command() -> str:
    """The command that is running, as one would type it."""
    return shlex.join(["python", os.path.relpath(sys.argv[0]), *sys.argv[1:]])


def conditions(device: str = "cpu") -> str:
    """Hardware, threads and versions, as a list."""
    versions = ", ".join(f"{name} {_version(name)}" for name in ("mmvae", "multivae", "torch", "pyro-ppl"))
    where = torch.cuda.get_device_name() if device.startswith("cuda") else _processor()
    return "\n".join(
        [
            f"- command: `{command()}`",
            f"- hardware: {where}; {os.cpu_count()} processors, {torch.get_num_threads()} threads of PyTorch",
            f"- versions: Python {platform.python_version()}, {versions}; commit {_commit()}",
        ]
    )


def write_section(path: Path, title: str, heading: str, body: str) -> None:
    """Writes ``## heading`` and its body into a Markdown file, in the place of an older section of that heading."""
    text = path.read_text() if path.exists() else f"# {title}\n"
    head, *sections = re.split(r"(?m)^(?=## )", text)
    section = f"## {heading}\n\n{body.strip()}\n"
    kept = [each for each in sections if each.splitlines()[0] != f"## {heading}"]
    position = next((i for i, each in enumerate(sections) if each.splitlines()[0] == f"## {heading}"), len(kept))
    kept.insert(position, section)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(path.suffix + ".tmp")
    temporary.write_text("\n".join(part.strip() + "\n" for part in [head, *kept]))
    os.replace(temporary, path)


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "(not installed)"


def _commit() -> str:
    """Of the repository that holds this file."""
    try:
        words = ["git", "-C", str(Path(__file__).parent), "rev-parse", "--short", "HEAD"]
        return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "(no repository)"


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    names = re.findall(r"model name\s*:\s*(.+)", cpuinfo.read_text()) if cpuinfo.exists() else []
    return names[0] if names else platform.processor() or platform.machine()
