"""The progress of training in the terminal."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any

from mmvae.training.journal import Row

_SECONDS_BETWEEN_DRAWINGS = 0.25


class Display:
    """A bar with epoch, loss and ELBO; where the output is no terminal, a line for each epoch instead.

    Args:
        shown: whether to show anything.
        epochs: of the run.
        steps: of an epoch.
    """

    def __init__(self, shown: bool, epochs: int, steps: int) -> None:
        self._epochs, self._steps = epochs, steps
        self._drawn = 0.0
        self._console: Any = None
        self._bar: Any = None
        self._task: Any = None
        self._figures = ""
        if not shown:
            return
        from rich.console import Console

        self._console = Console(stderr=True)
        if self._console.is_terminal or self._console.is_jupyter:
            self._bar, self._task = _bar(self._console, epochs * steps)

    def __enter__(self) -> Display:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def step(self, epoch: int, step: int) -> None:
        """Shows how far training has come; does nothing most of the time.

        Args:
            epoch: how many were completed.
            step: how many of the next were completed.
        """
        if self._bar is None:
            return
        now = time.perf_counter()
        if now - self._drawn >= _SECONDS_BETWEEN_DRAWINGS:
            self._drawn = now
            self._draw(epoch, step)

    def figures(self, means: Mapping[str, float]) -> None:
        """The figures to show from now on."""
        self._figures = _figures(means)

    def epoch(self, rows: Sequence[Row]) -> None:
        """Shows the figures of an epoch that was completed, the validation last."""
        self._figures = "  ".join([_figures(rows[0]), *(f"{row['split']} {_figures(row, 1)}" for row in rows[1:])])
        epoch = rows[0]["epoch"]
        if self._bar is not None:
            self._draw(epoch, 0)
        elif self._console is not None:
            self.say(f"epoch {epoch}/{self._epochs}  {self._figures}  {rows[0]['seconds']:.1f} s")

    def say(self, text: str) -> None:
        """A line of text."""
        if self._console is not None:
            self._console.print(text, highlight=False, markup=False, soft_wrap=True)

    def _draw(self, epoch: int, step: int) -> None:
        number = min(epoch + 1, self._epochs)
        self._bar.update(
            self._task,
            completed=epoch * self._steps + step,
            description=f"epoch {number}/{self._epochs}",
            figures=self._figures,
        )
        self._bar.refresh()


def _figures(means: Mapping[str, Any], how_many: int = 2) -> str:
    """The ELBO, if there is one, and the loss: as many of them as there is room for."""
    return " ".join([f"{name} {means[name]:.2f}" for name in ("elbo", "loss") if name in means][:how_many])


def _bar(console: Any, total: int) -> tuple[Any, Any]:
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    # No refreshing thread: it would compete with the training for the interpreter.
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=12),
        TextColumn("{task.fields[figures]}"),
        TimeRemainingColumn(),
        console=console,
        auto_refresh=False,
    )
    return bar, bar.add_task("epoch 1", total=total, figures="")
