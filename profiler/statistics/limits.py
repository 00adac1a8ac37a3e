"""Limits that a gate in CI sets: ``wall_time>5%`` fails where the wall time was shown to be worse by more than 5 %."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass

from edgeprof.profiler.errors import EdgeprofError
from edgeprof.profiler.statistics import words
from edgeprof.profiler.statistics.contrast import ALPHA
from edgeprof.profiler.statistics.groups import Comparison
from edgeprof.profiler.statistics.metrics import Known

_LIMIT = re.compile(r"\s*(\w+)\s*>\s*(\d+(?:\.\d+)?)\s*(%|[A-Za-zµ/]*)\s*")
_UNITS: dict[str, dict[str, float]] = {
    "s": {"s": 1, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "min": 60},
    "bytes": {"B": 1, "kB": 1e3, "MB": 1e6, "GB": 1e9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30},
    "share": {"points": 0.01, "pp": 0.01},
    "J": {"J": 1, "kJ": 1e3},
}
HOW = "METRIC>N% (a share of the base) or METRIC>N with a unit, such as wall_time>5% or rss_peak>50MB"


@dataclass(frozen=True)
class Limit:
    """How much worse a metric may be.

    Attributes:
        share: of the base, or None.
        size: in the metric's unit, or None.
    """

    text: str
    about: Known
    share: float | None = None
    size: float | None = None


def parse_limit(text: str) -> Limit:
    """A limit as people write it: see `HOW`.

    ``>`` means worse by more than, whatever the metric: less for ``throughput``, more for ``wall_time``, and either
    for a metric that has no better direction.  A bare number is in the metric's unit.

    Raises:
        EdgeprofError: it is none, or names no metric.
    """
    from edgeprof.profiler.analysis.registry import METRICS

    match = _LIMIT.fullmatch(text)
    if match is None:
        raise EdgeprofError(f"{text!r} is not a limit; write {HOW}: worse by more than that")
    name, number, unit = match[1], float(match[2]), match[3]
    metric = next((metric for metric in METRICS if metric.name == name), None)
    if metric is None:
        close = difflib.get_close_matches(name, [metric.name for metric in METRICS], n=1)
        hint = f", did you mean {close[0]!r}" if close else ""
        raise EdgeprofError(f"there is no metric {name!r}{hint}; docs/metrics.md lists them all")
    about = Known(metric.name, metric.unit, metric.better)
    if unit == "%":
        return Limit(text, about, share=number / 100)
    units = {"": 1.0, metric.unit: 1.0, **_UNITS.get(metric.unit, {})}
    if unit not in units:
        allowed = ", ".join(item for item in units if item)
        raise EdgeprofError(f"{name} is not measured in {unit!r}; write the limit in %, or in {allowed}")
    return Limit(text, about, size=number * units[unit])


def broken(limit: Limit, found: Comparison) -> bool:
    """Whether a comparison is shown to be worse than a limit allows.

    Both must hold: the difference is significant after correction, so that noise does not fail a build, and the
    difference found is larger than the limit, so that a sure but tiny one does not either.  The whole interval need
    not lie beyond the limit: that would let most regressions just above it pass, however many runs there are.
    """
    if found.corrected is None or found.corrected > ALPHA:
        return False
    worse = found.effect.value if limit.about.better != "higher" else -found.effect.value
    if limit.about.better is None:
        worse = abs(worse)
    if worse <= 0:
        return False
    if limit.size is not None:
        return abs(found.difference.value) > limit.size
    share = found.share
    return share is None or abs(share) > (limit.share or 0.0)  # None: from 0, beyond any share


def sentence(limit: Limit, found: Comparison, where: str) -> str:
    """Why a limit was broken."""
    effect, about = found.effect, limit.about
    told = words.change(about.name, about.unit, found.scale, effect.value, effect.low, effect.high)
    return f"{about.name}{where} is {told}, {words.p_is(found.corrected)}; the limit is {limit.text}"
