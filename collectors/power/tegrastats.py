"""Lines of tegrastats -> records.  The tool prints one line an interval, of a shape that board and release decide.

Format: NVIDIA Jetson Linux Developer Guide, "tegrastats Utility"; what varies is in docs/power.md.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

LONGEST_LINE = 4096
"""The longest real line has 500 characters; what is beyond this is not read."""

LOWEST, HIGHEST = -100.0, 250.0
"""°C: a reading outside is no temperature but a sensor that is off (tegrastats and the kernel give -256)."""

_MEGA = 1_000_000.0
_UNITS = {"kB": 1 << 10, "MB": 1 << 20, "GB": 1 << 30}

_MEMORY = re.compile(r"\b(RAM|SWAP) (\d{1,9})/(\d{1,9})([kMG]B)\b", re.ASCII)
_CPU = re.compile(r"\bCPU \[([^\]]{0,2048})\](?:@(\d{1,6}))?", re.ASCII)
_CORE = re.compile(r"(\d{1,3})%(?:@(\d{1,6}))?", re.ASCII)
_ENGINE = re.compile(
    r"\b(?:([A-Z][A-Z0-9]{0,15})_FREQ|(APE|NVENC\d?|NVDEC\d?|NVJPG\d?|MSENC|VIC|SE|PVA\d?_?\w{0,8}|NVDLA\d?)) "
    r"(?:(\d{1,3})%(?:@(?:\[([\d,]{1,64})\]|(\d{1,6})))?|(\d{1,6})(?![\d%/]))",
    re.ASCII,
)
_TEMPERATURE = re.compile(r"(?<!\S)([A-Za-z][\w\-]{0,31})@(-?\d{1,4}(?:\.\d{1,3})?)C(?!\S)", re.ASCII)
_POWER = re.compile(r"(?<!\S)(?!I?RAM |SWAP )([A-Za-z]\w{0,31}) (\d{1,7})(?:mW)?/(\d{1,7})(?:mW)?(?!\S)", re.ASCII)
_NAMES = {"GR3D": "gpu", "GR3D2": "gpu.1"}


@dataclass(frozen=True)
class Clock:
    """A clock domain: Hz and load as a share of 1; None for what the line does not say, or a core that is off."""

    frequency: float | None
    load: float | None


@dataclass(frozen=True)
class Reading:
    """One line: bytes of memory (used, total), clocks by domain, °C by sensor, W by rail (now, mean so far)."""

    memory: Mapping[str, tuple[int, int]]
    clocks: Mapping[str, Clock]
    temperatures: Mapping[str, float | None]
    power: Mapping[str, tuple[float, float]]


def read_line(line: str) -> Reading | None:
    """Read one line; None when it is not one of tegrastats' (a comment, a message, noise, a cut line without RAM)."""
    line = line[:LONGEST_LINE]
    memory = {
        name: (int(used) * _UNITS[unit], int(total) * _UNITS[unit]) for name, used, total, unit in _MEMORY.findall(line)
    }
    if "RAM" not in memory:
        return None
    return Reading(
        memory,
        {**_cpus(line), **_engines(line)},
        {name: _plausible(float(value)) for name, value in _TEMPERATURE.findall(line)},
        {name: (int(now) / 1e3, int(mean) / 1e3) for name, now, mean in _POWER.findall(line)},
    )


def read_lines(times: Sequence[int], payloads: Sequence[bytes]) -> list[tuple[int, Reading]]:
    """Records from what was read off the tool's pipe, each at the time at which its line's end was read.

    Args:
        times: when each piece was read, CLOCK_MONOTONIC ns.
        payloads: the pieces, cut anywhere.
    """
    records = []
    rest = b""
    for time_ns, payload in zip(times, payloads, strict=True):
        *lines, rest = (rest + payload).split(b"\n")
        rest = rest[-LONGEST_LINE:]
        for line in lines:
            reading = read_line(line.decode("utf-8", "replace"))
            if reading is not None:
                records.append((time_ns, reading))
    return records


def _plausible(temperature: float) -> float | None:
    return temperature if LOWEST <= temperature <= HIGHEST else None


def _cpus(line: str) -> dict[str, Clock]:
    """``[2%@2035,off]``, or ``[2%,off]@2035`` where all cores share one clock."""
    found = _CPU.search(line)
    if found is None:
        return {}
    clocks = {}
    for number, core in enumerate(found[1].split(",")[:1024]):
        state = _CORE.fullmatch(core.strip())
        megahertz = (state[2] or found[2]) if state else None
        clocks[f"cpu{number}"] = Clock(_hertz(megahertz), int(state[1]) / 100 if state else None)
    return clocks


def _engines(line: str) -> dict[str, Clock]:
    clocks: dict[str, Clock] = {}
    for scaled, plain, load, several, one, alone in _ENGINE.findall(line):
        name = _NAMES.get(scaled, (scaled or plain).lower())
        first, *others = [item for item in several.split(",") if item] or [one or alone]
        share = int(load) / 100 if load else None
        if name == "emc" and not first:  # not root: tegrastats could not read it and prints 0 %
            share = None
        clocks[name] = Clock(_hertz(first), share)
        for number, other in enumerate(others, 1):
            clocks[f"{name}.{number}"] = Clock(_hertz(other), None)
    return clocks


def _hertz(megahertz: str | None) -> float | None:
    return int(megahertz) * _MEGA if megahertz else None
