"""What every collector's capture half is made of: probe, start, sample, stop.

A collector has two halves that share a folder.  ``capture.py`` runs beside the
workload: standard library only, Python 3.8 syntax, importing nothing of the
project but this module and its neighbours in the capture set.  ``parse.py``
runs later, on any machine, and turns the captured bytes into Arrow tables.

A collector that cannot run never stops the run: ``probe`` says why, and the
reason stands in the manifest and in the report.
"""

import os
import struct
import time
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Protocol, Sequence, Tuple

FRAME_HEADER = struct.Struct("<QII")
"""A frame: CLOCK_MONOTONIC ns, source number, payload length; then the payload."""

SOURCE_DEFINITION = 0
"""A frame of this source number defines one: a ``<I`` number, then its name in UTF-8."""

FLUSH_INTERVAL = 1.0
"""Seconds for which frames are gathered before they are written."""
FLUSH_BYTES = 1 << 18
"""Gathered bytes that are written without waiting for the interval."""

MAX_FRAME_BYTES = 16 << 20
"""A longer frame is damage, not data: readers stop there."""


SHORT_READ = 2048
"""The kernel gives lists (diskstats, a cgroup's threads) a page at a time: only a shorter reading is surely whole."""
FIRST_READ = 4096
"""Bytes of the first reading of a file.  Most files say less; room for the longest would be mapped anew each time."""
_NEXT_READ = 1 << 16


class Roots(NamedTuple):
    """Where the kernel's file systems and /etc are; a test hands in a recorded tree of a real board."""

    proc: str = "/proc"
    sys: str = "/sys"
    dev: str = "/dev"
    etc: str = "/etc"


class Probe(NamedTuple):
    """Whether a collector can run here; if not, why, and what would help."""

    available: bool
    reason: str = ""
    remedy: str = ""
    details: Dict[str, Any] = {}  # noqa: RUF012  (a NamedTuple default; never changed in place)


class Status(NamedTuple):
    """What a collector did, for the manifest.

    ``mode`` is ``full``, or how the collector held its budget: ``sampled`` (only
    windows of time were captured), ``histogram``, ``reduced`` (a lower rate).
    ``lost`` counts records that the kernel or the collector dropped; None where
    that cannot be known.
    """

    records: int
    bytes: int
    lost: Optional[int] = 0
    mode: str = "full"
    notes: Tuple[str, ...] = ()
    details: Dict[str, Any] = {}  # noqa: RUF012  (a NamedTuple default; never changed in place)


class Journal(Protocol):
    """Where a change to the machine is written down before it is made."""

    def record(self, kind: str, **details: Any) -> int:
        """Write one undo entry durably and return its number."""

    def done(self, number: int) -> None:
        """Mark an entry as undone."""


class Context:
    """What the agent hands to each collector.

    Attributes:
        raw: the collector's own folder below the capture directory's ``raw/``; it exists.
        roots: where /proc, /sys and /dev are.
        pid: the workload's first process, held before its exec until all collectors have started.
        cgroups: controller name -> the run's cgroup folder (``unified`` for v2); empty without cgroups.
        pids: the run's processes now (found through the cgroup, or the process tree).
        journal: undo journal; record a change there *before* making it.
        rate: base sampling rate, Hz.
        budget_bytes: raw bytes per second that this collector may write on average.
        deep: True when the user asked for the costly detail.
        options: the collector's own options from the RunSpec.
        shared: one dictionary for all collectors of a run (block and page_cache share a tracefs instance).
        budget_cpu: share of one core that all collectors together may use; None: not limited.
    """

    def __init__(
        self,
        raw: str,
        roots: Roots = Roots(),
        pid: int = 0,
        cgroups: Optional[Dict[str, str]] = None,
        pids: Callable[[], Sequence[int]] = tuple,
        journal: Optional[Journal] = None,
        rate: float = 10.0,
        budget_bytes: float = 4e6,
        deep: bool = False,
        options: Optional[Dict[str, Any]] = None,
        shared: Optional[Dict[str, Any]] = None,
        budget_cpu: Optional[float] = None,
    ) -> None:
        self.raw = raw
        self.roots = roots
        self.pid = pid
        self.cgroups = cgroups or {}
        self.pids = pids
        self.journal = journal
        self.rate = rate
        self.budget_bytes = budget_bytes
        self.deep = deep
        self.options = options or {}
        self.shared = {} if shared is None else shared
        self.budget_cpu = budget_cpu


class Collector:
    """Base of a capture half.

    ``interval`` is the time between samples in seconds; None means every tick of
    the agent's timer, and ``sample`` is then called at the run's rate.  The agent
    measures the CPU time spent in each call, so a collector need not.  ``drains`` says that a kernel buffer is emptied:
    that is done at each tick even when the agent, to keep its budget, samples less often.  Until ``rests_until``
    (CLOCK_MONOTONIC, ns), which a collector may set as it is sampled, it is not sampled again.
    """

    name = ""
    interval: Optional[float] = None
    drains = False
    rests_until = 0

    def __init__(self, context: Context) -> None:
        self.context = context

    def probe(self) -> Probe:
        """Say whether this can run here.  Must not change anything, and be quick (< 50 ms)."""
        raise NotImplementedError

    def environment(self) -> Dict[str, str]:
        """Variables to add to the workload's environment."""
        return {}

    def start(self) -> None:
        """Open what is to be read.  Called once, before the workload's exec; may raise OSError."""

    def sample(self, now_ns: int) -> None:
        """Copy bytes.  Must not parse, format, block or import.  May raise OSError."""

    def last(self, now_ns: int) -> None:
        """The last sample: the workload's first process has ended, but its figures can still be read."""
        self.sample(now_ns)

    def stop(self) -> Status:
        """Drain, restore, close; called once after the workload's end, even after a failed start."""
        raise NotImplementedError


