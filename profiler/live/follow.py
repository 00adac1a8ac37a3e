"""Follows one run: what it does now, and did in the last two minutes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeprof.profiler.agent.manifest import FINAL, PARTIAL, SCHEMA_VERSION
from edgeprof.profiler.live.accounts import CgroupAccount, Handler, Pressure, ProcessAccount
from edgeprof.profiler.live.measures import MEASURES, RESOLUTION_NS, History, Rate
from edgeprof.profiler.live.tails import FrameTail, StepTail, Tail

if TYPE_CHECKING:
    from edgeprof.profiler.live.power import PowerAccount

MOST_RECORD_FILES = 256
_MOST_SOURCES = 1 << 16


class Follower:
    """A run that is being captured; `look` reads what was written since.

    Attributes:
        path: its capture directory.
        info: the manifest's ``run`` part; empty until there is one.
        ended: whether the final manifest is there.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.info: dict[str, Any] = {}
        self.ended = False
        self._raw = path / "raw"
        self._problem: str | None = None
        self._start_ns: int | None = None
        self._newest_ns = 0
        self._tails: dict[str, FrameTail] = {}
        self._handlers: dict[str, Handler | None] = {}
        self._due: dict[str, int] = {}
        self._step_tails: dict[str, StepTail] = {}
        self._step_time = History()
        self._step_sum, self._step_count, self._step_due = 0, 0, 0
        self._begin({})

    def _begin(self, manifest: Mapping[str, Any]) -> None:
        host = manifest.get("host")
        host = host if isinstance(host, dict) else {}
        page = host.get("page_bytes")
        self._handlers.clear()  # they are those of the accounts before
        self._cgroup = CgroupAccount(self._seconds, host)
        self._processes = ProcessAccount(self._seconds, *([page] if isinstance(page, int) and page > 0 else []))
        self._machine = Pressure(self._seconds)
        self._power: PowerAccount | None = None

    def look(self) -> None:
        """Read what is new.  Never raises for what it finds there."""
        if not self.info:
            self._read_manifest()
        if self._problem is None and not self._raw.is_symlink():
            for name in ("cgroup/samples", "procfs/samples", "power/power"):
                self._take(name)
            self._take_steps()
        self.ended = (self.path / FINAL).exists()

    @property
    def seconds(self) -> float | None:
        """Seconds from the run's start to its newest sample; None: there is none yet."""
        return self._seconds(self._newest_ns) if self._newest_ns else None

    def seconds_at(self, time_ns: int) -> float | None:
        """Seconds from the run's start to a moment of this machine's CLOCK_MONOTONIC; None before it is known."""
        return None if self._start_ns is None else (time_ns - self._start_ns) / 1e9

    @property
    def memory_limit(self) -> int | None:
        """Bytes that the run may use; None: not limited, or not known."""
        return self._cgroup.memory_limit

    @property
    def behind(self) -> int:
        """Bytes that were written and are still to be read: one who comes late needs several looks."""
        return sum(tail.behind for tail in self._tails.values())

    @property
    def steps(self) -> int:
        """How many have ended, in all of the run's processes."""
        return sum(tail.count for tail in self._step_tails.values())

    @property
    def problem(self) -> str | None:
        """Why there is less to tell than was captured; None: nothing is wrong."""
        damaged = [f"raw/{name}.frames: {tail.damage}" for name, tail in self._tails.items() if tail.damage]
        return self._problem or "; ".join(damaged) or None

    def histories(self) -> dict[str, History]:
        """Each of `MEASURES` that there are values of, by name."""
        cgroup, processes = self._cgroup, self._processes
        found = {
            "cpu": cgroup.cpu.history if cgroup.cpu.history.values else processes.cpu.history,
            "memory": cgroup.memory if cgroup.memory.values else processes.memory,
            "read": self._storage(cgroup.read, processes.read),
            "write": self._storage(cgroup.write, processes.write),
            "io_pressure": self._pressure("io"),
            "memory_pressure": self._pressure("memory"),
            "step_time": self._step_time,
            "power": self._power.power if self._power else History(),
        }
        return {item.name: found[item.name] for item in MEASURES if found[item.name].values}

    def _storage(self, cgroup: Rate, processes: Rate) -> History:
        """The cgroup's account where it is whole, else the larger of two lower bounds, as `storage_read_bytes` does."""
        mine = self._cgroup.whole_io or (cgroup.history.values and cgroup.total > processes.total)
        return cgroup.history if mine or not processes.history.values else processes.history

    def _pressure(self, resource: str) -> History:
        own = self._cgroup.pressure.rates[resource].history
        return own if own.values else self._machine.rates[resource].history

    def _seconds(self, time_ns: int) -> float:
        if self._start_ns is None:
            self._start_ns = time_ns
        return (time_ns - self._start_ns) / 1e9

    def _read_manifest(self) -> None:
        for name in (PARTIAL, FINAL):
            try:
                content = json.loads(Tail(self.path / name).more())
            except (ValueError, RecursionError):
                continue
            if not isinstance(content, dict) or not isinstance(content.get("schema"), int):
                continue
            schema, info = content["schema"], content.get("run")
            if not isinstance(info, dict) or not info:
                continue
            self.info = info
            if schema > SCHEMA_VERSION:
                self._problem = f"it is captured by a newer edgeprof (schema {schema}); upgrade this one to follow it"
            start = self.info.get("start_ns")
            self._start_ns = start if isinstance(start, int) and abs(start) < 1 << 63 else None
            self._begin(content)
            return

    def _take(self, name: str) -> None:
        tail = self._tails.get(name)
        if tail is None:
            if (self._raw / name).parent.is_symlink():
                return
            tail = self._tails[name] = FrameTail(self._raw / f"{name}.frames")
        for time_ns, source, payload in tail.frames():
            handler = self._handler(name, source)
            self._newest_ns = time_ns
            if handler is None:
                continue
            if not source.startswith("process/") and source != "tegrastats":
                if time_ns < self._due.get(source, 0):
                    continue
                self._due[source] = time_ns + RESOLUTION_NS
            handler(time_ns, payload)

    def _handler(self, name: str, source: str) -> Handler | None:
        if source not in self._handlers:
            if len(self._handlers) > _MOST_SOURCES:  # of processes that have come and gone
                self._handlers.clear()
            self._handlers[source] = self._find(name.partition("/")[0], source)
        return self._handlers[source]

    def _find(self, collector: str, source: str) -> Handler | None:
        if collector == "cgroup":
            return self._cgroup.handlers.get(source)
        if collector == "power":
            if self._power is None:
                from edgeprof.profiler.live.power import PowerAccount  # few machines have sensors

                self._power = PowerAccount(self._seconds, self._raw)
            return self._power.handler(source)
        if source.startswith("process/") and source.count("/") == 2:
            return self._processes.handler(source)
        if source in ("system/pressure/io", "system/pressure/memory"):
            return self._machine.handler(source.rpartition("/")[2])
        return None

    def _take_steps(self) -> None:
        for name in _record_files(self._raw / "phases"):
            if name not in self._step_tails:
                self._step_tails[name] = StepTail(self._raw / "phases" / name)
            for end, length, one in self._step_tails[name].ends():
                self._step_sum += length
                self._step_count += one
                if end >= self._step_due and self._step_count:
                    self._step_due = end + RESOLUTION_NS
                    self._step_time.add(self._seconds(end), self._step_sum / self._step_count / 1e9)
                    self._step_sum = self._step_count = 0


def _record_files(folder: Path) -> list[str]:
    try:
        names = sorted(item.name for item in folder.iterdir() if item.name.endswith(".bin"))
    except OSError:
        return []
    return names[:MOST_RECORD_FILES]
