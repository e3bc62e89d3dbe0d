"""The loop: epochs of steps, validation, checkpoints, and what to do when something stops it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mmvae.modes import mode
from mmvae.seeds import derive_seed
from mmvae.training.alike import alike
from mmvae.training.checkpoint import Checkpoints, Position, State
from mmvae.training.diverging import Divergence, advice
from mmvae.training.engine import Engine
from mmvae.training.feed import Feed
from mmvae.training.hidden_data import IMPUTATION, HiddenData, imputation_term
from mmvae.training.journal import Row, metrics_row
from mmvae.training.means import Means, mean_of
from mmvae.training.plan import Planned, in_stage
from mmvae.training.randomness import random_state, randomness_kept, seed_generators, set_random_state
from mmvae.training.run import Run, score
from mmvae.training.saving import set_tensors, tensors_of, weights_position, write_weights
from mmvae.training.seen import Seen
from mmvae.training.settings import Settings
from mmvae.training.switches import Interrupts
from mmvae.training.watchers import Progress, Watchers

_STEPS_BETWEEN_CHECKS = 50
"""How often the loop waits for the device, to see whether the loss is still finite."""

_VALIDATION = "validation"
_OTHER_PROCESSES = "other processes"


@dataclass
class _Best:
    """The weights of the epoch with the highest score in a stage."""

    stage: int
    epoch: int
    score: float
    tensors: dict[str, Tensor]


class Loop:
    """Trains a model on an engine, one stage after another; epochs are counted through all stages.

    It knows of the model no more than ``loss(batch)``, ``epoch`` and its weights.

    Args:
        model: to train, on the device of the engine.
        engine: which takes the steps.
        set_up: Sets the model up on the engine, with a fresh optimiser of what then requires gradients.
        stages: Plan of the run.
        feed: of the training data.
        validation: its feed, or ``None``.
        settings: of the run.
        checkpoints: where to keep them.
    """

    def __init__(
        self,
        model: Any,
        engine: Engine,
        set_up: Callable[[], None],
        stages: Sequence[Planned],
        feed: Feed,
        validation: Feed | None,
        settings: Settings,
        checkpoints: Checkpoints,
    ) -> None:
        self.model = model
        self.rows: list[Row] = []
        self._engine = engine
        self._set_up = set_up
        self._stages = tuple(stages)
        self._at = 0  # the stage
        self._begun = 0  # how many epochs were completed when it began
        self._in_stage = contextlib.ExitStack()
        self._feed = feed
        self._validation = validation
        self._settings = settings
        self._checkpoints = checkpoints
        self._epoch = 0  # how many were completed
        self._step = 0  # how many of the next epoch were completed
        self._seconds = 0.0  # spent on them
        self._means = Means()
        self._seen = Seen(model)
        self._divergence = Divergence(model.names)
        self._hidden: HiddenData | None = None  # of runs that imputation judges
        self._best: _Best | None = None
        self._epochs_before = float(model.epoch)  # when the stage began
        self._settled = True  # whether everything is as it is between two steps
        self._last_written = time.perf_counter()

    @property
    def steps(self) -> int:
        """Of an epoch."""
        return self._feed.steps

    @property
    def best_epoch(self) -> int | None:
        """The epoch of the highest score in validation, in the latest stage that has one."""
        return None if self._best is None else self._best.epoch

    @property
    def _stage(self) -> Planned:
        return self._stages[self._at]

    def start(self, state: State | None) -> None:
        """Makes ready to train, from the beginning or from a checkpoint. The generators must be seeded before.

        Args:
            state: Of the checkpoint. With another number of processes than wrote it, the data is the same and the draws
                are others.

        Raises:
            ValueError: If validation does not record the term that was chosen, or the epochs of a stage that is over
                have changed.
        """
        if state is not None:
            self._require_same_past(state["stages"])
            set_tensors(self.model, state["model"])
            self._begun, self._epoch = state["stages"]["begun"], state["epoch"]
        self._enter(self._next_stage(0) if state is None else state["stages"]["at"])
        if state is not None:
            self._resume(state)
        self._require_terms()

    def leave(self) -> None:
        """Gives the model its objective and frozen parts back as they were; training is over."""
        self._in_stage.close()

    def _resume(self, state: State) -> None:
        """Takes up a stage where a checkpoint was written."""
        rank = self._engine.rank
        self._engine.restore(state["engine"])
        self._step, self._seconds = state["step"], state["seconds"]
        self._epochs_before = state["epochs_before"]
        self.rows = list(state["rows"])
        self._best = None if state["best"] is None else _Best(**state["best"])
        means, random, sources = state["means"], state["random"], state["sources"]
        self._feed.restore(sources[rank % len(sources)])
        self._repair_weights()
        if len(random) == self._engine.world:
            self._means = Means.restore(means[rank], self._engine.device)
            set_random_state(random[rank])
            return
        # Other processes than those which wrote it: what was counted goes to the first, and all draw anew.
        self._means = Means.merged(means, self._engine.device) if rank == 0 else Means()
        turn = derive_seed(self._settings.seed, _OTHER_PROCESSES, self._epoch * self.steps + self._step)
        seed_generators(derive_seed(turn, self._engine.world, rank))

    def run(self, watchers: Watchers, interrupts: Interrupts, say: Callable[[str], None]) -> Run:
        """Trains until all epochs are done, validation no longer improves, or a watcher wants to stop.

        However it ends, the model holds the best weights, if there was a validation.

        Args:
            watchers: follow the run.
            interrupts: says when Ctrl-C was pressed.
            say: takes a line for the user.

        Returns:
            The run.

        Raises:
            FloatingPointError: if the loss or a weight is no longer finite.
            KeyboardInterrupt: on Ctrl-C, after a checkpoint was written.
            SystemExit: On SIGTERM, after a checkpoint was written.
        """
        with watchers.over(self._report):
            try:
                if self._epoch == self._step == 0:
                    self._write_checkpoint()  # now, so that a folder that cannot be written is known at once
                while self._train_stage(watchers, interrupts, say) and self._advance():
                    pass
            except (KeyboardInterrupt, SystemExit):
                self._stop(say)
                raise
            finally:
                if self._best is not None and self._settings.restore_best:
                    set_tensors(self.model, self._best.tensors)
                self.leave()
        return self._report()

    # Stages.

    def _enter(self, stage: int) -> None:
        """Lets the parts of a stage learn, and no others, for its objective and with a fresh optimiser."""
        self._in_stage.close()
        self._at = stage
        self._divergence = Divergence(self.model.names)
        self._in_stage.enter_context(in_stage(self.model, self._stage))
        self._set_up()

    def _advance(self) -> bool:
        """Begins the next stage that has epochs, from the best weights of this one; whether there is one."""
        following = self._next_stage(self._at + 1)
        if following == len(self._stages):
            return False
        self._settled = False
        if self._best is not None and self._best.stage == self._at and self._settings.restore_best:
            set_tensors(self.model, self._best.tensors)
        self._begun, self._epochs_before = self._epoch, float(self.model.epoch)
        self._enter(following)
        self._settled = True
        self._write_checkpoint()
        return True

    def _next_stage(self, first: int) -> int:
        """The first stage from one on that has epochs."""
        return next((at for at in range(first, len(self._stages)) if self._stages[at].epochs), len(self._stages))

    def _require_same_past(self, saved: Mapping[str, Any]) -> None:
        for stage, epochs in zip(self._stages[: saved["at"]], saved["epochs"], strict=False):
            if stage.epochs != epochs:
                raise ValueError(
                    f"epochs: stage {stage.name!r} of this run is over; it was planned with {epochs} epochs and cannot "
                    f"have {stage.epochs}. Pass epochs={{{stage.name!r}: {epochs}, ...}}, or choose another folder."
                )

    def _require_terms(self) -> None:
        """Raises a ``ValueError`` unless validation records the terms that were chosen; looks at its first batch."""
        stages = [stage for stage in self._stages[self._at :] if stage.is_judge_chosen]
        if self._validation is None or not stages:
            return
        with self._evaluating(self._validation, self._epoch), torch.no_grad():
            batch = next(self._validation.in_order(), None)
            if batch is None:  # with fewer rows than processes
                return
            for stage in stages:
                with in_stage(self.model, stage):
                    loss = self.model.loss(batch)
                terms = {name: float(value) for name, value in loss.terms.items()}
                if stage.judge is not None and stage.judge.term == IMPUTATION:
                    self._hidden = HiddenData(self.model, self._feed, self._validation, self._settings.seed)
                    terms[IMPUTATION] = 1.0
                score({"loss": float(loss.total), **terms}, stage.judge)

    def _report(self) -> Run:
        """The run as it is now; what is done to its rows does not change those of the loop."""
        return Run(self.model, self._checkpoints.folder, [dict(row) for row in self.rows], self.best_epoch)

    def _train_stage(self, watchers: Watchers, interrupts: Interrupts, say: Callable[[str], None]) -> bool:
        """The epochs that are left of the stage; whether training goes on."""
        while self._epoch - self._begun < self._stage.epochs and not self._is_exhausted():
            self._train(watchers, interrupts)
            rows = self._close_epoch(interrupts)
            self._write_checkpoint()  # before watchers look, so that an epoch is kept whatever they do
            self._write_weights()
            stopping = watchers.epoch(rows, self.model)
            if stopping is not None:
                say(f"stopped after {self._epoch} epochs by the watcher {stopping}")
                return False
            interrupts.grant()
        return True

    def _is_exhausted(self) -> bool:
        patience, best = self._settings.patience, self._best
        if patience is None or best is None or best.stage != self._at:
            return False
        return self._epoch - best.epoch >= patience

    def _train(self, watchers: Watchers, interrupts: Interrupts) -> None:
        """The steps of an epoch that are left of it."""
        started = time.perf_counter() - self._seconds
        batches = self._feed.shuffled(self._epoch, self._step)
        while self._step < self._feed.steps:
            self._settled = False
            batch = next(batches)
            if self._engine.world > 1 and not self._feed.is_uniform:
                batch = alike(batch, self._engine.gather)
            epochs = self._epoch + self._step / self._feed.steps
            within = epochs - self._begun
            self._fill_epoch(within if self._is_staged else self._epochs_before + within)
            loss, terms = self._engine.step(batch, within / self._stage.epochs)
            if self._is_staged:
                self._set_epoch(epochs)
            self._means.add(self._step, batch, loss, terms)
            self._seen.add(batch)
            self._step += 1
            self._seconds = time.perf_counter() - started
            self._settled = True
            is_check = self._step % _STEPS_BETWEEN_CHECKS == 0 or self._step == self._feed.steps
            if is_check:
                self._require_finite(self._means, "step")
            if (is_check or self._engine.world == 1) and self._is_checkpoint_due():
                self._write_checkpoint()
            means = self._means.result() if is_check else None
            watchers.step(Progress(self._epoch, self._step, self._stage.name, means))
            interrupts.grant()

    def _close_epoch(self, interrupts: Interrupts) -> list[Row]:
        """Validates, and counts the epoch as completed."""
        self._require_finite_weights()
        self._set_epoch(self._epoch + 1)
        number = self._epoch + 1
        self._seen.note(self._engine.gather)
        self._seen.warn()
        means = mean_of(self._engine.gather(self._means.totals()))
        rows = [metrics_row(number, "train", self._stage.name, means, self._seconds)]
        if self._engine.is_main:
            self._divergence.look(rows[0])
        if self._validation is not None:
            rows.append(self._validate(self._validation, number, interrupts))
        self._settled = False
        if self._validation is not None:
            self._keep_best(number, score(rows[-1], self._stage.judge))
        self.rows.extend(rows)
        self._epoch, self._step, self._seconds, self._means = number, 0, 0.0, Means()
        self._settled = True
        return rows

    def _keep_best(self, number: int, score: float) -> None:
        """Keeps the weights of an epoch if its score is the highest of the stage so far."""
        if self._best is None or self._best.stage != self._at or score > self._best.score:
            tensors = {name: value.clone() for name, value in tensors_of(self.model).items()}
            self._best = _Best(self._at, number, score, tensors)

    def _validate(self, feed: Feed, number: int, interrupts: Interrupts) -> Row:
        """A row of means over the validation data."""
        started = time.perf_counter()
        means = Means()
        judge = self._stage.judge
        hidden = self._hidden if judge is not None and judge.term == IMPUTATION else None
        with self._evaluating(feed, number):
            for step, batch in enumerate(feed.in_order()):
                loss, terms = self._engine.evaluate(batch)
                with torch.no_grad():
                    means.add(step, batch, loss, {**terms, **imputation_term(hidden, step, batch)})
                interrupts.grant()
        self._require_finite(means, "validation batch")
        result = mean_of(self._engine.gather(means.totals()))
        return metrics_row(number, "validation", self._stage.name, result, time.perf_counter() - started)

    @contextlib.contextmanager
    def _evaluating(self, feed: Feed, number: int) -> Iterator[None]:
        """The model as validation looks at it; training then goes on as if there had been no validation.

        The draws are the same after every epoch. The weights of the loss are those at the end of their schedules,
        since in a warm-up early epochs would look best.
        """
        with mode(self.model, training=False), randomness_kept(), feed.undisturbed():
            seed_generators(derive_seed(self._settings.seed, _VALIDATION, self._engine.rank))
            self._fill_epoch(max(self._epochs_before + number - self._begun, self._stage.settled_after))
            try:
                yield
            finally:
                self._set_epoch(number)

    @property
    def _is_staged(self) -> bool:
        return self._stage.name is not None

    def _set_epoch(self, epochs: float) -> None:
        """Tells the model how many epochs it was trained for, when this run has trained for so many.

        A model without stages reads its schedules there. The loss of a stage sees the epochs of the stage instead, so
        that its schedules begin with it, whatever the stages before took.
        """
        self._fill_epoch(self._epochs_before + epochs - self._begun)

    def _fill_epoch(self, value: float) -> None:
        with torch.no_grad():
            self.model.epoch.fill_(value)

    # What is written.

    def _is_checkpoint_due(self) -> bool:
        if self._checkpoints.folder is None:
            return False
        return self._engine.agreed(time.perf_counter() - self._last_written >= self._settings.checkpoint_seconds)

    def _write_checkpoint(self) -> None:
        """Writes a checkpoint of a state that is sound; all processes take part."""
        if self._checkpoints.folder is None:
            return
        self._require_finite(self._means, "step")
        self._require_finite_weights()
        self._seen.note(self._engine.gather)
        state = {
            "model": tensors_of(self.model),
            "engine": self._engine.state(),
            "stages": {"at": self._at, "begun": self._begun, "epochs": [each.epochs for each in self._stages]},
            "epoch": self._epoch,
            "step": self._step,
            "seconds": self._seconds,
            "epochs_before": self._epochs_before,
            "rows": self.rows,
            "best": None if self._best is None else vars(self._best),
            "keeps_best": self._settings.restore_best,
            "means": self._engine.gather(self._means.state()),
            "random": self._engine.gather(random_state()),
            "sources": self._engine.gather(self._feed.state()),
        }
        if self._engine.is_main:
            self._checkpoints.write(state)
        self._last_written = time.perf_counter()

    def _write_weights(self) -> None:
        """Writes the weights for use: the best, or without validation the latest."""
        if self._checkpoints.folder is not None and self._engine.is_main:
            best = self._best if self._settings.restore_best else None
            tensors = tensors_of(self.model) if best is None else best.tensors
            write_weights(self._checkpoints.folder, tensors, self._checkpoints.description, self._position)

    def _repair_weights(self) -> None:
        """Writes the weights for use if a kill kept the run from it after its last checkpoint."""
        if self._checkpoints.folder is None or not self._engine.is_main:
            return
        written = weights_position(self._checkpoints.folder)
        if written is not None and written < self._position:
            self._write_weights()

    @property
    def _position(self) -> Position:
        """How far the run has come."""
        return self._epoch, self._step

    def _stop(self, say: Callable[[str], None]) -> None:
        """Leaves a checkpoint after Ctrl-C.

        In the middle of a step, or with several processes (which a signal stops at different steps), that is the last
        one that was written. In the middle of a step the weights are not to be used.
        """
        if self._checkpoints.folder is None:
            return
        try:
            if self._settled:
                if self._engine.world == 1:
                    self._write_checkpoint()
                self._write_weights()
        except FloatingPointError as error:
            say(f"no checkpoint was written: {error}")
        say(
            f"interrupted after {self._epoch} epochs and {self._step} steps; call fit again with resume=True to go on "
            f"from {self._checkpoints}"
        )

    # What must be finite.

    def _where(self) -> str:
        stage = f"stage {self._stage.name!r}, " if self._is_staged else ""
        return f"{stage}epoch {self._epoch + 1}"

    def _require_finite(self, means: Means, what: str) -> None:
        fault = means.fault()
        if fault is not None:
            step, names = fault
            raise FloatingPointError(
                f"{self._where()}, {what} {step + 1}: the loss is not finite; the term at fault: "
                f"{', '.join(names)}. {advice(names, self.model.names)} The last good checkpoint: {self._checkpoints}."
            )

    def _require_finite_weights(self) -> None:
        names = [name for name, parameter in self.model.named_parameters()]
        finite = [parameter.isfinite().all() for parameter in self.model.parameters()]
        if not bool(torch.stack(finite).all()):
            bad = next(name for name, fine in zip(names, finite, strict=True) if not bool(fine))
            raise FloatingPointError(
                f"{self._where()}, step {self._step}: the weight {bad} is not finite. Try a lower lr or "
                f"max_grad_norm. The last good checkpoint: {self._checkpoints}."
            )
