"""Reads the binary files of the blktrace tool: DEVICE.blktrace.CPU.

A file is a stream of struct blk_io_trace (include/uapi/linux/blktrace_api.h), each
followed by a payload of ``pdu_len`` bytes.  The kernel stamps the records with
CLOCK_MONOTONIC; notes among them name commands and tell the time of day.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from edgeprof.collectors.block import records
from edgeprof.collectors.block.actions import NO_NAME, Actions, Int32, Int64

MAGIC = 0x65617400
"""Of every record, with the version in its lowest byte."""
VERSION = 7

_FIELDS = (
    ("magic", "u4"),
    ("sequence", "u4"),
    ("time", "u8"),
    ("sector", "u8"),
    ("bytes", "u4"),
    ("action", "u4"),
    ("pid", "u4"),
    ("device", "u4"),
    ("cpu", "u4"),
    ("error", "u2"),
    ("pdu_len", "u2"),
)
HEADER_BYTES = 48
_LATEST = 1 << 62
"""No clock shows as many ns: two centuries."""

Bytes = npt.NDArray[np.uint8]


@dataclass
class Recording:
    """All whole records of a recording, sorted by time.

    Attributes:
        rows: structured array with the fields of struct blk_io_trace, native byte order.
        comm: index of each record's command in ``names``, -1 where its thread was never named.
        names: commands.
        realtime_ns: (record's time, CLOCK_REALTIME) ns of each time-of-day note.
        notes: sentences on what is damaged.
    """

    rows: npt.NDArray[np.void]
    comm: Int32
    names: tuple[bytes, ...] = ()
    realtime_ns: list[tuple[int, int]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def actions(self, shift_ns: int = 0) -> Actions:
        """The recording as actions; ``shift_ns`` is added to all times."""
        rows = self.rows
        time_ns = rows["time"].astype(np.int64) + np.int64(shift_ns)
        columns = (rows["action"], rows["device"], rows["sector"], rows["bytes"], rows["pid"])
        return records.actions_of(time_ns, *columns, self.comm, rows["error"], self.names)

    def shift_to_monotonic(self, realtime_to_monotonic: int) -> int:
        """Nanoseconds to add to the records' times to get CLOCK_MONOTONIC.

        0 where the time-of-day note agrees within a second with the run's clocks, as it does with all kernels
        since 2.6.39; otherwise what the note says.
        """
        if not self.realtime_ns or not realtime_to_monotonic:
            return 0
        time_ns, realtime_ns = self.realtime_ns[0]
        shift = realtime_ns + realtime_to_monotonic - time_ns
        return shift if 1_000_000_000 <= abs(shift) < _LATEST else 0


def read(files: Sequence[tuple[str, bytes]]) -> Recording:
    """Read the per-CPU files of one or more devices, given as (name, content)."""
    parts: list[npt.NDArray[np.void]] = []
    notes: list[str] = []
    naming: list[tuple[int, int, bytes]] = []
    realtime: list[tuple[int, int]] = []
    for name, content in files:
        data = np.frombuffer(content, np.uint8)
        order = _byte_order(data)
        if order is None:
            if len(data):
                notes.append(f"{name} is not a blktrace file of version {VERSION}")
            continue
        where, damage = _find_records(data, order)
        rows = _rows_at(data, where, order)
        if damage:
            notes.append(f"{name} is damaged: {damage}")
        parts.append(rows)
        for row in np.flatnonzero(records.is_note(rows["action"])).tolist():
            begin = int(where[row]) + HEADER_BYTES
            payload = content[begin : begin + int(rows["pdu_len"][row])]
            _read_note(rows[row], payload, order, naming, realtime)
    rows = np.concatenate(parts) if parts else np.zeros(0, _native())
    possible = rows["time"] < _LATEST
    if not bool(possible.all()):
        rows = rows[possible]
        notes.append("records with impossible times were left out")
    rows = rows[np.argsort(rows["time"], kind="stable")]
    comm, names = _name(rows, naming)
    return Recording(rows, comm, names, sorted(realtime), notes)


def _native() -> np.dtype[np.void]:
    return np.dtype([(name, "=" + kind) for name, kind in _FIELDS])


def _byte_order(data: Bytes) -> str | None:
    first = data[:4].tobytes()
    for order, name in (("<", "little"), (">", "big")):
        if int.from_bytes(first, "little" if name == "little" else "big") == MAGIC | VERSION and len(first) == 4:
            return order
    return None


def _find_records(data: Bytes, order: str) -> tuple[Int64, str | None]:
    """Where whole records begin, and what is wrong with the file.

    Every place that bears the magic is looked at, and those are records that the one before leads to.
    After damage reading goes on at the next magic.
    """
    words = np.ndarray((max(len(data) - HEADER_BYTES + 1, 0),), order + "u4", data, strides=(1,))
    places = np.flatnonzero(words == MAGIC | VERSION)
    lengths = np.ndarray((len(words),), order + "u2", data[HEADER_BYTES - 2 :], strides=(1,)) if len(words) else words
    ends = places + HEADER_BYTES + lengths[places].astype(np.int64)
    whole = ends <= len(data)
    chained = np.ones(len(places), np.bool_)
    chained[1:] = ends[:-1] == places[1:]
    damage: str | None = None
    if not bool(chained.all()):
        chosen, skipped = _follow(places, ends)
        places, ends, whole = places[chosen], ends[chosen], whole[chosen]
        if skipped:
            damage = f"{skipped} gaps between its records"
    reached = int(ends[whole][-1]) if bool(whole.any()) else 0
    if damage is None and reached != len(data):
        damage = f"it ends inside the record at byte {reached}"
    return places[whole], damage


def _follow(places: Int64, ends: Int64) -> tuple[Int64, int]:
    """Indices of the places that form the chain of records, and how often it had to be taken up anew."""
    following = np.searchsorted(places, ends)  # where a payload holds the magic by chance, this jumps over it
    steps = following.tolist()
    begins, stops = places.tolist(), ends.tolist()
    chosen: list[int] = []
    skipped, index, count = 0, 0, len(begins)
    while index < count:
        chosen.append(index)
        after = steps[index]
        if after < count and begins[after] != stops[index]:
            skipped += 1
        index = max(after, index + 1)
    return np.asarray(chosen, np.int64), skipped


def _rows_at(data: Bytes, where: Int64, order: str) -> npt.NDArray[np.void]:
    if len(where) == 0:
        return np.zeros(0, _native())
    sliding = np.ndarray((len(data) - HEADER_BYTES + 1,), f"V{HEADER_BYTES}", data, strides=(1,))
    found = sliding[where].view(np.dtype([(name, order + kind) for name, kind in _FIELDS]))
    rows: npt.NDArray[np.void] = found.astype(_native(), copy=False)
    return rows


def _read_note(
    row: np.void, payload: bytes, order: str, naming: list[tuple[int, int, bytes]], realtime: list[tuple[int, int]]
) -> None:
    number = int(row["action"]) & 0xFF
    if number == records.PROCESS:
        naming.append((int(row["pid"]), int(row["time"]), payload.split(b"\0", 1)[0][:16]))
    elif number == records.TIMESTAMP and len(payload) >= 8:
        byte_order = "little" if order == "<" else "big"
        seconds, nanoseconds = (int.from_bytes(payload[at : at + 4], byte_order) for at in (0, 4))  # type: ignore[arg-type]
        realtime.append((int(row["time"]), seconds * 1_000_000_000 + nanoseconds))


def _name(rows: npt.NDArray[np.void], naming: list[tuple[int, int, bytes]]) -> tuple[Int32, tuple[bytes, ...]]:
    """The command of each record's thread: the last name given to it up to then, else the first."""
    if not naming:
        return np.full(len(rows), NO_NAME, np.int32), ()
    known: dict[bytes, int] = {}
    naming = sorted(naming, key=lambda item: item[:2])
    codes = np.array([known.setdefault(name, len(known)) for _, _, name in naming], np.int32)
    pids = np.array([pid for pid, _, _ in naming], np.int64)
    times = np.array([time for _, time, _ in naming], np.uint64)
    # Position of each record among the names, sorted by thread and time: the name just before it, if of that thread.
    pid = rows["pid"].astype(np.int64)
    order = np.lexsort(
        (
            np.concatenate([np.zeros(len(pids), np.int8), np.ones(len(pid), np.int8)]),
            np.concatenate([times, rows["time"]]),
            np.concatenate([pids, pid]),
        )
    )
    given = order < len(pids)
    before = np.cumsum(given)[~given] - 1
    of = order[~given] - len(pids)
    comm = np.full(len(rows), NO_NAME, np.int32)
    own = (before >= 0) & (pids[np.maximum(before, 0)] == pid[of])
    first = np.searchsorted(pids, pid[of])
    later = ~own & (first < len(pids))
    later[later] = pids[first[later]] == pid[of][later]
    comm[of[own]] = codes[before[own]]
    comm[of[later]] = codes[first[later]]
    return comm, tuple(known)
