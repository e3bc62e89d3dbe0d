"""Watchers: objects that follow a training run, epoch by epoch."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from mmvae.modes import mode
from mmvae.training.journal import Row
from mmvae.training.randomness import randomness_kept
from mmvae.training.run import Run

_CALLS = ("begin", "epoch", "end")


class Watcher:
    """Follows a training run: ``fit(watch=[...])`` calls it before the first epoch, after each one, and at the end.

    Any object with at least one of these three methods is a watcher. Inheriting from this class is optional: it
    documents the methods, and does nothing in each of them.

    Watchers look on and leave training as it is. The model is in evaluation mode while :meth:`epoch` runs, and the
    random generators are given back afterwards, so watchers may generate and draw.
    """

    def begin(self, run: Run) -> None:
        """Prepare for a run.

        Args:
            run: Model and folder of the run. ``run.metrics`` is empty, or holds the rows of the epochs before when the
                run is resumed.
        """

    def epoch(self, rows: Sequence[Row], model: Any) -> Literal["stop"] | None:
        """Look at an epoch that is completed and, if the run has a folder, in its checkpoint.

        Args:
            rows: Metrics of this epoch: the row of training and, with validation, that of validation after it.
            model: The model with its latest weights, in evaluation mode.

        Returns:
            ``"stop"`` to end training here, as if all epochs were done; otherwise ``None``.
        """
        return None

    def end(self, run: Run) -> None:
        """Close files and connections. Called however training ends, also after an error or Ctrl-C.

        Args:
            run: The run with all its metrics, as :func:`fit` returns it.
        """


class Progress(NamedTuple):
    """How far training has come within an epoch.

    Attributes:
        epoch: Number of completed epochs.
        step: Number of completed steps of the next one.
        stage: Name of the stage, ``None`` for a model without stages.
        means: Loss and terms, averaged over this epoch so far; ``None`` at the steps that do not compute them.
    """

    epoch: int
    step: int
    stage: str | None
    means: Mapping[str, float] | None


class StepWatcher(Watcher):
    """A watcher of the library that also follows the steps within an epoch, as the progress bar does."""

    def step(self, progress: Progress) -> None:
        """Look at a step that is completed."""


class Watchers:
    """The watchers of a run. They are called in turn, on the main process alone; the others hear the verdict.

    Args:
        watchers: Objects to call; empty on every process but the main one.
        agreed: Hands the main process's value to all processes.
        kept: Where training is kept when a watcher fails, for the error.
    """

    def __init__(self, watchers: Sequence[Any], agreed: Callable[[Any], Any], kept: str) -> None:
        self._watchers = list(watchers)
        self._steppers = [each for each in watchers if isinstance(each, StepWatcher)]
        self._agreed, self._kept = agreed, kept

    @contextlib.contextmanager
    def over(self, run: Callable[[], Run]) -> Iterator[None]:
        """Begins a run and, however training ends, ends it.

        Args:
            run: Gives the run as it is when called.
        """
        with contextlib.ExitStack() as stack:

            def begin() -> None:
                for watcher in self._watchers:
                    _call(watcher, "begin", run())
                    stack.callback(_end, watcher, run)

            with randomness_kept():
                self._on_main(begin)
            yield

    def step(self, progress: Progress) -> None:
        """Hands a step to the watchers that follow steps."""
        for watcher in self._steppers:
            watcher.step(progress)

    def epoch(self, rows: Sequence[Row], model: Any) -> str | None:
        """Hands an epoch to all watchers.

        Returns:
            The name of a watcher that wants training to stop, the same on all processes, or ``None``.

        Raises:
            ValueError: For an answer other than ``"stop"`` or ``None``.
            RuntimeError: On the other processes, if a watcher of the main one has failed.
        """

        def look() -> str | None:
            stops = []
            for watcher in self._watchers:
                answer = _call(watcher, "epoch", [dict(row) for row in rows], model)
                wants_to_stop = isinstance(answer, str) and answer == "stop"
                if answer is not None and not wants_to_stop:
                    raise ValueError(
                        f'watch: epoch() of {_name(watcher)} returned {answer!r}. Return "stop" to end training, or '
                        f"nothing."
                    )
                stops += [_name(watcher)] if wants_to_stop else []
            return next(iter(stops), None)

        if not self._watchers:
            return self._on_main(lambda: None)
        with mode(model, training=False), randomness_kept():
            return self._on_main(look)

    def _on_main(self, work: Callable[[], str | None]) -> str | None:
        """What the work gives on the main process, where it has watchers to call; if it fails, all processes raise."""
        result, failure = None, None
        try:
            result = work()
        except Exception as error:
            failure = error
        result, has_failed = self._agreed((result, failure is not None))
        if failure is not None:
            failure.add_note(self._kept)
            raise failure
        if has_failed:
            raise RuntimeError(f"a watcher on the main process failed; see its error there. {self._kept}")
        return result


def checked_watchers(watch: Any) -> list[Any]:
    """The watchers that were given, if each can be called.

    Raises:
        TypeError: For something that is not a list, a class in the place of its instance, or an object without any of
            the three methods.
    """
    if isinstance(watch, str) or not isinstance(watch, Sequence):
        raise TypeError(f"watch: expected a list of watchers, got {type(watch).__name__}; pass watch=[...].")
    for watcher in watch:
        if isinstance(watcher, type):
            raise TypeError(f"watch: {watcher.__name__} is a class; pass an instance, such as {watcher.__name__}().")
        if not any(callable(getattr(watcher, call, None)) for call in _CALLS):
            raise TypeError(
                f"watch: expected objects with a method begin, epoch or end, got {watcher!r}; see the page Watchers of "
                f"the documentation."
            )
    return list(watch)


def _call(watcher: Any, call: str, *arguments: Any) -> Any:
    """What a method of a watcher returns, ``None`` where it has none; its errors say whose they are."""
    method = getattr(watcher, call, None)
    if method is None:
        return None
    try:
        return method(*arguments)
    except Exception as error:
        error.add_note(f"The watcher {_name(watcher)} raised this in {call}().")
        raise


def _end(watcher: Any, run: Callable[[], Run]) -> None:
    _call(watcher, "end", run())


def _name(watcher: Any) -> str:
    return type(watcher).__name__
