"""One run as a process of its own: started, watched, ended when it must be, and tied to this process's life."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

from edgeprof.collectors.helper import start_time
from edgeprof.profiler.agent.undo import same_process
from edgeprof.profiler.matrix import tied

PATIENCE = (30.0, 10.0, 10.0)
"""Seconds after SIGINT (the run ends its workload, puts the machine back and reads what it has), SIGTERM, SIGKILL."""

_POLL = 0.05


class Stops(Protocol):
    """Counts how often a run was asked to end."""

    @property
    def count(self) -> int:
        """So often until now."""


class Interrupts:
    """Counts the signals that ask this process to end, in place of being ended by them, while the block runs."""

    def __init__(self) -> None:
        self.count = 0
        self._old: dict[int, Any] = {}

    def __enter__(self) -> Interrupts:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if number == signal.SIGHUP and signal.getsignal(number) == signal.SIG_IGN:
                continue  # under nohup
            self._old[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._old.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.count += 1


class Child:
    """A process in a session and process group of its own, so that Ctrl-C on the terminal reaches it through us only.

    When this process dies, or the thread that made it, the kernel sends it SIGINT: it then ends its workload and puts
    the machine back.  May be made in any thread; see `edgeprof.profiler.matrix.tied`.
    """

    def __init__(
        self,
        command: Sequence[str],
        log: Path,
        folder: Path | None = None,
        variables: Mapping[str, str] | None = None,
        poll: float = _POLL,
    ) -> None:
        launcher = [sys.executable, "-I", "-S", os.fspath(tied.__file__), str(os.getpid())]
        with log.open("wb") as errors:
            self._process = subprocess.Popen(
                [*launcher, *command],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                cwd=folder,
                env={**os.environ, **variables} if variables else None,
                start_new_session=True,
            )
        self.pid = self._process.pid
        self.start_time = start_time(self.pid)
        self._began = time.monotonic()
        self._poll = poll
        self._ending = _pidfd(self.pid)

    @property
    def seconds(self) -> float:
        """Since it was started."""
        return time.monotonic() - self._began

    def wait(self, until: Callable[[], bool]) -> bool:
        """Wait until it has ended (True) or ``until`` says so (False)."""
        while not self._has_ended():
            if until():
                return False
            self._sleep()
        return True

    def stop(self, interrupts: Stops, patience: Sequence[float] = PATIENCE) -> None:
        """End it: SIGINT, then SIGTERM and SIGKILL to its group; each further signal to us saves the wait."""
        for number, seconds in zip((signal.SIGINT, signal.SIGTERM, signal.SIGKILL), patience, strict=True):
            self._send(number, group=number != signal.SIGINT)  # the run hands SIGINT on to its workload itself
            seen, deadline = interrupts.count, time.monotonic() + seconds
            if self.wait(lambda: interrupts.count > seen or time.monotonic() > deadline):  # noqa: B023  (called here)
                return

    def reap(self) -> int:
        """End what is left of its group, and return its code (negative: the signal that killed it)."""
        self._send(signal.SIGKILL, group=True)  # it is not waited for yet: nobody else can have its number
        if self._ending is not None:
            os.close(self._ending)
            self._ending = None
        return self._process.wait()

    def _sleep(self) -> None:
        """For a moment, or until it ends."""
        if self._ending is None:
            time.sleep(_POLL)
        else:
            poll = select.poll()
            poll.register(self._ending, select.POLLIN)
            poll.poll(self._poll * 1000)

    def _has_ended(self) -> bool:
        return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def _send(self, number: int, group: bool) -> None:
        _send(self.pid, number, group)


def _pidfd(pid: int) -> int | None:
    """Becomes readable when the process ends; None before Linux 5.3."""
    try:
        return os.pidfd_open(pid)
    except OSError:
        return None


def end_survivor(pid: int, started: int, patience: Sequence[float] = PATIENCE) -> bool:
    """End a run whose matrix was killed; False when it was gone already.  The kernel has sent it SIGINT by then."""
    found = False
    for number, seconds in zip((None, signal.SIGTERM, signal.SIGKILL), patience, strict=True):
        deadline = time.monotonic() + seconds
        if number is not None and same_process(pid, started):
            _send(pid, number, group=True)
        while same_process(pid, started):
            found = True
            if time.monotonic() > deadline:
                break
            time.sleep(_POLL)
        else:
            return found
    return found


def _send(pid: int, number: int, group: bool) -> None:
    try:
        (os.killpg if group else os.kill)(pid, number)
    except (ProcessLookupError, PermissionError):
        pass  # it has ended, or has become another user's
