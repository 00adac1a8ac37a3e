"""One tracefs instance a run: tracepoint events go from the kernel's ring buffer to files, unread.

Collectors share the instance: each acquires it, enables its events, begins,
drains once a tick and releases.  The last one out ends the capture and removes
the instance.  Files, all below ``raw/tracefs/``:

    about.json            byte order, sub-buffer size, clock, CPUs
    header_page, header_event, formats/SYSTEM.EVENT   as tracefs gives them
    cpuN.raw              whole sub-buffers as ``trace_pipe_raw`` gives them
    windows.bin           ``<QQ`` begin, end in CLOCK_MONOTONIC ns; end 0: not known (yet)
    stats.cpuN            per_cpu/cpuN/stats at the end
    saved_cmdlines        pid and command at the end

Where events come faster than the byte budget, capture falls back to windows of
time: tracing is switched off until the budget has recovered, and windows.bin
says when it was on.

Source: Documentation/trace/ftrace.rst and ring-buffer-design.rst of the kernel.
"""

import os
import struct
import sys
import time
from typing import Any, Callable, Dict, List, Optional, Tuple

from edgeprof.collectors.base import Context, Journal, Probe, Roots, Status

WINDOW = struct.Struct("<QQ")
"""A record of windows.bin: begin, end, CLOCK_MONOTONIC ns."""

TASK_EVENTS = (("task", "task_newtask"), ("task", "task_rename"))
"""Rare events that tell which tasks belong to the run, and their names."""

_SHARED = "tracefs"
_BURST_SECONDS = 2.0
_LEAST_BURST = 256 << 10
_SAVED_COMMANDS = 4096
_F_SETPIPE_SZ = 1031  # linux/fcntl.h; named in fcntl since Python 3.10
_PIPE_BYTES = 1 << 20  # the kernel's default limit for those without CAP_SYS_RESOURCE
_SPLICE_F_NONBLOCK = 2  # linux/splice.h
_MNT_DETACH = 2


