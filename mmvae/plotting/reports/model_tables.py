"""What reports say of a model and of the data it looks at."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

from torch import nn

from mmvae.networks.steps import Steps
from mmvae.plotting.figures.inputs import spread
from mmvae.plotting.reports.page import Cell, Page, number
from mmvae.sources import Data, as_source
from mmvae.training.configuration import called, describe

_LOOKED_AT = 2000


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
