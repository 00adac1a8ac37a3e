"""What ``edgeprof run`` shows while a run goes on; drawn by a process of its own, of the lowest priority."""

from __future__ import annotations

import os
import signal
import sys
import termios
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from edgeprof.cli.bottom_line import BottomLine
from edgeprof.cli.encoding import in_ascii, is_utf8
from edgeprof.profiler.agent.signals import SignalWait
from edgeprof.profiler.units import human

if TYPE_CHECKING:
    from edgeprof.profiler.live.follow import Follower

LOOK_EVERY = 1.0
"""Seconds between two looks at the run; the agent writes that often."""
TICK = 0.25
"""Seconds between two looks at the terminal: its size, and who uses it."""
LINE_EVERY = 10.0
"""Seconds between two lines where there is no terminal."""

Field = tuple[str, str]
"""What it is, and its value as text."""


class Display(Protocol):
    """Something that shows a run while it goes on.

    Attributes:
        clock: CLOCK_MONOTONIC of the machine that runs it, ns.
    """

    clock: Callable[[], int]

    def show(self, run: str) -> None:
        """Show the run of a capture directory until SIGTERM comes; called in a process of its own."""

    def leave(self) -> None:
        """Leave the terminal as it was, whatever became of that process."""


def chosen_display(wanted: bool | None, quiet: bool) -> Display | None:
    """What suits the place that standard error goes to; ``wanted``: what the user asked for, None for nothing."""
    if wanted is False or (wanted is None and quiet):
        return None
    if sys.stderr.isatty() and os.environ.get("TERM", "dumb") not in ("", "dumb", "unknown"):
        return OnTerminal(os.getpid(), "NO_COLOR" not in os.environ, is_utf8(sys.stderr.encoding))
    return AsLines(is_utf8(sys.stderr.encoding)) if wanted else None


class OnTerminal:
    """On the terminal's last line, while edgeprof is in the foreground there."""

    def __init__(self, agent: int, colours: bool, unicode: bool) -> None:
        self.clock: Callable[[], int] = time.monotonic_ns
        self._agent = agent
        self._colours = colours
        self._unicode = unicode

    def show(self, run: str) -> None:
        from edgeprof.profiler.live.follow import Follower

        follower, line, told = Follower(Path(run)), BottomLine(2), SignalWait({signal.SIGTERM})
        due = 0.0
        with suppress(OSError, termios.error):  # the terminal is gone
            try:
                while told.wait(TICK) is None:
                    if not in_foreground(self._agent, 2):
                        line.hide()
                        due = 0.0
                        continue
                    columns = line.columns()
                    if columns is None:
                        line.yield_screen()
                        due = 0.0
                    elif time.monotonic() >= due or line.moved:
                        due = time.monotonic() + LOOK_EVERY
                        follower.look()
                        known = fields(follower, self.clock())
                        line.show(fitted(known, columns, self._colours, self._unicode))
            finally:
                line.hide()

    def leave(self) -> None:
        with suppress(OSError):
            BottomLine(2).reset()


class AsLines:
    """As a line on standard error each ten seconds, for logs."""

    def __init__(self, unicode: bool) -> None:
        self.clock: Callable[[], int] = time.monotonic_ns
        self._unicode = unicode

    def show(self, run: str) -> None:
        from edgeprof.profiler.live.follow import Follower

        follower, told = Follower(Path(run)), SignalWait({signal.SIGTERM})
        due = time.monotonic()
        while told.wait(LOOK_EVERY) is None:
            follower.look()
            if time.monotonic() >= due:
                due = time.monotonic() + LINE_EVERY
                text = fitted(fields(follower, self.clock()), 1000, False, self._unicode)
                os.write(2, f"edgeprof: {text}\n".encode("utf-8", "replace"))

    def leave(self) -> None:
        """Lines leave nothing behind."""


def in_foreground(pid: int, terminal: int) -> bool:
    """Whether a process runs, is not stopped, and its group may use ``terminal``: see proc_pid_stat(5).

    Of a terminal that does not control the process everyone may use all.
    """
    try:
        stat = _head_of(f"/proc/{pid}/stat")
        state, _, group, _, controlling, foreground = stat[stat.rindex(b")") + 2 :].split()[:6]
    except (OSError, ValueError):
        return False
    if state in (b"T", b"t", b"Z", b"X"):
        return False
    device, number = os.fstat(terminal).st_rdev, int(controlling)
    same = (os.major(device), os.minor(device)) == ((number >> 8) & 0xFFF, (number & 0xFF) | ((number >> 12) & 0xFFF00))
    return not same or group == foreground


def _head_of(path: str) -> bytes:
    """The beginning of a small file, without pathlib's and io's detours: it is read four times a second."""
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(file, 1024)
    finally:
        os.close(file)


def fields(follower: Follower, now_ns: int) -> list[Field]:
    """What is known of a run now, the most telling first; what is not known is left out."""
    elapsed = follower.seconds_at(now_ns)
    latest = {name: history.latest for name, history in follower.histories().items()}
    found: list[Field] = [("", clock(elapsed))] if elapsed is not None else []
    found += _one(latest, "cpu", "CPU", "share")
    found += _one(latest, "memory", "memory", "bytes", follower.memory_limit)
    found += _one(latest, "read", "read", "bytes/s")
    found += _one(latest, "write", "written", "bytes/s")
    if follower.steps:
        found.append(("steps", human(follower.steps, "count")))
        found += _one(latest, "step_time", "step", "s")
    found += _one(latest, "io_pressure", "I/O pressure", "share")
    found += _one(latest, "memory_pressure", "memory pressure", "share")
    found += _one(latest, "power", "power", "W")
    if follower.problem:
        found.append(("not all can be read", ""))
    return found


def _one(latest: dict[str, float | None], name: str, title: str, unit: str, most: float | None = None) -> list[Field]:
    value = latest.get(name)
    if value is None:
        return []
    value = round(value, 3) if unit == "share" else value
    return [(title, human(value, unit) + (f" of {human(most, unit)}" if most is not None else ""))]


def clock(seconds: float) -> str:
    """A duration as on a clock: 0:07, 12:30, 1:02:03."""
    whole = max(0, int(seconds))
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours}:{minutes:02d}:{whole % 60:02d}" if hours else f"{minutes}:{whole % 60:02d}"


def fitted(known: Sequence[Field], columns: int, colours: bool, unicode: bool) -> str:
    """As many of the fields as fit into a line, with their names dimmed where there are colours."""
    text, taken = "", 0
    for name, value in known:
        plain = name + (" " if name and value else "") + value.rjust(7 if name else 0)
        plain = plain if unicode else in_ascii(plain)
        gap = "  " if taken else ""
        if taken + len(gap) + len(plain) > columns:
            break
        taken += len(gap) + len(plain)
        dimmed = f"\x1b[2m{name}\x1b[22m" + plain[len(name) :] if colours and name else plain
        text += gap + dimmed
    return text
