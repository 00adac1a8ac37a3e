"""Counts the run's processor and kernel events with ``perf stat``, attached to the workload before its exec."""

import errno
import os
import select
import time
from typing import List, Optional, Tuple

from edgeprof.collectors.base import Collector, Context, FrameWriter, Probe, Status
from edgeprof.collectors.helper import HelperProcess, ask, find_program
from edgeprof.collectors.sysfs import read_number, read_text

EVENTS = (
    "task-clock",
    "cycles",
    "instructions",
    "cache-references",
    "cache-misses",
    "branch-misses",
    "dTLB-load-misses",
    "LLC-load-misses",
    "page-faults",
    "minor-faults",
    "major-faults",
    "context-switches",
    "cpu-migrations",
)

READY_SECONDS = 0.25
"""The workload is held no longer than this for perf to be ready; perf 6.1 takes 10 to 25 ms."""

_ENVIRONMENT = {"LC_ALL": "C", "PERF_CONFIG": os.devnull}  # decimal points, and no user's own defaults
_CAP_SYS_ADMIN, _CAP_PERFMON = 21, 38  # linux/capability.h


class PerfStat(Collector):
    """One ``perf stat -I`` process for the whole run; it inherits into every child of the workload.

    Files: ``stat.json`` (``stat.csv`` from a perf before 6.0) as perf wrote it, ``clock.frames`` with the moments
    between which perf's own clock must have started, ``stderr``.

    Options: ``perf`` (the program), ``interval`` (seconds, 1.0), ``events`` (names), ``control`` (False: do not use
    perf's control descriptors even where it has them), ``by_cgroup`` (whether to count what runs in the run's cgroup at
    the top of its hierarchy: the workload is no child of edgeprof).
    """

    name = "perf_stat"
    interval = 1.0

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        options = context.options
        self._program = find_program(str(options.get("perf", "perf")))
        self._period = max(0.01, float(options.get("interval", 1.0)))
        self._events = list(options.get("events", EVENTS))
        self._json = True
        self._control = False
        self._perf: Optional[HelperProcess] = None
        self._output = ""
        self._notes: List[str] = []
        self._ready_seconds: Optional[float] = None
        self._setup_cpu: Optional[float] = None

    def probe(self) -> Probe:
        """Look for perf, for leave to use it, and for what this perf can do."""
        if self._program is None:
            return Probe(False, "the perf tool is not installed", _install_hint())
        paranoid = read_number(os.path.join(self.context.roots.proc, "sys/kernel/perf_event_paranoid"))
        if paranoid is None:
            return Probe(False, "this kernel has no perf events", "use a kernel built with CONFIG_PERF_EVENTS")
        if paranoid > 2 and not _privileged(self.context.roots.proc):
            return Probe(
                False,
                "kernel.perf_event_paranoid is {}, which keeps perf from ordinary users".format(paranoid),
                "run as root, or `sysctl kernel.perf_event_paranoid=2`",
            )
        try:
            answer = ask([self._program, "stat", "-h"], 2.0, _ENVIRONMENT)
        except OSError as error:
            return Probe(False, "perf cannot be started: {}".format(error.strerror), _install_hint())
        usage = answer.stdout + answer.stderr
        if "--interval-print" not in usage:
            return Probe(False, "perf does not work here: {}".format(_first_line(usage)), _install_hint())
        self._json = "--json-output" in usage
        self._control = "--control" in usage and bool(self.context.options.get("control", True))
        return Probe(True, details={"perf": self._program, "paranoid": paranoid})

    def start(self) -> None:
        """Attach to the held workload and wait, at most `READY_SECONDS`, until perf counts.

        Raises:
            OSError: perf ended at once; the message is its own first line.
        """
        raw = self.context.raw
        self._output = os.path.join(raw, "stat.json" if self._json else "stat.csv")
        argv = [str(self._program), "stat", "-I", str(int(self._period * 1000)), "-o", self._output]
        argv += ["-j"] if self._json else ["-x", ";"]
        argv += ["-e", ",".join(self._events), *self._target()]
        begun = time.monotonic_ns()
        self._mark("spawned", begun)
        if self._control:
            self._start_controlled(argv)
        else:
            self._perf = self._spawn(argv)
            self._await_counters(self._perf)
        self._ready_seconds = (time.monotonic_ns() - begun) / 1e9
        if self._perf is not None:
            self._setup_cpu = self._perf.cpu_seconds_so_far()

    def _target(self) -> List[str]:
        """The workload's process and its children, or whatever is in the run's cgroup."""
        if not self.context.options.get("by_cgroup"):
            return ["-p", str(self.context.pid)]
        folder = self.context.cgroups.get("perf_event") or self.context.cgroups.get("unified")
        if folder is None:
            raise OSError(errno.ENOENT, "the run has no cgroup that perf knows")
        return ["-a", "-G", ",".join([os.path.basename(folder)] * len(self._events))]

    def _spawn(self, argv: List[str], pass_fds: Tuple[int, ...] = ()) -> HelperProcess:
        stderr = os.path.join(self.context.raw, "stderr")
        return HelperProcess(argv, self.context.journal, stderr=stderr, pass_fds=pass_fds, env=_ENVIRONMENT)

    def _start_controlled(self, argv: List[str]) -> None:
        """Start with all events disabled; perf answers when they are enabled (perf-stat(1), --control; since 5.8)."""
        command_end, command = os.pipe()
        answer, answer_end = os.pipe()
        try:
            os.write(command, b"enable\n")
            argv += ["-D", "-1", "--control", "fd:{},{}".format(command_end, answer_end)]
            try:
                self._perf = self._spawn(argv, (command_end, answer_end))
            finally:
                os.close(command_end)
                os.close(answer_end)
            if not select.select([answer], [], [], READY_SECONDS)[0]:
                self._notes.append(
                    "perf was not ready after {} s: the first events may be missing".format(READY_SECONDS)
                )
            elif os.read(answer, 16):
                self._mark("acknowledged", time.monotonic_ns())
            else:  # its end of the pipe was closed: it is gone
                self._fail()
        finally:
            os.close(command)
            os.close(answer)

    def _await_counters(self, perf: HelperProcess) -> None:
        """An older perf says nothing: it counts once it sleeps with its counters open."""
        deadline = time.monotonic() + READY_SECONDS
        before = -1
        while time.monotonic() < deadline:
            if not perf.alive():
                self._fail()
            counters = _open_counters(perf.pid)
            if counters and counters == before and _sleeping(perf.pid):
                self._mark("acknowledged", time.monotonic_ns())
                return
            before = counters
            time.sleep(0.005)
        self._notes.append("perf was not ready after {} s: the first events may be missing".format(READY_SECONDS))

    def _fail(self) -> None:
        assert self._perf is not None
        self._perf.stop()
        said = _first_line(read_text(os.path.join(self.context.raw, "stderr")) or "")
        raise OSError("perf ended at once: {}".format(said))

    def _mark(self, source: str, now_ns: int) -> None:
        clock = FrameWriter(os.path.join(self.context.raw, "clock.frames"))
        clock.frame(now_ns, clock.source(source), b"")
        clock.close()  # at once: the run may be killed before there is anything more to write

    def stop(self) -> Status:
        """Interrupt perf, which prints its last interval first."""
        details = {"events": self._events, "interval": self._period, "ready_seconds": self._ready_seconds}
        lost: Optional[int] = 0
        if self._perf is not None:
            if self._perf.alive():
                self._mark("interrupted", time.monotonic_ns())
            code = self._perf.stop(timeout=2.0)
            self._mark("exited", time.monotonic_ns())
            if code not in (0, -2):
                lost = None
                said = _first_line(read_text(os.path.join(self.context.raw, "stderr")) or "")
                self._notes.append("perf ended with code {}: {}".format(code, said))
            details.update(helper_pid=self._perf.pid, helper_cpu_seconds=self._perf.cpu_seconds)
            details["helper_setup_cpu_seconds"] = self._setup_cpu
        records, size = _count_lines(self._output)
        return Status(records, size, lost, notes=tuple(self._notes), details=details)


