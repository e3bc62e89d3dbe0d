"""Global switches that training sets, and gives back as they were."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType, TracebackType
from typing import Any

import pyro
import torch
from torch.distributions import Distribution

_SHELLS_SAY = 128
"""A process that a signal has ended has this code in a shell, plus the number of the signal."""


@contextlib.contextmanager
def validated_distributions(enabled: bool) -> Iterator[None]:
    """Switches the checks of Pyro and of torch.distributions on or off, and back afterwards."""
    before = Distribution._validate_args  # Pyro gives back its own switches, but sets this one to the same value
    try:
        with pyro.validation_enabled(enabled):
            yield
    finally:
        Distribution.set_default_validate_args(before)


@contextlib.contextmanager
def matmul_precision(precision: str | None) -> Iterator[None]:
    """Sets how exactly a GPU multiplies matrices of float32, and gives it back as it was; ``None`` leaves it."""
    before = torch.get_float32_matmul_precision()
    if precision in (None, before):  # which is not set, for a program may have set its parts one by one
        yield
        return
    torch.set_float32_matmul_precision(precision)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


@contextlib.contextmanager
def environment() -> Iterator[None]:
    """Gives back the environment variables as they were; the libraries beneath set some of their own."""
    before = dict(os.environ)
    try:
        yield
    finally:
        for name in set(os.environ) - set(before):
            del os.environ[name]
        os.environ.update(before)


class Interrupts:
    """Defers Ctrl-C and SIGTERM, with which schedulers end a job, until the current step has finished.

    Then everything is in a state that can be saved. A second signal interrupts at once. Handlers that a program has
    set for itself are left alone, and so is a thread other than the main one, which Python does not let handle signals.
    A signal that came too late to be acted upon is sent again at the end.
    """

    def __init__(self) -> None:
        self._came: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Interrupts:
        if threading.current_thread() is threading.main_thread():
            for number, usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGTERM, signal.SIG_DFL)):
                if signal.getsignal(number) is usual:
                    self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before.clear()
        if self._came is not None and error is None:
            os.kill(os.getpid(), self._came)

    def grant(self) -> None:
        """Act upon a signal that came since the last call.

        Raises:
            KeyboardInterrupt: For Ctrl-C.
            SystemExit: For SIGTERM, with the code that shells give to it.
        """
        came, self._came = self._came, None
        if came is not None:
            self._raise(came)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self._came is not None:
            self._came = None
            self._raise(number)
        self._came = number

    @staticmethod
    def _raise(number: int) -> None:
        raise KeyboardInterrupt if number == signal.SIGINT else SystemExit(_SHELLS_SAY + number)
