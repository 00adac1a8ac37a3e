"""Which block requests count as the run's, and how long each took."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edgeprof.dashboards.report.downsample import Floats

if TYPE_CHECKING:
    from edgeprof.dashboards.report.data import RunData

WRITEBACK = (
    "Buffered writes reach the device through kernel threads (writeback), for whichever program dirtied the pages: "
    "the writes of kernel threads are counted here beside the run's own."
)
UNOWNED = "Who asked for a request was not captured: the requests of all processes are counted here."


@dataclass(frozen=True)
class Chosen:
    """Rows of block_io that the distributions count, and what a reader must know about the choice."""

    mask: NDArray[np.bool_]
    limits: tuple[str, ...]


def of_run(data: RunData, operation: str) -> Chosen:
    """Requests of the run with one operation; for writes with those of kernel threads."""
    operations, owners = data.text("block_io", "op"), data.text("block_io", "owner")
    mask = operations.is_(operation)
    if not (owners.codes >= 0).any():
        return Chosen(mask, (UNOWNED,))
    mine = mask & owners.is_("run")
    if operation == "write" and (mask & owners.is_("kernel")).any():
        return Chosen(mine | (mask & owners.is_("kernel")), (WRITEBACK,))
    return Chosen(mine, ())


def latency(data: RunData) -> Floats:
    """Seconds from queueing to completion."""
    return data.number("block_io", "completed_ns") - data.number("block_io", "queued_ns")


def queue_time(data: RunData) -> Floats:
    """Seconds from queueing to the device driver."""
    return data.number("block_io", "issued_ns") - data.number("block_io", "queued_ns")


def device_time(data: RunData) -> Floats:
    """Seconds in the device driver and the device."""
    return data.number("block_io", "completed_ns") - data.number("block_io", "issued_ns")


def positive(values: Floats) -> Floats:
    """What a log axis can show: known and above zero."""
    return values[np.isfinite(values) & (values > 0)]
