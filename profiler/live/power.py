"""The account of power that a run's raw files hold, from their frames to watts."""

from __future__ import annotations

from pathlib import Path

from edgeprof.collectors.power.capture_sensors import TOTALS
from edgeprof.collectors.power.rails import WATTS, Amount, Rail, chosen_rails, described
from edgeprof.collectors.power.tegrastats import LONGEST_LINE, read_lines
from edgeprof.collectors.text import to_int
from edgeprof.profiler.live.accounts import Clock, Handler
from edgeprof.profiler.live.measures import RESOLUTION_NS, History


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
