"""Where the runs of an experiment lie."""

from __future__ import annotations

from pathlib import Path


def run_folder(root: Path, name: str, seed: int) -> Path:
    """The folder of one variant, which tables may call anything, and one seed."""
    slug = "".join(letter if letter.isalnum() else "-" for letter in name.lower())
    return root / slug / f"seed{seed}"
