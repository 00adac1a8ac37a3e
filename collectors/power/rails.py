"""The power rails that were captured, as the capture half described them, and which of them add up to the machine."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from edgeprof.collectors.parsing import read_raw

WATTS = {"uW": 1e-6, "mW": 1e-3, "mV*mA": 1e-6, "uW if discharging": 1e-6}
_MAX_RAILS = 1024


@dataclass(frozen=True)
class Rail:
    """A rail as the capture half described it, see `capture_sensors.Rail`."""

    name: str
    source: str
    quantity: str
    frames: tuple[str, ...]
    total: bool
    limit: int | None


def described(raw: Path) -> tuple[list[Rail], str | None]:
    """The rails of ``rails.json``, and what was wrong with it."""
    try:
        content = json.loads(read_raw(raw / "power" / "rails.json"))
    except (OSError, ValueError, RecursionError):
        return [], "power: rails.json is missing or damaged, so its sensors' units are unknown"
    rails = [rail for item in content[:_MAX_RAILS] if (rail := _rail(item))] if isinstance(content, list) else []
    return rails, None


def _rail(item: Any) -> Rail | None:
    if not isinstance(item, dict) or item.get("quantity") not in (*WATTS, "uJ"):
        return None
    frames, limit = item.get("frames"), item.get("limit")
    if not isinstance(frames, list) or len(frames) != (2 if item["quantity"] in ("mV*mA", "uW if discharging") else 1):
        return None
    limit = limit if isinstance(limit, int) and 0 < limit < 1 << 63 else None
    names = str(item.get("rail"))[:200], str(item.get("source"))[:40]
    return Rail(*names, item["quantity"], tuple(map(str, frames)), item.get("total") is True, limit)


class Amount(NamedTuple):
    """Energy of one power rail over a time, and the seconds that its samples cover of it."""

    source: str
    name: str
    total: bool
    joules: float
    seconds: float


def chosen_rails(found: list[Amount]) -> list[Amount]:
    """The rails whose sum is the most complete account without counting anything twice.

    Rails that contain others go before those that do not; of several that do, alike by
    name (package-0, package-1) are added, and the largest such group contains the others.
    Two sources may measure the same rail, so only one source counts.  RAPL's dram domain
    lies outside its package (Documentation/power/powercap/powercap.rst), so it is added.
    """
    pool = [rail for rail in found if rail.total] or found
    groups: dict[tuple[str, str], list[Amount]] = {}
    for rail in pool:
        stem = re.sub(r"[\d_:-]+$", "", rail.name) if rail.total else ""
        groups.setdefault((rail.source, stem), []).append(rail)
    best = max(groups.values(), key=lambda group: sum(rail.joules for rail in group), default=[])
    if best and best[0].total and best[0].source == "rapl" and best[0].name != "psys":
        best = best + [rail for rail in found if rail.source == "rapl" and rail.name.endswith("/dram")]
    return best
