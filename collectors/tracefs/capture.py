"""One tracefs instance a run: tracepoint events go from the kernel's ring buffer to files, unread.

Collectors share the instance: each acquires it, enables its events, begins,
drains once a tick and releases.  The last one out ends the capture and removes
the instance.  Files, all below ``raw/tracefs/``:

    about.json            byte order, sub-buffer size, clock, CPUs
    header_page, header_event, formats/SYSTEM.EVENT   as tracefs gives them
    cpuN.raw              whole sub-buffers as ``trace_pipe_raw`` gives them
    windows.bin           when tracing was on, see `Windows`
    stats.cpuN            per_cpu/cpuN/stats at the end
    saved_cmdlines        pid and command at the end
    kernel_tasks          the kernel's own tasks at the end

Where events come faster than the budget, capture falls back to windows of time:
tracing is switched off until the budget has recovered.

Source: Documentation/trace/ftrace.rst and ring-buffer-design.rst of the kernel.
"""

import os
import sys
import time
from typing import Any, Dict, List, Optional

from edgeprof.collectors.base import Context, Probe, Roots, Status
from edgeprof.collectors.tracefs.capture_files import (
    CpuFiles,
    Undo,
    kernel_tasks,
    mount,
    parse_stats,
    read,
    write,
)
from edgeprof.collectors.tracefs.capture_windows import Allowance, Windows

TASK_EVENTS = (("task", "task_newtask"), ("task", "task_rename"))
"""Rare events that tell which tasks belong to the run, and their names."""

LOSS_COUNTS = ("overrun", "commit overrun", "dropped events")
"""Counts of per_cpu/cpuN/stats that are events lost (Documentation/trace/ftrace.rst)."""

REST_NS = 450_000_000
"""After a drain that found little, the next ones are left out for this long: looking costs, full buffers or not.
A buffer would have to fill from a small part of it (see `LITTLE`) to overflow in the meantime."""
LITTLE = 8
"""Little is less than this part (one eighth) of one CPU's buffer, from all CPUs together."""

_SHARED = "tracefs"
_SAVED_COMMANDS = 4096
_REAL = Roots()


def probe(roots: Roots = _REAL) -> Probe:
    """Say whether trace instances can be made here; changes nothing.

    ``details`` has ``path``, where tracefs is; None: a run has to `mount` it for itself.
    """
    places = [os.path.join(roots.sys, "kernel", "tracing"), os.path.join(roots.sys, "kernel", "debug", "tracing")]
    for path in places:
        if os.path.isdir(os.path.join(path, "instances")):
            return _probe_mounted(path)
    if os.geteuid() != 0:
        return Probe(False, "only root can use tracefs", "run edgeprof as root, or in a privileged container")
    for path in places:
        if os.path.exists(os.path.join(path, "trace_clock")):
            return Probe(False, "this kernel's tracefs has no instances", "use Linux 3.10 or later")
    if os.path.isdir(places[0]):
        return Probe(True, details={"path": None})
    return Probe(False, "this kernel has no tracefs", "use a kernel built with CONFIG_FTRACE and CONFIG_EVENT_TRACING")


def _probe_mounted(path: str) -> Probe:
    if not os.access(os.path.join(path, "instances"), os.W_OK):
        return Probe(False, "this user may not use tracefs", "run edgeprof as root, or in a privileged container")
    try:
        read(os.path.join(path, "trace_clock"))
    except OSError as error:  # lockdown=confidentiality refuses it to root too
        reason = "tracefs cannot be read ({})".format(error.strerror)
        return Probe(False, reason, "run edgeprof as root and boot without lockdown=confidentiality")
    return Probe(True, details={"path": path})


