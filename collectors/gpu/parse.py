"""Captured NVML results -> the table ``gpu``, and what slowed a GPU -> the table ``thermal``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from edgeprof.collectors import schema
from edgeprof.collectors.frames import FrameFile, Series, read_frames
from edgeprof.collectors.parsing import Parsed, RunFacts, read_raw

Floats = npt.NDArray[np.float64]

_CODE = ("code", "<i4")


@dataclass(frozen=True)
class Figure:
    """A number in an NVML result: its metric, NumPy type, factor to the table's unit, and that unit."""

    metric: str
    kind: str
    factor: float
    unit: str


LAYOUTS: Mapping[str, tuple[Figure, ...]] = {
    "utilization": (
        Figure("utilization", "<u4", 0.01, "share"),
        Figure("memory_utilization", "<u4", 0.01, "share"),
    ),
    "memory": (
        Figure("memory_total", "<u8", 1.0, "bytes"),
        Figure("memory_free", "<u8", 1.0, "bytes"),
        Figure("memory_used", "<u8", 1.0, "bytes"),
    ),
    "power": (Figure("power", "<u4", 1e-3, "W"),),
    "energy": (Figure("energy", "<u8", 1e-3, "J"),),
    "temperature": (Figure("temperature", "<u4", 1.0, "°C"),),
    "sm_clock": (Figure("sm_clock", "<u4", 1e6, "Hz"),),
    "memory_clock": (Figure("memory_clock", "<u4", 1e6, "Hz"),),
    "throttle_reasons": (Figure("throttle_reasons", "<u8", 1.0, "bits"),),
}
"""What each call's result holds, in order (nvml.h: nvmlUtilization_t, nvmlMemory_t and plain numbers)."""

THERMAL_BITS = 0x20 | 0x40
"""nvmlClocksThrottleReasonSwThermalSlowdown and HwThermalSlowdown: the GPU is slowed because it is hot."""

PROCESS = np.dtype({"names": ["pid", "memory"], "formats": ["<u4", "<u8"], "offsets": [0, 8], "itemsize": 24})
"""nvmlProcessInfo_v2_t."""

_NOT_AVAILABLE = (1 << 64) - 1  # NVML_VALUE_NOT_AVAILABLE
_MAX_DEVICES = 64


def parse(raw: Path, facts: RunFacts) -> Parsed:
    """Table ``gpu``: one row a device, metric and sample; a call that failed just then is null.

    What a device does not support has no rows; its reason stands in the manifest and in the notes.  A device's
    thermal slowdown goes into ``thermal`` too, so that throttled time counts it.
    """
    try:
        frames = read_frames(raw / "gpu" / "gpu.frames")
    except OSError:
        return Parsed({"gpu": schema.empty("gpu")})
    notes = [f"gpu: {frames.damage}; what lies before is kept"] if frames.damage else []
    tables, thermal = [], []
    for device in _devices(raw, notes):
        label = f"{device['index']}: {device['name']}"
        figures = _figures(device, frames, notes)
        for figure, times, values in figures:
            tables.append(_rows(times, label, figure.metric, values, figure.unit))
            if figure.metric == "throttle_reasons":
                thermal.append(_slowdown(times, f"GPU {device['index']}", values))
        tables += _process_rows(frames.get(f"processes:{device['index']}"), label, facts)
        _note_unsupported(device, notes)
    found = {"gpu": pa.concat_tables(tables) if tables else schema.empty("gpu")}
    if thermal:
        found["thermal"] = pa.concat_tables(thermal)
    return Parsed(found, notes)


def _devices(raw: Path, notes: list[str]) -> list[dict[str, Any]]:
    try:
        content = json.loads(read_raw(raw / "gpu" / "gpu.json"))
    except (OSError, ValueError, RecursionError):
        notes.append("gpu: gpu.json is missing or damaged, so what its samples hold is unknown")
        return []
    if not isinstance(content, list):
        return []
    return [
        {"index": item["index"], "name": str(item.get("name"))[:200], "calls": item["calls"], "raw": item}
        for item in content[:_MAX_DEVICES]
        if isinstance(item, dict)
        and isinstance(item.get("index"), int)
        and isinstance(item.get("calls"), list)
        and all(isinstance(call, str) and call in LAYOUTS for call in item["calls"])
        and len(set(item["calls"])) == len(item["calls"])
    ]


