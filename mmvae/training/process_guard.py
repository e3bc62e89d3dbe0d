"""What becomes of the other processes when one ends before its time."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence

import torch.distributed

_SECONDS_BETWEEN_LOOKS = 0.2
_PATIENCE = 10.0
"""Seconds that this process has to notice by itself that another has gone; collectives of GPUs may wait for ever."""


def is_loss_of_process(error: BaseException) -> bool:
    """Whether an error came of another process that has ended."""
    words = ("connection closed by peer", "connection reset by peer", "broken pipe", "gloo", "nccl")
    distributed = isinstance(error, torch.distributed.DistError)
    return distributed or (isinstance(error, RuntimeError) and any(word in str(error).lower() for word in words))


class ProcessGuard(threading.Thread):
    """Looks after the processes that this one has started; if one fails, all are ended.

    Args:
        children: the processes of the ranks 1, 2, ...

    Attributes:
        advice: how to go on, said when a process fails.
    """

    def __init__(self, children: Sequence[subprocess.Popen[bytes]]) -> None:
        super().__init__(daemon=True, name="mmvae-process-guard")
        self.advice = ""
        self._children = children
        for thread in threading.enumerate():  # Fabric's own kills this process without a word: this takes its place
            if thread.name == "child-process-observer":
                thread._child_processes = []  # type: ignore[attr-defined]

    @classmethod
    def over(cls, children: Sequence[subprocess.Popen[bytes]]) -> ProcessGuard:
        """The one that runs already, or a new one; the processes of a first run serve the next ones as well."""
        running = next((thread for thread in threading.enumerate() if isinstance(thread, cls)), None)
        if running is not None and not children:
            return running
        guard = cls(children)
        guard.start()
        return guard

    def run(self) -> None:
        """Waits until all have ended, or one has failed."""
        while any(child.poll() is None for child in self._children):
            failed = [rank for rank, child in enumerate(self._children, start=1) if child.poll() not in (None, 0)]
            if failed:
                break
            time.sleep(_SECONDS_BETWEEN_LOOKS)
        for rank, child in enumerate(self._children, start=1):
            if child.returncode:
                print(f"mmvae: process {rank} {_ending(child.returncode)}. {self.advice}", file=sys.stderr, flush=True)
                time.sleep(_PATIENCE)  # usually this process hears of it by itself, and raises an error
                self.end()
                os._exit(1)

    def end(self) -> None:
        """Ends the processes that still run."""
        for child in self._children:
            if child.poll() is None:
                child.kill()  # they may hang in a collective, where they hear nothing gentler
        for child in self._children:
            child.wait()


def _ending(code: int) -> str:
    return f"ended with code {code}" if code > 0 else f"was ended by {signal.Signals(-code).name}"
