"""Training steps that are captured once and replayed, so that a GPU need not wait for Python.

Experimental: tested on the CPU only, never run on a GPU.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.optim import Adam, AdamW, Optimizer

from mmvae.batch import Batch
from mmvae.training.randomness import random_state, set_random_state

Step = Callable[[Batch], tuple[Tensor, dict[str, Tensor]]]
"""A step of the optimiser on the loss of a batch: the loss and its terms."""

_SAME_LOSS = 1e-3
"""How far the loss and terms of a replay may be, relatively, from those of the plain step that it is held against."""

_SAME_MOVE = 0.1
"""How far, in units of the way that the plain step goes, the weights may lie from where it leads."""


@runtime_checkable
class Recorder(Protocol):
    """What captures work on a device.

    Attributes:
        repeats_host_draws: Whether a replay draws anew from generators other than the GPU's.
    """

    repeats_host_draws: bool

    def warm_up(self, work: Callable[[], None]) -> None:
        """Does the work a few times, so that libraries choose their algorithms and make room."""

    def record(self, work: Callable[[], None]) -> Callable[[], None]:
        """What does the same work again, with whatever then stands in the same tensors."""


class CudaGraphs:
    """Work on a GPU as a CUDA graph."""

    repeats_host_draws = False

    def warm_up(self, work: Callable[[], None]) -> None:
        """On a stream of its own, as capturing demands."""
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(3):
                work()
        torch.cuda.current_stream().wait_stream(stream)

    def record(self, work: Callable[[], None]) -> Callable[[], None]:
        """Its replay; draws go on from where the GPU's default generator stands."""
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            work()
        return graph.replay


def standing_obstacle(device: torch.device, world: int, precision: str) -> str | None:
    """Why no step of a run can be captured as a CUDA graph, whatever the model; ``None`` where they may be."""
    if device.type != "cuda":
        return "they do not run on a GPU"
    if world > 1:
        return "several processes take part"
    if precision == "16-mixed":
        return "the loss scale of float16 is looked at after each step"
    return None


def rates_on_device(optimizer: Optimizer, device: torch.device) -> None:
    """Turns learning rates into tensors, which steps that are captured read."""
    for group in optimizer.param_groups:
        group["lr"] = torch.tensor(float(group["lr"]), device=device)


def set_rate(group: dict[str, Any], rate: float) -> None:
    """Sets the learning rate of a group, in place where it is a tensor."""
    if isinstance(group["lr"], Tensor):
        group["lr"].fill_(rate)
    else:
        group["lr"] = rate


def with_plain_rates(state: dict[str, Any]) -> dict[str, Any]:
    """The state of an optimiser with learning rates that are numbers, so that runs of either kind can take it up."""
    groups = [{**group, "lr": float(group["lr"])} for group in state["param_groups"]]
    return {**state, "param_groups": groups}


