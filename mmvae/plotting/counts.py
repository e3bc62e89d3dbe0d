"""Numbers of modalities in words."""

from __future__ import annotations

_WORDS = {"1": "one modality", "2": "two modalities", "3": "three modalities", "4": "four modalities"}


def modalities(count: int | str) -> str:
    """``"one modality"``, ``"two modalities"``, ...; beyond four in figures."""
    return _WORDS.get(str(count), f"{count} modalities")
