"""The rows that are looked at before training: from them transforms are fitted."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Int64
from torch import Tensor, nn

from mmvae.batch import Batch
from mmvae.sources import InMemory, Placeable, Source
from mmvae.streams import Streamed
from mmvae.training.feed import Feed, RowFeed
from mmvae.training.randomness import randomness_kept, seed_generators
from mmvae.training.stream_feed import StreamFeed
from mmvae.transforms import Transform

_AT_HAND, _READ = 2**16, 2**12
"""The most rows of data in memory, and of data that must be read first."""

_NUMBERS, _LEAST = 2**20, 64
"""Numbers of data that must be read at which a sample is large enough, and rows that it has in any case."""


@runtime_checkable
class HasTransforms(Protocol):
    """A model with transforms or numeric covariates, whose scales come from the data; all of the library may have."""

    @property
    def needs_fitting(self) -> bool:
        """Whether some of them are not fitted yet."""

    def fit_transforms(self, batch: Batch) -> None:
        """Fit those that are not fitted yet."""


def settle_transforms(model: Any, sample: Callable[[], Batch], agreed: Callable[[Any], Any]) -> None:
    """Fit the transforms of a model to a sample of its training data, unless they are fitted already.

    Args:
        model: To train.
        sample: Gives the sample; not called for a model without transforms to fit.
        agreed: Hands the main process's value to all processes, whose samples may differ.
    """
    if not isinstance(model, HasTransforms) or not model.needs_fitting:
        return
    model.fit_transforms(sample())
    transforms = (
        [each for each in model.modules() if isinstance(each, Transform)] if isinstance(model, nn.Module) else []
    )
    buffers = [buffer for each in transforms for buffer in each.buffers()]
    for buffer, value in zip(buffers, agreed([each.cpu() for each in buffers]), strict=True):
        buffer.copy_(value)


def take_transforms(model: Any, saved: Mapping[str, Tensor]) -> None:
    """Give the transforms of a model the values that they have among saved weights and buffers."""
    for name, each in model.named_modules():
        if isinstance(each, Transform):
            each.load_state_dict({key: saved[f"{name}.{key}"] for key in each.state_dict()})


def sample_of_rows(source: Source, rows: Int64[Tensor, "N"]) -> Batch:
    """Chosen rows of a source: all, or of many as many as are enough, evenly spread.

    Generators and the state of the source are left as they were.
    """
    most = _AT_HAND if is_at_hand(source) else _READ
    if isinstance(source, InMemory) and len(source) == len(rows) <= most:
        return source.whole
    rows = rows[_evenly(len(rows), most)]
    if not is_at_hand(source):
        one = rows[:1]
        with RowFeed(source, one, 1).undisturbed(), randomness_kept():
            width = sum(value.numel() for value in source.batch(one).data.values())
        rows = rows[_evenly(len(rows), max(_LEAST, _NUMBERS // max(1, width)))]
    feed = RowFeed(source, rows, len(rows))
    with feed.undisturbed(), randomness_kept():
        seed_generators(0)
        return source.batch(rows)


def _evenly(count: int, most: int) -> Int64[Tensor, "K"]:
    """At most so many of ``count`` places, evenly spread."""
    return torch.linspace(0, count - 1, min(count, most), dtype=torch.float64).round().long()


def is_at_hand(source: Source) -> bool:
    """Whether the rows of a source lie in memory."""
    return isinstance(source, InMemory) or (isinstance(source, Placeable) and source.bytes_in_memory is not None)


def sample_of_stream(stream: Streamed, batch_size: int, seed: int) -> Batch:
    """The first batches of a stream, some thousand rows at most; generators and the stream are left as they were."""
    feed = StreamFeed(stream, batch_size, seed)
    with feed.undisturbed(), randomness_kept():
        return Batch.cat(_first(feed))


def _first(feed: Feed) -> Iterator[Batch]:
    rows = 0
    for batch in feed.shuffled(0):
        yield batch
        rows += batch.size
        width = sum(value.numel() for value in batch.data.values()) / max(1, batch.size)
        if rows >= _READ or (rows >= _LEAST and rows * width >= _NUMBERS):
            return
