"""Sections of a run's report that families of models add."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from mmvae.abilities import Evaluated
from mmvae.plotting.figures.cells import Render
from mmvae.plotting.figures.scores import Scores
from mmvae.plotting.reports.page import Page
from mmvae.sources import Data


@dataclass(frozen=True)
class Reported:
    """What a section writes on and looks at.

    Attributes:
        page: Page of the report.
        folder: Folder of the run; figures go into its ``plots``.
        model: Model of the run.
        data: Held-out data.
        metrics: Rows of ``metrics.csv``.
        training: Settings of the training.
        evaluation: Scores of the model, or ``None``.
        render: By modality, a callable from one row's codes ``[*shape]`` to the string to show; or ``None``.
    """

    page: Page
    folder: Path
    model: Evaluated
    data: Data
    metrics: list[dict[str, Any]]
    training: Mapping[str, Any]
    evaluation: Scores | None
    render: Render | None


Place = Literal["before training", "after evaluation"]

Section = Callable[[Reported], None]
"""Writes a section with its heading, or nothing where the model is of another kind."""

SECTIONS: dict[Place, list[Section]] = {"before training": [], "after evaluation": []}


def section(place: Place) -> Callable[[Section], Section]:
    """Add the decorated function to the sections of every report, at this place."""

    def add(write: Section) -> Section:
        SECTIONS[place].append(write)
        return write

    return add
