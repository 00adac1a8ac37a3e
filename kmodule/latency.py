"""What a request's latency is predicted from, and how it is written as a target: by the kernel's own code."""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum

import numpy as np
import numpy.typing as npt

from edgeprof.kmodule.errors import WrongShape
from edgeprof.kmodule.library import FixedArray, library

VERSION = 2
"""KML_LATENCY_VERSION: of the meaning of the features."""
FEATURES = (
    *("write", "synchronous", "bytes", "sector_distance", "queue", "queue_1", "queue_2", "queue_3"),
    *("read_latency_1", "read_latency_2", "read_latency_3", "write_latency_1", "write_latency_2", "write_latency_3"),
    *("since_write", "written_100ms", "ahead"),
)
"""Names of the features, in the order in which a model takes them; what each is, `kml/latency.h` says."""
NO_SECTOR = (1 << 64) - 1
NEVER = (1 << 64) - 1
"""A completion that was not seen."""


class Operation(IntEnum):
    """enum kml_latency_operation"""

    READ = 0
    WRITE = 1
    OTHER = 2


ARRIVAL = np.dtype(
    [("now", "<u8"), ("sector", "<u8"), ("bytes", "<u4"), ("operation", "<i4"), ("synchronous", "?")], align=True
)
"""struct kml_latency_arrival"""


def arrivals(
    now: npt.ArrayLike,
    sector: npt.ArrayLike,
    length: npt.ArrayLike,
    operation: npt.ArrayLike | Sequence[Operation],
    synchronous: npt.ArrayLike,
) -> npt.NDArray[np.void]:
    """Requests in the order of their arrival, as `features` takes them: ns, sector or `NO_SECTOR`, bytes, `Operation`.

    Raises WrongShape.
    """
    columns = [np.asarray(column) for column in (now, sector, length, operation, synchronous)]
    if any(column.shape != columns[0].shape or column.ndim != 1 for column in columns):
        raise WrongShape("the arrivals", tuple(column.shape for column in columns), "columns of one length")
    made = np.zeros(len(columns[0]), ARRIVAL)
    for name, column in zip(ARRIVAL.names or (), columns, strict=True):
        made[name] = column
    return made


def features(
    requests: npt.NDArray[np.void], completed: npt.ArrayLike, final_length: npt.ArrayLike, begun: int
) -> FixedArray:
    """The features of each request at its arrival, in Q16.16; nothing at or after its nanosecond is known.

    Args:
        requests: of one device, as `arrivals` makes them.
        completed: ns, `NEVER` where that was not seen.
        final_length: bytes at the completion, as far as it was seen.
        begun: ns, since when the device was watched.

    Raises WrongShape, also for times that go back.
    """
    ends = np.ascontiguousarray(completed, dtype=np.uint64)
    lengths = np.ascontiguousarray(final_length, dtype=np.uint32)
    requests = np.ascontiguousarray(requests)
    if requests.dtype != ARRIVAL or not requests.shape == ends.shape == lengths.shape:
        raise WrongShape("the requests", (requests.shape, ends.shape, lengths.shape), "arrivals and their completions")
    order = np.argsort(ends, kind="stable").astype(np.uint32)
    order = order[: np.count_nonzero(ends != NEVER)]
    out = np.empty((len(requests), len(FEATURES)), dtype=np.int32)
    asked = (requests.ctypes.data, ends.ctypes.data, lengths.ctypes.data, len(requests))
    if not library().kml_latency_replay(*asked, order.ctypes.data, len(order), begun, out.ctypes.data):
        raise WrongShape("the requests", "times that go back", "arrivals in the order of time")
    return out


def target(ns: int) -> int:
    """log2(1 + µs) in Q16.16."""
    return int(library().kml_latency_target(ns))


def from_target(value: int) -> int:
    """ns, of log2(1 + µs) in Q16.16."""
    return int(library().kml_latency_from_target(value))
