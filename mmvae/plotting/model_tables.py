"""What reports say of a model and of the data it looks at."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

from torch import nn

from mmvae.nn.steps import Steps
from mmvae.nn.tokens import TokenEncoder, encoder_facts
from mmvae.plotting.inputs import spread
from mmvae.plotting.page import Cell, Page, number
from mmvae.sources import Data, as_source
from mmvae.training.configuration import called, describe

_LOOKED_AT = 2000
_HASH = 12


@runtime_checkable
class Described(Protocol):
    """Data that knows where it comes from, such as :class:`mmvae.data.MultimodalDataset`."""

    name: str
    sources_used: dict[str, str]
    notes: tuple[str, ...]


def sizes(model: nn.Module) -> tuple[int, int]:
    """How many parameters a model has, and how many of them learn."""
    every = [(parameter.numel(), parameter.requires_grad) for parameter in model.parameters()]
    return sum(count for count, _ in every), sum(count for count, learns in every if learns)


def write_data(page: Page, model: Any, data: Data) -> None:
    """A table of the modalities, and of how much of each there is."""
    batch = spread(data, _LOOKED_AT)
    sources = data.sources_used if isinstance(data, Described) else {}
    name = f"{data.name}: " if isinstance(data, Described) else ""
    page.heading("Data looked at")
    page.paragraph(f"{name}{len(as_source(data)):,} data points. Plots use some of them, evenly spread.")
    about = _about_modalities(model)
    rows: list[list[Cell]] = []
    for each in model.names:
        shape = batch.data[each].shape[1:] if each in batch.names else model.shapes[each] or ()
        there = float(batch.observed[each].float().mean()) if each in batch.names else 0.0
        rows.append([each, sources.get(each, ""), _product(shape), *about[each].values(), f"{there:.1%}"])
    columns = next(iter(about.values()))
    page.table(["modality", "source", "shape", *columns, f"observed (of {batch.size:,})"], rows)


def token_encoders(model: Any) -> dict[str, TokenEncoder]:
    """The token encoders of a model by modality; none for models of other networks."""
    found = getattr(model, "encoders", None)
    if not isinstance(found, nn.ModuleDict):
        return {}
    return {name: each for name, each in found.items() if isinstance(each, TokenEncoder)}


def write_encoders(page: Page, model: nn.Module, step: float | None) -> None:
    """A table of the token encoders of a model: which weights they have, and how much of them learns.

    Args:
        page: to write on.
        model: with token encoders.
        step: what a step of training took, in seconds, if that is known.
    """
    facts = {name: encoder_facts(encoder) for name, encoder in token_encoders(model).items()}
    page.table(
        ["modality", "encoder", "weights (SHA-256)", "frozen parameters", "trainable parameters"],
        [
            [name, each.name, each.hash[:_HASH], f"{each.frozen:,}", f"{each.trainable:,}"]
            for name, each in facts.items()
        ],
        "Encoders of equal weights and settings have equal hashes, so that a random one is not taken for a pretrained "
        "one.",
    )
    every, learning = sizes(model)
    pace = "" if step is None else f" A step of training took {number(1000 * step)} ms."
    page.paragraph(f"The whole model has {every:,} parameters, of which {learning:,} learn.{pace}")


def write_configuration(page: Page, configuration: Mapping[str, Any]) -> None:
    """The arguments of a model and the settings of its training, and everything that was written down of them."""
    flat: dict[str, Any] = dict(configuration["model"]["arguments"]) | dict(configuration.get("training", {}))
    if isinstance(flat.get("modalities"), list):  # the table of the data shows them
        del flat["modalities"]
    page.table(["setting", "value"], [[name, _plain(value)] for name, value in flat.items()])
    page.code(json.dumps(configuration, indent=2, ensure_ascii=False), "The whole configuration")


def _about_modalities(model: Any) -> dict[str, dict[str, str]]:
    """By modality, what is known of it besides its shape, by heading."""
    if hasattr(model, "modalities"):
        return {
            each.name: {
                "likelihood": called(describe(each.likelihood)),
                "weight in training": number(float(model.weights[each.name])),
            }
            for each in model.modalities
        }
    steps = getattr(model, "steps", None)
    if isinstance(steps, nn.ModuleDict):
        return {name: {"read as": str(steps[name])} for name in model.names if isinstance(steps[name], Steps)}
    return {name: {} for name in model.names}


def _plain(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, Mapping) and {"class", "yours"} & set(value):
        return called(value)
    if isinstance(value, Mapping):
        return "; ".join(f"{name}: {_plain(each)}" for name, each in value.items())
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _product(shape: tuple[int, ...]) -> str:
    return "\N{NO-BREAK SPACE}\N{MULTIPLICATION SIGN}\N{NO-BREAK SPACE}".join(map(str, shape))
