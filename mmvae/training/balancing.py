"""``weights="auto"``: weights of the modalities chosen by short runs, judged by how well hidden data is filled in."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol, cast, runtime_checkable

import torch
from torch import Tensor, nn

from mmvae.batch import Batch
from mmvae.modality import Modality
from mmvae.modes import mode
from mmvae.objectives import Objective
from mmvae.seeds import derive_seed, seeded
from mmvae.sources import InMemory
from mmvae.storage import read_json
from mmvae.training.config_file import CONFIG_FILE
from mmvae.training.feed import RowFeed, split
from mmvae.training.hidden_data import HiddenData
from mmvae.training.saving import set_tensors, tensors_of
from mmvae.training.settings import Settings

_WEIGHTS = "weights"

_STEPS = 300
"""Steps of each short run, however long the whole run: a longer one that goes on from a folder chooses the same."""

_HELD_OUT, _MOST_HELD_OUT, _HIDINGS = 0.25, 1000, 5
"""Share of the rows by which the runs are judged, the most of them, and how often other data of them is hidden."""


@runtime_checkable
class ChoosesWeights(Protocol):
    """A model whose weights of the modalities may be left to ``fit``; all that generate are such."""

    modalities: tuple[Modality, ...]
    weights: dict[str, float]
    weights_are_open: bool
    epoch: Tensor

    def choose_weights(self, weights: Mapping[str, float]) -> None:
        """Take weights, which are then no longer open."""


class Choice(NamedTuple):
    """What short runs found.

    Attributes:
        weights: ``{name: weight}`` of the best candidate.
        words: A line for a reader: each candidate with its error.
    """

    weights: dict[str, float]
    words: str


def are_open(model: Any) -> bool:
    """Whether ``fit`` is to choose the weights of a model's modalities."""
    return isinstance(model, ChoosesWeights) and model.weights_are_open


def chosen_before(folder: Path | None) -> dict[str, float] | None:
    """The weights that the run in a folder chose; ``None`` without such a run."""
    if folder is None or not (folder / CONFIG_FILE).exists():
        return None
    configuration = read_json(folder / CONFIG_FILE)
    training = configuration.get("training") if isinstance(configuration, dict) else None
    return training.get(_WEIGHTS) if isinstance(training, dict) else None


def candidates(modalities: tuple[Modality, ...], own: Mapping[str, float]) -> dict[str, dict[str, float]]:
    """The weights that are tried, by name.

    ``"balanced"`` gives every modality the weight of the largest, so the KL term weighs less beside all of them.
    ``"scaled down"`` gives every modality that of the smallest, so the KL term weighs as beside the smallest alone.

    Args:
        modalities: Of the model.
        own: Their own weights.
    """
    sizes = {each.name: each.size for each in modalities}
    least, most = min(sizes.values()), max(sizes.values())
    made = {
        "own": dict(own),
        "balanced": {name: most / size for name, size in sizes.items()},
        "scaled down": {name: least / size for name, size in sizes.items()},
        "half scaled down": {name: math.sqrt(least / size) for name, size in sizes.items()},
    }
    return {name: weights for place, (name, weights) in enumerate(made.items()) if _is_first(weights, place, made)}


def _is_first(weights: dict[str, float], place: int, made: Mapping[str, dict[str, float]]) -> bool:
    return weights not in list(made.values())[:place]


def choose(
    model: ChoosesWeights, sample: Batch, settings: Settings, make: Callable[[], torch.optim.Optimizer]
) -> Choice:
    """Train the model for some steps with each candidate, and take that which fills in hidden rows best.

    All candidates begin from the same weights and see the same batches. The model is then as it was before.

    Args:
        model: To train; its transforms are fitted.
        sample: Training data.
        settings: Batch size, seed, and the norm to which gradients are scaled down.
        make: Makes an optimiser of the model.

    Raises:
        ValueError: For data that cannot judge (no row has two modalities), or a model that trains in stages.
    """
    if getattr(model, "stages", ()) or getattr(model, "inner_steps", 0):
        raise ValueError(
            'weights: "auto" tries weights in short runs, and this model trains in several stages or with '
            'inner steps. Pass weights by name, "balanced" or None.'
        )
    tried = candidates(model.modalities, model.weights)
    if len(model.modalities) == 1 or len(tried) == 1:
        return Choice(dict(model.weights), "")
    module = cast("nn.Module", model)
    before = {name: value.clone() for name, value in tensors_of(module).items()}
    own = model.weights
    errors = {}
    try:
        for name, weights in tried.items():
            set_tensors(module, before)
            model.weights = weights
            errors[name] = _error(model, sample, settings, make())
    finally:
        model.weights = own
        set_tensors(module, before)
        module.zero_grad(set_to_none=True)
    best = min(errors, key=lambda name: errors[name])
    figures = ", ".join(f"{name} {error:.3f}" for name, error in errors.items())
    told = ", ".join(f"{name!r}: {weight:.4g}" for name, weight in tried[best].items())
    return Choice(tried[best], f"weights: {best}, {{{told}}}. Error of hidden data after short runs: {figures}.")


def _error(model: ChoosesWeights, sample: Batch, settings: Settings, optimizer: torch.optim.Optimizer) -> float:
    """The error with which the model fills in hidden rows after a short run, a mean over modalities.

    A modality that is filled in worse than by its mean counts 1: such an image would outweigh all that the others gain.
    The error is infinite if the run diverges.
    """
    module = cast("nn.Module", model)
    rows, held_out = split(len(sample), min(_HELD_OUT, _MOST_HELD_OUT / len(sample)), settings.seed)
    source = InMemory(sample)
    training = RowFeed(source, rows, min(settings.batch_size, len(rows)), settings.seed)
    validation = RowFeed(source, held_out, settings.batch_size, settings.seed)
    objective = getattr(model, "objective", None)
    if isinstance(objective, Objective):
        model.epoch.fill_(objective.settled_after)  # schedules of weights at their end
    with seeded(derive_seed(settings.seed, "weights"), sample.device):
        with mode(module, training=True), torch.enable_grad():
            for batch in _batches(training, _STEPS):
                optimizer.zero_grad()
                loss = cast("Any", model).loss(batch).total
                if not bool(loss.isfinite()):
                    return math.inf
                loss.backward()
                if settings.max_grad_norm is not None:
                    nn.utils.clip_grad_norm_(module.parameters(), settings.max_grad_norm)
                optimizer.step()
        with mode(module, training=False), torch.no_grad():
            errors = [_hidden_error(model, training, validation, seed) for seed in range(_HIDINGS)]
    return sum(errors) / _HIDINGS


def _hidden_error(model: Any, training: RowFeed, validation: RowFeed, seed: int) -> float:
    hidden = HiddenData(model, training, validation, seed, asked_by='weights: "auto"')
    shares = [hidden.by_modality(step, batch) for step, batch in enumerate(validation.in_order())]
    errors = [float(torch.stack([share[name] for share in shares]).sum()) for name in shares[0]]
    return sum(min(error, 1.0) for error in errors) / len(errors) if all(map(math.isfinite, errors)) else math.inf


def _batches(feed: RowFeed, steps: int) -> Iterator[Batch]:
    """So many batches, in epochs."""
    epoch = 0
    while steps > 0:
        for batch in feed.shuffled(epoch):
            yield batch
            steps -= 1
            if steps == 0:
                return
        epoch += 1