def _figures(
    device: Mapping[str, Any], frames: FrameFile, notes: list[str]
) -> list[tuple[Figure, npt.NDArray[np.int64], Floats]]:
    """Each figure's sample times and values; NaN where NVML did not answer."""
    calls = device["calls"]
    layout = np.dtype([(call, [_CODE, *((part.metric, part.kind) for part in LAYOUTS[call])]) for call in calls])
    series = frames.get(f"device:{device['index']}")
    whole = [
        (time, item) for time, item in zip(series.times, series.payloads, strict=True) if len(item) == layout.itemsize
    ]
    if len(whole) < len(series.times):
        notes.append(f"gpu: {len(series.times) - len(whole)} sample(s) of device {device['index']} have a wrong length")
    if not whole or not calls:
        return []
    times = np.array([time for time, _ in whole], np.int64)
    samples = np.frombuffer(b"".join(item for _, item in whole), layout)
    found = []
    for call in calls:
        answered = samples[call]["code"] == 0
        for part in LAYOUTS[call]:
            value = samples[call][part.metric].astype(np.float64) * part.factor
            found.append((part, times, np.where(answered, value, np.nan)))
    return found


def _process_rows(series: Series, label: str, facts: RunFacts) -> list[pa.Table]:
    """Memory of each compute process (``process_memory:PID``), and of the run's together (``run_memory``)."""
    found: dict[int, list[tuple[int, float]]] = {}
    run: list[tuple[int, float]] = []
    for time, payload in zip(series.times, series.payloads, strict=True):
        if len(payload) < 4 or payload[:4] != b"\0\0\0\0":
            continue
        table = np.frombuffer(payload[4 : 4 + (len(payload) - 4) // PROCESS.itemsize * PROCESS.itemsize], PROCESS)
        known = table[table["memory"] != _NOT_AVAILABLE]
        for pid, memory in zip(known["pid"].tolist(), known["memory"].tolist(), strict=True):
            found.setdefault(pid, []).append((time, float(memory)))
        own = np.isin(known["pid"], np.fromiter(facts.run_pids, np.int64, len(facts.run_pids)))
        if own.any():
            run.append((time, float(known["memory"][own].astype(np.float64).sum())))
    named = [(f"process_memory:{pid}", pairs) for pid, pairs in sorted(found.items())]
    if run:
        named.append(("run_memory", run))
    return [
        _rows(
            np.array([time for time, _ in pairs], np.int64),
            label,
            metric,
            np.array([value for _, value in pairs]),
            "bytes",
        )
        for metric, pairs in named
    ]


def _rows(times: npt.NDArray[np.int64], device: str, metric: str, values: Floats, unit: str) -> pa.Table:
    size = times.size
    columns = {
        "time_ns": times,
        "device": [device] * size,
        "metric": [metric] * size,
        "value": pa.array(values, from_pandas=True),
        "unit": [unit] * size,
    }
    return schema.table("gpu", columns)


def _slowdown(times: npt.NDArray[np.int64], zone: str, reasons: Floats) -> pa.Table:
    known = ~np.isnan(reasons)
    hot = np.where(known, reasons, 0).astype(np.uint64) & np.uint64(THERMAL_BITS)
    states = pa.array((hot != 0).astype(np.int64), mask=~known)
    return schema.table("thermal", {"time_ns": times, "zone": [zone] * times.size, "throttling": states})


def _note_unsupported(device: Mapping[str, Any], notes: list[str]) -> None:
    refused = device["raw"].get("not_supported")
    if isinstance(refused, dict) and refused:
        listed = ", ".join(f"{name} ({reason})" for name, reason in list(refused.items())[:20])
        notes.append(f"gpu: {device['name']} does not give {listed}"[:1000])
