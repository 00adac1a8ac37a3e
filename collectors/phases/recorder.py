"""Writes what the user's program is doing - phases, steps, marks - as fixed-size records into a memory map.

Inside ``edgeprof run`` the variable ``EDGEPROF_PHASES`` names a folder, and each process
writes its own file there; elsewhere every call returns after one test.  The module stands
alone (standard library, Python 3.8 syntax), so it can be loaded by its path into a Python
that does not have edgeprof installed.

File format, little endian: a 64-byte `HEADER`, then 64-byte `RECORD`s.  A record whose last
byte (its kind) is 0 was never written, or not finished; readers skip it.  ``struct``
clears the 64 bytes and then writes the fields in order, so the kind comes last and a
process that is killed in mid-record leaves no half of one.

Why a map and not ``write``: a record costs no system call, and what was stored survives
``kill -9`` in the page cache.  Each chunk is allocated with ``posix_fallocate`` before it
is mapped, because storing into a hole of a full disk would raise SIGBUS in the user's
program; where the disk is full or the budget is spent, records are counted as lost.
"""

import atexit
import itertools
import os
import struct
import sys
import threading
import time
from typing import Any, Callable, Dict, List, Optional, Tuple, TypeVar

FOLDER_VARIABLE = "EDGEPROF_PHASES"
BUDGET_VARIABLE = "EDGEPROF_PHASES_BUDGET"

VERSION = 1
MAGIC = b"EDGPHASE"
HEADER = struct.Struct("<8sIIIIQQQQ8x")
"""Magic, version, record size, pid, parent's pid, process start (CLOCK_MONOTONIC ns), its start in clock
ticks since boot (field 22 of /proc/PID/stat; 0 unknown), records lost, time of opening (ns)."""
LOST_OFFSET = 40
RECORD = struct.Struct("<QdI42sBB")
"""CLOCK_MONOTONIC ns, value (NaN: none), thread id, name in UTF-8, its length, kind."""
NAME_BYTES = 42

BEGIN, END, STEP, MARK, STEP_BEGIN, EXIT, ROLE = 1, 2, 3, 4, 5, 6, 7
"""Kinds.  STEP_BEGIN dates the start of the STEP that follows it in the same thread; EXIT is written when
Python starts to shut down; ROLE says what the process is (``worker``, value: its number)."""

_FIRST_CHUNK = 64 << 10
_LARGEST_CHUNK = 4 << 20
_BURST_BYTES = 64 << 20
_NAN = float("nan")
_pack_into = RECORD.pack_into
_now = time.monotonic_ns

Function = TypeVar("Function", bound=Callable[..., Any])


def process_start() -> Tuple[int, int]:
    """When this process started: CLOCK_MONOTONIC ns (to a clock tick), and ticks since boot; (now, 0) if unknown."""
    now = time.monotonic_ns()
    try:
        with open("/proc/self/stat", "rb") as file:
            ticks = int(file.read().rpartition(b")")[2].split()[19])
        since_boot = ticks * 1000000000 // os.sysconf("SC_CLK_TCK")
        # the kernel counts from boot including suspend; CLOCK_MONOTONIC stands still in suspend
        asleep = time.clock_gettime_ns(time.CLOCK_BOOTTIME) - time.monotonic_ns()
        return max(min(since_boot - asleep, now), 0), ticks
    except (OSError, ValueError, IndexError, AttributeError):
        return now, 0


def encode_name(name: str) -> bytes:
    """The name as it is stored: UTF-8, cut at a character so that it fits."""
    raw = str(name).encode("utf-8", "replace")
    if len(raw) > NAME_BYTES:
        raw = raw[:NAME_BYTES].decode("utf-8", "ignore").encode("utf-8")
    return raw


