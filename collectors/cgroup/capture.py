"""Copies the run's cgroup files (v2, v1 or both): memory, I/O, CPU, pressure, limits and members."""

import os
from typing import Dict, Optional

from edgeprof.collectors.base import Collector, Context, FileSampler, FrameWriter, Probe, Status

FAST_FILES = {
    "unified": (
        "memory.current",
        "memory.stat",
        "io.stat",
        "cpu.stat",
        "memory.pressure",
        "io.pressure",
    ),
    "memory": ("memory.usage_in_bytes", "memory.stat"),
    "cpuacct": ("cpuacct.usage",),
}
SLOW_FILES = {
    "unified": ("memory.peak", "memory.events", "memory.max", "memory.swap.current", "cpu.max", "cpu.pressure"),
    "memory": ("memory.max_usage_in_bytes", "memory.limit_in_bytes", "memory.failcnt", "memory.oom_control"),
    "blkio": ("blkio.throttle.io_service_bytes_recursive", "blkio.throttle.io_serviced_recursive"),
    "cpuacct": ("cpuacct.stat",),
    "cpu": ("cpu.stat", "cpu.cfs_quota_us", "cpu.cfs_period_us"),
}
"""Folder -> files: the fast ones at each tick, the slow ones each second."""
SLOW_INTERVAL = 1.0
_RECURSIVE = "_recursive"


class Cgroup(Collector):
    """Raw file ``samples.frames``; sources are ``unified/FILE`` and ``CONTROLLER/FILE``."""

    name = "cgroup"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._slow_due = 0
        self._missing: Dict[str, str] = {}
        self._writer: Optional[FrameWriter] = None

    def probe(self) -> Probe:
        if not self.context.cgroups:
            return Probe(False, "the run has no cgroup of its own", "run as root, or in a delegated cgroup")
        return Probe(True, details={"paths": dict(self.context.cgroups)})

    def start(self) -> None:
        self._writer = FrameWriter(os.path.join(self.context.raw, "samples.frames"))
        self._fast, self._slow = FileSampler(self._writer), FileSampler(self._writer, size=1 << 20)
        cgroups = self.context.cgroups
        for sampler, wanted in ((self._fast, FAST_FILES), (self._slow, SLOW_FILES)):
            for controller, files in wanted.items():
                for file in files if controller in cgroups else ():
                    path = os.path.join(cgroups[controller], file)
                    if not os.path.exists(path) and file.endswith(_RECURSIVE):
                        path = path[: -len(_RECURSIVE)]  # kernels before 5.2 count the cgroup itself only
                    if os.path.exists(path):  # which files there are depends on the kernel and its controllers
                        sampler.add(path, controller + "/" + file)
        # The run's threads tie trace records, which bear thread ids, to the run.
        for controller, name in (("unified", "cgroup.threads"), ("memory", "tasks"), ("cpu", "tasks")):
            if controller in cgroups and self._slow.add(os.path.join(cgroups[controller], name), "members"):
                break
        self._missing = dict(self._fast.missing, **self._slow.missing)

    def sample(self, now_ns: int) -> None:
        assert self._writer is not None
        self._fast.sample(now_ns)
        if now_ns >= self._slow_due:
            self._slow_due = now_ns + int(SLOW_INTERVAL * 1e9) - 1000000
            self._slow.sample(now_ns)
        self._writer.flush()

    def last(self, now_ns: int) -> None:
        self._slow_due = 0
        self.sample(now_ns)

    def stop(self) -> Status:
        if self._writer is None:  # its start failed
            return Status(0, 0)
        self._fast.close()
        self._slow.close()
        self._writer.close()
        notes = self._writer.notes()
        notes += ["{}: {}".format(name, reason) for name, reason in sorted(self._missing.items())]
        if "unified" not in self.context.cgroups:
            notes.append(
                "cgroup v1: buffered writes are not charged to the run (blkio counts direct I/O and reads only)"
            )
        elif "blkio" in self.context.cgroups:
            notes.append("hybrid cgroups: I/O is counted by v1 blkio, which leaves out buffered writeback")
        return Status(self._writer.records, self._writer.bytes, self._writer.lost, notes=tuple(notes))


COLLECTOR = Cgroup
