"""Examples of read-ahead: the windows of one run, what it was run with, and how fast it was."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from edgeprof.profiler.analysis.compare import flatten
from edgeprof.profiler.dataset import metrics_of
from edgeprof.profiler.run import Run
from edgeprof.profiler.training_sets.errors import Unusable
from edgeprof.profiler.training_sets.groups import split_by_time, workload_of
from edgeprof.profiler.training_sets.readahead_choices import CHOICES_KIB
from edgeprof.profiler.training_sets.readahead_schema import DEVICE, FILE
from edgeprof.profiler.training_sets.readahead_windows import NO_DEVICE, Measure, captured_spans, cut, read_additions
from edgeprof.profiler.training_sets.schema import SPLITS

WINDOW_SECONDS = 0.25

SITUATION_FACTORS = (
    "board",
    "isolation",
    "unit.threads",
    "unit.power_mode",
    "storage.file_system",
    "storage.device",
    "storage.scheduler",
    "storage.cache",
    "storage.memory_limit",
    "storage.zram",
)
"""Factors of where a workload runs that may change which read-ahead serves it best."""


@dataclass(frozen=True)
class RunWindows:
    """What one run gives.

    Attributes:
        columns: of the schema, but for ``best_kib`` and ``split_workload``, in the order of time.
        cell: workload, machine and situation: what is the same in all runs that can be compared.
        kib: its read-ahead.
        throughput: samples a second.
        about: what the data card says of the run.
    """

    columns: dict[str, Any]
    rows: int
    cell: tuple[str, str, str]
    kib: int
    throughput: float
    about: dict[str, Any]


def windows_of_run(run: Run, run_id: str, measure: Measure, window_seconds: float = WINDOW_SECONDS) -> RunWindows:
    """The examples of one run; one whose page cache was not captured in full has none, and still tells how fast it was.

    Raises:
        Unusable: it does not say how fast it was, and with which read-ahead.
    """
    factors, disk = flatten(run.manifest.get("factors") or {}), _disk(run)
    kib, throughput = _read_ahead(factors.get("storage.read_ahead")), _throughput(run)
    host = run.manifest.get("host") or {}
    machine, workload = str(host.get("hostname") or "unknown"), workload_of(run.manifest)
    situation = " ".join(f"{name}={factors[name]}" for name in SITUATION_FACTORS if factors.get(name) is not None)
    texts = {"run_id": run_id, "workload": workload, "situation": situation, "machine": machine, "device": disk}
    about = {
        "run": run_id,
        "started": run.manifest["run"].get("started"),
        "workload": workload,
        "machine": machine,
        "kernel": None if host.get("kernel") is None else str(host["kernel"]),
        "device": disk,
        "read_ahead_kib": kib,
        "throughput": throughput,
    }
    try:
        columns = _windows(run, disk, kib, measure, window_seconds)
    except Unusable as error:
        columns, about["no_windows"] = {}, str(error)
    rows = len(columns["scope"]) if columns else 0
    columns |= {name: [value] * rows for name, value in texts.items()}
    return RunWindows(columns, rows, (workload, machine, situation), kib, throughput, about)


def _windows(run: Run, disk: str, kib: int, measure: Measure, window_seconds: float) -> dict[str, Any]:
    """The columns that differ from window to window, in the order of time.  Raises Unusable: there is none."""
    additions = read_additions(run, disk)
    begin, end = _measured(run)
    spans = captured_spans(run, begin, end, additions)
    windows = cut(additions, spans, round(window_seconds * 1e9))
    features, enough = measure(windows, (kib << 10) // _page_bytes(run))
    rows = np.flatnonzero(enough)
    if len(rows) == 0:
        raise Unusable(f"in none of its windows of {window_seconds:g} s enough was added to the page cache")
    rows = rows[np.lexsort((windows.device[rows] == NO_DEVICE, windows.ended[rows]))]
    split, _ = split_by_time(windows.begun[rows], windows.ended[rows])
    return {
        "scope": [DEVICE if device == NO_DEVICE else FILE for device in windows.device[rows].tolist()],
        "begun_ns": windows.begun[rows],
        "time_ns": windows.ended[rows],
        "current_kib": [kib] * len(rows),
        **{name: features[rows, at] for at, name in enumerate(measure.names)},
        "split_time": [SPLITS[part] if part >= 0 else None for part in split.tolist()],
    }


def _disk(run: Run) -> str:
    """Name of the disk under the run's data."""
    place: Any = run.manifest.get("setup") or {}
    for key in ("storage", "disk", "name"):
        place = place.get(key) if isinstance(place, dict) else None
    if not isinstance(place, str):
        raise Unusable("it does not say which disk its data lay on; capture with --read-ahead")
    return place


def _read_ahead(found: Any) -> int:
    for kib in CHOICES_KIB:
        if found == kib << 10:
            return kib
    told = "is not known" if found is None else f"was {found} bytes"
    raise Unusable(
        f"its read-ahead {told}, and choices are of {CHOICES_KIB[0]} to {CHOICES_KIB[-1]} KiB in powers of 2"
    )


def _throughput(run: Run) -> float:
    entry = metrics_of(run).get("throughput") or {}
    value = entry.get("value")
    if not isinstance(value, int | float) or not 0 < value < float("inf"):
        raise Unusable(f"its throughput is not known ({entry.get('reason') or 'it recorded no steps'})")
    return float(value)


def _measured(run: Run) -> tuple[int | None, int | None]:
    """From the first step's begin to the last one's end: the time that the throughput is of; else that of the run."""
    if run.has("steps"):
        steps = run.arrow("steps", ["start_ns", "end_ns"])
        starts, ends = (steps[name].drop_null().to_numpy() for name in ("start_ns", "end_ns"))
        if len(starts) and len(ends):
            return int(starts.min()), int(ends.max())
    return run.manifest["run"].get("start_ns"), run.manifest["run"].get("end_ns")


def _page_bytes(run: Run) -> int:
    found = (run.manifest.get("host") or {}).get("page_bytes")
    return found if isinstance(found, int) and found > 0 else 4096
