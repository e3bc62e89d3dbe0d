"""The names of a model's modalities, where they come as the keys of a dict."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mmvae.modality import check_name


def checked_modality_names(parts: Mapping[str, Any], what: str) -> tuple[str, ...]:
    """The keys of a dict by modality.

    Args:
        parts: ``{name: anything}``.
        what: the argument is called, for messages.

    Raises:
        ValueError: for an empty dict, or a name that is reserved.
        TypeError: for something that is no dict, or a name that is no string.
    """
    if not isinstance(parts, Mapping):
        raise TypeError(f"{what}: expected a dict by modality, got {type(parts).__name__}.")
    if not parts:
        raise ValueError(f"{what}: at least one modality is needed.")
    for name in parts:
        check_name(name)
    return tuple(parts)