def _privileged(proc: str) -> bool:
    """Whether this process holds CAP_PERFMON or CAP_SYS_ADMIN."""
    for line in (read_text(os.path.join(proc, "self/status")) or "").splitlines():
        if line.startswith("CapEff:"):
            held = int(line.split()[1], 16)
            return bool(held >> _CAP_PERFMON & 1 or held >> _CAP_SYS_ADMIN & 1)
    return False


def _install_hint() -> str:
    return "install it: `apt-get install linux-perf` (Debian) or `linux-tools-{}` (Ubuntu)".format(os.uname().release)


def _first_line(text: str) -> str:
    """The first line that says something; perf's own begins with a bare ``Error:``."""
    for line in text.splitlines():
        line = line.strip()
        if line and line not in ("Error:", "Events disabled", "Events enabled"):
            return line
    return "it said nothing"


def _open_counters(pid: int) -> int:
    folder = "/proc/{}/fd".format(pid)
    count = 0
    try:
        for name in os.listdir(folder):
            count += "perf_event" in os.readlink(os.path.join(folder, name))
    except OSError:  # it closed one meanwhile, or is gone: the caller looks again
        return 0
    return count


def _sleeping(pid: int) -> bool:
    text = read_text("/proc/{}/stat".format(pid)) or ""
    return text[text.rfind(")") + 2 :].startswith("S")


def _count_lines(path: str) -> Tuple[int, int]:
    """Records (lines that are neither empty nor comments) and bytes of perf's output."""
    records = size = 0
    try:
        with open(path, "rb") as file:
            for line in file:
                size += len(line)
                records += len(line) > 1 and not line.startswith(b"#")
    except OSError:
        return 0, 0
    return records, size


COLLECTOR = PerfStat
