"""The tables of schema version 1: columns, types and units.

Column names are the kernel's and the field's own terms.  A unit stands in the
metadata of each Parquet column under the key ``unit``.  Times are CLOCK_MONOTONIC
nanoseconds.  Counters are cumulative as the kernel gives them; a value that was
not read is null, never 0.

Tables whose columns depend on the kernel (``system``, ``cgroup``) list the fixed
ones here; the parser adds the others with `column`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

SCHEMA_VERSION = 1

TEXT = pa.dictionary(pa.int32(), pa.string())
"""Repeated text: command, device, rail, operation."""


def column(name: str, kind: pa.DataType, unit: str) -> pa.Field:
    """A table column; ``unit`` is an SI or field unit (ns, s, bytes, count, share, W, J, °C, Hz, ...)."""
    return pa.field(name, kind, metadata={b"unit": unit.encode()})


_TIME = column("time_ns", pa.int64(), "ns")
_COUNT, _REAL = pa.int64(), pa.float64()


def _schema(*columns: pa.Field) -> pa.Schema:
    return pa.schema(list(columns))


SCHEMAS: dict[str, pa.Schema] = {
    # wide: cpu_* (s), meminfo_* (bytes), vmstat_* (as the kernel counts), psi_*_total (s), loadavg_*
    "system": _schema(_TIME),
    "cpu": _schema(
        _TIME,
        column("cpu", pa.int32(), "id"),
        *(
            column(name, _REAL, "s")
            for name in (
                "user",
                "nice",
                "system",
                "idle",
                "iowait",
                "irq",
                "softirq",
                "steal",
                "guest",
                "guest_nice",
            )
        ),
    ),
    "process": _schema(
        _TIME,
        column("pid", pa.int32(), "id"),
        column("ppid", pa.int32(), "id"),
        column("comm", TEXT, "text"),
        column("state", TEXT, "text"),
        column("start_time", _REAL, "s"),  # since boot
        column("utime", _REAL, "s"),
        column("stime", _REAL, "s"),
        column("minflt", _COUNT, "count"),
        column("majflt", _COUNT, "count"),
        column("num_threads", pa.int32(), "count"),
        column("vsize", _COUNT, "bytes"),
        column("rss", _COUNT, "bytes"),
        column("shared", _COUNT, "bytes"),
        column("rchar", _COUNT, "bytes"),
        column("wchar", _COUNT, "bytes"),
        column("syscr", _COUNT, "count"),
        column("syscw", _COUNT, "count"),
        column("read_bytes", _COUNT, "bytes"),
        column("write_bytes", _COUNT, "bytes"),
        column("cancelled_write_bytes", _COUNT, "bytes"),
        column("run_delay", _REAL, "s"),  # schedstat: time runnable but waiting for a CPU
        column("pss", _COUNT, "bytes"),  # smaps_rollup, at a slower rate: null in between
        column("pss_anon", _COUNT, "bytes"),
        column("pss_file", _COUNT, "bytes"),
        column("swap", _COUNT, "bytes"),
        column("role", TEXT, "text"),  # of a run of several workloads at once
        column("inner_pid", pa.int32(), "id"),  # in a container's own pid namespace; null outside
    ),
    # wide: stat_* (bytes or count), cpu_* (s), psi_* (s), limits
    "cgroup": _schema(
        _TIME,
        column("memory_current", _COUNT, "bytes"),
        column("memory_peak", _COUNT, "bytes"),
        column("memory_limit", _COUNT, "bytes"),  # null: no limit
        column("cpu_usage", _REAL, "s"),
    ),
    # one row a sample and role, of a run of several workloads at once
    "roles": _schema(
        _TIME,
        column("role", TEXT, "text"),
        column("memory_current", _COUNT, "bytes"),
        column("cpu_usage", _REAL, "s"),
        column("psi_cpu_some_total", _REAL, "s"),
        column("psi_io_some_total", _REAL, "s"),
        column("psi_io_full_total", _REAL, "s"),
        column("psi_memory_some_total", _REAL, "s"),
        column("psi_memory_full_total", _REAL, "s"),
    ),
    "cgroup_io": _schema(
        _TIME,
        column("device", TEXT, "text"),
        column("read_bytes", _COUNT, "bytes"),
        column("write_bytes", _COUNT, "bytes"),
        column("read_ios", _COUNT, "count"),
        column("write_ios", _COUNT, "count"),
    ),
    "disk": _schema(
        _TIME,
        column("device", TEXT, "text"),
        column("reads", _COUNT, "count"),
        column("reads_merged", _COUNT, "count"),
        column("read_bytes", _COUNT, "bytes"),
        column("read_time", _REAL, "s"),
        column("writes", _COUNT, "count"),
        column("writes_merged", _COUNT, "count"),
        column("write_bytes", _COUNT, "bytes"),
        column("write_time", _REAL, "s"),
        column("in_flight", _COUNT, "count"),
        column("io_time", _REAL, "s"),
        column("weighted_io_time", _REAL, "s"),
    ),
    "block_io": _schema(
        # A time that was not seen is null: no scheduler (inserted), a request still in flight at the end
        # (completed) or already in flight at the start (queued).
        column("queued_ns", _COUNT, "ns"),
        column("inserted_ns", _COUNT, "ns"),
        column("issued_ns", _COUNT, "ns"),
        column("completed_ns", _COUNT, "ns"),
        column("dev", pa.int32(), "id"),  # major << 20 | minor, as in the kernel
        column("device", TEXT, "text"),  # name, or major:minor when unknown
        column("sector", _COUNT, "sectors"),  # of 512 bytes; null for a flush
        column("bytes", _COUNT, "bytes"),
        column("op", TEXT, "text"),  # read, write, discard, flush, other
        column("flags", TEXT, "text"),  # the kernel's rwbs string, such as WS or RA
        column("pid", pa.int32(), "id"),  # who asked for it (allocated the request)
        column("comm", TEXT, "text"),
        column("error", pa.int32(), "errno"),  # 0 success; null: not completed
        column("owner", TEXT, "text"),  # run, profiler, kernel, other
        column("phase", TEXT, "text"),  # innermost phase of the run's main process when it was queued; null outside
        column("inserted_sector", _COUNT, "sectors"),  # where it began, and its length, when it was inserted:
        column("inserted_bytes", _COUNT, "bytes"),  # before the merges that came later
    ),
    "page_cache": _schema(
        _TIME,
        column("event", TEXT, "text"),  # add, delete, fault, map, get, readahead, user_fault
        column("dev", pa.int32(), "id"),
        column("inode", _COUNT, "id"),
        column("index", _COUNT, "pages"),  # first page of the event in its file
        column("pages", _COUNT, "pages"),
        column("pid", pa.int32(), "id"),
        column("comm", TEXT, "text"),
        column("owner", TEXT, "text"),  # run, profiler, kernel, other
        column("path", TEXT, "text"),  # null where the inode could not be resolved
        column("phase", TEXT, "text"),
    ),
    "counters": _schema(
        _TIME,  # end of the interval
        column("interval", _REAL, "s"),
        column("event", TEXT, "text"),
        column("value", _REAL, "count"),  # null with a reason; task-clock in ms
        column("running", _REAL, "share"),  # share of the time this event was really counted
        column("reason", TEXT, "text"),
    ),
    "phases": _schema(
        column("start_ns", _COUNT, "ns"),
        column("end_ns", _COUNT, "ns"),
        column("name", TEXT, "text"),
        column("pid", pa.int32(), "id"),
        column("tid", pa.int32(), "id"),
        column("depth", pa.int32(), "count"),  # 0 outermost in its thread
        column("main", pa.bool_(), "flag"),  # of the run's first recording process (not a DataLoader worker)
        column("cut", pa.bool_(), "flag"),  # True: no end was recorded; it ends with the process or the run
    ),
    "steps": _schema(
        column("step", _COUNT, "count"),
        column("start_ns", _COUNT, "ns"),
        column("end_ns", _COUNT, "ns"),
        column("pid", pa.int32(), "id"),
        column("samples", _REAL, "count"),
    ),
    "marks": _schema(
        _TIME,
        column("name", TEXT, "text"),
        column("pid", pa.int32(), "id"),
        column("value", _REAL, "count"),
    ),
    "power": _schema(
        _TIME,
        column("rail", TEXT, "text"),
        column("source", TEXT, "text"),  # hwmon, rapl, ina3221, iio, tegrastats
        column("power", _REAL, "W"),  # mean since the sample before for energy counters, else the sensor's reading
        column("energy", _REAL, "J"),  # since the run's start; null where only power is read
        column("total", pa.bool_(), "flag"),  # True: this rail already contains others; never add it to them
    ),
    "thermal": _schema(
        _TIME,
        column("zone", TEXT, "text"),
        column("temperature", _REAL, "°C"),
        column("throttling", _COUNT, "count"),  # cooling devices: cur_state; null for zones
    ),
    "clocks": _schema(
        _TIME,
        column("domain", TEXT, "text"),  # cpu0, gpu, emc, ...
        column("frequency", _REAL, "Hz"),
        column("load", _REAL, "share"),
    ),
    "gpu": _schema(
        _TIME,
        column("device", TEXT, "text"),
        column("metric", TEXT, "text"),  # utilization, memory_used, power, temperature, sm_clock, ...
        column("value", _REAL, "count"),
        column("unit", TEXT, "text"),
    ),
    "self": _schema(
        _TIME,
        column("utime", _REAL, "s"),
        column("stime", _REAL, "s"),
        column("rss", _COUNT, "bytes"),
        column("rchar", _COUNT, "bytes"),
        column("wchar", _COUNT, "bytes"),
        column("write_bytes", _COUNT, "bytes"),
    ),
}


def table(name: str, columns: Mapping[str, Any], extra: Sequence[pa.Field] = ()) -> pa.Table:
    """Build table ``name`` of the schema; a fixed column that is not given is null throughout.

    Args:
        name: a key of `SCHEMAS`.
        columns: column name -> array, NumPy array or list, all of one length.
        extra: columns beyond the fixed ones, made with `column`.

    Raises:
        KeyError: a given column is neither fixed nor in ``extra``.
    """
    fields = [*SCHEMAS[name], *extra]
    unknown = set(columns) - {item.name for item in fields}
    if unknown:
        raise KeyError(f"table {name} has no column {sorted(unknown)[0]!r}")
    length = len(next(iter(columns.values()))) if columns else 0
    arrays = [_array(columns.get(item.name), item.type, length) for item in fields]
    return pa.Table.from_arrays(arrays, schema=pa.schema(fields, metadata={b"edgeprof_schema": b"1"}))


def from_rows(name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> pa.Table:
    """Build table ``name`` from short rows that hold the given columns in order; for small tables only."""
    return table(name, dict(zip(columns, zip(*rows, strict=True), strict=True)) if rows else {})


def _array(values: Any, kind: pa.DataType, length: int) -> pa.Array:
    if values is None:
        return pa.nulls(length, kind)
    if isinstance(values, pa.ChunkedArray):
        values = values.combine_chunks()
    array = values if isinstance(values, pa.Array) else pa.array(values)
    if array.type == kind:
        return array
    if pa.types.is_dictionary(kind) and not pa.types.is_dictionary(array.type):
        return array.cast(pa.string()).dictionary_encode().cast(kind)
    return array.cast(kind)


def empty(name: str) -> pa.Table:
    """Table ``name`` without rows."""
    return table(name, {})
