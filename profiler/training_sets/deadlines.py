"""Deadlines that latencies are held against: fixed ones, or each device's own quantile."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

READ_SECONDS, WRITE_SECONDS = 0.5, 5.0
"""Defaults of mq-deadline's read_expire and write_expire (Linux, Documentation/block/deadline-iosched.rst)."""

LEAST_BEYOND = 5
"""A quantile is taken where at least so many requests lie beyond it; of fewer it says little."""

Group = tuple[str, str, str]
"""Machine, device, operation."""


@dataclass(frozen=True)
class Deadlines:
    """What was asked for: seconds for reads and writes, or the quantile of each device's and operation's latencies."""

    read: float = READ_SECONDS
    write: float = WRITE_SECONDS
    quantile: float | None = None


@dataclass(frozen=True)
class Training:
    """Latencies of one group in one run that are training by time."""

    group: Group
    workload: str
    latency: npt.NDArray[np.float64]


def training_latencies(table: pa.Table, workload: str) -> list[Training]:
    """The training part of one run's examples, by group."""
    table = table.filter(pc.equal(table["split_time"].cast(pa.string()), "train"))
    if table.num_rows == 0:
        return []
    machines, devices, operations = (table[name].combine_chunks() for name in ("machine", "device", "op"))
    number = pc.fill_null(devices.indices, -1).to_numpy(zero_copy_only=False).astype(np.int64) * len(
        operations.dictionary
    ) + operations.indices.to_numpy(zero_copy_only=False)
    latency = table["latency"].to_numpy()
    found = []
    for value in np.unique(number[number >= 0]).tolist():
        device, operation = divmod(value, len(operations.dictionary))
        group = (str(machines[0]), str(devices.dictionary[device]), str(operations.dictionary[operation]))
        found.append(Training(group, workload, latency[number == value]))
    return found


def by_quantile(quantile: float, training: Iterable[Training], held_out: Mapping[str, int]) -> list[dict[str, Any]]:
    """Each group's deadline, from what is training in both splits, else (a device of held-out workloads) by time alone.

    Groups of too few requests have none.
    """
    gathered: dict[Group, list[Training]] = {}
    for item in training:
        gathered.setdefault(item.group, []).append(item)
    deadlines = []
    for group, items in sorted(gathered.items()):
        both = [item.latency for item in items if held_out.get(item.workload) == 0]
        for basis, parts in (("both splits", both), ("split by time", [item.latency for item in items])):
            latency = np.concatenate(parts) if parts else np.zeros(0)
            if len(latency) * (1 - quantile) >= LEAST_BEYOND:
                machine, device, operation = group
                deadlines.append(
                    {
                        "machine": machine,
                        "device": device,
                        "op": operation,
                        "seconds": float(np.quantile(latency, quantile)),
                        "requests": len(latency),
                        "training_of": basis,
                    }
                )
                break
    return deadlines


def fixed(deadlines: Deadlines, groups: Iterable[Group]) -> list[dict[str, Any]]:
    """The same deadlines for every device."""
    seconds = {"read": deadlines.read, "write": deadlines.write}
    return [
        {"machine": machine, "device": device, "op": op, "seconds": seconds[op]}
        for machine, device, op in sorted(set(groups))
        if op in seconds
    ]


def labelled(table: pa.Table, deadlines: Mapping[Group, float]) -> tuple[pa.Array, pa.Array]:
    """The columns ``deadline`` and ``missed`` of a run's examples; null where there is no deadline."""
    machines, devices, operations = (table[name].combine_chunks() for name in ("machine", "device", "op"))
    machine = str(machines.dictionary[0]) if len(machines.dictionary) else ""
    of_group = np.full((len(devices.dictionary) + 1, len(operations.dictionary)), np.nan)
    for row, device in enumerate(devices.dictionary.to_pylist()):
        for column, operation in enumerate(operations.dictionary.to_pylist()):
            of_group[row, column] = deadlines.get((machine, device, operation), np.nan)
    codes = pc.fill_null(devices.indices, -1).to_numpy(zero_copy_only=False)
    seconds = of_group[codes, operations.indices.to_numpy(zero_copy_only=False)]
    none = np.isnan(seconds)
    return pa.array(seconds, mask=none), pa.array(table["latency"].to_numpy() > seconds, mask=none)
