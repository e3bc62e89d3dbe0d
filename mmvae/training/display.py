"""The progress of training in the terminal."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from mmvae.literal import printable
from mmvae.training.journal import Row
from mmvae.training.run import Run
from mmvae.training.watchers import Progress, StepWatcher

_SECONDS_BETWEEN_DRAWINGS = 0.25


class Display(StepWatcher):
    """A bar with epoch, loss and ELBO; where the output is not a terminal, a line for each epoch instead.

    Args:
        epochs: Number of epochs of the run, in all stages.
        steps: Number of steps of an epoch.
    """

    def __init__(self, epochs: int, steps: int) -> None:
        from rich.console import Console

        self._epochs, self._steps = epochs, steps
        self._drawn = 0.0
        self._console = Console(stderr=True)
        self._bar: Any = None
        self._task: Any = None
        self._figures = ""
        self._stage: str | None = None

    def begin(self, run: Run) -> None:
        """Show the bar."""
        if self._console.is_terminal or self._console.is_jupyter:
            self._bar, self._task = _bar(self._console, self._epochs * self._steps)
            self._bar.start()

    def step(self, progress: Progress) -> None:
        """Move the bar; do nothing most of the time."""
        self._stage = progress.stage
        if progress.means is not None:
            self._figures = _figures(progress.means)
        if self._bar is None:
            return
        now = time.perf_counter()
        if now - self._drawn >= _SECONDS_BETWEEN_DRAWINGS:
            self._drawn = now
            self._draw(progress.epoch, progress.step)

    def epoch(self, rows: Sequence[Row], model: Any) -> None:
        """Show the figures of an epoch, those of validation last."""
        self._figures = "  ".join([_figures(rows[0]), *(f"{row['split']} {_figures(row, 1)}" for row in rows[1:])])
        epoch = rows[0]["epoch"]
        if self._bar is not None:
            self._draw(epoch, 0)
        else:
            self.say(f"{self._named(epoch)}  {self._figures}  {rows[0]['seconds']:.1f} s")

    def end(self, run: Run) -> None:
        """Leave the bar as it is."""
        if self._bar is not None:
            self._bar.stop()

    def say(self, text: str) -> None:
        """Print a line of text."""
        self._console.print(printable(text), highlight=False, markup=False, soft_wrap=True)

    def _draw(self, epoch: int, step: int) -> None:
        number = min(epoch + 1, self._epochs)
        self._bar.update(
            self._task,
            completed=epoch * self._steps + step,
            description=self._named(number),
            figures=self._figures,
        )
        self._bar.refresh()

    def _named(self, epoch: int) -> str:
        stage = "" if self._stage is None else f"{self._stage}, "
        return f"{stage}epoch {epoch}/{self._epochs}"


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
