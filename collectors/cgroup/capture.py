"""Copies the run's cgroup files (v2, v1 or both): memory, I/O, CPU, pressure, limits and members."""

import os
from typing import Dict, List, Tuple

from edgeprof.collectors.base import Collector, Context, FileSampler, FrameWriter, Probe, Status

UNIFIED_FILES = (
    "memory.current",
    "memory.peak",
    "memory.stat",
    "memory.events",
    "memory.max",
    "memory.swap.current",
    "io.stat",
    "cpu.stat",
    "cpu.max",
    "cpu.pressure",
    "memory.pressure",
    "io.pressure",
)
V1_FILES = {
    "memory": (
        "memory.usage_in_bytes",
        "memory.max_usage_in_bytes",
        "memory.limit_in_bytes",
        "memory.failcnt",
        "memory.stat",
        "memory.oom_control",
    ),
    "blkio": ("blkio.throttle.io_service_bytes_recursive", "blkio.throttle.io_serviced_recursive"),
    "cpuacct": ("cpuacct.usage", "cpuacct.stat"),
    "cpu": ("cpu.stat", "cpu.cfs_quota_us", "cpu.cfs_period_us"),
}
MEMBERS_INTERVAL = 1.0
"""Seconds between two lists of the run's threads, which tie trace records to the run."""


class Cgroup(Collector):
    """Raw file ``samples.frames``; sources are ``unified/FILE`` and ``CONTROLLER/FILE``."""

    name = "cgroup"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._members_due = 0
        self._missing: Dict[str, str] = {}

    def probe(self) -> Probe:
        if not self.context.cgroups:
            return Probe(False, "the run has no cgroup of its own", "run as root, or in a delegated cgroup")
        return Probe(True, details={"paths": dict(self.context.cgroups)})

    def start(self) -> None:
        self._writer = FrameWriter(os.path.join(self.context.raw, "samples.frames"))
        self._files = FileSampler(self._writer)
        self._members = FileSampler(self._writer, size=1 << 20)
        for folder, source in _wanted(self.context.cgroups):
            if os.path.exists(folder):  # which files there are depends on the kernel and its controllers
                self._files.add(folder, source)
        self._missing = self._files.missing
        cgroups = self.context.cgroups
        for controller, name in (("unified", "cgroup.threads"), ("memory", "tasks"), ("cpu", "tasks")):
            if controller in cgroups and self._members.add(os.path.join(cgroups[controller], name), "members"):
                break

    def sample(self, now_ns: int) -> None:
        self._files.sample(now_ns)
        if now_ns >= self._members_due:
            self._members_due = now_ns + int(MEMBERS_INTERVAL * 1e9)
            self._members.sample(now_ns)
        self._writer.flush()

    def stop(self) -> Status:
        self._files.close()
        self._members.close()
        self._writer.close()
        notes = ["{}: {}".format(name, reason) for name, reason in sorted(self._missing.items())]
        if "unified" not in self.context.cgroups:
            notes.append(
                "cgroup v1: buffered writes are not charged to the run (blkio counts direct I/O and reads only)"
            )
        elif "blkio" in self.context.cgroups:
            notes.append("hybrid cgroups: I/O is counted by v1 blkio, which leaves out buffered writeback")
        return Status(self._writer.records, self._writer.bytes, notes=tuple(notes))


def _wanted(cgroups: Dict[str, str]) -> List[Tuple[str, str]]:
    """(path, source name) of all files that could be there, each once."""
    wanted = []
    for controller, files in V1_FILES.items():
        if controller in cgroups:
            wanted += [(os.path.join(cgroups[controller], file), controller + "/" + file) for file in files]
    if "unified" in cgroups:
        wanted += [(os.path.join(cgroups["unified"], file), "unified/" + file) for file in UNIFIED_FILES]
    return wanted


COLLECTOR = Cgroup