class CapturedSteps:
    """Steps of an optimiser, replayed from a capture for the batches that it fits, and taken plainly for the others.

    The first kind of batch (names, shapes and types of tensors, and whether something may be missing) to come a second
    time is captured: of an epoch, all batches but a smaller one at its end. What is replayed next, on other data, is
    once held against a plain step from the same state, whose result counts; if they differ, no step is replayed.

    Args:
        step: to be captured. Learning rates and the model's ``epoch`` reach it through tensors.
        model: whose parameters and buffers it changes.
        optimizers: of which it changes the state.
        recorder: that captures.
        demanded: whether it is an error if steps cannot be captured; otherwise a line says why.
        say: takes that line.

    Raises:
        ValueError: if it is demanded, and an optimiser does not allow it.
    """

    def __init__(
        self,
        step: Step,
        model: Any,
        optimizers: Sequence[Optimizer],
        recorder: Recorder,
        *,
        demanded: bool,
        say: Callable[[str], None],
    ) -> None:
        self._step, self._model, self._optimizers = step, model, list(optimizers)
        self._recorder, self._demanded, self._say = recorder, demanded, say
        self._buffers = [
            (module, name, buffer) for module in model.modules() for name, buffer in module.named_buffers(recurse=False)
        ]
        self._seen: set[Any] = set()
        self._kind: Any = None
        self._inputs: Batch | None = None
        self._replay: Callable[[], None] | None = None
        self._names: tuple[str, ...] = ()
        self._values = torch.zeros(0)
        self._is_verified = self._is_off = self._has_said = False
        obstacle = self._obstacle_of_parts()
        if obstacle is not None:
            self._is_off = True
            self._refuse(obstacle)

    def __call__(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """A step on a batch; the loss and its terms, in tensors that later steps leave alone."""
        if self._is_off:
            return self._plain(batch)
        batch = self._model.prepare(batch)
        kind = _kind(batch)
        if self._replay is None:
            if kind not in self._seen:
                self._seen.add(kind)
                return self._plain(batch)
            self._capture(batch, kind)
            return self._plain(batch) if self._is_off else self._replayed(batch)
        if kind != self._kind:
            return self._plain(batch)
        return self._replayed(batch) if self._is_verified else self._verified(batch)

    def _obstacle_of_parts(self) -> str | None:
        for optimizer in self._optimizers:
            is_fused = all(group.get("fused") for group in optimizer.param_groups)
            if not (isinstance(optimizer, Adam | AdamW) and is_fused):
                return f"the optimiser is {type(optimizer).__name__}, and must be Adam or AdamW with fused=True"
        return None

    def _plain(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        result = self._step(batch)
        self._settle_buffers()
        return result

    def _capture(self, batch: Batch, kind: Any) -> None:
        """Captures the step on batches of this kind; nothing is trained by it."""
        self._inputs = batch.map(torch.clone)
        before = _Snapshot(self._model, self._optimizers)
        try:
            self._recorder.warm_up(self._work)
            before.restore()
            with _capturable(self._optimizers):
                self._replay = self._recorder.record(self._work)
            draws_on_host = not self._recorder.repeats_host_draws and before.host_draws_differ()
        except RuntimeError as error:
            self._give_up(f"capturing failed ({str(error).splitlines()[0]})")
        else:
            if draws_on_host:
                self._give_up("a step draws on the CPU, which a replay would not do again")
        finally:
            before.restore()
        self._kind = kind

    def _work(self) -> None:
        assert self._inputs is not None  # the batch that is captured stands there
        loss, terms = self._step(self._inputs)
        self._names = tuple(terms)
        self._values = torch.stack([loss.detach(), *(term.detach() for term in terms.values())])
        self._settle_buffers()

    def _settle_buffers(self) -> None:
        """Puts what a step made new buffers of into the old ones, which the next replay reads."""
        with torch.no_grad():
            for module, name, buffer in self._buffers:
                latest = module._buffers[name]
                if latest is not None and latest is not buffer:
                    buffer.copy_(latest)
                    module._buffers[name] = buffer

    def _replayed(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        assert self._inputs is not None  # it was captured
        assert self._replay is not None
        for there, here in zip(_tensors(self._inputs), _tensors(batch), strict=True):
            there.copy_(here, non_blocking=True)
        self._replay()
        loss, *terms = self._values.clone().unbind()
        return loss, dict(zip(self._names, terms, strict=True))

    def _verified(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """A plain step, against which a replay from the same state is held; waits for the device, once."""
        before = _Snapshot(self._model, self._optimizers)
        loss, terms = self._replayed(batch)
        replayed = [loss, *terms.values()]
        led_to = before.moves()
        before.restore()
        result = self._plain(batch)
        plain = [result[0], *result[1].values()]
        move = before.moves()
        agree = torch.allclose(torch.stack(replayed).float(), torch.stack(plain).float(), rtol=_SAME_LOSS, atol=1e-5)
        apart = torch.stack([(one - other).norm() for one, other in zip(led_to, move, strict=True)]).norm()
        way = torch.stack([each.norm() for each in move]).norm()
        self._is_verified = True
        if not (agree and bool(apart <= _SAME_MOVE * way)):
            self._give_up("a replay did not do what the step does, so that something in it does not follow the batch")
        return result

    def _give_up(self, why: str) -> None:
        """No more steps are captured."""
        self._is_off, self._replay, self._inputs = True, None, None
        if self._demanded:
            raise RuntimeError(f'acceleration: training steps cannot be captured as a CUDA graph: {why}; take "auto".')
        self._refuse(why)

    def _refuse(self, why: str) -> None:
        if self._demanded:
            raise ValueError(f'acceleration: training steps cannot be captured as a CUDA graph: {why}; take "auto".')
        if not self._has_said:
            self._has_said = True
            self._say(f"training steps are not captured as a CUDA graph: {why}")


class _Snapshot:
    """All that a step changes, as it is now."""

    def __init__(self, model: nn.Module, optimizers: Sequence[Optimizer]) -> None:
        self._tensors = [(each, each.detach().clone()) for each in (*model.parameters(), *model.buffers())]
        self._optimizers = optimizers
        self._states = [(each, each.clone()) for each in self._state_tensors()]
        self._random = random_state()

    @torch.no_grad()
    def restore(self) -> None:
        """Puts it back, in place."""
        for tensor, value in (*self._tensors, *self._states):
            tensor.copy_(value)
        known = {id(tensor) for tensor, _ in self._states}
        for tensor in self._state_tensors():
            if id(tensor) not in known:
                tensor.zero_()  # as Adam makes them
        set_random_state(self._random)

    @torch.no_grad()
    def moves(self) -> list[Tensor]:
        """How far each tensor of real numbers has moved since."""
        return [tensor - value for tensor, value in self._tensors if value.is_floating_point()]

    def host_draws_differ(self) -> bool:
        """Whether somebody has drawn from a generator of the CPU since."""
        before, now = self._random, random_state()
        python = torch.equal(before["python"]["words"], now["python"]["words"])
        numpy = all(
            torch.equal(torch.as_tensor(before["numpy"][key]), torch.as_tensor(now["numpy"][key]))
            for key in ("keys", "position")
        )
        return not (torch.equal(before["torch"], now["torch"]) and python and numpy)

    def _state_tensors(self) -> Iterator[Tensor]:
        for optimizer in self._optimizers:
            for state in optimizer.state.values():
                yield from (value for value in state.values() if isinstance(value, Tensor))


@contextlib.contextmanager
def _capturable(optimizers: Sequence[Optimizer]) -> Iterator[None]:
    """Tells optimisers that they are captured. Fused ones keep their count of steps on the device in any case."""
    groups = [group for optimizer in optimizers for group in optimizer.param_groups]
    before = [group["capturable"] for group in groups]
    try:
        for group in groups:
            group["capturable"] = True
        yield
    finally:
        for group, value in zip(groups, before, strict=True):
            group["capturable"] = value


def _kind(batch: Batch) -> Any:
    """What a capture depends on beside the values of the tensors."""
    tensors = [(tuple(each.shape), each.dtype, each.device) for each in _tensors(batch)]
    return batch.names, batch.complete, tuple(batch.cells), batch.labels is None, batch.drawn, tuple(tensors)


def _tensors(batch: Batch) -> list[Tensor]:
    """All that can differ between batches of a kind."""
    observed = [] if batch.complete else list(batch.observed.values())
    others = [each for each in (batch.labels, batch.context) if each is not None]
    return [*batch.data.values(), *observed, *batch.cells.values(), *batch.covariates.values(), *others]
