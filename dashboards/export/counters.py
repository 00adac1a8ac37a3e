"""The counters of an exported trace: memory, pressure, CPU and power over time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgeprof.profiler.run import Run

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_MEMORY: dict[str, dict[str, tuple[str, ...]]] = {
    "cgroup": {
        "anonymous": ("stat_anon", "stat_total_rss", "stat_rss"),
        "file": ("stat_file", "stat_total_cache", "stat_cache"),
        "kernel": ("stat_kernel", "stat_slab"),
    },
    "system": {
        "available": ("meminfo_MemAvailable",),
        "page cache": ("meminfo_Cached",),
        "dirty": ("meminfo_Dirty",),
    },
}
_WHOSE = {"cgroup": "run", "system": "machine"}
_PRESSURE = ("memory_some", "memory_full", "io_some", "io_full", "cpu_some")
_BUSY = ("user", "nice", "system", "irq", "softirq", "steal")


@dataclass(frozen=True)
class Counter:
    """A counter track: values by name that hold from moments in CLOCK_MONOTONIC ns on; NaN where unknown."""

    name: str
    time_ns: Ints
    values: dict[str, Floats]


class _Table:
    """Numeric columns of a table; absent ones are empty."""

    def __init__(self, run: Run, name: str) -> None:
        self._data = run.arrow(name) if run.has(name) else None
        known = self._data is not None and "time_ns" in self._data.column_names and self._data.num_rows > 0
        self.time: Ints = self._data["time_ns"].to_numpy() if known and self._data else np.empty(0, np.int64)

    def number(self, *columns: str) -> Floats | None:
        """The first of several columns that holds a value."""
        if self._data is None or not len(self.time):
            return None
        for name in columns:
            if name in self._data.column_names:
                values: Floats = self._data[name].cast("double", safe=False).to_numpy()
                if np.isfinite(values).any():
                    return values
        return None

    def text(self, column: str) -> list[str | None]:
        """A text column."""
        if self._data is None or column not in self._data.column_names:
            return []
        values: list[str | None] = self._data[column].to_pylist()
        return values


def counters(run: Run) -> Iterator[Counter]:
    """All counters that the run's tables have."""
    for name, whose in _WHOSE.items():
        table = _Table(run, name)
        found = {kind: table.number(*columns) for kind, columns in _MEMORY[name].items()}
        yield from _counter(f"memory of the {whose} (bytes)", table.time, found)
        pressure = {kind.replace("_", ", "): table.number(f"psi_{kind}_total") for kind in _PRESSURE}
        yield from _rates(f"pressure of the {whose} (share)", table.time, pressure)
    yield from _processors(run)
    yield from _power(run)


def _counter(name: str, time: Ints, found: dict[str, Floats | None]) -> Iterator[Counter]:
    values = {key: value for key, value in found.items() if value is not None}
    if values and len(time):
        yield Counter(name, time, values)


def _rates(name: str, time: Ints, found: dict[str, Floats | None]) -> Iterator[Counter]:
    """Cumulative seconds as shares of each interval."""
    values = {key: _rate(time, value) for key, value in found.items() if value is not None}
    if values and len(time) > 1:
        yield Counter(name, time, values)


def _rate(time: Ints, value: Floats) -> Floats:
    """What a cumulative value grows by per second, from each moment on; the last moment has the last interval's rate.

    An interval reaches from one known value to the next: some files are read less often than others.
    """
    rate = np.full(len(value), np.nan)
    known = np.flatnonzero(np.isfinite(value))
    if len(known) > 1:
        step, grown = np.diff(time[known]) / 1e9, np.diff(value[known])
        sound = (step > 0) & (grown >= 0)
        shares = np.divide(grown, step, out=np.full(len(step), np.nan), where=sound)
        rate[known[0] : known[-1]] = np.repeat(shares, np.diff(known))
        rate[known[-1]] = shares[-1]
    return rate


def _processors(run: Run) -> Iterator[Counter]:
    system, cgroup = _Table(run, "system"), _Table(run, "cgroup")
    busy = [value for value in (system.number(f"cpu_{name}") for name in _BUSY) if value is not None]
    total: Floats | None = np.sum(busy, axis=0) if busy else None
    yield from _rates(
        "CPUs busy, machine", system.time, {"busy": total, "waiting for I/O": system.number("cpu_iowait")}
    )
    yield from _rates("CPUs busy, run", cgroup.time, {"busy": cgroup.number("cpu_usage")})


def _power(run: Run) -> Iterator[Counter]:
    table = _Table(run, "power")
    power, rails = table.number("power"), np.array(table.text("rail"), dtype=object)
    if power is None or len(rails) != len(power):
        return
    for rail in dict.fromkeys(name for name in rails.tolist() if name is not None):
        mine = rails == rail
        yield Counter(f"power {rail} (W)", table.time[mine], {"power": power[mine]})
