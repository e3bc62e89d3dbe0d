"""One run at a time in a folder: a lock that goes with the process that holds it."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
import time
import uuid
import weakref
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

from mmvae.files import named, temporary_beside

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

LOCK_FILE = ".lock"

_BEAT = 5.0
"""Seconds after which the holder of a lock shows again that it lives."""

_SILENCE = 20.0
"""Seconds without that, after which a holder on another machine is taken to be dead."""

_LOOK = 0.5
"""Seconds between two looks at a lock that may be a dead one's."""

_held: weakref.WeakSet[RunLock] = weakref.WeakSet()


class RunLock:
    """The lock of a run folder, held from ``__enter__`` to ``__exit__`` or the end of the process, however it ends.

    The file names the holder: machine, process and its start. On one machine the lock is the system's own, which it
    gives back when the process ends. Where a file system has none, or holds it for one machine alone (some network
    file systems), the holder touches the file every few seconds, and another machine watches whether it does.

    Args:
        folder: Folder of the run; made if it is not there.

    Raises:
        ValueError: By ``__enter__``, if a process that lives holds the lock; names it.
        OSError: If the folder cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self._path = folder, folder / LOCK_FILE
        self._file: int | None = None
        self._released = threading.Event()

    def __enter__(self) -> RunLock:
        with named(self._path):
            self._folder.mkdir(parents=True, exist_ok=True)
            self._file = self._taken()
            _held.add(self)
        self._heart = threading.Thread(target=self._beat, name="mmvae-lock", daemon=True)
        self._heart.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._released.set()
        self._heart.join()
        if self._file is not None:
            with contextlib.suppress(OSError):
                if _is_at(self._file, self._path):
                    self._path.unlink()  # while it is held: whoever opened it meanwhile sees that it is gone
            self.forget()

    def forget(self) -> None:
        """Close the file without a look at the folder, as a process does that was forked off the holder."""
        file, self._file = self._file, None
        if file is not None:
            os.close(file)

    def _taken(self) -> int:
        while True:
            file = os.open(self._path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o666)
            try:
                locked = _locked(file)
                owner = _owner_in(file)
                if locked is False or (owner is not None and self._lives(owner, bool(locked))):
                    raise ValueError(self._refusal(owner))
                if _is_at(file, self._path):  # and is not one that its holder has just removed
                    self._sign(file, locked is None)
                    return file
            except BaseException:
                os.close(file)
                raise
            os.close(file)

    def _sign(self, file: int, alone: bool) -> None:
        """Write down who holds the lock.

        Args:
            file: Of the lock.
            alone: Whether the system has no lock for it, so that another process may sign at the same moment.
        """
        mine = {**_this_process(), "token": uuid.uuid4().hex, "since": time.strftime("%d %B %Y, %H:%M:%S")}
        os.ftruncate(file, 0)
        os.lseek(file, 0, os.SEEK_SET)
        os.write(file, json.dumps(mine, indent=2).encode() + b"\n")
        os.fsync(file)
        if alone:
            time.sleep(_LOOK)
            now = _owner_in(file)
            if now is None or now.get("token") != mine["token"]:
                raise ValueError(self._refusal(now))

    def _lives(self, owner: dict[str, Any], locked: bool) -> bool:
        """Whether the process that signed the lock lives.

        Args:
            owner: What it wrote.
            locked: Whether the system has given the lock to this process.
        """
        here = _this_process()
        if owner.get("boot") == here["boot"] is not None:
            if locked:  # which the system would not have given if the owner, on this machine, still had it
                return False
            if owner.get("processes") == here["processes"]:
                return _start_of(owner.get("process")) == owner.get("started") is not None
        return self._is_touched()

    def _is_touched(self) -> bool:
        """Whether the file is touched within the time in which a living holder would do so."""
        first, until = self._touched(), time.monotonic() + _SILENCE
        with _now_in(self._folder) as now:  # by the clock of the file system
            if now - first > _SILENCE * 1e9:
                return False
        while time.monotonic() < until:
            time.sleep(_LOOK)
            if self._touched() != first:
                return True
        return False

    def _touched(self) -> int:
        """When the file was touched; it is opened anew, so that a network file system asks its server."""
        try:
            with open(self._path, "rb") as file:
                return os.fstat(file.fileno()).st_mtime_ns
        except FileNotFoundError:
            return 0

    def _beat(self) -> None:
        while not self._released.wait(_BEAT):
            with contextlib.suppress(OSError):  # the folder is gone, perhaps
                assert self._file is not None  # it is closed after this thread has ended
                os.utime(self._file)

    def _refusal(self, owner: dict[str, Any] | None) -> str:
        who = "another process"
        if owner is not None:
            who = f"process {owner.get('process')} on {owner.get('host')}, since {owner.get('since')}"
        return (
            f"out: a run is under way in {self._folder} ({who}). Wait until it has ended, or choose another folder. "
            f"(If you know that it has ended, delete {self._path}.)"
        )


def _locked(file: int) -> bool | None:
    """Whether the system gave a lock of the file; ``None`` where it has none to give."""
    if fcntl is None:
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # the file system has no locks
        return None
    return True


def _owner_in(file: int) -> dict[str, Any] | None:
    """Who signed a lock; ``None`` for one that nobody has, or whose holder was killed while it signed."""
    os.lseek(file, 0, os.SEEK_SET)
    try:
        owner = json.loads(os.read(file, 4096))
    except ValueError:
        return None
    return owner if isinstance(owner, dict) else None


def _is_at(file: int, path: Path) -> bool:
    """Whether an open file is the one at a path."""
    try:
        return os.path.samestat(os.fstat(file), os.stat(path))
    except FileNotFoundError:
        return False


@contextlib.contextmanager
def _now_in(folder: Path) -> Iterator[int]:
    """The time by the clock of a file system, in nanoseconds, as a file has it that is written now."""
    probe = temporary_beside(folder / LOCK_FILE)
    try:
        probe.touch()
        yield probe.stat().st_mtime_ns
    finally:
        probe.unlink(missing_ok=True)


def _this_process() -> dict[str, Any]:
    """What tells this process from every other, on any machine."""
    return {
        "host": socket.gethostname(),
        "process": os.getpid(),
        "started": _start_of(os.getpid()),
        "boot": _line("/proc/sys/kernel/random/boot_id"),
        "processes": _link("/proc/self/ns/pid"),
    }


def _start_of(process: Any) -> str | None:
    """When a process of this machine started, in ticks since the machine did; ``None`` if there is none."""
    stat = _line(f"/proc/{process}/stat")
    return None if stat is None else stat.rpartition(")")[2].split()[19]


def _line(path: str) -> str | None:
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except OSError:
        return None


def _link(path: str) -> str | None:
    try:
        return os.readlink(path)
    except OSError:
        return None


def _forget_all() -> None:
    for lock in list(_held):
        lock.forget()


if hasattr(os, "register_at_fork"):  # a worker that outlives the run would hold the lock of a dead one
    os.register_at_fork(after_in_child=_forget_all)
