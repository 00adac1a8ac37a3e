"""Metrics of file I/O above the block layer: bytes asked for, read from storage, served by the page cache."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from edgeprof.profiler.analysis.data import RunData, Value, equals, floats, has_column, missing, texts
from edgeprof.profiler.analysis.processes import SHORT_LIVED, waited_total
from edgeprof.profiler.stacked import is_stacked
from edgeprof.profiler.units import counted, human


def _process_total(data: RunData, column: str) -> tuple[float, int] | None:
    """A counter of /proc/PID/io summed over the run's processes, and how many had it."""
    table = data.table("process")
    if table is None or not has_column(table, column):
        return None
    total = waited_total(table, column, data.start_ns)
    known = table.filter(table[column].is_valid())
    return (total, len(known["pid"].unique())) if total is not None else None


def app_read_bytes(data: RunData) -> Value:
    """Bytes that the run's processes got from read calls, from wherever (``rchar`` of /proc/PID/io).

    Reads of pipes and sockets are in it, memory-mapped reads are not.
    """
    found = _process_total(data, "rchar")
    if found is None:
        return missing(_no_process_io(data))
    return Value(found[0], f"rchar of {counted(found[1], 'process', 'processes')}; {SHORT_LIVED}")


def _no_process_io(data: RunData) -> str:
    if data.table("process") is None:
        return data.why_absent("process")
    return "/proc/PID/io of the run's processes could not be read; it needs the same user or root"


def _cgroup_total(data: RunData, column: str) -> tuple[float, str] | None:
    """A counter of ``cgroup_io`` summed over all devices, each byte counted once, and a remark."""
    table = data.table("cgroup_io")
    if table is None or not has_column(table, column):
        return None
    devices = np.array(texts(table, "device"), dtype=object)
    values = floats(table, column)
    sums = {True: 0.0, False: 0.0}
    for device in set(devices.tolist()):
        series = values[(devices == device) & ~np.isnan(values)]
        if len(series):  # the cgroup was made for the run, so its counters start at 0
            sums[is_stacked(data.manifest.get("host") or {}, str(device))] += float(series.max())
    if min(sums.values()) > 0:
        return max(sums.values()), "; stacked devices and those below them saw the same bytes, so the larger sum counts"
    return sum(sums.values()), ""


def storage_read_bytes(data: RunData) -> Value:
    """Bytes that the run caused to be read from storage: its cgroup's account (v2), else its processes'."""
    return _storage(data, "read_bytes", None)


def storage_write_bytes(data: RunData) -> Value:
    """Bytes that the run caused to be written to storage: its cgroup's account (v2), else its processes'."""
    return _storage(data, "write_bytes", "cancelled_write_bytes")


def _storage(data: RunData, column: str, cancelled_column: str | None) -> Value:
    """The cgroup's account where it is whole, else the larger of two lower bounds.

    cgroup v1 does not charge buffered writes to their writer, and kernels since 6.10
    count nothing at all there until a throttle is set (blk-throttle is initialised
    lazily); /proc/PID/io misses processes of a moment.
    """
    mode = str((data.manifest.get("cgroup") or {}).get("mode") or "none")
    grouped, own = _cgroup_total(data, column), _process_total(data, column)
    if grouped is not None and mode == "v2":
        return Value(grouped[0], "the cgroup's account (v2)" + grouped[1])
    if own is None:
        if grouped is not None and grouped[0] > 0:
            return Value(grouped[0], f"the cgroup's account ({mode}), a lower bound" + grouped[1])
        return missing(_no_process_io(data))
    cancelled = _process_total(data, cancelled_column) if cancelled_column else None
    total = max(own[0] - (cancelled[0] if cancelled else 0.0), 0.0)
    if grouped is not None and grouped[0] > total:
        return Value(grouped[0], f"the cgroup's account ({mode}), larger than the processes'" + grouped[1])
    minus = f" - {cancelled_column}" if cancelled else ""
    return Value(total, f"{column}{minus} of {counted(own[1], 'process', 'processes')}; {SHORT_LIVED}")


def read_amplification(data: RunData) -> Value:
    """Bytes read from storage / bytes asked for by read calls."""
    asked, stored = app_read_bytes(data), storage_read_bytes(data)
    if asked.value is None or stored.value is None:
        return missing(asked.reason or stored.reason or "")
    if asked.value == 0:
        return missing("the run read nothing through read calls")
    return Value(
        stored.value / asked.value,
        f"{human(stored.value, 'bytes')} from storage / {human(asked.value, 'bytes')} asked for",
    )


def page_cache_hit_ratio(data: RunData) -> Value:
    """Share of the bytes asked for by read calls that did not have to come from storage.

    1 - missed / asked for, where missed is what was read from storage or, if that is
    less (direct I/O), what entered the page cache.  Where more came from storage than
    was asked for, by memory-mapped files or read-ahead, the share cannot be told.
    """
    asked, stored = app_read_bytes(data), storage_read_bytes(data)
    if asked.value is None or stored.value is None:
        return missing(asked.reason or stored.reason or "")
    if asked.value == 0:
        return missing("the run read nothing through read calls")
    missed, how = stored.value, "1 - bytes read from storage / bytes asked for by read calls"
    added = _added_bytes(data.table("page_cache"), page_bytes(data))
    if added is not None and added < missed:
        missed, how = added, "1 - bytes that entered the page cache / bytes asked for by read calls"
    if missed > asked.value:
        return missing(
            f"{human(missed, 'bytes')} came from storage for {human(asked.value, 'bytes')} asked for by read calls:"
            " memory-mapped files and read-ahead hide how many were hits"
        )
    return Value(1 - missed / asked.value, how)


def page_bytes(data: RunData) -> int:
    """The machine's page size; 4096 where the manifest does not say."""
    size = (data.manifest.get("host") or {}).get("page_bytes")
    return int(size) if isinstance(size, int) and size > 0 else 4096


def _added_bytes(table: pa.Table | None, page: int) -> float | None:
    if table is None:
        return None
    added = equals(table, "event", "add") & equals(table, "owner", "run")
    return float(np.nansum(floats(table, "pages")[added])) * page