class Writer:
    """The records of one process.  Opens its file at the first record; never raises an Exception.

    Threads, signal handlers and forked children may record at any time.
    """

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.path = ""
        self.lost = 0
        self._lock = threading.RLock()
        self._grower = 0  # the thread that grows the file now
        self._waiting: List[Tuple[int, str, float, int, int]] = []  # records of signal handlers meanwhile
        self._local = threading.local()
        self._names: Dict[str, bytes] = {}
        self._slots = itertools.count(1)  # slot 0 is the header
        self._limit = 0
        self._chunks: List[Tuple[int, int, Any]] = []  # first slot, slots, memory
        self._last: Tuple[int, int, Any] = (0, 0, None)
        self._dead = False
        self._copy = False
        self._start_ns = 0
        try:
            self._budget = float(os.environ.get(BUDGET_VARIABLE) or 4e6)
        except ValueError:
            self._budget = 4e6

    def record(self, kind: int, name: str, value: float = _NAN, time_ns: int = 0, tid: int = 0) -> None:
        """Store one record, at ``time_ns`` or now, for thread ``tid`` or the calling one."""
        try:
            try:
                raw = self._names[name]
            except KeyError:
                raw = self._remember(name)
            if not tid:
                try:
                    tid = self._local.tid
                except AttributeError:
                    tid = self._local.tid = threading.get_native_id()
            if self._dead and not self._revive():
                return
            slot = next(self._slots)
            if slot >= self._limit:
                if self._grower == threading.get_ident():  # a signal handler that interrupted our growing
                    self._waiting.append((kind, name, value, time_ns or _now(), tid))
                    return
                if not self._grow(slot):
                    return
            first, count, memory = self._last
            if not 0 <= slot - first < count:  # another thread has grown the file meanwhile
                first, count, memory = next(c for c in self._chunks if 0 <= slot - c[0] < c[1])
            offset = (slot - first) << 6
            _pack_into(memory, offset, time_ns or _now(), value, tid, raw, len(raw), kind)
            if self._copy:
                self._write_through(memory[offset : offset + 64], slot << 6)
        except Exception:  # noqa: S110  (a broken record must never break the user's program)
            pass

    def _remember(self, name: str) -> bytes:
        raw = encode_name(name)
        if len(self._names) < 4096:
            self._names[name] = raw
        return raw

    def _grow(self, slot: int) -> bool:
        with self._lock:
            self._grower = threading.get_ident()
            try:
                while slot >= self._limit:
                    size = min(max(self._limit << 6, _FIRST_CHUNK), _LARGEST_CHUNK)
                    if self._limit == 0:
                        self._open()
                    elif not self._within_budget(size):
                        raise OSError("over budget")
                    self._add_chunk(size)
            except Exception:
                self._dead = True
                self._count_lost()
            finally:
                self._grower = 0
                waiting, self._waiting = self._waiting, []
        for item in waiting:
            self.record(*item)
        return slot < self._limit

    def _within_budget(self, size: int) -> bool:
        seconds = (_now() - self._start_ns) * 1e-9
        return (self._limit << 6) + size <= _BURST_BYTES + self._budget * seconds

    def _revive(self) -> bool:
        """After a refused chunk: count the record as lost; try again when some time has passed."""
        now = _now()
        if self._limit and now >= self._retry_ns:
            self._retry_ns = now + 1000000000
            self._dead = False
            return True
        self._count_lost()
        return False

    _retry_ns = 0

    def _count_lost(self) -> None:
        self.lost += 1
        if self._chunks:
            struct.pack_into("<Q", self._chunks[0][2], LOST_OFFSET, self.lost)
            if self._copy:
                self._write_through(self._chunks[0][2][:64], 0)

    def _open(self) -> None:
        self._start_ns = _now()
        start, self._ticks = process_start()
        self._process_start = start
        for attempt in range(100):
            name = "%d-%d%s.bin" % (os.getpid(), start, "-%d" % attempt if attempt else "")
            path = os.path.join(self.folder, name)
            try:
                os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644))
            except FileExistsError:
                continue
            self.path = path
            break

    def _add_chunk(self, size: int) -> None:
        import mmap

        first, offset = self._limit, self._limit << 6
        # opened anew for each chunk: a daemon that closes all descriptors may reuse a number that we kept
        file = os.open(self.path, os.O_RDWR | os.O_CLOEXEC)
        try:
            os.posix_fallocate(file, offset, size)
            options: Dict[str, Any] = {"trackfd": False} if sys.version_info >= (3, 13) else {}
            memory: Any
            try:
                memory = mmap.mmap(file, size, offset=offset, **options)
            except (OSError, ValueError):  # a file system without shared maps (some 9p and FUSE mounts)
                memory, self._copy = bytearray(size), True
        finally:
            os.close(file)
        if not self._chunks:
            header = (
                MAGIC,
                VERSION,
                64,
                os.getpid(),
                os.getppid(),
                self._process_start,
                self._ticks,
                0,
                self._start_ns,
            )
            HEADER.pack_into(memory, 0, *header)
            if self._copy:
                self._write_through(memory[:64], 0)
        elif hasattr(self._last[2], "madvise"):
            # Give the pages back (they stay in the page cache), so that records do not swell the run's
            # resident set.  Not unmapped: another thread may still store there.
            self._last[2].madvise(mmap.MADV_DONTNEED)
        chunk = (first, size >> 6, memory)
        self._chunks.append(chunk)
        self._last = chunk
        self._limit = first + (size >> 6)

    def _write_through(self, data: bytes, offset: int) -> None:
        file = os.open(self.path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.pwrite(file, data, offset)
        finally:
            os.close(file)


_writer: Optional[Writer] = None
_kept: List[
    Optional[Writer]
] = []  # a forked child's inherited maps: never unmapped, since that may close a reused descriptor


class _Idle:
    """What `phase` gives outside a run."""

    def __enter__(self) -> "_Idle":
        return self

    def __exit__(self, *exception: Any) -> None:
        return None

    def __call__(self, function: Function) -> Function:
        return function


class _Phase:
    __slots__ = ("_name",)

    def __init__(self, name: str) -> None:
        self._name = name

    def __enter__(self) -> "_Phase":
        writer = _writer
        if writer is not None:
            writer.record(BEGIN, self._name)
        return self

    def __exit__(self, *exception: Any) -> None:
        writer = _writer
        if writer is not None:
            writer.record(END, self._name)

    def __call__(self, function: Function) -> Function:
        import functools
        import inspect

        wrapped: Any
        if inspect.iscoroutinefunction(function):

            async def wrapped(*arguments: Any, **named: Any) -> Any:
                with self:
                    return await function(*arguments, **named)

        else:

            def wrapped(*arguments: Any, **named: Any) -> Any:
                with self:
                    return function(*arguments, **named)

        return functools.wraps(function)(wrapped)  # type: ignore[return-value]


_IDLE: Any = _Idle()


def phase(name: str) -> Any:
    """Name what the program does: ``with phase("load"): ...``, or ``@phase("load")`` on a function.

    Phases nest; each thread has its own.  Names longer than 42 bytes of UTF-8 are cut.  Usual names:
    load, forward, backward, optimizer, checkpoint, validate.  Outside ``edgeprof run`` it does nothing.
    """
    if _writer is None:
        return _IDLE
    return _Phase(name)


def step(samples: Optional[float] = None, start_ns: Optional[int] = None) -> None:
    """Say that a training step, or the handling of a request, has ended; ``samples`` is how many samples it took.

    A step lasts from ``start_ns`` (of `time.monotonic_ns`; such as when a request came in), else from the end of the
    step before (the first: from the process's first record).
    """
    if _writer is not None:
        if start_ns is not None:
            _writer.record(STEP_BEGIN, "", time_ns=int(start_ns))
        _writer.record(STEP, "", _NAN if samples is None else _number(samples))


def mark(name: str, value: Optional[float] = None) -> None:
    """Note a moment, with a value if there is one: ``mark("epoch", 3)``, ``mark("loss", 0.12)``."""
    if _writer is not None:
        _writer.record(MARK, name, _NAN if value is None else _number(value))


def writer() -> Optional[Writer]:
    """This process's writer; None outside a run."""
    return _writer


def _number(value: Any) -> float:
    try:
        return float(value)
    except Exception:
        return _NAN


def _after_fork() -> None:
    global _writer
    if _writer is not None:
        _kept.append(_writer)
        _writer = Writer(_writer.folder)


def _at_exit() -> None:
    if _writer is not None and _writer.path:
        _writer.record(EXIT, "")


def _enable() -> None:
    global _writer
    folder = os.environ.get(FOLDER_VARIABLE)
    if folder:
        _writer = Writer(folder)
        os.register_at_fork(after_in_child=_after_fork)
        atexit.register(_at_exit)


# Loaded twice in one process (by path for --auto, and as part of an installed edgeprof), both share one file.
_this = sys.modules.get(__name__)
_shared: Any = sys.modules.setdefault("_edgeprof_recorder", _this) if _this is not None else None
if _shared is None or _shared is _this or getattr(_shared, "VERSION", None) != VERSION:
    _enable()
else:
    phase, step, mark, writer = _shared.phase, _shared.step, _shared.mark, _shared.writer
