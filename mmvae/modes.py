"""Training and evaluation mode for a while, also where several threads use one model."""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Concatenate, ParamSpec, TypeVar
from weakref import WeakKeyDictionary

import torch
from torch import nn

_Self = TypeVar("_Self", bound=nn.Module)
_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")


@dataclass
class _Use:
    """Who uses a module at the moment.

    Attributes:
        evaluating: One object for each call that needs evaluation mode.
        before: Mode of each part before the first of them.
        trainer: Object of the call that trains the module, or ``None``.
        thread: Thread of that call.
        before_training: Mode of each part before it.
    """

    evaluating: set[object] = field(default_factory=set)
    before: dict[nn.Module, bool] = field(default_factory=dict)
    trainer: object = None
    thread: int = 0
    before_training: dict[nn.Module, bool] = field(default_factory=dict)


_USES: WeakKeyDictionary[nn.Module, _Use] = WeakKeyDictionary()
_LOCK = threading.RLock()


@contextlib.contextmanager
def mode(module: nn.Module, training: bool) -> Iterator[None]:
    """Put a module into training or evaluation mode; afterwards each part has the mode in which it came.

    Calls that need evaluation mode may overlap in any number of threads: the first one switches, the last one switches
    back. A module is trained by one thread at a time, and by none while another one evaluates it. The thread that
    trains it may evaluate it in between, as validation does.

    Under ``torch.inference_mode()`` tensors can have no gradients at all. What is done here may need some, inside of a
    refinement for one; it runs outside of that mode, with gradients switched off unless it trains.

    Args:
        module: Module to switch.
        training: Whether to train.

    Raises:
        RuntimeError: If another thread trains the module, or if it is to be trained while it is evaluated.
    """
    begin, end = (_begin_training, _end_training) if training else (_begin_evaluation, _end_evaluation)
    call = object()
    try:
        begin(module, call)
        with _gradients_possible(module, training):
            yield
    finally:
        interrupt = None
        while True:
            try:
                end(module, call)  # whatever of the beginning was done, and as often as Ctrl-C comes between
                break
            except KeyboardInterrupt as error:
                interrupt = error
        if interrupt is not None:
            raise interrupt


@contextlib.contextmanager
def _gradients_possible(module: nn.Module, training: bool) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        if torch.is_inference_mode_enabled():
            stack.enter_context(torch.inference_mode(False))
            stack.enter_context(torch.no_grad())
            _make_ordinary(module)
        if training:
            stack.enter_context(torch.enable_grad())
            _make_ordinary(module)
        yield


def _make_ordinary(module: nn.Module) -> None:
    """Replace weights and buffers that were made in inference mode, of which no gradient can be taken."""
    with _LOCK:
        for part in module.modules():
            for name, parameter in part._parameters.items():
                if parameter is not None and parameter.is_inference():
                    part._parameters[name] = nn.Parameter(parameter.clone(), parameter.requires_grad)
            for name, buffer in part._buffers.items():
                if buffer is not None and buffer.is_inference():
                    part._buffers[name] = buffer.clone()


def in_evaluation_mode(
    method: Callable[Concatenate[_Self, _Arguments], _Result],
) -> Callable[Concatenate[_Self, _Arguments], _Result]:
    """Let a method of a module run in evaluation mode, whatever mode the module is in; see :func:`mode`."""

    @functools.wraps(method)
    def run(self: _Self, /, *args: _Arguments.args, **kwargs: _Arguments.kwargs) -> _Result:
        with mode(self, training=False):
            return method(self, *args, **kwargs)

    return run


def _begin_evaluation(module: nn.Module, call: object) -> None:
    with _LOCK:
        use = _USES.setdefault(module, _Use())
        if use.trainer is not None and use.thread != threading.get_ident():
            raise RuntimeError(
                f"{type(module).__name__} is trained by another thread at the moment; use a copy of it "
                f"(copy.deepcopy(model)), or wait until the training is over."
            )
        if not use.evaluating:
            use.before = _modes(module)
        use.evaluating.add(call)
        _switch(module, False, use.before)


def _end_evaluation(module: nn.Module, call: object) -> None:
    with _LOCK:
        use = _USES.get(module)
        if use is None:
            return
        if use.evaluating == {call}:
            _put_back(use.before)
        use.evaluating.discard(call)
        _forget(module, use)


def _begin_training(module: nn.Module, call: object) -> None:
    with _LOCK:
        use = _USES.setdefault(module, _Use())
        if use.trainer is not None or use.evaluating:
            what = "trained" if use.trainer is not None else "used for inference"
            raise RuntimeError(
                f"{type(module).__name__} is {what} at the moment; train a copy of it (copy.deepcopy(model)), or wait."
            )
        use.before_training = _modes(module)
        use.trainer, use.thread = call, threading.get_ident()
        _switch(module, True, use.before_training)


def _end_training(module: nn.Module, call: object) -> None:
    with _LOCK:
        use = _USES.get(module)
        if use is not None and use.trainer is call:
            _put_back(use.before_training)
            use.trainer = None
            _forget(module, use)


def _modes(module: nn.Module) -> dict[nn.Module, bool]:
    return {part: part.training for part in module.modules()}


def _switch(module: nn.Module, training: bool, before: dict[nn.Module, bool]) -> None:
    if any(was_training != training for was_training in before.values()):
        module.train(training)


def _put_back(before: dict[nn.Module, bool]) -> None:
    for part, was_training in before.items():
        if part.training != was_training:  # to set it costs more than to look
            part.training = was_training


def _forget(module: nn.Module, use: _Use) -> None:
    if not use.evaluating and use.trainer is None:
        _USES.pop(module, None)
