"""A run's page-cache additions on the disk of its data, cut into windows of time: one a file, and one for the disk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from edgeprof.collectors.tracefs.events import read_windows
from edgeprof.profiler.run import Run
from edgeprof.profiler.training_sets.captured import collector_entry
from edgeprof.profiler.training_sets.errors import Unusable

Int64 = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

NO_DEVICE = -1
_MINOR_BITS = 20
_COLUMNS = ("time_ns", "event", "dev", "inode", "index", "pages")


@dataclass(frozen=True)
class Additions:
    """What was added to the page cache, in the order of time: file (any number that tells it), first page, pages."""

    time_ns: Int64
    file: Int64
    index: Int64
    pages: Int64


@dataclass(frozen=True)
class WindowSet:
    """Windows, and the additions in them.

    Attributes:
        begun, ended: of each window, ns.
        device: the number of the disk's window that a file's adds to; `NO_DEVICE` of a disk's own.
        which, index, pages: of each addition, in the order of time, its file's window.
    """

    begun: Int64
    ended: Int64
    device: Int64
    which: Int64
    index: Int64
    pages: Int64


class Measure(Protocol):
    """Features of windows.  Those of the kernel are in C, which this package does not know: it is handed in."""

    @property
    def names(self) -> Sequence[str]:
        """Of the features, in order."""

    @property
    def version(self) -> int:
        """Of their meaning."""

    def __call__(self, windows: WindowSet, current_pages: int) -> tuple[npt.NDArray[np.float64], Mask]:
        """``[windows, features]`` under a read-ahead, and which windows saw enough for them to mean something."""


def read_additions(run: Run, disk: str) -> Additions:
    """What a run added to the page cache from a disk.

    Raises:
        Unusable: it was not captured, not without loss, or is damaged.
    """
    if not run.has("page_cache"):
        raise Unusable("it has no table page_cache; capture with --collect deep")
    for name in ("page_cache", "block"):  # they share one trace, and one of them counts its losses
        entry = collector_entry(run, name)
        if entry and entry.get("available") is not False and entry.get("lost") != 0:
            raise Unusable("records of its trace were lost, so what was read in between is not known")
    try:
        table = run.arrow("page_cache", list(_COLUMNS))
        added = table.filter(pc.and_(pc.equal(table["event"].cast(pa.string()), "add"), pc.is_valid(table["dev"])))
        time, dev, inode, index, pages = (
            np.asarray(pc.fill_null(added[name].cast(pa.int64()), -1).to_numpy())
            for name in _COLUMNS
            if name != "event"
        )
    except (OSError, ValueError, KeyError, pa.ArrowException):
        raise Unusable("its table page_cache is damaged") from None
    kept = np.flatnonzero((dev == _number_of(run, disk)) & (index >= 0) & (pages > 0) & (pages < 1 << 32))
    kept = kept[np.argsort(time[kept], kind="stable")]
    return Additions(time[kept], inode[kept], index[kept], pages[kept])


def captured_spans(run: Run, begin: int | None, end: int | None, additions: Additions) -> list[tuple[int, int]]:
    """The parts of a stretch of time in which everything was captured; None: from the first, to the last addition.

    Raises:
        Unusable: it was captured in windows, and when they were is not known any more.
    """
    found = read_windows(run.path / "raw" / "tracefs")
    if not found and collector_entry(run, "page_cache").get("mode") == "sampled":
        raise Unusable("its page cache was captured in windows of time, and raw/, which tells when, is gone")
    if len(additions.time_ns) == 0:
        return []
    begin = int(additions.time_ns[0]) if begin is None else begin
    end = int(additions.time_ns[-1]) if end is None else end
    spans = [(max(start, begin), min(stop or end, end)) for start, stop in found or [(begin, end)]]
    return [(start, stop) for start, stop in spans if start < stop]


def cut(additions: Additions, spans: Sequence[tuple[int, int]], length_ns: int) -> WindowSet:
    """Windows of one length within the spans; what is left over at the end of a span is in none."""
    starts, stops = (np.array([*(span[end] for span in spans), 0], np.int64) for end in (0, 1))
    span = np.searchsorted(starts[:-1], additions.time_ns, side="right") - 1
    since = additions.time_ns - starts[span]
    begins = additions.time_ns - since % length_ns
    rows = np.flatnonzero((span >= 0) & (begins + length_ns <= stops[span]))
    devices, slot = np.unique(begins[rows], return_inverse=True)
    pairs = np.stack([slot.reshape(-1), additions.file[rows]], axis=1)
    files, which = np.unique(pairs, axis=0, return_inverse=True)
    begun = np.concatenate([devices, devices[files[:, 0]]])
    return WindowSet(
        begun=begun,
        ended=begun + length_ns,
        device=np.concatenate([np.full(len(devices), NO_DEVICE), files[:, 0]]),
        which=which.reshape(-1) + len(devices),
        index=additions.index[rows],
        pages=additions.pages[rows],
    )


def _number_of(run: Run, disk: str) -> int:
    """A disk's number as the kernel's events have it."""
    devices = (run.manifest.get("host") or {}).get("devices")
    for key, facts in (devices if isinstance(devices, dict) else {}).items():
        if isinstance(facts, dict) and facts.get("name") == disk:
            major, _, minor = str(key).partition(":")
            if major.isdigit() and minor.isdigit():
                return int(major) << _MINOR_BITS | int(minor)
    raise Unusable(f"its manifest does not say which number its disk {disk} had")
