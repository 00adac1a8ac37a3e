"""What is told of a run while it goes on, and the latest of each: values over the last minutes."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

RESOLUTION_NS = 900_000_000
"""Between two values of a measure at least; the agent writes its samples once a second."""
KEEP = 150
"""Values kept of each measure: two minutes and a little."""


@dataclass(frozen=True)
class Measure:
    """One of the things told: its name, what it is called, and its unit."""

    name: str
    title: str
    unit: str


MEASURES = (
    Measure("cpu", "CPU", "share"),
    Measure("memory", "memory", "bytes"),
    Measure("read", "read", "bytes/s"),
    Measure("write", "written", "bytes/s"),
    Measure("io_pressure", "I/O pressure", "share"),
    Measure("memory_pressure", "memory pressure", "share"),
    Measure("step_time", "step", "s"),
    Measure("power", "power", "W"),
)
"""CPU: CPU time a second, as a share of one processor.  Pressure: share of time in which a task waited (PSI, some)."""


class History:
    """The latest values of a measure with their times, in seconds since the run's start."""

    def __init__(self) -> None:
        self.times: deque[float] = deque(maxlen=KEEP)
        self.values: deque[float] = deque(maxlen=KEEP)

    def add(self, time: float, value: float) -> None:
        """Append a value; one that is older than the last is dropped."""
        if not self.times or time > self.times[-1]:
            self.times.append(time)
            self.values.append(value)

    @property
    def latest(self) -> float | None:
        """The newest value; None: there is none."""
        return self.values[-1] if self.values else None


class Rate:
    """Turns a counter into what it grows a second."""

    def __init__(self) -> None:
        self.history = History()
        self.total = 0.0
        self._last: tuple[int, float] | None = None

    def count(self, time_ns: int, time: float, value: float) -> None:
        """The counter's value at a time (CLOCK_MONOTONIC ns, and s since start); one that goes back starts anew."""
        if self._last is not None:
            before_ns, before = self._last
            if time_ns - before_ns < RESOLUTION_NS:
                return
            if value >= before:
                self.total += value - before
                self.history.add(time, (value - before) / ((time_ns - before_ns) / 1e9))
        self._last = (time_ns, value)
