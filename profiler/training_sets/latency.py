"""One run's examples: a row a request, with what was known when it arrived and how long it then took."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from edgeprof.profiler.run import Run
from edgeprof.profiler.training_sets.captured import Captured, Text, collector_entry, read_captured, windows_of
from edgeprof.profiler.training_sets.features import (
    NEVER,
    OPERATIONS,
    READ,
    UNKNOWN,
    Arrivals,
    Int32,
    Int64,
    Mask,
    Values,
    features,
)
from edgeprof.profiler.training_sets.groups import device_class, split_by_time, workload_of
from edgeprof.profiler.training_sets.schema import COLUMNS, SPLITS

DROPPED = {
    "no_arrival": "its arrival was not seen",
    "outside": "it arrived outside the windows that were captured",
    "unsettled": "a request that had not been seen to come completed later, so the queue was not known",
    "no_completion": "its completion was not seen within the window",
    "failed": "it failed",
    "damaged": "its times or its length make no sense",
}
"""Why a request gives no example."""


@dataclass(frozen=True)
class RunExamples:
    """What one run gives.

    Attributes:
        table: the columns of the schema without ``deadline``, ``missed`` and ``split_workload``, in order of time.
        dropped: reason (see `DROPPED`) -> requests that give no example.
        cuts: the two moments that part the run's training, validation and test, ns.
        about: what the data card says of the run.
    """

    table: pa.Table
    dropped: dict[str, int]
    cuts: tuple[int, int] | None
    about: dict[str, Any]


def examples_of(run: Run, run_id: str) -> RunExamples:
    """The examples of one run.

    Raises:
        Unusable: its block requests were not captured, or not so that queue lengths could be told.
    """
    captured = read_captured(run)
    rows, values, reasons = _rows(captured, windows_of(run, captured))
    dropped = {name: int((reasons == number).sum()) for number, name in enumerate(DROPPED)}
    moment, completed = captured.moment[rows], captured.completed[rows]
    split, cuts = split_by_time(moment, completed)
    machine = str((run.manifest.get("host") or {}).get("hostname") or "unknown")
    workload, facts = workload_of(run.manifest), _device_facts(run)
    classes = [device_class(name, facts.get(name, {})) for name in captured.device.values]
    op, device, flags = captured.op[rows], captured.device.take(rows), captured.flags.take(rows)
    columns: dict[str, pa.Array] = {
        "run_id": _constant(run_id, len(rows)),
        "workload": _constant(workload, len(rows)),
        "machine": _constant(machine, len(rows)),
        "device": _texts(device.codes, device.values),
        "owner": _texts(captured.owner.codes[rows], captured.owner.values),
        "time_ns": pa.array(moment),
        "moment": _texts(captured.at_insertion[rows].astype(np.int32), ("issue", "insert")),
        "op": _texts(op, OPERATIONS),
        "synchronous": pa.array(_synchronous(flags, op)),
        "bytes": pa.array(captured.length[rows]),
        "device_class": _texts(device.codes, classes),
        "latency": pa.array((completed - moment) / 1e9),
        "split_time": _texts(split, SPLITS),
        **{name: pa.array(item.values, mask=~item.known) for name, item in values.items()},
    }
    fields = [column.field for column in COLUMNS if column.name in columns]
    arrays = [columns[field.name].cast(field.type) for field in fields]
    return RunExamples(
        table=pa.Table.from_arrays(arrays, schema=pa.schema(fields)),
        dropped={name: number for name, number in dropped.items() if number},
        cuts=cuts,
        about=_about(run, run_id, machine, workload, device, classes, facts),
    )


def _rows(captured: Captured, windows: Sequence[tuple[int, int]]) -> tuple[Int64, dict[str, Values], Int32]:
    """The requests that give examples, in order of time; their features; and why each of the others gives none."""
    begins = np.array([begin for begin, _ in windows], np.int64)
    ends = np.array([end for _, end in windows], np.int64)
    home, unsettled_until = _windows_of_requests(captured, begins, ends)
    contradictory = (captured.completed != UNKNOWN) & (captured.completed < captured.moment)
    home[contradictory] = UNKNOWN
    arrived = np.flatnonzero(home != UNKNOWN)
    order = arrived[np.lexsort((captured.moment[arrived], home[arrived], captured.dev[arrived]))]
    completed = _within(captured.completed, home, begins, ends)
    unsettled = np.zeros(len(captured), np.bool_)
    parts: list[Int64] = []
    found: list[dict[str, Values]] = []
    for rows in _segments(captured.dev[order], home[order], order):
        window = int(home[rows[0]])
        arrivals = _arrivals(captured, completed, rows)
        parts.append(rows)
        found.append(features(arrivals, int(begins[window])))
        settled = unsettled_until.get((int(captured.dev[rows[0]]), window), UNKNOWN)
        unsettled[rows] = arrivals.moment <= settled
    reasons = np.select(
        [
            contradictory | (captured.length == UNKNOWN),
            captured.moment == UNKNOWN,
            home == UNKNOWN,
            unsettled,
            completed == NEVER,
            captured.error > 0,
        ],
        [_NUMBERS[name] for name in ("damaged", "no_arrival", "outside", "unsettled", "no_completion", "failed")],
        UNKNOWN,
    ).astype(np.int32)
    if not parts:
        none = np.zeros(0, np.int64)
        parts, found = [none], [features(_arrivals(captured, completed, none), 0)]
    together, values = np.concatenate(parts), _joined(found)
    kept = np.flatnonzero(reasons[together] == UNKNOWN)
    kept = kept[np.argsort(captured.moment[together[kept]], kind="stable")]
    chosen = {name: Values(item.values[kept], item.known[kept]) for name, item in values.items()}
    return together[kept], chosen, reasons


_NUMBERS = {name: number for number, name in enumerate(DROPPED)}


def _arrivals(captured: Captured, completed: Int64, rows: Int64) -> Arrivals:
    return Arrivals(
        moment=captured.moment[rows],
        completed=completed[rows],
        op=captured.op[rows],
        sector=captured.sector[rows],
        length=np.maximum(captured.length[rows], 0),
        final_length=captured.final_length[rows],
    )


def _windows_of_requests(captured: Captured, begins: Int64, ends: Int64) -> tuple[Int64, dict[tuple[int, int], int]]:
    """The window in which each request arrived (`UNKNOWN`: in none), and until when each window is not settled.

    A request that completes in a window without having been seen to come was in flight when the window began.
    While such requests are in flight, how many there are is not known: the window's queue is settled, device by
    device, when the last of them has completed.
    """
    home = _window_at(captured.moment, begins, ends)
    seen = _window_at(captured.first_seen, begins, ends)
    done = _window_at(captured.completed, begins, ends)
    strangers = np.flatnonzero((done != UNKNOWN) & (done != home) & ((home != UNKNOWN) | (done != seen)))
    until: dict[tuple[int, int], int] = {}
    keys = zip(captured.dev[strangers].tolist(), done[strangers].tolist(), strict=True)
    for key, completed in zip(keys, captured.completed[strangers].tolist(), strict=True):
        until[key] = max(until.get(key, UNKNOWN), completed)
    return home, until


def _window_at(times: Int64, begins: Int64, ends: Int64) -> Int64:
    """Number of the window that holds each time; `UNKNOWN` where none does."""
    if len(begins) == 0:
        return np.full(len(times), UNKNOWN, np.int64)
    number = np.searchsorted(begins, times, side="right") - 1
    inside = (times != UNKNOWN) & (number >= 0) & (times <= ends[np.maximum(number, 0)])
    return np.where(inside, number, UNKNOWN)


def _within(completed: Int64, home: Int64, begins: Int64, ends: Int64) -> Int64:
    """Completions that were seen in the window of the arrival; `NEVER` for the others."""
    same = (_window_at(completed, begins, ends) == home) & (home != UNKNOWN)
    return np.where(same, completed, NEVER)


def _segments(dev: Int64, window: Int64, order: Int64) -> Iterator[Int64]:
    """The requests of each device and window; the arguments are sorted by both."""
    if len(order) == 0:
        return
    new = (dev[1:] != dev[:-1]) | (window[1:] != window[:-1])
    yield from np.split(order, np.flatnonzero(new) + 1)


def _joined(parts: Sequence[Mapping[str, Values]]) -> dict[str, Values]:
    return {
        name: Values(
            np.concatenate([part[name].values for part in parts]), np.concatenate([part[name].known for part in parts])
        )
        for name in parts[0]
    }


def _synchronous(flags: Text, op: Int32) -> Mask:
    """As the kernel's ``op_is_sync``: reads, and what bears the flags sync, FUA or preflush.

    In the rwbs string S stands for sync; F before the letter of the operation for preflush, behind it for FUA.
    """
    flagged = flags.where({value: int("S" in value or "F" in value) for value in flags.values}, 0)
    waits: Mask = (op == READ) | (flagged == 1)
    return waits


def _texts(codes: Int32, values: Sequence[str]) -> pa.DictionaryArray:
    """Text of a few kinds; a negative code is null."""
    distinct = {value: number for number, value in enumerate(dict.fromkeys(values))}
    renumber = np.array([*(distinct[value] for value in values), 0], np.int32)
    indices = pa.array(renumber[codes], mask=codes < 0)
    return pa.DictionaryArray.from_arrays(indices, pa.array(list(distinct), pa.string()))


def _constant(value: str, length: int) -> pa.DictionaryArray:
    return _texts(np.zeros(length, np.int32), (value,))


def _device_facts(run: Run) -> dict[str, Mapping[str, Any]]:
    """Facts of each disk by its name, as the manifest has them."""
    devices = (run.manifest.get("host") or {}).get("devices")
    entries = devices.values() if isinstance(devices, Mapping) else ()
    return {str(item["name"]): item for item in entries if isinstance(item, Mapping) and "name" in item}


_TOLD = ("model", "scheduler", "rotational", "read_ahead_kb", "nr_requests", "stacked")


def _about(
    run: Run,
    run_id: str,
    machine: str,
    workload: str,
    device: Text,
    classes: Sequence[str],
    facts: Mapping[str, Mapping[str, Any]],
) -> dict[str, Any]:
    used = {device.values[code]: classes[code] for code in np.unique(device.codes).tolist() if code >= 0}
    kernel, capture = (run.manifest.get("host") or {}).get("kernel"), collector_entry(run, "block").get("mode")
    return {
        "run": run_id,
        "started": run.manifest["run"].get("started"),
        "workload": workload,
        "machine": machine,
        "kernel": None if kernel is None else str(kernel),
        "capture": None if capture is None else str(capture),
        "devices": {
            name: {"class": kind, **{key: _simple(facts.get(name, {}).get(key)) for key in _TOLD}}
            for name, kind in sorted(used.items())
        },
    }


def _simple(value: Any) -> str | int | None:
    """A fact as the card can hold it; a manifest from elsewhere may hold anything."""
    return value if isinstance(value, str | int) else None
