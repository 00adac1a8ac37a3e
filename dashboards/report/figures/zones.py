"""A device's offsets without the stretches that nobody of interest touched."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgeprof.dashboards.report.downsample import Floats, Ints
from edgeprof.profiler.units import human

ZONE_BYTES = 64 << 20


@dataclass(frozen=True)
class Zones:
    """Zones of `ZONE_BYTES` in use, ascending; laid end to end they make an axis.

    Files lie scattered over a device of hundreds of gigabytes: on a true axis the accesses within
    each of them would shrink to a dot.
    """

    used: Ints

    @classmethod
    def of(cls, offset: Floats) -> Zones:
        """The zones that hold the given offsets (bytes)."""
        return cls(np.unique((offset // ZONE_BYTES).astype(np.int64)))

    def position(self, offset: Floats) -> Floats:
        """Where offsets lie on the axis; NaN for those outside the zones in use."""
        zone = (offset // ZONE_BYTES).astype(np.int64)
        rank = np.minimum(np.searchsorted(self.used, zone), len(self.used) - 1)
        inside = self.used[rank] == zone
        result: Floats = np.where(inside, rank * float(ZONE_BYTES) + offset % ZONE_BYTES, np.nan)
        return result

    def contiguous(self) -> bool:
        """Whether nothing is left out between the first and the last zone."""
        return len(self.used) == int(self.used[-1] - self.used[0]) + 1

    def ticks(self, low: float, high: float, number: int = 5) -> tuple[list[float], list[str]]:
        """Evenly spread positions between two, and the true offsets there as text."""
        at = np.linspace(low, high, number)
        rank = np.clip(at // ZONE_BYTES, 0, len(self.used) - 1).astype(np.int64)
        true = self.used[rank] * float(ZONE_BYTES) + (at - rank * float(ZONE_BYTES))
        return at.tolist(), [offset_text(float(value)) for value in true]


def offset_text(value: float) -> str:
    """An offset with more digits than other sizes: neighbours on the axis must differ."""
    return f"{value / 1e9:.3f} GB" if value >= 1e9 else human(value, "bytes")
