"""Times and sizes as a specification gives them."""

from __future__ import annotations

import re
from typing import Any

_TIME = re.compile(r"(?:(\d+(?:\.\d+)?)d)?(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m(?:in)?)?(?:(\d+(?:\.\d+)?)s?)?")
_SIZE = re.compile(r"(\d+(?:\.\d+)?)([kmgt]?)(?:i?b)?", re.IGNORECASE)


def parse_time(value: Any) -> float | None:
    """Seconds of ``2h``, ``1h30m``, ``90s`` or a number of seconds; None where it is no time above 0."""
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        return None
    match = _TIME.fullmatch(str(value).replace(" ", ""))
    if match is None:
        return None
    seconds = sum(float(part or 0) * scale for part, scale in zip(match.groups(), (86400, 3600, 60, 1), strict=True))
    return seconds or None


def parse_bytes(value: Any) -> int | None:
    """Bytes of ``20G``, ``512 MiB`` or a number; K, M, G, T are powers of 1024.  None where it is no size above 0."""
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        return None
    match = _SIZE.fullmatch(str(value).replace(" ", ""))
    if match is None:
        return None
    number, prefix = match.groups()
    return int(float(number) * 1024.0 ** " kmgt".index(prefix.lower() or " ")) or None
