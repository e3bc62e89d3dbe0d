"""The parts of a data set that readers hand out."""

from __future__ import annotations

from typing import Literal, get_args

from mmvae.choices import check_choice

Split = Literal["train", "validation", "test"]


def checked_split(split: str) -> None:
    """Raises a ``ValueError`` unless it is one of the three."""
    check_choice("split", split, get_args(Split))
