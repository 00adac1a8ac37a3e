"""Copies /proc: the system's files, and those of each process of the run at each tick."""

import os
import resource
import time
from typing import Dict, List, Optional, Sequence, Set, Tuple

from edgeprof.collectors.base import Collector, Context, FileSampler, FrameWriter, Probe, Status

SYSTEM_FILES = ("pressure/cpu", "pressure/memory", "pressure/io", "stat", "meminfo", "vmstat", "diskstats", "loadavg")
FAST_PROCESS_FILES = ("stat", "io")
SLOW_PROCESS_FILES = ("statm", "schedstat")
ONCE_PROCESS_FILES = ("status", "cgroup")
"""Read when a process is first seen: its ids in a container's namespace, and its cgroup."""
SLOW_INTERVAL = 0.5
"""Seconds between two readings of the whole system's files.  Reading them at 10 Hz would cost more than all the rest
of a tick (0.2 ms of cold caches on a small VM), and the run's own files tell at 10 Hz what the run does."""
ROLLUP = "smaps_rollup"
ROLLUP_SHARE = 0.0005
"""Share of a core that reading smaps_rollup may cost: the kernel walks the process's page tables for it, which took
3 ms for each process of a training here.  The run's processes take turns, as often as this allows."""
ROLLUP_BURST_NS = 1_000_000
"""CPU time that may be saved for several cheap readings at once."""
MAX_PROCESSES = 512
"""More processes than this are counted, but not sampled one by one."""
_SPARE_FILES = 256
"""Of the files that this process may open, those that the rest of edgeprof may need."""


