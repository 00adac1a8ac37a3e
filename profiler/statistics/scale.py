"""The scale on which runs are compared: logarithmic for what grows by factors, linear for shares and for zeros."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Literal

import numpy as np

from edgeprof.profiler.statistics.contrast import Floats

Scale = Literal["log", "linear"]

SHARES = ("share",)
"""Units whose differences are told in percentage points."""


def scale_of(samples: Iterable[Floats], unit: str) -> Scale:
    """The scale for a metric with these values.

    Times, rates, bytes and counts are positive and grow by factors: a slow disk makes a run 20 % longer, not 3 s
    longer whatever its length; and their noise is skewed to the right.  On the logarithmic scale the noise is close
    to symmetric, cells of different size count alike, and a difference is a ratio (of geometric means).
    A share (0 to 1) and a metric that was 0 or below in any run have no such ratio and are compared as they are.
    """
    if unit in SHARES:
        return "linear"
    return "log" if all(bool((sample > 0).all()) for sample in samples) else "linear"


def forward(sample: Floats, scale: Scale) -> Floats:
    """Values on the scale."""
    return np.log(sample) if scale == "log" else sample


def back(value: float | None, scale: Scale) -> float | None:
    """A difference on the scale as a ratio (log) or a difference (linear); None stays None."""
    if value is None or scale == "linear":
        return value
    return math.exp(min(value, 700.0))
