"""Metrics of the block layer: the run's own requests, from queue to completion."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from edgeprof.profiler.analysis.data import NS, Floats, RunData, Value, equals, floats, missing, percentile


def run_requests(data: RunData, op: str | None = None) -> pa.Table | None:
    """The run's own requests (``owner`` is run), of one operation if given; None when nothing was captured.

    Requests that a stacked device (loop, device mapper, RAID) makes of them on the device
    below are issued by kernel threads, so nothing is counted twice.
    """
    if op is not None:
        return data.once(f"requests.{op}", lambda: _only(run_requests(data), op))

    def select() -> pa.Table | None:
        table = data.table("block_io")
        return table.filter(pa.array(equals(table, "owner", "run"))) if table is not None else None

    return data.once("requests", select)


def _only(table: pa.Table | None, op: str) -> pa.Table | None:
    return table.filter(pa.array(equals(table, "op", op))) if table is not None else None


def sampled(data: RunData) -> str | None:
    """Why counts are not those of the whole run, or None when every request was captured."""
    mode = str((data.collector("block") or {}).get("mode") or "full")
    if mode == "full":
        return None
    return f"block requests were captured in {mode} mode to keep the budget, so only part of them was seen"


def lost(data: RunData) -> str:
    """A remark for ``how`` when the kernel dropped records."""
    count = (data.collector("block") or {}).get("lost")
    return f"; {count} records were lost, so this is a lower bound" if count else ""


def _count(data: RunData, op: str | None, what: str) -> Value:
    reason = sampled(data)
    if reason is not None:
        return missing(reason)
    table = run_requests(data, op)
    if table is None:
        return _none(data)
    table = table.filter(pc.equal(pc.fill_null(table["error"], 0), 0))
    if what == "requests":
        return Value(float(table.num_rows), "rows of block_io with owner run" + lost(data))
    total = float(np.nansum(floats(table, "bytes")))
    return Value(total, f"sum over {table.num_rows} {op} requests of the run that did not fail" + lost(data))


def _none(data: RunData) -> Value:
    entry = data.collector("block")
    if entry is not None and entry.get("available", True) and data.present("block_io"):
        return Value(0.0, "no request at all was seen while capturing them" + lost(data))
    return missing(data.why_absent("block_io"))


def block_read_bytes(data: RunData) -> Value:
    """Bytes of the run's read requests."""
    return _count(data, "read", "bytes")


def block_write_bytes(data: RunData) -> Value:
    """Bytes of the run's write requests."""
    return _count(data, "write", "bytes")


def block_requests(data: RunData) -> Value:
    """Number of the run's requests, of all operations."""
    return _count(data, None, "requests")


def _between(table: pa.Table | None, first: str, last: str) -> Floats:
    """Seconds between two times of each request that has both."""
    if table is None:
        return np.empty(0)
    span = pc.subtract(table[last], table[first]).combine_chunks().drop_null()
    values: Floats = span.to_numpy(zero_copy_only=False).astype(np.float64) * NS
    return values[values >= 0]


def _time_percentile(data: RunData, op: str | None, first: str, last: str, share: float) -> Value:
    if data.table("block_io") is None:
        return missing(data.why_absent("block_io"))
    what = f"{op} requests" if op else "requests"
    key = f"times.{op}.{first}.{last}"
    values = data.once(key, lambda: _between(run_requests(data, op), first, last))
    how = f"percentile {share:g} of {len(values)} {what} of the run"
    if sampled(data):
        how += ", from the windows that were captured"
    return percentile(values, share, how + lost(data), f"no whole {what[:-1]} of the run was seen")


def block_read_latency_p50(data: RunData) -> Value:
    """Median time of a read request from queued to completed."""
    return _time_percentile(data, "read", "queued_ns", "completed_ns", 50)


def block_read_latency_p99(data: RunData) -> Value:
    """99th percentile of the time of a read request from queued to completed."""
    return _time_percentile(data, "read", "queued_ns", "completed_ns", 99)


def block_write_latency_p50(data: RunData) -> Value:
    """Median time of a write request from queued to completed."""
    return _time_percentile(data, "write", "queued_ns", "completed_ns", 50)


def block_write_latency_p99(data: RunData) -> Value:
    """99th percentile of the time of a write request from queued to completed."""
    return _time_percentile(data, "write", "queued_ns", "completed_ns", 99)


def block_queue_time_p50(data: RunData) -> Value:
    """Median time of a request from queued to issued to the device."""
    return _time_percentile(data, None, "queued_ns", "issued_ns", 50)


def block_queue_time_p99(data: RunData) -> Value:
    """99th percentile of the time of a request from queued to issued to the device."""
    return _time_percentile(data, None, "queued_ns", "issued_ns", 99)


def block_sequential_share(data: RunData) -> Value:
    """Share of the run's read and write requests that start where the one before ended.

    "The one before" is the run's previous request of the same operation on the same
    device, in the order of issue (of queueing where the issue was not seen).
    """
    table = run_requests(data)
    if table is None:
        return missing(data.why_absent("block_io"))
    table = table.filter(pa.array(equals(table, "op", "read") | equals(table, "op", "write")))
    order_time = pc.coalesce(table["issued_ns"], table["queued_ns"])
    usable = pc.and_(pc.and_(pc.is_valid(table["sector"]), pc.is_valid(table["bytes"])), pc.is_valid(order_time))
    at = order_time.filter(usable).combine_chunks().to_numpy(zero_copy_only=False)
    table = table.filter(usable)
    if not table.num_rows:
        return missing("no read or write request of the run was seen")
    sector = table["sector"].combine_chunks().to_numpy(zero_copy_only=False)
    length = table["bytes"].combine_chunks().to_numpy(zero_copy_only=False) // 512
    stream = floats(table, "dev") * 2 + equals(table, "op", "write")
    order = np.lexsort((at, stream))
    sector, length, stream = sector[order], length[order], stream[order]
    follows = (sector[1:] == sector[:-1] + length[:-1]) & (stream[1:] == stream[:-1])
    how = f"{int(follows.sum())} of {len(sector)} read and write requests of the run follow on the one before"
    if sampled(data):
        how += ", in the windows that were captured"
    return Value(float(follows.sum()) / len(sector), how + lost(data))
