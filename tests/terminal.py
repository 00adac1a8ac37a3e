"""A process in a terminal of its own, and what that terminal's screen shows."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import termios
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress

import pytest

pyte = pytest.importorskip("pyte", reason="pyte, which plays the terminal, is not installed: pip install pyte")


class Terminal:
    """The screen of a process: rows of text, and whether part of it is kept from scrolling."""

    def __init__(self, pid: int, master: int, rows: int, columns: int) -> None:
        self.pid = pid
        self.written = b""
        self._master = master
        self._screen = pyte.HistoryScreen(columns, rows, history=100_000)
        self._stream = pyte.ByteStream(self._screen)
        self._status: int | None = None

    @property
    def rows(self) -> list[str]:
        """What is seen, without trailing spaces."""
        return [row.rstrip() for row in self._screen.display]

    @property
    def last(self) -> str:
        """What is seen in the last row."""
        return self.rows[-1]

    @property
    def scrolled(self) -> list[str]:
        """All lines: those that have left the screen, and those on it."""
        columns = range(self._screen.columns)
        left = ["".join(row[column].data for column in columns).rstrip() for row in self._screen.history.top]
        return left + self.rows

    @property
    def reserved(self) -> bool:
        """Whether only a part of the screen scrolls."""
        return self._screen.margins is not None

    def type(self, keys: bytes) -> None:
        os.write(self._master, keys)

    def resize(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self._screen.resize(rows, columns)

    def wait_for(self, answer: Callable[[], object], what: str, seconds: float = 30.0) -> None:
        """Read on until the answer is true."""
        deadline = time.monotonic() + seconds
        while not answer():
            if time.monotonic() > deadline:
                raise AssertionError(f"{what}: not within {seconds:g} s\n" + "\n".join(self.rows))
            self._read(0.05)

    def wait(self, seconds: float = 60.0) -> int:
        """Read to the end; the exit code of the process."""
        self.wait_for(self._ended, "the process in the terminal", seconds)
        while self._read(0.05):
            pass
        assert self._status is not None
        return os.waitstatus_to_exitcode(self._status)

    def _read(self, seconds: float) -> bool:
        if not select.select([self._master], [], [], seconds)[0]:
            return False
        try:
            data = os.read(self._master, 65536)
        except OSError:  # EIO: nobody has the terminal open any more
            time.sleep(seconds)
            return False
        self.written += data
        self._stream.feed(data)
        return bool(data)

    def _ended(self) -> bool:
        if self._status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self._status = status if pid else None
        return self._status is not None

    def close(self) -> None:
        """End the process, if it still runs, and close the terminal."""
        if not self._ended():
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self._master)


@contextmanager
def terminal(
    start: Sequence[str] | Callable[[], None],
    environment: dict[str, str] | None = None,
    rows: int = 24,
    columns: int = 100,
) -> Iterator[Terminal]:
    """Run a command, or a function in a forked process, as the leader of a new terminal."""
    pid, master = pty.fork()
    if pid == 0:
        try:
            fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
            if callable(start):
                start()
                os._exit(0)
            os.execvpe(start[0], list(start), environment or dict(os.environ))
        finally:
            os._exit(99)
    screen = Terminal(pid, master, rows, columns)
    try:
        yield screen
    finally:
        screen.close()
