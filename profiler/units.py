"""Figures as a person reads them: 1.2 GB, 3.4 ms, 87 %.

Prefixes are decimal (1 GB = 10^9 bytes), as storage vendors and plotly's axes use them;
request sizes, which are powers of two, get binary prefixes (4 KiB).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

NOT_MEASURED = "not measured"
_LARGE: Sequence[tuple[float, str]] = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))
_BASE_SYMBOLS = {"bytes": "B", "B": "B", "J": "J", "W": "W", "Hz": "Hz"}
_ROUNDS_UP = 0.9995
"""From this part of a scale on, three digits would read 1000 of the scale below."""
_SMALL_TIMES: Sequence[tuple[float, str]] = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns"))


def human(value: float | int | None, unit: str | None) -> str:
    """``value`` in ``unit`` as text of about three digits; "not measured" for None and NaN.

    Units known: bytes, s, ns, share, ratio, count, W, J, Hz, °C; any other is printed behind the number as it is.
    A unit with a slash (``bytes/s``, ``J/sample``) is formed like its first part.
    """
    if value is None or not math.isfinite(value):
        return NOT_MEASURED
    base, slash, per = (unit or "").partition("/")
    if base == "s":
        text = seconds(value)
    elif base == "ns":
        text = seconds(value / 1e9)
    elif base == "share" and not per:
        text = f"{_digits(value * 100)} %"
    elif base == "ratio" and not per:
        text = f"{_digits(value)}x"
    elif base in _BASE_SYMBOLS:
        text = _prefixed(value, _BASE_SYMBOLS[base])
    elif base in ("", "count"):
        text = count(value)
    else:
        text = f"{_digits(value)} {base}"
    return text + slash + per


def seconds(value: float) -> str:
    """A duration: 3.4 ms, 12 s, 4 min 05 s, 2 h 03 min."""
    size = abs(value)
    if size >= 3600:
        minutes = round(value / 60)
        return f"{minutes // 60} h {minutes % 60:02d} min"
    if size >= 120:
        whole = round(value)
        return f"{whole // 60} min {whole % 60:02d} s"
    if size == 0:
        return "0 s"
    for scale, symbol in _SMALL_TIMES:
        if size >= scale * _ROUNDS_UP:
            return f"{_digits(value / scale)} {symbol}"
    return f"{value / 1e-9:.2g} ns"


def count(value: float) -> str:
    """A number of things: exact below a million (12 345 with thin spaces), with a prefix above."""
    if abs(value) >= 1e6:
        return _prefixed(value, "").rstrip()
    if float(value).is_integer():
        return f"{int(value):,}".replace(",", "\u202f")
    return _digits(value)


def counted(number: int, noun: str, plural: str = "") -> str:
    """``1 process``, ``2 processes``."""
    return f"{count(number)} {noun if number == 1 else plural or noun + 's'}"


def request_size(value: int) -> str:
    """A power-of-two size: 512 B, 4 KiB, 1 MiB."""
    for scale, symbol in ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")):
        if value >= scale:
            return f"{_digits(value / scale)} {symbol}"
    return f"{value} B"


def _prefixed(value: float, symbol: str) -> str:
    for scale, prefix in _LARGE:
        if abs(value) >= scale * _ROUNDS_UP:
            return f"{_digits(value / scale)} {prefix}{symbol}"
    if value == 0 or abs(value) >= 1 or symbol == "B":
        return f"{_digits(value)} {symbol}"
    for scale, prefix in ((1e-3, "m"), (1e-6, "µ")):
        if abs(value) >= scale:
            return f"{_digits(value / scale)} {prefix}{symbol}"
    return f"{value:.2g} {symbol}"


def _digits(value: float) -> str:
    """Three significant digits, without an exponent and without trailing zeros."""
    if value == 0:
        return "0"
    places = max(0, 2 - math.floor(math.log10(abs(value))))
    text = f"{value:.{min(places, 6)}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