def probe(roots: Roots = Roots()) -> Probe:
    """Say whether trace instances can be made here.  ``details``: ``path`` of tracefs, ``mount`` when it must be mounted.

    Changes nothing.
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
        return Probe(True, details={"path": places[0], "mount": True})
    return Probe(False, "this kernel has no tracefs", "use a kernel built with CONFIG_FTRACE and CONFIG_EVENT_TRACING")


def _probe_mounted(path: str) -> Probe:
    if not os.access(os.path.join(path, "instances"), os.W_OK):
        return Probe(False, "tracefs is read-only for this user", "run edgeprof as root, or in a privileged container")
    try:
        _read(os.path.join(path, "trace_clock"))
    except OSError as error:  # lockdown=confidentiality refuses it to root too
        reason = "tracefs cannot be read ({})".format(error.strerror)
        return Probe(False, reason, "boot without lockdown=confidentiality, or run as root")
    return Probe(True, details={"path": path, "mount": False})


class TraceInstance:
    """A ring buffer of the run's own, drained to files; shared by the collectors through ``context.shared``.

    Attributes:
        path: the instance's folder in tracefs.
        folder: where the raw files go.
        mode: ``full``, or ``sampled`` once the byte budget had to be held by windows.
        bytes: raw bytes written so far.
        failed: why capture ended early, or None.
    """

    def __init__(self, context: Context, tracing: str, undo: List[Tuple[Callable[[], None], int]]) -> None:
        self.folder = os.path.join(os.path.dirname(context.raw), "tracefs")
        self.mode = "full"
        self.bytes = 0
        self.failed: Optional[str] = None
        self._tracing = tracing
        self._undo = undo
        self._journal = context.journal
        self._shared = context.shared
        self._users = 0
        self._begun = False
        self._events: Dict[str, bool] = {}
        self._cpus: List[Tuple[int, int, int]] = []  # number, trace_pipe_raw, raw file
        self._drained_at = 0
        self._window_begin = 0
        self._windows = 0
        self._observed_ns = 0
        self._budget = 0.0
        self._tokens = 0.0
        self._refilled_at = 0
        self._per_cpu_bytes = 0
        name = "edgeprof-{}-{}".format(os.getpid(), os.urandom(4).hex())
        self.path = os.path.join(tracing, "instances", name)
        os.makedirs(os.path.join(self.folder, "formats"), exist_ok=True)
        self._change("tracefs_instance", self._remove, path=self.path)
        os.mkdir(self.path)
        self._switch = os.open(os.path.join(self.path, "tracing_on"), os.O_WRONLY | os.O_CLOEXEC)
        os.pwrite(self._switch, b"0", 0)
        self._write_windows = os.open(
            os.path.join(self.folder, "windows.bin"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644
        )
        self.set("trace_clock", "mono")
        self._size_buffers(context)
        self._widen_saved_commands()
        self._splice = _find_splice()
        self._pipe = _make_pipe()

    @classmethod
    def acquire(cls, context: Context) -> "TraceInstance":
        """The run's instance; the first caller makes it.  Every acquire needs one release.

        The byte budget is the largest of the users' ``context.budget_bytes``.

        Raises:
            OSError: tracefs is not usable; the sentence says why.
        """
        instance = context.shared.get(_SHARED)
        if not isinstance(instance, cls):
            found = probe(context.roots)
            if not found.available:
                raise OSError("{}: {}".format(found.reason, found.remedy))
            undo: List[Tuple[Callable[[], None], int]] = []
            if found.details["mount"]:
                _mount(found.details["path"], context.journal, undo)
            instance = cls.__new__(cls)
            try:
                instance.__init__(context, found.details["path"], undo)  # type: ignore[misc]
            except OSError:
                _undo_all(undo, context.journal)
                raise
            context.shared[_SHARED] = instance
        instance._users += 1
        instance._budget = max(instance._budget, context.budget_bytes)
        instance._tokens = instance._burst()
        return instance

    def enable(self, system: str, event: str) -> bool:
        """Enable an event and keep its format; False when this kernel does not have it."""
        key = "{}.{}".format(system, event)
        if key not in self._events:
            folder = os.path.join(self.path, "events", system, event)
            try:
                description = _read(os.path.join(folder, "format"))
                self._save(os.path.join("formats", key), description)
                _write(os.path.join(folder, "enable"), b"1")
                self._events[key] = True
            except OSError:
                self._events[key] = False
        return self._events[key]

    def set(self, file: str, text: str) -> None:
        """Write ``text`` to a file of the instance, such as ``events/block/filter``.  Raises OSError."""
        _write(os.path.join(self.path, file), text.encode())

    def begin(self) -> None:
        """Open the files and switch tracing on; the second and later calls do nothing.  Raises OSError."""
        if self._begun:
            return
        for system, event in TASK_EVENTS:
            self.enable(system, event)
        for name in ("header_page", "header_event"):
            self._save(name, _read(self._existing("events/" + name)))
        self._page = _sub_buffer_bytes(_read(self._existing("events/header_page")))
        self._capacity = _pipe_slots(self._pipe[1]) * self._page
        for cpu in _cpus(self.path):
            source = os.open(
                os.path.join(self.path, "per_cpu", "cpu{}".format(cpu), "trace_pipe_raw"),
                os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC,
            )
            target = os.open(
                os.path.join(self.folder, "cpu{}.raw".format(cpu)),
                os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC,
                0o644,
            )
            self._cpus.append((cpu, source, target))
        self._save("about.json", self._about())
        self._begun = True
        self._refilled_at = time.monotonic_ns()
        self._open_window()

    def drain(self, now_ns: int) -> None:
        """Move whole sub-buffers to the raw files; once a tick, however many collectors call it.

        Raises:
            OSError: the raw files cannot be written; capture has ended then, and what was written stays whole.
        """
        if now_ns == self._drained_at or not self._begun:
            return
        self._drained_at = now_ns
        if self.failed is not None:
            raise OSError(self.failed)
        self._tokens = min(self._burst(), self._tokens + self._budget * (now_ns - self._refilled_at) / 1e9)
        self._refilled_at = now_ns
        try:
            if not self._window_begin:
                # The golden ratio spreads the pauses' lengths, so that windows do not keep step with the workload.
                if self._tokens >= self._burst() * (0.5 + 0.5 * (self._windows * 0.618034 % 1.0)):
                    self._open_window()
                return
            moved = 0
            for _, source, target in self._cpus:
                moved += self._move(source, target)
            self.bytes += moved
            self._tokens -= moved
            if self._tokens < 0:
                self.mode = "sampled"
                self._close_window()
        except OSError as error:
            self._fail(error)
            raise

    def release(self) -> Status:
        """Give the instance back.  The last one out ends the capture, removes the instance and gets the final figures.

        ``Status.details``: ``instance``, ``windows``, ``observed_seconds``, ``buffer_bytes``, ``events``, ``cpus``
        (per CPU the kernel's own counts).  ``lost`` is None where the kernel's counts could not be read.
        """
        self._users -= 1
        if self._users > 0:
            return self._status()
        self._shared.pop(_SHARED, None)
        notes: List[str] = []
        if self._begun and self.failed is None:
            try:
                self._close_window()
            except OSError as error:
                self._fail(error)
        if self.failed is not None:
            notes.append("tracing ended early: {}".format(self.failed))
        status = self._status(final=True)
        self._close_files()
        notes.extend(_undo_all(self._undo, self._journal))
        return status._replace(notes=tuple(notes))

    # Windows and budget

    def _burst(self) -> float:
        return max(self._budget * _BURST_SECONDS, _LEAST_BURST)

    def _open_window(self) -> None:
        os.pwrite(self._switch, b"1", 0)
        self._window_begin = time.monotonic_ns()
        os.write(self._write_windows, WINDOW.pack(self._window_begin, 0))
        self._windows += 1

    def _close_window(self) -> None:
        """Switch tracing off and take everything out, partly filled sub-buffers included."""
        if self._window_begin:
            end = time.monotonic_ns()
            os.pwrite(self._switch, b"0", 0)
            os.write(self._write_windows, WINDOW.pack(self._window_begin, end))
            self._observed_ns += end - self._window_begin
            self._window_begin = 0
        moved = 0
        for _, source, target in self._cpus:
            moved += self._move(source, target) + self._take_rest(source, target)
        self.bytes += moved
        self._tokens -= moved

    def _fail(self, error: OSError) -> None:
        self.failed = error.strerror or str(error)
        os.pwrite(self._switch, b"0", 0)
        if self._window_begin:
            self._observed_ns += time.monotonic_ns() - self._window_begin
            self._window_begin = 0
        for _, _, target in self._cpus:  # a sub-buffer that was cut short would shift all that follows
            os.ftruncate(target, os.lseek(target, 0, os.SEEK_CUR) // self._page * self._page)

    # Moving bytes

    def _move(self, source: int, target: int) -> int:
        """Splice all full sub-buffers of one CPU to its file; returns the bytes."""
        if self._splice is None:
            return self._take_rest(source, target)
        splice, (pipe_out, pipe_in), capacity = self._splice, self._pipe, self._capacity
        moved = 0
        while moved <= self._per_cpu_bytes:  # a writer that outruns us must not hold us here
            try:
                count = splice(source, pipe_in, capacity, _SPLICE_F_NONBLOCK)
            except BlockingIOError:
                break
            left = count
            while left:
                left -= splice(pipe_out, target, left, 0)
            moved += count
            if count < capacity:
                break
        return moved

    def _take_rest(self, source: int, target: int) -> int:
        """Read what splice leaves: the sub-buffer that is being filled."""
        moved = 0
        while moved <= self._per_cpu_bytes:
            try:
                page = os.read(source, self._page)
            except BlockingIOError:
                break
            if not page:
                break
            page = page.ljust(self._page, b"\0")
            written = 0
            while written < len(page):
                written += os.write(target, page[written:])
            moved += len(page)
        return moved

    # Set-up and figures

    def _change(self, kind: str, undo: Callable[[], None], **details: Any) -> None:
        number = self._journal.record(kind, **details) if self._journal is not None else 0
        self._undo.append((undo, number))

    def _remove(self) -> None:
        if os.path.isdir(self.path):
            os.rmdir(self.path)

    def _size_buffers(self, context: Context) -> None:
        """Room for four ticks of the whole budget on one CPU, within a share of the machine's memory."""
        cpus = len(_cpus(self.path)) or 1
        wanted = max(16 << 20 if context.deep else 4 << 20, int(4 * context.budget_bytes / max(context.rate, 0.1)))
        share = 0.02 if context.deep else 0.01
        affordable = int(_memory_bytes(context.roots) * share / cpus)
        kilobytes = max(256, min(wanted, affordable, 64 << 20) >> 10)
        self.set("buffer_size_kb", str(kilobytes))
        self._per_cpu_bytes = kilobytes << 10

    def _widen_saved_commands(self) -> None:
        """Let the kernel remember more commands than its 128 by default (20 bytes each)."""
        file = os.path.join(self._tracing, "saved_cmdlines_size")
        try:
            old = _read(file).strip()
            if int(old) < _SAVED_COMMANDS:
                self._change("write", lambda: _write(file, old), path=file, old=old.decode())
                _write(file, b"%d" % _SAVED_COMMANDS)
        except (OSError, ValueError):  # commands still come with the events themselves
            return

    def _existing(self, name: str) -> str:
        own = os.path.join(self.path, name)
        return own if os.path.exists(own) else os.path.join(self._tracing, name)

    def _save(self, name: str, content: bytes) -> None:
        path = os.path.join(self.folder, name)
        with open(path, "wb") as file:
            file.write(content)

    def _about(self) -> bytes:
        import json

        about = {
            "byteorder": sys.byteorder,
            "clock": "mono",
            "cpus": [cpu for cpu, _, _ in self._cpus],
            "sub_buffer_bytes": self._page,
            "buffer_bytes_per_cpu": self._per_cpu_bytes,
            "budget_bytes": self._budget,
        }
        return json.dumps(about).encode()

    def _status(self, final: bool = False) -> Status:
        cpus: Dict[str, Dict[str, int]] = {}
        lost: Optional[int] = 0
        records = 0
        for cpu, _, _ in self._cpus:
            try:
                text = _read(os.path.join(self.path, "per_cpu", "cpu{}".format(cpu), "stats"))
                if final:
                    self._save("stats.cpu{}".format(cpu), text)
            except OSError:
                lost = None
                continue
            counts = cpus[str(cpu)] = parse_stats(text)
            records += counts.get("read events", 0)
            if lost is not None:
                lost += sum(counts.get(name, 0) for name in LOSS_COUNTS)
        if final and self._begun:
            self._save_commands()
        details = {
            "instance": os.path.basename(self.path),
            "windows": self._windows,
            "observed_seconds": self._observed_ns / 1e9,
            "buffer_bytes": self._per_cpu_bytes * len(self._cpus),
            "events": sorted(name for name, there in self._events.items() if there),
            "cpus": cpus,
        }
        return Status(records, self.bytes, lost, self.mode, (), details)

    def _save_commands(self) -> None:
        try:
            self._save("saved_cmdlines", _read(os.path.join(self._tracing, "saved_cmdlines")))
        except OSError:
            return

    def _close_files(self) -> None:
        for _, source, target in self._cpus:
            os.close(source)
            os.close(target)
        self._cpus = []
        for descriptor in (self._switch, self._write_windows, *self._pipe):
            os.close(descriptor)
        self._begun = False


LOSS_COUNTS = ("overrun", "commit overrun", "dropped events")
"""Counts of per_cpu/cpuN/stats that are events lost (Documentation/trace/ftrace.rst)."""


def parse_stats(text: bytes) -> Dict[str, int]:
    """The whole-number lines of a per_cpu/cpuN/stats file."""
    counts = {}
    for line in text.decode("ascii", "replace").splitlines():
        name, _, value = line.partition(": ")
        if value.strip().isdigit():
            counts[name] = int(value)
    return counts


def _cpus(instance: str) -> List[int]:
    names = os.listdir(os.path.join(instance, "per_cpu"))
    return sorted(int(name[3:]) for name in names if name.startswith("cpu") and name[3:].isdigit())


def _memory_bytes(roots: Roots) -> int:
    for line in _read(os.path.join(roots.proc, "meminfo")).splitlines():
        if line.startswith(b"MemTotal:"):
            return int(line.split()[1]) << 10
    return 1 << 30


def _sub_buffer_bytes(header_page: bytes) -> int:
    """Bytes of one sub-buffer: where the ``data`` field ends (events/header_page)."""
    for line in header_page.splitlines():
        if b" data;" in line:
            numbers = dict(part.strip().split(b":", 1) for part in line.split(b";") if b":" in part)
            return int(numbers[b"offset"]) + int(numbers[b"size"])
    return os.sysconf("SC_PAGE_SIZE")


def _find_splice() -> Optional[Callable[[int, int, int, int], int]]:
    """A function (source, target, bytes, flags) -> bytes; None where there is no splice to be had."""
    native = getattr(os, "splice", None)
    if native is not None:
        return lambda source, target, count, flags: int(native(source, target, count, flags=flags))
    import ctypes

    try:
        function = ctypes.CDLL(None, use_errno=True).splice
    except (OSError, AttributeError):
        return None
    function.restype = ctypes.c_ssize_t
    function.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_uint)

    def splice(source: int, target: int, count: int, flags: int) -> int:
        moved = int(function(source, None, target, None, count, flags))
        if moved < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
        return moved

    return splice


