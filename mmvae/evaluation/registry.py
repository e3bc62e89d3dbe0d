"""The metrics of the library by name; families of models add theirs."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from mmvae.evaluation.context import Context
from mmvae.evaluation.results import Row

Metric = Callable[[Context], Iterable[Row]]
"""Gives the rows of one metric (see :func:`mmvae.evaluation.make_row`); raises :class:`Unavailable` where it cannot."""

METRICS: dict[str, Metric] = {}
"""The metrics of the library, by name."""
