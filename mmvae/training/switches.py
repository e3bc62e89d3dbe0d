"""Global switches that training sets, and gives back as they were."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType

import pyro
import torch
from torch.distributions import Distribution


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
    """Ctrl-C as a wish, to be granted between two steps, when everything is in a state that can be saved.

    A second Ctrl-C interrupts at once. Handlers that a program has set for itself are left alone, and so is a thread
    other than the main one, which Python does not let handle signals.
    """

    def __init__(self) -> None:
        self._wished = False
        self._installed = False

    def __enter__(self) -> Interrupts:
        in_main = threading.current_thread() is threading.main_thread()
        if in_main and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, self._note)
            self._installed = True
        return self

    def __exit__(self, *exception: object) -> None:
        if self._installed:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            self._installed = False

    def grant(self) -> None:
        """Raises ``KeyboardInterrupt`` if Ctrl-C was pressed since the last call."""
        if self._wished:
            self._wished = False
            raise KeyboardInterrupt

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self._wished:
            raise KeyboardInterrupt
        self._wished = True
