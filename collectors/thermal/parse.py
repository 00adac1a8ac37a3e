"""Captured temperatures and cooling states -> the table ``thermal``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from edgeprof.collectors import schema
from edgeprof.collectors.frames import FrameFile, Series, read_frames
from edgeprof.collectors.parsing import Parsed, RunFacts
from edgeprof.collectors.power.parse import tegrastats
from edgeprof.collectors.power.tegrastats import HIGHEST, LOWEST, Reading
from edgeprof.collectors.text import to_int

SLOWS = re.compile(
    r"processor|cpu|gpu|gk20a|gv11b|gp10b|ga10b|devfreq|powerclamp|throttle|balanced|\bemc\b|\bdla|\bcv\d",
    re.IGNORECASE,
)
"""Types of cooling devices that cool by slowing a processor, as the kernel's drivers name them: ``Processor`` (ACPI),
``cpufreq-cpu0``, ``thermal-cpufreq-0``, ``cpuidle-0``, ``thermal-devfreq-0``, ``devfreq-17000000.gpu``,
``intel_powerclamp``, ``cpu-throttle-alert`` and ``cpu-balanced`` (Jetson).  Fans, displays, radios, chargers and the
setting ``TCC Offset`` do not."""

FANS = re.compile(r"fan", re.IGNORECASE)

PI_BITS = {1: "frequency capped", 2: "throttled", 3: "soft temperature limit"}
"""Bits of get_throttled that mean that the processor is slowed now (Raspberry Pi documentation, vcgencmd)."""

LOW_VOLTAGE = "thermal: the supply voltage was too low during the run; use a stronger power supply or cable"
"""The note of a run in which the firmware or the kernel saw that."""

_UNDER_VOLTAGE = 1 << 0
_SINCE_BOOT = 16
_COLUMNS = ("time_ns", "zone", "temperature", "throttling")
_Row = tuple[int, str, float | None, int | None]


def parse(raw: Path, facts: RunFacts) -> Parsed:
    """Table ``thermal``: °C of each zone, and the state of each cooling device that slows a processor.

    ``throttling`` above 0 means slowed; null for zones and unreadable states.  A sensor that is off (an error, or a
    value outside -100 to 250 °C) has a null temperature or no row.  Where /sys gave nothing, tegrastats' lines serve.
    """
    try:
        frames = read_frames(raw / "thermal" / "thermal.frames")
    except OSError:
        frames = FrameFile({}, None)
    notes = [f"thermal: {frames.damage}; what lies before is kept"] if frames.damage else []
    rows: list[_Row] = []
    uncounted = set()
    alarmed = False
    names = _names(frames)
    for source, series in frames.series.items():
        kind, _, rest = source.partition(":")
        what = rest.partition(":")[2]
        if kind == "zone":
            rows += _zone(names[source], series)
        elif kind == "device" and SLOWS.search(what) and not FANS.search(what):
            rows += _device(names[source], series)
        elif kind == "device":
            uncounted.add(what)
        elif source == "raspberrypi":
            rows += _raspberry_pi(series, notes)
        elif source == "low_voltage" and any(payload.strip() == b"1" for payload in series.payloads):
            alarmed = True
    if alarmed and LOW_VOLTAGE not in notes:
        notes.append(LOW_VOLTAGE)
    if uncounted:
        notes.append(f"thermal: cooling devices that slow no processor are left out: {', '.join(sorted(uncounted))}")
    rows = rows or _from_tegrastats(tegrastats(raw))
    rows.sort(key=lambda row: row[0])
    return Parsed({"thermal": schema.from_rows("thermal", _COLUMNS, rows)}, notes)


def degrees(payload: bytes) -> float | None:
    """m°C as the kernel prints them; None for what is no temperature."""
    number = to_int(payload.strip())
    return number / 1000 if number is not None and LOWEST <= number / 1000 <= HIGHEST else None


def flags(payload: bytes) -> int | None:
    """The bit field of get_throttled: hexadecimal, with or without ``0x`` or ``throttled=``."""
    text = payload.strip().rpartition(b"=")[2]
    return int(text, 16) if re.fullmatch(rb"(0[xX])?[0-9a-fA-F]{1,8}", text) else None


def _names(frames: FrameFile) -> dict[str, str]:
    """Source -> its type, with its number where several share the type (``Processor 3``)."""
    types = [source.split(":", 2)[2] for source in frames.series if source.count(":") >= 2]
    names = {}
    for source in frames.series:
        _, _, rest = source.partition(":")
        number, _, what = rest.partition(":")
        names[source] = f"{what} {number}" if types.count(what) > 1 else what
    return names


def _zone(name: str, series: Series) -> list[_Row]:
    pairs = zip(series.times, series.payloads, strict=True)
    return [(time, name, degrees(payload), None) for time, payload in pairs]


def _device(name: str, series: Series) -> list[_Row]:
    rows: list[_Row] = []
    for time, payload in zip(series.times, series.payloads, strict=True):
        state = to_int(payload.strip())
        # intel_powerclamp says -1 while it is not in use (Documentation/admin-guide/thermal/intel_powerclamp.rst)
        rows.append((time, name, None, None if state is None else max(0, state)))
    return rows


def _raspberry_pi(series: Series, notes: list[str]) -> list[_Row]:
    rows: list[_Row] = []
    seen = 0
    fields = [flags(payload) for payload in series.payloads]
    for time, field in zip(series.times, fields, strict=True):
        for bit, name in PI_BITS.items():
            rows.append((time, name, None, None if field is None else field >> bit & 1))
        seen |= field or 0
    known = [field for field in fields if field is not None]
    sticky = (known[-1] & ~known[0]) >> _SINCE_BOOT if known else 0  # set between two samples of this run
    if (seen | sticky) & _UNDER_VOLTAGE:
        notes.append(LOW_VOLTAGE)
    brief = [name for bit, name in PI_BITS.items() if sticky >> bit & 1 and not seen >> bit & 1]
    if brief:
        notes.append(f"thermal: shorter than a second during the run, so not in the table: {', '.join(brief)}")
    return rows


def _from_tegrastats(readings: Sequence[tuple[int, Reading]]) -> list[_Row]:
    return [(time, name, value, None) for time, reading in readings for name, value in reading.temperatures.items()]
