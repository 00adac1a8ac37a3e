"""Captured clocks -> the table ``clocks``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edgeprof.collectors import schema
from edgeprof.collectors.frames import FrameFile, read_frames
from edgeprof.collectors.parsing import Parsed, RunFacts
from edgeprof.collectors.power.parse import tegrastats
from edgeprof.collectors.power.tegrastats import Reading
from edgeprof.collectors.text import to_int

_SCALE = {"kHz": 1e3, "Hz": 1.0, "permille": 1e-3}
_COLUMNS = ("time_ns", "domain", "frequency", "load")
_Row = tuple[int, str, float | None, float | None]


def parse(raw: Path, facts: RunFacts) -> Parsed:
    """Table ``clocks``: Hz and load (share of 1) of each domain and sample; null for what the machine does not say.

    Where /sys gave nothing, tegrastats' lines serve.
    """
    try:
        frames = read_frames(raw / "clocks" / "clocks.frames")
    except OSError:
        frames = FrameFile({}, None)
    notes = [f"clocks: {frames.damage}; what lies before is kept"] if frames.damage else []
    rows = _from_frames(frames)
    if not rows:
        rows = _from_tegrastats(tegrastats(raw))
    rows.sort(key=lambda row: row[0])
    return Parsed({"clocks": schema.from_rows("clocks", _COLUMNS, rows)}, notes)


def _from_frames(frames: FrameFile) -> list[_Row]:
    """Frequency and load of one domain and sample stand in one row."""
    found: dict[tuple[int, str], dict[str, float | None]] = {}
    for source, series in frames.series.items():
        unit, _, domain = source.partition(":")
        if unit not in _SCALE or not domain:
            continue
        column = "load" if unit == "permille" else "frequency"
        for time, payload in zip(series.times, series.payloads, strict=True):
            number = to_int(payload.strip())
            known = number is not None and number >= 0
            found.setdefault((time, domain), {})[column] = (
                number * _SCALE[unit] if known and number is not None else None
            )
    return [(time, domain, item.get("frequency"), item.get("load")) for (time, domain), item in found.items()]


def _from_tegrastats(readings: Sequence[tuple[int, Reading]]) -> list[_Row]:
    return [
        (time, name, clock.frequency, clock.load)
        for time, reading in readings
        for name, clock in reading.clocks.items()
    ]
