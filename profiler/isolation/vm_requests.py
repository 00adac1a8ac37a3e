"""Lays the guest's block requests beside the host's requests for the same image, on the host's clock."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeprof.profiler.errors import EdgeprofError
from edgeprof.profiler.guest.clock import to_host
from edgeprof.profiler.isolation.vm import FOLDER, RESULT
from edgeprof.profiler.run import Run

Int64 = npt.NDArray[np.int64]
OPERATIONS = ("read", "write")
_SECTOR = 512


class NotTogether(EdgeprofError):
    """The two sides cannot be laid beside each other; the sentence says why."""


@dataclass(frozen=True)
class Side:
    """Requests for one image, in the order in which they were issued.

    Attributes:
        issued, completed: the host's CLOCK_MONOTONIC, ns.
        offset: in the image, bytes.
        bytes: of each.
        op: index into `OPERATIONS`.
    """

    issued: Int64
    completed: Int64
    offset: Int64
    bytes: Int64
    op: Int64

    def __len__(self) -> int:
        return len(self.issued)


@dataclass(frozen=True)
class Sides:
    """Both, and the bound of the error of the guest's times, ns."""

    guest: Side
    host: Side
    error_ns: int


def both_sides(run: Run) -> Sides:
    """The requests of a run whose guest had a disk image of its own.

    Raises:
        NotTogether: something for it was not captured.
    """
    try:
        result: dict[str, Any] = json.loads((run.path / FOLDER / RESULT).read_text())
    except (OSError, ValueError):
        raise NotTogether("nothing is known of the guest's end") from None
    guest, clock, image = run.guest, result.get("clock"), result.get("image") or {}
    disks = (result.get("guest") or {}).get("disks")
    if guest is None or not clock:
        raise NotTogether("the guest's capture did not come back")
    if not disks:
        raise NotTogether("the guest read its data through a shared folder, which makes no block requests inside")
    if "extents" not in image:
        raise NotTogether(str(image.get("reason") or "where the image lies on the host is not known"))
    for side, name in ((guest, "guest"), (run, "host")):
        if not side.has("block_io"):
            raise NotTogether(f"the {name}'s block requests were not captured")
    inside = _requests(guest, int(disks[0]["dev"]))
    outside = _requests(run, int(image["dev"]))
    inside["issued"], inside["completed"] = to_host(clock, inside["issued"]), to_host(clock, inside["completed"])
    place = offsets_in_image(outside["offset"], np.array(image["extents"], np.int64).reshape(-1, 3))
    outside["offset"] = place
    kept = {name: values[place >= 0] for name, values in outside.items()}
    return Sides(Side(**inside), Side(**kept), int(clock["error_ns"]))


def _requests(run: Run, dev: int) -> dict[str, Int64]:
    """Completed reads and writes of a device, columns as in `Side`; the offset is that on the device."""
    import pyarrow.compute as pc

    table = run.arrow("block_io", ["issued_ns", "completed_ns", "dev", "sector", "bytes", "op", "owner"])
    wanted = pc.and_(pc.equal(table["dev"], dev), pc.is_in(table["op"].cast("string"), _texts(OPERATIONS)))
    for name in ("issued_ns", "completed_ns", "sector"):
        wanted = pc.and_(wanted, pc.is_valid(table[name]))
    table = table.filter(wanted).sort_by("issued_ns")
    columns = {"issued": "issued_ns", "completed": "completed_ns", "offset": "sector", "bytes": "bytes"}
    found: dict[str, Int64] = {key: table[name].to_numpy().astype(np.int64) for key, name in columns.items()}
    found["offset"] *= _SECTOR
    found["op"] = pc.index_in(table["op"].cast("string"), _texts(OPERATIONS)).to_numpy().astype(np.int64)
    return found


def _texts(words: tuple[str, ...]) -> Any:
    """Texts as Arrow wants them."""
    import pyarrow as pa

    return pa.array(words, pa.string())


def offsets_in_image(places: Int64, extents: Int64) -> Int64:
    """Places on the host's disk as offsets in the image; -1 where another file lies.

    Args:
        places: bytes from the disk's beginning.
        extents: rows of (offset in the image, first sector on the disk, bytes).
    """
    found = np.full(len(places), -1, np.int64)
    if not len(extents):
        return found
    extents = extents[np.argsort(extents[:, 1])]
    begins = extents[:, 1] * _SECTOR
    at = np.maximum(np.searchsorted(begins, places, side="right") - 1, 0)
    beyond = places - begins[at]
    inside = (beyond >= 0) & (beyond < extents[at, 2])
    found[inside] = (extents[at, 0] + beyond)[inside]
    return found


def lined_up(sides: Sides) -> npt.NDArray[np.bool_]:
    """For each request of the guest: whether requests of the host for all its bytes lie inside its time.

    That time is from its issue to its completion, widened by the stated error of the clocks at either end.
    """
    guest, host = sides.guest, sides.host
    answer = np.zeros(len(guest), np.bool_)
    for row in range(len(guest)):
        begin, end = guest.issued[row] - sides.error_ns, guest.completed[row] + sides.error_ns
        first, last = np.searchsorted(host.issued, [begin, end])
        rows = np.arange(first, last)
        rows = rows[(host.completed[rows] <= end) & (host.op[rows] == guest.op[row])]
        answer[row] = _cover(host.offset[rows], host.bytes[rows], int(guest.offset[row]), int(guest.bytes[row]))
    return answer


def _cover(offset: Int64, length: Int64, wanted: int, size: int) -> bool:
    """Whether the stretches together hold the wanted one."""
    reached = wanted
    for begin, end in sorted(zip(offset.tolist(), (offset + length).tolist(), strict=True)):
        if begin <= reached < end:
            reached = end
    return reached >= wanted + size
