"""Copies the run's cgroup files (v2, v1 or both): memory, I/O, CPU, pressure, limits and members.

A run of several workloads at once has a cgroup for each inside its own, named ``role-NAME``; where the option
``roles`` says so, their CPU time, memory and pressure are copied too.
"""

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
ROLE_FILES = {
    "unified": ("cpu.pressure", "io.pressure", "memory.pressure", "cpu.stat", "memory.current", "io.stat"),
    "memory": ("memory.usage_in_bytes",),
    "cpuacct": ("cpuacct.usage",),
}
ROLE_INTERVAL = 0.2
ROLE_PREFIX = "role-"
_RECURSIVE = "_recursive"


class Cgroup(Collector):
    """Raw file ``samples.frames``; sources are ``unified/FILE`` and ``CONTROLLER/FILE``, for a role behind its name.

    Option: ``roles``, whether to look for the cgroups of roles.
    """

    name = "cgroup"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._slow_due = 0
        self._role_due = 0
        self._roles: Dict[str, FileSampler] = {}
        self._role_links = 0
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
        if self.context.options.get("roles") and now_ns >= self._role_due:
            self._role_due = now_ns + int(ROLE_INTERVAL * 1e9) - 1000000
            self._find_roles()
            for sampler in self._roles.values():
                sampler.sample(now_ns)
        self._writer.flush()

    def _find_roles(self) -> None:
        """Open the files of cgroups that came since; looks only when the number of cgroups inside has changed."""
        assert self._writer is not None
        folders = [(name, path) for name, path in self.context.cgroups.items() if name in ROLE_FILES]
        try:
            links = sum(os.stat(path).st_nlink for _, path in folders)
        except OSError:  # the run's cgroup is gone
            return
        if links == self._role_links:
            return
        self._role_links = links
        for controller, folder in folders:
            for entry in os.listdir(folder):
                if not entry.startswith(ROLE_PREFIX) or controller + "/" + entry in self._roles:
                    continue
                sampler = self._roles[controller + "/" + entry] = FileSampler(self._writer)
                for file in ROLE_FILES[controller]:
                    path = os.path.join(folder, entry, file)
                    if os.path.exists(path):  # which files there are depends on the kernel and its controllers
                        sampler.add(path, "{}/{}/{}".format(entry, controller, file))

    def last(self, now_ns: int) -> None:
        self._slow_due = self._role_due = 0
        self.sample(now_ns)

    def stop(self) -> Status:
        if self._writer is None:  # its start failed
            return Status(0, 0)
        self._fast.close()
        self._slow.close()
        for sampler in self._roles.values():
            sampler.close()
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
