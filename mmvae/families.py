"""What families of models tell each other: the core finds classifiers and codebooks here, and imports neither.

A family is a package of models. Its ``__init__`` registers the modules that hold its metrics and its sections of a
report. These are imported when ``evaluate`` and ``report`` need them, so that ``import mmvae`` stays light.
"""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Literal

Purpose = Literal["metrics", "report"]

_modules: dict[Purpose, list[str]] = {"metrics": [], "report": []}


def register(*, metrics: str | None = None, report: str | None = None) -> None:
    """Name the modules of a family, as dotted paths.

    Args:
        metrics: Module that adds metrics to :data:`mmvae.evaluation.METRICS` when it is imported.
        report: Module that adds sections to the report of a run when it is imported.
    """
    for purpose, module in (("metrics", metrics), ("report", report)):
        if module is not None and module not in _modules[purpose]:  # type: ignore[index]
            _modules[purpose].append(module)  # type: ignore[index]


def load(purpose: Purpose) -> list[ModuleType]:
    """Import the registered modules of one purpose, in the order of their registration."""
    return [importlib.import_module(name) for name in _modules[purpose]]
