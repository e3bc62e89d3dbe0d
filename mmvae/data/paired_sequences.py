"""Made-up clips: sequences in several modalities that share events in time, with all that is hidden known."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from mmvae.batch import Batch
from mmvae.data.reading import Split, checked_split
from mmvae.seeds import stream

WIDTHS: Mapping[str, int] = MappingProxyType({"audio": 32, "video": 48, "text": 24})
"""The modalities of :func:`paired_sequences` and the widths of their features."""

_PRIVATE_WIDTH = 4  # of a style, and of a walk
_PERSISTENCE = 0.8  # how much of a walk stays from one step to the next


@dataclass(frozen=True, eq=False)
class PairedSequences:
    """N clips of T steps, and what they were made of.

    Attributes:
        batch: features ``[N, T, width]`` by modality, float32, with a mask of the steps of descriptions; its labels are
            the classes, int64 ``[N]``.
        events: int64 ``[N, T]``, what happens at each step: what the modalities share.
        class_events: int64 ``[classes, k]``, ascending: the events of each class.
        styles: by modality, ``[N, 4]``: what is the same at all steps of a clip, and is its modality's own.
        walks: by modality that runs in time, ``[N, T, 4]``: what wanders from step to step, and is its modality's own.
    """

    batch: Batch
    events: Int64[Tensor, "N T"]
    class_events: Int64[Tensor, "C k"]
    styles: Mapping[str, Float[Tensor, "N 4"]]
    walks: Mapping[str, Float[Tensor, "N T 4"]]

    def __len__(self) -> int:
        return len(self.batch)

    @property
    def labels(self) -> Int64[Tensor, "N"]:
        """The class of each clip."""
        assert self.batch.labels is not None  # given when the batch is made
        return self.batch.labels


def paired_sequences(
    size: int,
    *,
    steps: int = 10,
    classes: int = 10,
    events: int = 12,
    events_per_class: int = 3,
    widths: Mapping[str, int] = WIDTHS,
    described: Collection[str] = ("text",),
    noise: float = 0.5,
    private: float = 2.0,
    seed: int = 0,
    split: Split = "train",
) -> PairedSequences:
    """Synthetic clips in which several modalities follow the same events, each in features of its own.

    A class is a set of events; classes have events in common, so that no single step tells the class. A clip goes
    through the events of its class once each, in random order, and stays with each for a random time. At a step, each
    modality that runs in time shows the vector that it has for the event, plus what is private to it: a style, the same
    at all steps of the clip, and a walk, which wanders around zero; plus noise. A description names the events of the
    class, one a step, in a random order of its own; then its steps are not there, and hold zeros.

    The vectors of the events have variance 1 in each feature; style and walk together have ``private`` squared, spread
    over fewer directions, so that they are what differs most between features. All that is hidden is independent of
    everything else, but for the events, which are drawn given the class. Classes are equally frequent.

    The splits of one seed share the world (the events of the classes, the vectors) and no clip.

    Args:
        size: N.
        steps: T.
        classes: how many.
        events: how many there are in the world.
        events_per_class: k.
        widths: of the features, by modality. If a width is at least ``events + 8``, events are a linear function of
            features without noise.
        described: the modalities that describe a clip; all others run in time.
        noise: standard deviation of the noise.
        private: standard deviation of what is private to a modality.
        seed: of the world and the clips.
        split: which clips of the world.

    Raises:
        ValueError: for a number out of its range, more classes than there are sets of events, a described modality
            without a width, or an unknown split.

    Example:
        >>> clips = paired_sequences(4, steps=6)
        >>> clips.batch.data["video"].shape, clips.events.shape
        (torch.Size([4, 6, 48]), torch.Size([4, 6]))
    """
    _check(size, steps, classes, events, events_per_class, widths, described, split)
    for what, value in (("noise", noise), ("private", private)):
        if not 0 <= value < math.inf:
            raise ValueError(f"{what}: expected a finite standard deviation of at least 0, got {value!r}.")
    class_events = _class_events(classes, events, events_per_class, stream(seed, "world", "classes"))
    labels = (torch.arange(size) % classes)[torch.randperm(size, generator=stream(seed, split, "classes"))]
    happening = _in_time(class_events[labels], steps, stream(seed, split, "events"))
    scale = private / math.sqrt(2)  # of style and walk each
    data: dict[str, Tensor] = {}
    styles: dict[str, Tensor] = {}
    walks: dict[str, Tensor] = {}
    for name, width in widths.items():
        vectors = torch.randn(events, width, generator=stream(seed, "world", name, "events"))
        style_map, walk_map = _private_map(width, seed, name, "style"), _private_map(width, seed, name, "walk")
        generator = stream(seed, split, name)
        styles[name] = torch.randn(size, _PRIVATE_WIDTH, generator=generator)
        own = scale * (styles[name] @ style_map).unsqueeze(1)
        if name in described:
            shown = _padded(_shuffled(class_events[labels], generator), steps)
        else:
            shown = happening
            walks[name] = _walk(size, steps, generator)
            own = own + scale * walks[name] @ walk_map
        data[name] = vectors[shown.clamp(min=0)] + own + noise * torch.randn(size, steps, width, generator=generator)
    there = (torch.arange(steps) < events_per_class).expand(size, steps)
    batch = Batch(data, {name: there for name in widths if name in described}, labels)
    return PairedSequences(batch, happening, class_events, styles, walks)


def _class_events(classes: int, events: int, per_class: int, generator: torch.Generator) -> Int64[Tensor, "C k"]:
    """Different sets of events; none occurs a second time before (nearly) all others have occurred."""
    sets: dict[tuple[int, ...], None] = {}
    while len(sets) < classes:
        order = torch.randperm(events, generator=generator)
        rounds = order[: events // per_class * per_class].reshape(-1, per_class)
        sets |= dict.fromkeys(tuple(each) for each in rounds.sort(1).values.tolist())
    return torch.tensor(list(sets)[:classes])


def _in_time(sets: Int64[Tensor, "N k"], steps: int, generator: torch.Generator) -> Int64[Tensor, "N T"]:
    """The events of each row in random order, each for at least a step, switching at random times."""
    size, per_class = sets.shape
    order = _shuffled(sets, generator)
    times = torch.rand(size, steps - 1, generator=generator).argsort(1)[:, : per_class - 1] + 1
    return order.gather(1, torch.zeros(size, steps, dtype=torch.int64).scatter_(1, times, 1).cumsum(1))


def _shuffled(sets: Int64[Tensor, "N k"], generator: torch.Generator) -> Int64[Tensor, "N k"]:
    """Each row in a random order of its own."""
    return sets.gather(1, torch.rand(sets.shape, generator=generator).argsort(1))


def _padded(values: Int64[Tensor, "N k"], steps: int) -> Int64[Tensor, "N T"]:
    """With -1 up to so many steps."""
    return torch.nn.functional.pad(values, (0, steps - values.shape[1]), value=-1)


def _private_map(width: int, seed: int, *name: str) -> Float[Tensor, "4 width"]:
    """To features of variance 1, from private numbers of variance 1."""
    return torch.randn(_PRIVATE_WIDTH, width, generator=stream(seed, "world", *name)) / math.sqrt(_PRIVATE_WIDTH)


def _walk(size: int, steps: int, generator: torch.Generator) -> Float[Tensor, "N T 4"]:
    """A walk that is drawn back to zero, so that it has variance 1 at every step."""
    moves = torch.randn(size, steps, _PRIVATE_WIDTH, generator=generator)
    places = [moves[:, 0]]
    for step in range(1, steps):
        places.append(_PERSISTENCE * places[-1] + math.sqrt(1 - _PERSISTENCE**2) * moves[:, step])
    return torch.stack(places, 1)


def _check(
    size: int,
    steps: int,
    classes: int,
    events: int,
    per_class: int,
    widths: Mapping[str, int],
    described: Collection[str],
    split: str,
) -> None:
    checked_split(split)
    for what, count in {
        "size": size,
        "classes": classes,
        **{f"{name}: width": width for name, width in widths.items()},
    }.items():
        if count < 1:
            raise ValueError(f"{what}: expected at least 1, got {count}.")
    if not widths:
        raise ValueError("widths: expected at least one modality.")
    unknown = [name for name in described if name not in widths]
    if unknown:
        raise ValueError(f"described: {', '.join(map(repr, unknown))} not among {', '.join(map(repr, widths))}.")
    if not 1 <= per_class <= min(steps, events):
        raise ValueError(
            f"events_per_class: expected 1 to {min(steps, events)} with {steps} steps and {events} events, got "
            f"{per_class}."
        )
    if classes > math.comb(events, per_class):
        raise ValueError(
            f"classes: there are only {math.comb(events, per_class)} sets of {per_class} of {events} events, got "
            f"{classes} classes; add events."
        )
