"""Differences as sentences: "slower by 5.1 % (4.2 to 6.0)", "no difference shown; 3 % could have been"."""

from __future__ import annotations

import math

from edgeprof.profiler.statistics.scale import SHARES, Scale
from edgeprof.profiler.units import human

_FOLD = 2.0
"""From this ratio on a change is told as "2.4 times", not as "140 % more"."""

_DIRECTIONS = {"s": ("slower", "faster"), "samples/s": ("faster", "slower"), "requests/s": ("faster", "slower")}
_USUAL = ("higher", "lower")
_DURATIONS = ("wall_time", "step_time")
"""What is slower where it takes longer; other times (of CPU, of waiting) are higher or lower."""


def direction(name: str, unit: str, more: bool) -> str:
    """The word for more or less of a metric."""
    timed = unit != "s" or name.startswith(_DURATIONS) or "latency" in name
    return _DIRECTIONS.get(unit, _USUAL)[not more] if timed else _USUAL[not more]


def percent(share: float) -> str:
    """A share without its sign, in percent, with digits that fit its size: 0.0512 -> 5.1 %."""
    size = abs(share) * 100
    if size == 0 or not math.isfinite(size):
        return f"{size:g} %"
    digits = 0 if size >= 20 else 1 if size >= 1 else min(6, 1 - math.floor(math.log10(size)))
    return f"{size:.{digits}f} %"


def times(ratio: float) -> str:
    """A ratio: 2.4, 0.04, 1 200."""
    if ratio >= 100:
        return f"{ratio:,.0f}".replace(",", "\u202f") if ratio < 1e6 else f"{ratio:.2g}"
    if ratio < 0.1:
        return f"{ratio:.2g}"
    return f"{ratio:.2f}" if ratio < 10 else f"{ratio:.1f}"


def change(name: str, unit: str, scale: Scale, value: float, low: float | None, high: float | None) -> str:
    """A difference that was shown, with its interval.

    Args:
        value, low, high: on the scale: logarithms of ratios, or differences in the unit.
    """
    word = direction(name, unit, value > 0)
    interval = _interval(unit, scale, value, low, high)
    return (
        f"{word} by {amount(unit, scale, value)}{interval}"
        if not _as_times(scale, value)
        else (f"{word}: {amount(unit, scale, value)}{interval}")
    )


def amount(unit: str, scale: Scale, value: float) -> str:
    """The size of a difference on the scale, without its sign: 5.1 %, 2.4 times, 3 points, 40 MB."""
    if scale == "log":
        return f"{times(math.exp(min(value, 700.0)))} times" if _as_times(scale, value) else percent(math.expm1(value))
    if unit in SHARES:
        return f"{_points(value)} points"
    return human(abs(value), unit)


def could(unit: str, scale: Scale, detectable: float) -> str:
    """The size that could have been shown."""
    return amount(unit, scale, abs(detectable))


def none_shown(unit: str, scale: Scale, detectable: float | None) -> str:
    """That nothing was shown, and what could have been."""
    if detectable is None:
        return "no difference shown"
    return f"no difference shown; {could(unit, scale, detectable)} could have been"


def _as_times(scale: Scale, value: float) -> bool:
    return scale == "log" and abs(value) >= math.log(_FOLD)


def _points(value: float) -> str:
    return percent(value)[:-2]


def _interval(unit: str, scale: Scale, value: float, low: float | None, high: float | None) -> str:
    if low is None or high is None:
        return ""
    if _as_times(scale, value):
        return f" ({times(math.exp(min(low, 700.0)))} to {times(math.exp(min(high, 700.0)))})"
    bounds = (low, high) if value > 0 else (-high, -low)  # told in the direction of the word
    if scale == "log":
        near, far = (math.expm1(bound if value > 0 else -bound) * (1 if value > 0 else -1) for bound in bounds)
        return f" ({_signed(near, percent(near)[:-2])} to {_signed(far, percent(far)[:-2])})"
    if unit in SHARES:
        return f" ({_signed(bounds[0], _points(bounds[0]))} to {_signed(bounds[1], _points(bounds[1]))})"
    return f" ({_signed(bounds[0], human(abs(bounds[0]), unit))} to {_signed(bounds[1], human(abs(bounds[1]), unit))})"


def _signed(value: float, text: str) -> str:
    return f"-{text}" if value < 0 else text


def p_is(p: float | None) -> str:
    """p = 0.03, p < 0.001."""
    text = p_value(p)
    return f"p {text}" if text.startswith("<") else f"p = {text}"


def p_value(p: float | None) -> str:
    """0.03, < 0.001; a dash where there is none."""
    if p is None:
        return "-"
    if p < 0.001:
        return "< 0.001"
    return f"{p:.2f}" if p >= 0.1 else f"{p:.3f}"