def _make_pipe() -> Tuple[int, int]:
    import fcntl

    reader, writer = os.pipe2(os.O_CLOEXEC)
    try:
        fcntl.fcntl(writer, _F_SETPIPE_SZ, _PIPE_BYTES)
    except OSError:  # the user's pipes are at their limit: more calls of fewer bytes
        pass
    return reader, writer


def _pipe_slots(pipe: int) -> int:
    import fcntl

    return max(1, fcntl.fcntl(pipe, _F_SETPIPE_SZ + 1) // os.sysconf("SC_PAGE_SIZE"))  # F_GETPIPE_SZ


def _mount(path: str, journal: Optional[Journal], undo: List[Tuple[Callable[[], None], int]]) -> None:
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    number = journal.record("mount", target=path) if journal is not None else 0
    if libc.mount(b"tracefs", os.fsencode(path), b"tracefs", 0, None) != 0:
        error = ctypes.get_errno()
        if journal is not None:
            journal.done(number)
        raise OSError(error, "tracefs cannot be mounted at {}: {}".format(path, os.strerror(error)))
    undo.append((lambda: libc.umount2(os.fsencode(path), _MNT_DETACH), number))


def _undo_all(undo: List[Tuple[Callable[[], None], int]], journal: Optional[Journal]) -> List[str]:
    """Undo in reverse; an entry that cannot be undone stays in the journal and comes back as a note."""
    notes = []
    while undo:
        action, number = undo.pop()
        try:
            action()
        except OSError as error:
            notes.append("could not be restored, run `edgeprof clean`: {}".format(error))
            continue
        if journal is not None:
            journal.done(number)
    return notes


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def _write(path: str, content: bytes) -> None:
    with open(path, "wb", buffering=0) as file:
        file.write(content)