class Procfs(Collector):
    """Raw file ``samples.frames``; sources are ``system/FILE`` and ``process/PID/FILE``.

    Option: ``roles``, whether processes may move to the cgroup of a role, so that it is read again and again.
    """

    name = "procfs"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._processes: Dict[int, List[Tuple[int, int]]] = {}
        self._slow_processes: Dict[int, List[Tuple[int, int]]] = {}
        self._pids: Sequence[int] = ()
        self._slow_due = 0
        self._rollup_at = 0
        self._rollup_credit = float(ROLLUP_BURST_NS)
        self._rollup_queue: List[int] = []
        self._refused: Dict[str, str] = {}
        self._skipped = 0
        self._missing: Dict[str, str] = {}
        self._most = MAX_PROCESSES
        self._writer: Optional[FrameWriter] = None

    def probe(self) -> Probe:
        if not os.access(self.context.roots.proc + "/stat", os.R_OK):
            return Probe(False, "{}/stat cannot be read".format(self.context.roots.proc), "mount procfs there")
        return Probe(True)

    def start(self) -> None:
        self._writer = FrameWriter(os.path.join(self.context.raw, "samples.frames"))
        self._system = FileSampler(self._writer)
        for name in SYSTEM_FILES:
            self._system.add(os.path.join(self.context.roots.proc, name), "system/" + name)
        files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        if files != resource.RLIM_INFINITY:
            each = len(FAST_PROCESS_FILES) + len(SLOW_PROCESS_FILES)
            self._most = max(1, min(MAX_PROCESSES, (files - _SPARE_FILES) // each))
        self._missing = self._system.missing

    def sample(self, now_ns: int) -> None:
        assert self._writer is not None
        pids = self.context.pids()
        changed = pids != self._pids
        if changed:
            for pid in pids:
                if pid not in self._processes:
                    self._add(pid)
        self._copy(now_ns, self._processes)
        if now_ns >= self._slow_due:
            self._slow_due = now_ns + int(SLOW_INTERVAL * 1e9) - 1000000
            self._system.sample(now_ns)
            self._copy(now_ns, self._slow_processes)
            self._sample_rollups(now_ns)
        # After the reading: one that has just ended may still be a zombie, whose counters are its final ones.
        if changed:
            self._drop(set(self._processes).difference(pids))
            self._pids = pids if len(self._processes) == len(pids) else ()  # for one too many there may be room later
        self._writer.flush()

    def last(self, now_ns: int) -> None:
        self._slow_due = 0
        self.sample(now_ns)

    def _copy(self, now_ns: int, processes: Dict[int, List[Tuple[int, int]]]) -> None:
        assert self._writer is not None
        frame, pread = self._writer.frame, os.pread
        for files in processes.values():
            for descriptor, source in files:
                try:
                    frame(now_ns, source, pread(descriptor, 4096, 0))
                except OSError:  # ESRCH: it ended since we listed it
                    continue

    def _add(self, pid: int) -> None:
        if len(self._processes) >= self._most:
            self._skipped += 1
            return
        self._processes[pid] = self._open(pid, FAST_PROCESS_FILES)
        slow = SLOW_PROCESS_FILES + (("cgroup",) if self.context.options.get("roles") else ())
        self._slow_processes[pid] = self._open(pid, slow)
        once = self._open(pid, ONCE_PROCESS_FILES)
        self._copy(time.monotonic_ns(), {pid: once})
        for descriptor, _ in once:
            os.close(descriptor)

    def _open(self, pid: int, names: Tuple[str, ...]) -> List[Tuple[int, int]]:
        assert self._writer is not None
        files = []
        for name in names:
            try:
                path = "{}/{}/{}".format(self.context.roots.proc, pid, name)
                descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            except OSError as error:
                self._note_refusal(pid, name, error)
                continue
            files.append((descriptor, self._writer.source("process/{}/{}".format(pid, name))))
        return files

    def _note_refusal(self, pid: int, name: str, error: OSError) -> None:
        if os.path.isdir("{}/{}".format(self.context.roots.proc, pid)):  # else it just ended
            self._refused.setdefault(name, error.strerror or str(error))

    def _drop(self, pids: Set[int]) -> None:
        for pid in pids:
            for descriptor, _ in self._processes.pop(pid) + self._slow_processes.pop(pid):
                os.close(descriptor)

    def _sample_rollups(self, now_ns: int) -> None:
        """Read as many processes' smaps_rollup as the share has earned, one process after the other in turn."""
        earned = (now_ns - self._rollup_at) * ROLLUP_SHARE if self._rollup_at else 0
        self._rollup_credit = min(self._rollup_credit + earned, ROLLUP_BURST_NS)
        self._rollup_at = now_ns
        for _ in range(len(self._processes)):
            if self._rollup_credit <= 0:
                break
            if not self._rollup_queue:
                self._rollup_queue = list(self._processes)
            before = time.thread_time_ns()
            pid = self._rollup_queue.pop()
            if pid in self._processes:  # it may have ended since the queue was made
                self._read_rollup(now_ns, pid)
            self._rollup_credit -= time.thread_time_ns() - before

    def _read_rollup(self, now_ns: int, pid: int) -> None:
        assert self._writer is not None
        # Opened anew each time: the kernel ties the open file to the address space of that moment (proc_mem_open),
        # which a process leaves behind when it calls exec.
        try:
            descriptor = os.open("{}/{}/{}".format(self.context.roots.proc, pid, ROLLUP), os.O_RDONLY | os.O_CLOEXEC)
        except ProcessLookupError:  # it is ending and has no memory left
            return
        except OSError as error:
            self._note_refusal(pid, ROLLUP, error)
            return
        try:
            payload = os.read(descriptor, 4096)
            self._writer.frame(now_ns, self._writer.source("process/{}/{}".format(pid, ROLLUP)), payload)
        except OSError:  # ESRCH, as above
            pass
        finally:
            os.close(descriptor)

    def stop(self) -> Status:
        if self._writer is None:  # its start failed
            return Status(0, 0)
        self._drop(set(self._processes))
        self._system.close()
        self._writer.close()
        notes = self._writer.notes()
        for name, reason in sorted(self._refused.items()):
            notes.append("/proc/PID/{} of the run's processes: {}".format(name, reason))
        for name, reason in sorted(self._missing.items()):
            notes.append("/proc/{}: {}".format(name.split("/", 1)[1], reason))
        if self._skipped:
            notes.append("only {} processes at a time are sampled one by one".format(self._most))
        return Status(self._writer.records, self._writer.bytes, self._writer.lost, notes=tuple(notes))


COLLECTOR = Procfs
