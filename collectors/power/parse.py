"""Captured power and energy sensors, or tegrastats' lines -> the table ``power``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from edgeprof.collectors import schema
from edgeprof.collectors.frames import FrameFile, Series, read_frames
from edgeprof.collectors.parsing import Parsed, RunFacts
from edgeprof.collectors.power.capture_sensors import TOTALS
from edgeprof.collectors.power.rails import WATTS, Rail, described
from edgeprof.collectors.power.tegrastats import Reading, read_lines
from edgeprof.collectors.text import to_int

Floats = npt.NDArray[np.float64]
Times = npt.NDArray[np.int64]

_COLUMNS = ("time_ns", "rail", "source", "power", "energy", "total")


def parse(raw: Path, facts: RunFacts) -> Parsed:
    """Table ``power``: W for every rail and sample, and J since the first sample where the sensor counts energy.

    A sample that a sensor did not give is null or absent, never 0.
    """
    frames = captured(raw)
    if frames is None:
        return Parsed({"power": schema.empty("power")})
    notes = [f"power: {frames.damage}; what lies before is kept"] if frames.damage else []
    rails, bad = described(raw)
    if bad:
        notes.append(bad)
    tables = [table for rail in rails if (table := _rail_table(rail, frames, notes)) is not None]
    readings = tegrastats(raw, frames)
    if readings:
        tables.append(_from_tegrastats(readings))
    return Parsed({"power": _by_time(pa.concat_tables(tables)) if tables else schema.empty("power")}, notes)


def captured(raw: Path) -> FrameFile | None:
    """The frames that the capture half wrote; None when there are none."""
    try:
        return read_frames(raw / "power" / "power.frames")
    except OSError:
        return None


def tegrastats(raw: Path, frames: FrameFile | None = None) -> list[tuple[int, Reading]]:
    """tegrastats' records of a run, (CLOCK_MONOTONIC ns, reading); thermal and clocks read them too."""
    frames = frames or captured(raw)
    series = frames.get("tegrastats") if frames else Series("tegrastats")
    return read_lines(series.times, series.payloads)


def energy_of_counter(counts: Floats, limit: int | None) -> tuple[Floats, Floats]:
    """Differences and sums of a counter, in its own unit, from its first value on.

    A step back by a counter that wraps at ``limit`` is a wrap; any other is a restart: that difference is NaN, and
    so is every sum from there on.  A NaN count makes no difference of its own: the next one spans it.

    Returns:
        differences since the last known count (NaN at the first and at unknown ones), and sums (0 at the first).
    """
    known = np.flatnonzero(~np.isnan(counts))
    steps = np.diff(counts[known])
    wrapped = steps < 0
    steps[wrapped] += limit if limit else np.nan
    steps[steps < 0] = np.nan
    differences, sums = np.full(counts.size, np.nan), np.full(counts.size, np.nan)
    if known.size:
        differences[known[1:]] = steps
        sums[known] = np.concatenate([[0.0], np.cumsum(steps)])
    return differences, sums


def _rail_table(rail: Rail, frames: FrameFile, notes: list[str]) -> pa.Table | None:
    times, values = _values(rail, [frames.get(name) for name in rail.frames])
    if not times.size:
        return None
    power, energy = values, None
    if rail.quantity == "uJ":
        steps, sums = energy_of_counter(values, rail.limit)
        energy = sums * 1e-6
        power = steps * 1e-6 / _seconds_since_known(times, values)
        if np.isnan(sums[~np.isnan(values)]).any():
            notes.append(f"power: the energy counter of {rail.name} restarted during the run; its energy ends there")
    else:
        power = values * WATTS[rail.quantity]
    return schema.table(
        "power",
        {
            "time_ns": times,
            "rail": [rail.name] * times.size,
            "source": [rail.source] * times.size,
            "power": pa.array(power, from_pandas=True),
            "energy": None if energy is None else pa.array(energy, from_pandas=True),
            "total": [rail.total] * times.size,
        },
    )


def _seconds_since_known(times: Times, values: Floats) -> Floats:
    """Seconds from the last sample with a value to each sample; NaN where there is none or no time has passed."""
    known = np.flatnonzero(~np.isnan(values))
    seconds = np.full(times.size, np.nan)
    seconds[known[1:]] = np.diff(times[known]) / 1e9
    seconds[seconds <= 0] = np.nan
    return seconds


def _values(rail: Rail, series: Sequence[Series]) -> tuple[Times, Floats]:
    """Sample times and values in the rail's unit; two files are joined by the time of their sample."""
    first = _numbers(series[0])
    if len(series) == 1:
        return np.array(series[0].times, np.int64), first
    second = dict(zip(series[1].times, series[1].payloads, strict=True))
    if rail.quantity == "mV*mA":
        factor = [_number(second.get(time, b"")) for time in series[0].times]
    else:  # a battery's power is the machine's only while it discharges
        factor = [1.0 if second.get(time, b"").strip() == b"Discharging" else np.nan for time in series[0].times]
    return np.array(series[0].times, np.int64), first * np.array(factor, np.float64)


def _numbers(series: Series) -> Floats:
    return np.array([_number(payload) for payload in series.payloads], np.float64)


def _number(payload: bytes) -> float:
    number = to_int(payload.strip())
    return np.nan if number is None else float(number)


def _from_tegrastats(readings: Sequence[tuple[int, Reading]]) -> pa.Table:
    rows = [
        (time, name, "tegrastats", now, None, name in TOTALS)
        for time, reading in readings
        for name, (now, _) in reading.power.items()
    ]
    return schema.from_rows("power", _COLUMNS, rows)


def _by_time(table: pa.Table) -> pa.Table:
    return table.take(pa.array(np.argsort(table["time_ns"].to_numpy(), kind="stable")))
