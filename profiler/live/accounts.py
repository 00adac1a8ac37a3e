"""The accounts that a run's raw files hold, from their frames to measures: control group, processes, machine, power."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from edgeprof.collectors.cgroup.readings import NO_LIMIT, blkio, io_stat
from edgeprof.collectors.power.capture_sensors import TOTALS
from edgeprof.collectors.power.rails import WATTS, Amount, Rail, chosen_rails, described
from edgeprof.collectors.power.tegrastats import LONGEST_LINE, read_lines
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


class PowerAccount:
    """Power of the rails that make up the most complete account, W."""

    def __init__(self, clock: Clock, raw: Path) -> None:
        self._clock = clock
        self._raw = raw
        self._rails: dict[str, tuple[Rail, int]] | None = None
        self._watts: dict[Rail, float] = {}
        self._parts: dict[Rail, tuple[int, bytes]] = {}
        self._counters: dict[Rail, tuple[int, int]] = {}
        self._rest = b""
        self._due = 0
        self.power = History()

    def handler(self, name: str) -> Handler | None:
        """For one of a rail's files, or tegrastats' lines."""
        if name == "tegrastats":
            return self._tegrastats
        if self._rails is None:
            rails, _ = described(self._raw)
            self._rails = {source: (rail, part) for rail in rails for part, source in enumerate(rail.frames)}
        found = self._rails.get(name)
        return None if found is None else (lambda time_ns, payload: self._take(*found, time_ns, payload))

    def _take(self, rail: Rail, part: int, time_ns: int, payload: bytes) -> None:
        if len(rail.frames) == 2 and part == 0:
            self._parts[rail] = (time_ns, payload)
            return
        first = payload
        if part:
            at, first = self._parts.get(rail, (0, b""))
            if at != time_ns:
                return
        number = to_int(first.strip())
        if number is None:
            return
        if rail.quantity == "uJ":
            self._counter(rail, time_ns, number)
        elif rail.quantity == "mV*mA":
            other = to_int(payload.strip())
            if other is not None:
                self._watts[rail] = number * other * WATTS[rail.quantity]
        elif part and payload.strip() != b"Discharging":  # a battery's power is the machine's only while it discharges
            self._watts.pop(rail, None)
        else:
            self._watts[rail] = number * WATTS[rail.quantity]
        self._tell(time_ns, [Amount(rail.source, rail.name, rail.total, w, 1.0) for rail, w in self._watts.items()])

    def _counter(self, rail: Rail, time_ns: int, count: int) -> None:
        before = self._counters.get(rail)
        if before is not None and time_ns - before[0] < RESOLUTION_NS:
            return
        self._counters[rail] = (time_ns, count)
        if before is not None:
            grown = count - before[1]
            grown += rail.limit if grown < 0 and rail.limit else 0
            if grown >= 0:
                self._watts[rail] = grown * 1e-6 / ((time_ns - before[0]) / 1e9)

    def _tegrastats(self, time_ns: int, payload: bytes) -> None:
        whole, end, rest = (self._rest + payload).rpartition(b"\n")
        self._rest = rest[-LONGEST_LINE:]
        for _, reading in read_lines([time_ns], [whole + end]):
            rails = reading.power.items()
            self._tell(time_ns, [Amount("tegrastats", name, name in TOTALS, now, 1.0) for name, (now, _) in rails])

    def _tell(self, time_ns: int, rails: list[Amount]) -> None:
        if time_ns >= self._due and rails:
            self._due = time_ns + RESOLUTION_NS
            self.power.add(self._clock(time_ns), sum(rail.joules for rail in chosen_rails(rails)))
