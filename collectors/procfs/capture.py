"""Copies /proc: the system's files each tick, and those of each process of the run."""

import os
import time
from typing import Dict, List, Set, Tuple

from edgeprof.collectors.base import Collector, Context, FileSampler, FrameWriter, Probe, Status

SYSTEM_FILES = (
    "stat",
    "meminfo",
    "vmstat",
    "diskstats",
    "loadavg",
    "pressure/cpu",
    "pressure/memory",
    "pressure/io",
)
PROCESS_FILES = ("stat", "io", "statm", "schedstat")
ROLLUP = "smaps_rollup"
ROLLUP_INTERVAL = 1.0
"""Seconds between two readings of smaps_rollup; the kernel walks all page tables of the process for it."""
ROLLUP_SHARE = 0.002
"""Share of a core that those readings may cost; where they cost more, they become rarer."""
MAX_PROCESSES = 512
"""More processes than this are counted, but not sampled one by one."""


class Procfs(Collector):
    """Raw file ``samples.frames``; sources are ``system/FILE`` and ``process/PID/FILE``."""

    name = "procfs"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._processes: Dict[int, List[Tuple[int, int]]] = {}
        self._rollup_due = 0
        self._rollup_interval = int(ROLLUP_INTERVAL * 1e9)
        self._refused: Dict[str, str] = {}
        self._skipped = 0
        self._missing: Dict[str, str] = {}

    def probe(self) -> Probe:
        if not os.access(self.context.roots.proc + "/stat", os.R_OK):
            return Probe(False, "{}/stat cannot be read".format(self.context.roots.proc), "mount procfs there")
        return Probe(True)

    def start(self) -> None:
        self._writer = FrameWriter(os.path.join(self.context.raw, "samples.frames"))
        self._system = FileSampler(self._writer)
        for name in SYSTEM_FILES:
            self._system.add(os.path.join(self.context.roots.proc, name), "system/" + name)
        self._missing = self._system.missing

    def sample(self, now_ns: int) -> None:
        self._system.sample(now_ns)
        pids = self.context.pids()
        for pid in pids:
            if pid not in self._processes:
                self._add(pid)
        frame, pread = self._writer.frame, os.pread
        for files in self._processes.values():
            for descriptor, source in files:
                try:
                    frame(now_ns, source, pread(descriptor, 4096, 0))
                except OSError:  # ESRCH: it ended since we listed it
                    continue
        # After the reading: one that has just ended may still be a zombie, whose counters are its final ones.
        self._drop(set(self._processes).difference(pids))
        if now_ns >= self._rollup_due:
            self._sample_rollups(now_ns)
        self._writer.flush()

    def _add(self, pid: int) -> None:
        if len(self._processes) >= MAX_PROCESSES:
            self._skipped += 1
            return
        folder = "{}/{}/".format(self.context.roots.proc, pid)
        files = []
        for name in PROCESS_FILES:
            try:
                descriptor = os.open(folder + name, os.O_RDONLY | os.O_CLOEXEC)
            except OSError as error:
                self._refused.setdefault(name, error.strerror or str(error))
                continue
            files.append((descriptor, self._writer.source("process/{}/{}".format(pid, name))))
        self._processes[pid] = files

    def _drop(self, pids: Set[int]) -> None:
        for pid in pids:
            for descriptor, _ in self._processes.pop(pid):
                os.close(descriptor)

    def _sample_rollups(self, now_ns: int) -> None:
        before = time.thread_time_ns()
        for pid in self._processes:
            # Opened anew each time: the kernel ties the open file to the address space of that moment (proc_mem_open),
            # which a process leaves behind when it calls exec.
            try:
                descriptor = os.open(
                    "{}/{}/{}".format(self.context.roots.proc, pid, ROLLUP), os.O_RDONLY | os.O_CLOEXEC
                )
            except OSError as error:
                self._refused.setdefault(ROLLUP, error.strerror or str(error))
                continue
            try:
                payload = os.read(descriptor, 4096)
                self._writer.frame(now_ns, self._writer.source("process/{}/{}".format(pid, ROLLUP)), payload)
            except OSError:  # ESRCH: it is ending and has no memory left
                continue
            finally:
                os.close(descriptor)
        cost = time.thread_time_ns() - before
        self._rollup_due = now_ns + max(self._rollup_interval, int(cost / ROLLUP_SHARE))

    def stop(self) -> Status:
        self._drop(set(self._processes))
        self._system.close()
        self._writer.close()
        notes = []
        for name, reason in sorted(self._refused.items()):
            if reason != "No such process":
                notes.append("/proc/PID/{} of the run's processes: {}".format(name, reason))
        for name, reason in sorted(self._missing.items()):
            notes.append("/proc/{}: {}".format(name.split("/", 1)[1], reason))
        if self._skipped:
            notes.append("only {} processes at a time are sampled one by one".format(MAX_PROCESSES))
        return Status(self._writer.records, self._writer.bytes, notes=tuple(notes))


COLLECTOR = Procfs
