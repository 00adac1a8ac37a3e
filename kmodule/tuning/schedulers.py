"""The schedulers that a disk can have, with the settings that their documentation names for throughput or latency."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from edgeprof.collectors.sysfs import children, put, read_text
from edgeprof.kmodule.tuning.errors import Gone
from edgeprof.profiler.storage.changes import Changes
from edgeprof.profiler.storage.disk import chosen


@dataclass(frozen=True)
class Scheduling:
    """A scheduler, and those of its settings that differ from what it begins with."""

    name: str
    settings: dict[str, str] = field(default_factory=dict, hash=False)

    def __str__(self) -> str:
        told = ", ".join(f"{name}={value}" for name, value in self.settings.items())
        return f"{self.name} ({told})" if told else self.name


KNOWN = (
    Scheduling("none"),
    Scheduling("mq-deadline"),
    Scheduling("mq-deadline", {"fifo_batch": "1"}),  # for latency: Documentation/block/deadline-iosched.rst
    Scheduling("kyber"),
    Scheduling("bfq"),
    Scheduling("bfq", {"low_latency": "0"}),  # for throughput: Documentation/block/bfq-iosched.rst, chapter 4
    Scheduling("mq-kmlib"),
)


class SchedulerFiles:
    """The scheduler of one disk, and how it was found."""

    def __init__(self, disk: str, folder: Path) -> None:
        self._disk = disk
        self._queue = folder / "queue"
        self.found = self.now()

    def now(self) -> Scheduling:
        """The scheduler in use with all its settings that can be changed."""
        settings = {
            Path(path).name: text
            for path in children(str(self._queue / "iosched"))
            if Path(path).stat().st_mode & 0o200 and (text := read_text(path)) is not None
        }
        return Scheduling(self.name(), settings)

    def name(self) -> str:
        """Of the scheduler in use."""
        return chosen(read_text(str(self._queue / "scheduler")) or "none")

    def others(self) -> list[Scheduling]:
        """Those that this kernel has for the disk, but for the one that was found."""
        offered = (read_text(str(self._queue / "scheduler")) or "").replace("[", "").replace("]", "").split()
        known = [item for item in KNOWN if item.name in offered]
        return [item for item in known if item.name != self.found.name or item.settings]

    def journal(self, changes: Changes) -> list[int]:
        """Write down how it was found: newest first, the scheduler comes back, then what it sets anew by itself."""
        old = {self._queue / "iosched" / name: value for name, value in self.found.settings.items()}
        requests = read_text(str(self._queue / "nr_requests"))
        if requests is not None:
            old[self._queue / "nr_requests"] = requests
        old[self._queue / "scheduler"] = self.found.name
        return [changes.record("write", path=str(path), old=value) for path, value in old.items()]

    def use(self, wanted: Scheduling) -> None:
        """Raises Gone."""
        try:
            put(str(self._queue / "scheduler"), wanted.name)
            for name, value in wanted.settings.items():
                put(str(self._queue / "iosched" / name), value)
        except OSError:
            raise Gone(self._disk) from None
