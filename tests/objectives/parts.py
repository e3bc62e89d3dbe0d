"""Small models for the tests of objectives."""

from __future__ import annotations

from typing import Any

from mmvae import models
from mmvae.testing import ModelContract


class Parts(ModelContract):
    """The modalities, data and masks of the contract: real numbers, bits and codes."""

    def make_model(self, modalities: Any) -> Any:
        raise NotImplementedError


def make(kind: str, count: int = 3, **arguments: Any) -> tuple[Any, dict[str, Any]]:
    """A model over the first modalities of the contract, and data for it."""
    parts = Parts()
    modalities = parts.make_modalities()[:count]
    data = {modality.name: parts.make_data()[modality.name] for modality in modalities}
    return getattr(models, kind)(modalities, 2, **arguments), data