class TraceInstance:
    """A ring buffer of the run's own, drained to files; shared by the collectors through ``context.shared``.

    Attributes:
        tracing: where tracefs is mounted for the run.
        path: the instance's folder in tracefs.
        folder: where the raw files go.
        mode: ``full``, or ``sampled`` once the budget had to be held by windows.
        bytes: raw bytes written so far.
        failed: why capture ended early, or None.
        users: how many collectors hold it now.
        rests_until: CLOCK_MONOTONIC, ns, until which there is no need to drain it.
    """

    def __init__(self, context: Context, tracing: str, undo: Undo) -> None:
        self.folder = os.path.join(os.path.dirname(context.raw), "tracefs")
        self.path = os.path.join(tracing, "instances", "edgeprof-{}-{}".format(os.getpid(), os.urandom(4).hex()))
        self.mode = "full"
        self.bytes = 0
        self.failed: Optional[OSError] = None
        self.tracing = tracing
        self._context = context
        self._undo = undo
        self.users = 0
        self._events: Dict[str, bool] = {}
        self._files: Optional[CpuFiles] = None
        self._drained_at = 0
        self.rests_until = 0
        self._budget_bytes = 0.0
        self._buffer_bytes = 0
        self._cpus: List[int] = []
        os.makedirs(os.path.join(self.folder, "formats"), exist_ok=True)
        undo.add("tracefs_instance", self._remove, path=self.path)
        os.mkdir(self.path)
        self._windows = Windows(self.path, self.folder)

    @classmethod
    def acquire(cls, context: Context) -> "TraceInstance":
        """The run's instance; the first caller makes it.  Every acquire needs one release.

        Its byte budget is the largest ``context.budget_bytes`` of those who acquire it before it begins.

        Raises:
            OSError: tracefs is not usable; the sentence says why.
        """
        instance = context.shared.get(_SHARED)
        if not isinstance(instance, cls):
            instance = context.shared[_SHARED] = cls._make(context)
        instance.users += 1
        instance._budget_bytes = max(instance._budget_bytes, context.budget_bytes)
        return instance

    @classmethod
    def _make(cls, context: Context) -> "TraceInstance":
        found = probe(context.roots)
        if not found.available:
            raise OSError("{}; {}".format(found.reason, found.remedy))
        undo = Undo(context.journal)
        instance: Optional[TraceInstance] = None
        try:
            instance = cls(context, found.details["path"] or mount("tracefs", undo), undo)
            instance._cpus = _cpus(instance.path, context.roots)
            instance.set("trace_clock", "mono")
            instance._size_buffers()
            instance._widen_saved_commands()
        except OSError:
            if instance is not None:
                instance._windows.close()
            undo.all()
            raise
        return instance

    def enable(self, system: str, event: str) -> bool:
        """Enable an event and keep its format; False when this kernel does not have it."""
        key = "{}.{}".format(system, event)
        if key not in self._events:
            folder = os.path.join(self.path, "events", system, event)
            try:
                self._save(os.path.join("formats", key), read(os.path.join(folder, "format")))
                write(os.path.join(folder, "enable"), b"1")
                self._events[key] = True
            except FileNotFoundError:
                self._events[key] = False
        return self._events[key]

    def set(self, file: str, text: str) -> None:
        """Write ``text`` to a file of the instance, such as ``events/block/filter``.  Raises OSError."""
        write(os.path.join(self.path, file), text.encode())

    def begin(self) -> None:
        """Open the files and switch tracing on; the second and later calls do nothing.  Raises OSError."""
        if self._files is not None:
            return
        for system, event in TASK_EVENTS:
            self.enable(system, event)
        for name in ("header_page", "header_event"):
            self._save(name, self._header(name))
        page = _sub_buffer_bytes(self._header("header_page"))
        self._save("about.json", self._about(page))
        self._files = CpuFiles(self.path, self.folder, self._cpus, page, self._buffer_bytes)
        self._allowance = Allowance(self._budget_bytes, self._context.budget_cpu, time.monotonic_ns())
        self._windows.begin()

    def drain(self, now_ns: int) -> None:
        """Move whole sub-buffers to the raw files; at most once a tick, however many collectors call it.

        Raises:
            OSError: the raw files cannot be written; capture has ended then, and what was written stays whole.
        """
        if now_ns == self._drained_at or self._files is None:
            return
        self._drained_at = now_ns
        if self.failed is not None:
            raise self.failed
        if self._windows.open and now_ns < self.rests_until:
            return
        self._allowance.refill(now_ns)
        try:
            if self._windows.open:
                if self._take(self._files, last=False) * LITTLE < self._buffer_bytes:
                    self.rests_until = now_ns + REST_NS
                if self._allowance.seconds < 0:
                    self.mode = "sampled"
                    self._windows.end()
                    self._take(self._files, last=True)
            elif self._windows.due(self._allowance):
                self._windows.begin()
        except OSError as error:
            self._fail(error)
            raise

    def release(self) -> Status:
        """Give the instance back.  The last one out ends the capture, removes the instance and gets the final figures.

        The figures are the whole instance's, however many share it.  ``records`` counts events read; ``lost`` is None
        where the kernel's counts could not be read, or the raw files could not be written.  ``details``: ``instance``,
        ``events``, ``windows``, ``observed_seconds``, ``buffer_bytes`` and ``cpus``, per CPU the kernel's own counts.
        """
        self.users -= 1
        if self.users > 0:
            return self._status()
        self._context.shared.pop(_SHARED, None)
        notes: List[str] = []
        if self._files is not None and self.failed is None:
            try:
                self._windows.end()
                self._take(self._files, last=True)
            except OSError as error:
                self._fail(error)
        if self.failed is not None:
            notes.append("tracing ended early: {}".format(self.failed.strerror or self.failed))
        status = self._status()
        self._save_last_words()
        if self._files is not None:
            self._files.close()
        self._windows.close()
        notes.extend(self._undo.all())
        return status._replace(notes=tuple(notes))

    def _take(self, files: CpuFiles, last: bool) -> int:
        """Move what is there, and at the end of a window the partly filled sub-buffers too; returns the bytes."""
        began = time.thread_time_ns()
        moved = files.move()
        if last:
            moved += files.take_rest()
        self.bytes += moved
        self._allowance.charge(moved, time.thread_time_ns() - began)
        return moved

    def _fail(self, error: OSError) -> None:
        self.failed = error
        try:
            self._windows.end()
        except OSError:  # on a full disk the window's end is not written; the events show it
            pass
        if self._files is not None:
            self._files.cut_to_pages()

    def _remove(self) -> None:
        if os.path.isdir(self.path):
            os.rmdir(self.path)

    def _size_buffers(self) -> None:
        """Room for four ticks of the whole budget on one CPU, within a share of the machine's memory."""
        context = self._context
        least = 16 << 20 if context.deep else 4 << 20
        wanted = max(least, int(4 * context.budget_bytes / max(context.rate, 0.1)))
        share = 0.02 if context.deep else 0.01
        affordable = int(_memory_bytes(context.roots) * share / max(1, len(self._cpus)))
        kilobytes = max(256, min(wanted, affordable, 64 << 20) >> 10)
        self.set("buffer_size_kb", str(kilobytes))
        self._buffer_bytes = kilobytes << 10

    def _widen_saved_commands(self) -> None:
        """Let the kernel remember more commands than its 128 by default (20 bytes each)."""
        file = os.path.join(self.tracing, "saved_cmdlines_size")
        try:
            old = read(file).strip()
            if int(old) < _SAVED_COMMANDS:
                self._undo.add("write", lambda: write(file, old), path=file, old=old.decode())
                write(file, b"%d" % _SAVED_COMMANDS)
        except (OSError, ValueError):  # commands still come with the events themselves
            return

    def _header(self, name: str) -> bytes:
        own = os.path.join(self.path, "events", name)
        return read(own if os.path.exists(own) else os.path.join(self.tracing, "events", name))

    def _save(self, name: str, content: bytes) -> None:
        with open(os.path.join(self.folder, name), "wb") as file:
            file.write(content)

    def _about(self, page: int) -> bytes:
        import json

        about = {
            "byteorder": sys.byteorder,
            "clock": "mono",
            "cpus": self._cpus,
            "sub_buffer_bytes": page,
            "buffer_bytes_per_cpu": self._buffer_bytes,
            "budget_bytes": self._budget_bytes,
        }
        return json.dumps(about).encode()

    def _status(self) -> Status:
        cpus: Dict[str, Dict[str, int]] = {}
        lost: Optional[int] = 0 if self.failed is None else None  # what was in the pipe was neither written nor counted
        for cpu in self._cpus:
            try:
                counts = cpus[str(cpu)] = parse_stats(read(self._stats(cpu)))
            except OSError:
                lost = None
                continue
            if lost is not None:
                lost += sum(counts.get(name, 0) for name in LOSS_COUNTS)
        records = sum(counts.get("read events", 0) for counts in cpus.values())
        details: Dict[str, Any] = {
            "instance": os.path.basename(self.path),
            "events": sorted(name for name, there in self._events.items() if there),
            "windows": self._windows.count,
            "observed_seconds": self._windows.observed_ns / 1e9,
            "buffer_bytes": self._buffer_bytes * len(self._cpus),
            "cpus": cpus,
        }
        return Status(records, self.bytes, lost, self.mode, (), details)

    def _stats(self, cpu: int) -> str:
        return os.path.join(self.path, "per_cpu", "cpu{}".format(cpu), "stats")

    def _save_last_words(self) -> None:
        """What only the end can tell; on a full disk the trace goes without."""
        try:
            for cpu in self._cpus:
                self._save("stats.cpu{}".format(cpu), read(self._stats(cpu)))
            self._save("saved_cmdlines", read(os.path.join(self.tracing, "saved_cmdlines")))
            tasks = kernel_tasks(self._context.roots.proc)
            self._save("kernel_tasks", "\n".join(map(str, tasks)).encode())
        except OSError:
            return


def _cpus(instance: str, roots: Roots) -> List[int]:
    """CPUs with a buffer, without those that can never come up: some machines list hundreds of them."""
    names = os.listdir(os.path.join(instance, "per_cpu"))
    cpus = sorted(int(name[3:]) for name in names if name.startswith("cpu") and name[3:].isdigit())
    folder = os.path.join(roots.sys, "devices", "system", "cpu")
    there = [cpu for cpu in cpus if os.path.isdir(os.path.join(folder, "cpu{}".format(cpu)))]
    return there or cpus


def _memory_bytes(roots: Roots) -> int:
    for line in read(os.path.join(roots.proc, "meminfo")).splitlines():
        if line.startswith(b"MemTotal:"):
            return int(line.split()[1]) << 10
    return 1 << 30


def _sub_buffer_bytes(header_page: bytes) -> int:
    """Bytes of one sub-buffer: where the ``data`` field of events/header_page ends."""
    for line in header_page.splitlines():
        if b" data;" in line:
            numbers = dict(part.strip().split(b":", 1) for part in line.split(b";") if b":" in part)
            return int(numbers[b"offset"]) + int(numbers[b"size"])
    return os.sysconf("SC_PAGE_SIZE")
