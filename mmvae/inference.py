"""Inference on data of any size: batches, devices, progress."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Protocol, cast, runtime_checkable

import torch
from torch import nn

from mmvae.batch import Batch
from mmvae.distributions import concatenate
from mmvae.latents import Latents
from mmvae.nn.mode import mode
from mmvae.sources import Data, as_source
from mmvae.subsets import Subset

_LONG_WORK = 50
"""From this many batches on, progress is shown."""


@runtime_checkable
class Infers(Protocol):
    """A model that infers; every model of the library does."""

    def infer(self, batch: Any, subset: Subset = None, observed: Any = None) -> Latents:
        """The posterior of one batch."""


def infer(
    model: Infers,
    data: Data,
    subset: Subset = None,
    *,
    observed: Mapping[str, Any] | None = None,
    batch_size: int = 1024,
    progress: bool | None = None,
) -> Latents:
    """The posterior of every datum given a subset of its modalities.

    Runs without gradients and in evaluation mode, on the model's device, a batch at a time.

    Args:
        model: any model of the library.
        data: a dict of tensors or arrays, a :class:`~mmvae.Batch`, or a dataset (see :func:`mmvae.sources.as_source`).
        subset: one name, several in any order, or ``None`` for all that is observed.
        observed: ``{name: bool [N]}``, beside the data or in the batch.
        batch_size: rows at a time; does not change the answer.
        progress: show a bar; by default only for long work.

    Returns:
        The latents of all N data points.

    Raises:
        ValueError: if the data does not fit the model or does not hold the subset.

    Example:
        >>> import torch, mmvae
        >>> from mmvae import Modality, likelihoods, models
        >>> vae = models.MVAE([Modality(name, (4,), likelihoods.Normal()) for name in ("a", "b")], latent_dim=2)
        >>> mmvae.infer(vae, {"a": torch.randn(5, 4)}, subset="a").mean.shape
        torch.Size([5, 2])
    """
    with torch.no_grad(), mode(cast(nn.Module, model), training=False):
        parts = [model.infer(batch, subset) for batch in _batches(data, observed, batch_size, progress)]
    return Latents(concatenate([part.distribution for part in parts]), parts[0].subset)


def _batches(data: Any, observed: Any, batch_size: int, progress: bool | None) -> Iterator[Batch]:
    source = as_source(data, observed)
    starts = range(0, len(source), batch_size)
    shown: Any = starts
    if progress or (progress is None and len(starts) >= _LONG_WORK):
        from rich.progress import track

        shown = track(starts, description="inferring")
    for start in shown:
        yield source.batch(torch.arange(start, min(start + batch_size, len(source))))