class FrameWriter:
    """Appends frames to one raw file; what was written is whole up to the last frame, wherever it is cut.

    Frames are gathered for up to `FLUSH_INTERVAL` and written together: a cold write costs as much as all the
    reads of a tick.  An agent that is killed loses what was gathered since.

    ``lost`` counts the frames that could not be written, and ``problem`` says why; both belong in the Status.
    """

    def __init__(self, path: str) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        self._sources: Dict[str, int] = {}
        self._pending: List[bytes] = []
        self._pending_bytes = 0
        self._pending_records = 0
        self._time = 0
        self._flush_due = 0
        self.records = 0
        self.bytes = 0
        self.lost = 0
        self.problem = ""

    def source(self, name: str) -> int:
        """The number of a source; defines it in the stream when it is new."""
        number = self._sources.get(name)
        if number is None:
            number = self._sources[name] = len(self._sources) + 1
            payload = struct.pack("<I", number) + name.encode("utf-8", "surrogateescape")
            self.frame(time.monotonic_ns(), SOURCE_DEFINITION, payload)
            self._pending_records -= 1
        return number

    def frame(self, time_ns: int, source: int, payload: bytes) -> None:
        """Add one frame; it reaches the file with the next ``flush``."""
        self._pending += (FRAME_HEADER.pack(time_ns, source, len(payload)), payload)
        self._pending_bytes += len(payload)
        self._pending_records += 1
        self._time = time_ns

    def flush(self) -> None:
        """Call this after each tick; writes when enough time has passed or enough bytes are gathered.

        Raises OSError when the disk is full; a partly written frame is then cut off.
        """
        if self._time >= self._flush_due or self._pending_bytes >= FLUSH_BYTES:
            self._flush_due = self._time + int(FLUSH_INTERVAL * 1e9)
            self._write()

    def _write(self) -> None:
        if not self._pending:
            return
        block, records = b"".join(self._pending), self._pending_records
        self._pending.clear()
        self._pending_bytes = self._pending_records = 0
        written = 0
        try:
            while written < len(block):
                written += os.write(self._file, block[written:])
        except OSError as error:
            self.lost += records
            self.problem = error.strerror or str(error)
            if written:  # never leave half a frame in the middle of a stream that goes on
                os.ftruncate(self._file, self.bytes)
            raise
        self.bytes += written
        self.records += records

    def notes(self) -> List[str]:
        """For the Status: a sentence when frames could not be written."""
        if not self.lost:
            return []
        return ["{} samples could not be written: {}".format(self.lost, self.problem)]

    def close(self) -> None:
        """Write what is pending and close; closing twice is harmless.

        A failure to write is told by ``lost`` and ``notes``: what was written before it must still be reported.
        """
        if self._file >= 0:
            try:
                self._write()
            except OSError:
                pass  # told by `lost`
            os.close(self._file)
            self._file = -1


class FileSampler:
    """Keeps files of /proc, /sys or a cgroup open and copies them whole into frames.

    A file that cannot be opened is remembered in ``missing`` with its reason.  Of one that says more than ``size``
    bytes the rest is left out.
    """

    def __init__(self, writer: FrameWriter, size: int = 65536) -> None:
        self._writer = writer
        self._size = size
        self._open: List[Tuple[int, int]] = []
        self.missing: Dict[str, str] = {}

    def add(self, path: str, name: str) -> bool:
        """Open ``path``; its frames bear the source name ``name``."""
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            self.missing[name] = error.strerror or str(error)
            return False
        self._open.append((descriptor, self._writer.source(name)))
        return True

    def sample(self, now_ns: int) -> None:
        """Read each file from its start and append one frame for each that answers."""
        frame, pread, first = self._writer.frame, os.pread, min(FIRST_READ, self._size)
        for descriptor, source in self._open:
            try:
                payload = pread(descriptor, first, 0)
                if len(payload) > SHORT_READ:
                    payload += self._rest(descriptor, len(payload))
                frame(now_ns, source, payload)
            except OSError:  # EAGAIN of a powered-down sensor, ENODEV after a hot unplug: an absent sample
                continue

    def _rest(self, descriptor: int, begin: int) -> bytes:
        """What a long file says behind its first ``begin`` bytes."""
        parts = []
        while begin < self._size:
            part = os.pread(descriptor, min(_NEXT_READ, self._size - begin), begin)
            if not part:
                break
            parts.append(part)
            begin += len(part)
        return b"".join(parts)

    def close(self) -> None:
        """Close all files."""
        for descriptor, _ in self._open:
            os.close(descriptor)
        self._open = []


class SmallFiles(Collector):
    """Copies the same few small files at each sample; a subclass puts them into ``_files``, by their frames' source."""

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._files: Dict[str, str] = {}
        self._writer: Optional[FrameWriter] = None
        self._sampler: Optional[FileSampler] = None

    def files(self) -> Dict[str, str]:
        """What is read: source of the frames -> path."""
        return dict(self._files)

    def start(self) -> None:
        """Open all and read them once."""
        self._writer = FrameWriter(os.path.join(self.context.raw, self.name + ".frames"))
        self._sampler = FileSampler(self._writer, 64)
        for source, path in self._files.items():
            self._sampler.add(path, source)
        self.sample(time.monotonic_ns())

    def sample(self, now_ns: int) -> None:
        """Copy what each says; what is off or powered down (EAGAIN) says nothing and has no sample."""
        assert self._writer is not None and self._sampler is not None
        self._sampler.sample(now_ns)
        self._writer.flush()
