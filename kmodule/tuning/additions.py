"""What is added to the page cache, in short looks: a tracefs instance of the tuner's own, off most of the time.

The event is switched on for a look and off again, so that between looks it costs nothing; a look ends as soon as it
has seen enough, which at high rates is after `FIRST_LOOK` seconds.  The kernel's buffers are small and stop when they
are full, so a look costs no more than reading them, however fast pages come.

Source: Documentation/trace/ftrace.rst and include/trace/events/filemap.h of the kernel.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgeprof.collectors.tracefs.capture import probe
from edgeprof.collectors.tracefs.capture_files import Undo, mount, write
from edgeprof.collectors.tracefs.columns import gather
from edgeprof.collectors.tracefs.formats import FormatError, parse_event, parse_layout
from edgeprof.collectors.tracefs.ring_buffer import MISSED_STORED
from edgeprof.kmodule.tuning.errors import CannotTune
from edgeprof.kmodule.tuning.records import find
from edgeprof.profiler.storage.changes import Changes

FIRST_LOOK = 0.05
"""Seconds; each further part of a look is twice as long."""
ENOUGH_BYTES = 32 << 10
"""Of the trace in one look: some 700 events."""
BUFFER_KIB = 32
"""Of each CPU."""

_EVENT = "events/filemap/mm_filemap_add_to_page_cache"
_MAX_ORDER = 30
"""No folio is larger than this power of two of pages."""

Ints = npt.NDArray[np.int64]
Wait = Callable[[float], bool]
"""Waits for so many seconds; True: the tuner is to end, and it returned at once."""


@dataclass(frozen=True)
class Additions:
    """Additions of one look in the order of time, an array each; ``seconds`` were looked at."""

    device: Ints
    inode: Ints
    index: Ints
    pages: Ints
    task: Ints
    seconds: float

    def __len__(self) -> int:
        return len(self.device)

    def of(self, chosen: npt.NDArray[np.bool_]) -> Additions:
        """Those alone."""
        return Additions(
            self.device[chosen],
            self.inode[chosen],
            self.index[chosen],
            self.pages[chosen],
            self.task[chosen],
            self.seconds,
        )


class Sampler:
    """Sees what is added to the page cache for files on some devices.

    Raises:
        CannotTune: this machine has no such tracing; the sentence says what is missing.
    """

    def __init__(self, changes: Changes, numbers: Iterable[int]) -> None:
        found = probe()
        if not found.available:
            raise CannotTune(f"{found.reason}; {found.remedy}")
        self._files: list[int] = []
        try:
            tracing = Path(found.details["path"] or mount("tracefs", Undo(changes)))
            self._path = tracing / "instances" / f"edgeprof-{os.getpid()}-{os.urandom(4).hex()}"
            self._make(changes, tracing, " || ".join(f"s_dev == {number}" for number in sorted(numbers)))
        except OSError as error:
            raise CannotTune(f"the page cache cannot be traced: {error.filename}: {error.strerror}") from None
        except FormatError as error:
            raise CannotTune(f"this kernel's trace cannot be read: {error}") from None

    def _make(self, changes: Changes, tracing: Path, wanted: str) -> None:
        self._entry = changes.record("tracefs_instance", path=str(self._path))
        self._changes = changes
        self._path.mkdir()
        page, header = ((tracing / "events" / name).read_text() for name in ("header_page", "header_event"))
        self._layout = parse_layout(page, header, sys.byteorder == "big")
        self._format = parse_event((self._path / _EVENT / "format").read_text())
        self._record = (self._format.size + 7) // 8 * 8  # as the compiler pads the structure
        self._room = (BUFFER_KIB << 10) // self._layout.page_size
        settings = (("trace_clock", "mono"), ("options/overwrite", "0"), ("buffer_size_kb", str(BUFFER_KIB)))
        for name, value in (*settings, (f"{_EVENT}/filter", wanted)):
            write(str(self._path / name), value.encode())
        there = Path("/sys/devices/system/cpu")  # some machines list hundreds that can never come up
        cpus = sorted(path for path in (self._path / "per_cpu").iterdir() if (there / path.name).is_dir())
        flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
        self._files = [os.open(cpu / "trace_pipe_raw", flags) for cpu in cpus]

    def close(self) -> None:
        """Close the files and remove the instance."""
        for descriptor in self._files:
            os.close(descriptor)
        self._files = []
        try:
            self._path.rmdir()
            self._changes.done(self._entry)
        except OSError:
            pass  # the journal has it

    def look(self, wait: Wait, most: float) -> Additions:
        """Look for ``most`` seconds, or until enough was seen.  Raises CannotTune."""
        pages: list[list[bytes]] = [[] for _ in self._files]
        part, left = FIRST_LOOK, most
        try:
            write(f"{self._path}/{_EVENT}/enable", b"1")
            while left > 0:
                ended = wait(min(part, left))
                left -= part
                part *= 2
                if ended or self._take(pages) >= ENOUGH_BYTES:
                    break
            write(f"{self._path}/{_EVENT}/enable", b"0")
            self._take(pages)
        except OSError as error:
            raise CannotTune(f"the page cache can no longer be traced: {error.strerror}") from None
        return self._decoded(pages, most - max(left, 0))

    def _take(self, pages: list[list[bytes]]) -> int:
        """Read what is there, within a bound; the bytes of the look so far."""
        layout = self._layout
        for descriptor, own in zip(self._files, pages, strict=True):
            while len(own) < 2 * self._room:
                try:
                    page = os.read(descriptor, layout.page_size)
                except (BlockingIOError, InterruptedError):
                    break
                if not page:
                    break
                own.append(page.ljust(layout.page_size, b"\0"))
        return sum(self._committed(page) for own in pages for page in own)

    def _committed(self, page: bytes) -> int:
        """Bytes of events in a page; its commit field has flags in its highest bits."""
        layout = self._layout
        field = page[layout.commit_offset : layout.commit_offset + layout.commit_size]
        return int.from_bytes(field, sys.byteorder) & (MISSED_STORED - 1)

    def _decoded(self, pages: list[list[bytes]], seconds: float) -> Additions:
        data = np.frombuffer(b"".join(page for own in pages for page in own), np.uint8)
        times, offsets = find(data, self._layout, self._record)
        order = np.argsort(times, kind="stable")
        full = self._full(pages, offsets, times)
        if full is not None:  # what the other CPUs saw after one's buffer was full would look like leaps
            order = order[times[order] <= full]
            seconds = min(seconds, max(float(full - times[order[0]]) / 1e9, 1e-6))
        offsets = offsets[order]
        device, inode, index, task = (
            self._field(data, offsets, name) for name in ("s_dev", "i_ino", "index", "common_pid")
        )
        pages_each = np.ones(len(offsets), np.int64)
        if "order" in self._format.fields:  # since Linux 6.1: a folio of several pages
            pages_each <<= np.minimum(self._field(data, offsets, "order"), _MAX_ORDER)
        return Additions(device, inode, index, pages_each, task, seconds)

    def _field(self, data: npt.NDArray[np.uint8], offsets: Ints, name: str) -> Ints:
        field = self._format.fields[name]
        kind = np.dtype(f"{self._layout.order}{'i' if field.signed else 'u'}{field.size}")
        return gather(data, offsets + field.offset, kind).astype(np.int64)

    def _full(self, pages: list[list[bytes]], offsets: Ints, times: Ints) -> int | None:
        """When the first CPU's buffer was full; None: none was, or none that saw anything."""
        cpus = np.repeat(np.arange(len(pages)), [len(own) for own in pages])[offsets // self._layout.page_size]
        full = [times[cpus == cpu] for cpu, own in enumerate(pages) if len(own) >= self._room]
        return min((int(own.max()) for own in full if len(own)), default=None)
