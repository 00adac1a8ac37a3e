"""The accounts that a run's raw files hold, from their frames to measures: control group, processes, machine."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from edgeprof.collectors.cgroup.readings import NO_LIMIT, blkio, io_stat
from edgeprof.collectors.procfs.readings import PAGE_BYTES, pressure_values, read_process
from edgeprof.collectors.text import keyed, to_int
from edgeprof.profiler.live.measures import RESOLUTION_NS, History, Rate
from edgeprof.profiler.stacked import is_stacked

Handler = Callable[[int, bytes], None]
"""Takes a frame's time (CLOCK_MONOTONIC ns) and payload."""
Clock = Callable[[int], float]
"""CLOCK_MONOTONIC ns -> seconds since the run's start."""


class Pressure:
    """Share of time in which at least one task waited for a resource, by resource."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.rates = {"io": Rate(), "memory": Rate()}

    def handler(self, resource: str) -> Handler:
        """For the pressure file of a resource."""

        def take(time_ns: int, payload: bytes) -> None:
            total = pressure_values(payload, resource).get(f"psi_{resource}_some_total")
            if total is not None:
                self.rates[resource].count(time_ns, self._clock(time_ns), total)

        return take


class CgroupAccount:
    """What the run's control group tells, v1 or v2; ``whole_io``: its I/O account misses nothing (v2)."""

    def __init__(self, clock: Clock, host: Mapping[str, Any]) -> None:
        self._clock = clock
        self._host = host
        self.cpu, self.read, self.write = Rate(), Rate(), Rate()
        self.memory = History()
        self.memory_limit: int | None = None
        self.pressure = Pressure(clock)
        self.whole_io = False
        self.handlers: dict[str, Handler] = {
            "unified/cpu.stat": self._cpu_stat,
            "unified/memory.current": self._memory,
            "unified/memory.max": self._limit,
            "unified/io.stat": self._io_stat,
            "unified/io.pressure": self.pressure.handler("io"),
            "unified/memory.pressure": self.pressure.handler("memory"),
            "cpuacct/cpuacct.usage": self._cpuacct,
            "memory/memory.usage_in_bytes": self._memory,
            "memory/memory.limit_in_bytes": self._limit,
            "blkio/blkio.throttle.io_service_bytes_recursive": self._blkio,
        }

    def _cpu_stat(self, time_ns: int, payload: bytes) -> None:
        used = keyed(payload, "").get("usage_usec")
        if used is not None:
            self.cpu.count(time_ns, self._clock(time_ns), used / 1e6)

    def _cpuacct(self, time_ns: int, payload: bytes) -> None:
        used = to_int(payload.strip())
        if used is not None:
            self.cpu.count(time_ns, self._clock(time_ns), used / 1e9)

    def _memory(self, time_ns: int, payload: bytes) -> None:
        used = to_int(payload.strip())
        if used is not None:
            self.memory.add(self._clock(time_ns), used)

    def _limit(self, time_ns: int, payload: bytes) -> None:
        limit = to_int(payload.strip())
        self.memory_limit = limit if limit is not None and limit < NO_LIMIT else None

    def _io_stat(self, time_ns: int, payload: bytes) -> None:
        self.whole_io = True
        self._io(time_ns, io_stat(payload))

    def _blkio(self, time_ns: int, payload: bytes) -> None:
        self._io(time_ns, blkio(payload, "bytes"))

    def _io(self, time_ns: int, devices: Mapping[str, Mapping[str, int]]) -> None:
        """A stacked device and the one below it count the same bytes: the larger sum is taken."""
        time = self._clock(time_ns)
        for column, rate in (("read_bytes", self.read), ("write_bytes", self.write)):
            sums = {True: 0, False: 0}
            for device, values in devices.items():
                sums[is_stacked(self._host, device)] += values.get(column, 0)
            rate.count(time_ns, time, max(sums.values()))


class ProcessAccount:
    """Sums over the run's processes, of the ticks that are about a second apart."""

    def __init__(self, clock: Clock, page_bytes: int = PAGE_BYTES) -> None:
        self._clock = clock
        self._page_bytes = page_bytes
        self.cpu, self.read, self.write = Rate(), Rate(), Rate()
        self.memory = History()
        self._tick = 0
        self._now: dict[int, dict[str, Any]] = {}
        self._before: dict[int, dict[str, Any]] = {}
        self._sums = {"cpu": 0.0, "read_bytes": 0.0, "write_bytes": 0.0}

    def handler(self, name: str) -> Handler | None:
        """For the source ``process/PID/FILE``; None where nothing is taken from it."""
        _, pid_text, file = name.split("/", 2)
        pid = to_int(pid_text.encode())
        if pid is None or file not in ("stat", "io"):
            return None

        def take(time_ns: int, payload: bytes) -> None:
            if time_ns != self._tick:
                if time_ns < self._tick + RESOLUTION_NS:
                    return
                self._finish()
                self._tick = time_ns
            self._now.setdefault(pid, {}).update(read_process(file, payload, self._page_bytes))

        return take

    def _finish(self) -> None:
        """All processes of a tick have been read: their sums become values."""
        if not self._now:
            return
        time = self._clock(self._tick)
        for name in self._sums:
            self._sums[name] += self._growth(name)
        for name, rate in (("cpu", self.cpu), ("read_bytes", self.read), ("write_bytes", self.write)):
            if any(_value(values, name) is not None for values in self._now.values()):
                rate.count(self._tick, time, self._sums[name])
        resident = [values["rss"] for values in self._now.values() if values.get("rss") is not None]
        if resident:
            self.memory.add(time, sum(resident))
        self._before, self._now = self._now, {}

    def _growth(self, name: str) -> float:
        """What the processes' counters grew by; what ended children had is now their parents' and counts once."""
        grown = 0.0
        for pid, values in self._now.items():
            value, before = _value(values, name), _value(self._before.get(pid, {}), name)
            if value is not None:
                grown += max(0.0, value - (before or 0.0))
        if name == "cpu":  # utime and stime leave out children that were waited for
            return grown
        ended = sum(_value(values, name) or 0.0 for pid, values in self._before.items() if pid not in self._now)
        return max(0.0, grown - ended)


def _value(values: Mapping[str, Any], name: str) -> float | None:
    if name == "cpu":
        user, system = values.get("utime"), values.get("stime")
        return None if user is None or system is None else float(user + system)
    found = values.get(name)
    return None if found is None else float(found)
