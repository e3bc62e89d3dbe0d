"""What families of models tell each other: the core finds classifiers and codebooks here, and imports neither.

A family is a package of models. Its ``__init__`` publishes the classes that a saved description may name, and
registers the modules that hold its metrics and its sections of a report. These are imported when ``evaluate`` and
``report`` need them, so that ``import mmvae`` stays light.
"""

from __future__ import annotations

import importlib
from types import ModuleType, SimpleNamespace
from typing import Any, Literal

models = SimpleNamespace()
"""Models that a description may name, by the name of their class."""

networks = SimpleNamespace()
"""Networks that a description may name."""

Purpose = Literal["metrics", "report"]

_modules: dict[Purpose, list[str]] = {"metrics": [], "report": []}


def publish(namespace: SimpleNamespace, *parts: Any) -> None:
    """Add classes and functions, by their names, to :data:`models` or :data:`networks`."""
    for part in parts:
        setattr(namespace, part.__name__, part)


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
