"""Gives processes of a container the ids that they have on the host: a program records the one it knows itself by.

The table ``process`` knows both ids (``NSpid`` of proc_pid_status(5)).  A process is recognised by its id inside and
its start in clock ticks since boot, which is the same in every pid namespace.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from edgeprof.collectors.procfs.readings import USER_HZ

if TYPE_CHECKING:
    from edgeprof.collectors.phases.parse import Process, Records


def on_host(processes: list[Process], records: Records, sampled: pa.Table | None) -> tuple[list[Process], Records, int]:
    """Processes and records with ids of the host; of threads, only a process's first has one that is known there.

    Returns:
        Processes, records, and how many processes keep the id inside because they were never sampled.
    """
    known = _ids(sampled)
    if not known:
        return processes, records, 0
    host = [known.get((item.pid, item.ticks), item.pid) for item in processes]
    unknown = sum((item.pid, item.ticks) not in known for item in processes)
    inside = np.array([item.pid for item in processes], np.int64)[records.process]
    outside = np.array(host, np.int64)[records.process]
    tid = np.where(records.tid == inside, outside, records.tid)
    return (
        [replace(item, pid=pid) for item, pid in zip(processes, host, strict=True)],
        replace(records, tid=tid),
        unknown,
    )


def _ids(sampled: pa.Table | None) -> dict[tuple[int, int], int]:
    """(id inside, start in ticks) -> id on the host, of the processes that have a pid namespace of their own."""
    if sampled is None or "inner_pid" not in sampled.column_names:
        return {}
    rows = sampled.select(["inner_pid", "start_time", "pid"]).filter(sampled["inner_pid"].is_valid())
    columns = (rows[name].to_pylist() for name in rows.column_names)
    return {
        (inner, round(start * USER_HZ)): pid for inner, start, pid in zip(*columns, strict=True) if start is not None
    }
