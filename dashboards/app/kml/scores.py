"""Model cards and evaluations of either kind as the same few shapes; what is not as it should be is left out."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgeprof.dashboards.model_report.render import TITLES
from edgeprof.dashboards.report.text import clean

MODEL = "model"
"""What a card calls the model itself beside its baselines."""
_SCORES = {**TITLES, "relative_throughput": "Share of the best throughput", "mae_steps": "Error, doublings"}
_SHARES = frozenset(
    ("auc", "accuracy", "precision", "recall", "action", "relative_throughput", "action_accuracy", "r2")
)
LESS_IS_BETTER = frozenset(("mae", "mae_us", "mae_steps"))


@dataclass(frozen=True)
class Score:
    """A figure with its 95 % interval; without a value there is a reason."""

    value: float | None
    low: float | None = None
    high: float | None = None
    reason: str = ""

    def text(self) -> str:
        """The figure and its interval."""
        if self.value is None:
            return self.reason or "not known"
        digits = 3 if abs(self.value) < 100 else 0
        text = f"{self.value:.{digits}f}"
        if self.low is None or self.high is None:
            return text
        return f"{text} ({self.low:.{digits}f} to {self.high:.{digits}f})"


Part = Mapping[str, Mapping[str, Score]]
"""By whom (the model, its baselines), then by score."""


def number(value: object) -> float | None:
    """A finite number, or None."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        found = float(value)
    except OverflowError:  # JSON knows integers of any length
        return None
    return found if math.isfinite(found) else None


def score(value: object) -> Score:
    """A score as cards and evaluations have it."""
    if not isinstance(value, Mapping):
        return Score(number(value))
    return Score(
        number(value.get("value")),
        number(value.get("low")),
        number(value.get("high")),
        clean(value.get("reason") or ""),
    )


def title(name: str) -> str:
    """What a score is called."""
    return _SCORES.get(name) or clean(name).replace("_", " ").capitalize()


def is_share(name: str) -> bool:
    """Whether a score goes up to 1."""
    return name in _SHARES


def by_whom(name: str) -> str:
    """What a predictor is called."""
    return clean(name).replace("_", " ")


def parts_of(card: Mapping[str, Any]) -> dict[str, Part]:
    """The scores of each part of the data that a model was judged by."""
    found: dict[str, Part] = {}
    metrics = card.get("metrics")
    for name, part in metrics.items() if isinstance(metrics, Mapping) else ():
        if isinstance(part, Mapping):
            scores = part.get("scores")
            read = _latency(scores) if isinstance(scores, Mapping) else _readahead(part)
            if read:
                found[clean(name)] = read
    return found


def _latency(scores: Mapping[str, Any]) -> Part:
    return {
        clean(who): {clean(name): score(value) for name, value in each.items()}
        for who, each in scores.items()
        if isinstance(each, Mapping)
    }


def _readahead(part: Mapping[str, Any]) -> Part:
    relative = part.get("relative_throughput")
    found: dict[str, dict[str, Score]] = {}
    for who, value in relative.items() if isinstance(relative, Mapping) else ():
        found[clean(who)] = {"relative_throughput": score(value)}
    for name in ("action_accuracy", "mae_steps"):
        if name in part and MODEL in found:
            found[MODEL][name] = score(part[name])
    speed_up = part.get("speed_up")
    if isinstance(speed_up, Mapping) and MODEL in found:
        found[MODEL]["speed_up"] = score(speed_up.get("mean"))
    return found


def names_of(parts: Mapping[str, Part]) -> list[str]:
    """The scores that any predictor has, in the cards' order."""
    return list(dict.fromkeys(name for part in parts.values() for each in part.values() for name in each))


@dataclass(frozen=True)
class Ratio:
    """A contender against the baseline of an evaluation.

    Attributes:
        where: disk and workload; the disk is empty for what is over all workloads of a kind.
        measure: of what, and which figure.
        score: the ratio; without a value, the reason why there is no 99th percentile over all workloads.
    """

    disk: str
    workload: str
    contender: str
    measure: str
    score: Score


MEASURES: Mapping[str, str] = {
    "all mean": "Mean latency, all requests",
    "waited mean": "Mean latency, those waited for",
    "total completion": "Time to completion",
    "read mean": "Mean latency, reads",
    "read p99": "99th percentile, reads",
    "sync_write mean": "Mean latency, synchronous writes",
    "sync_write p99": "99th percentile, synchronous writes",
    "writeback mean": "Mean latency, writeback",
    "default": "Throughput against the default",
    "oracle": "Throughput against the best fixed size",
}
"""Measures by name, and what they are called; the last two are those of read-ahead, where more is better."""
MORE_IS_BETTER = frozenset(("default", "oracle"))


def ratios_of(results: Mapping[str, Any]) -> list[Ratio]:
    """All ratios of an evaluation of schedulers or of read-ahead; see `Ratio` on those without a value."""
    return [*_schedulers(results), *_sizes(results.get("outcomes"))]


def _entries(value: object) -> Iterator[Mapping[str, Any]]:
    return (item for item in (value if isinstance(value, list) else ()) if isinstance(item, Mapping))


MIXED, OTHERS = "mixed", "other"
"""What stands for the workload over all that have something to gain, and over the others (`evaluation.results`)."""
LEAST_FOR_TAIL = 100
"""Requests that a 99th percentile takes: of fewer it is their maximum (`edgeprof.kmodule.evaluation.ratios`)."""


def _schedulers(results: Mapping[str, Any]) -> Iterator[Ratio]:
    entries = list(_entries(results.get("compared")))
    few = _few(entries)
    few_over = {("", kind, *who) for _, workload, *who in few for kind in _kinds_of(workload, results.get("plan"))}
    for item in entries:
        found = score(item)
        if item.get("figure") == "p99":
            if _where(item) in few:
                continue
            found = _FEW if _where(item) in few_over else found
        measure = f"{item.get('of')} {item.get('figure')}"
        if measure in MEASURES and (found is _FEW or (found.value is not None and found.value > 0)):
            texts = [clean(item.get(name) or "") for name in ("disk", "workload", "contender")]
            yield Ratio(texts[0], texts[1], texts[2], measure, found)


_FEW = Score(None, reason="too few requests")


def _where(item: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(str(item.get(name) or "") for name in ("disk", "workload", "contender", "of"))


def _few(entries: Sequence[Mapping[str, Any]]) -> set[tuple[str, ...]]:
    """Single workloads whose 99th percentile is of too few requests."""
    many = {
        _where(item)
        for item in entries
        if item.get("figure") == "requests"
        and min(number(item.get("base")) or 0.0, number(item.get("own")) or 0.0) >= LEAST_FOR_TAIL
    }
    tails = {_where(item) for item in entries if item.get("figure") == "p99" and item.get("disk")}
    return tails - many


def _kinds_of(workload: str, plan: object) -> Sequence[str]:
    """The kind of workloads that one is of: `MIXED` or `OTHERS`; where the plan does not say, it may be either."""
    workloads = plan.get("workloads") if isinstance(plan, Mapping) else None
    about = workloads.get(workload) if isinstance(workloads, Mapping) else None
    if not isinstance(about, Mapping):
        return MIXED, OTHERS
    return (MIXED if about.get("mixed") else OTHERS,)


def _sizes(outcomes: object) -> Iterator[Ratio]:
    for item in _entries(outcomes):
        for measure in ("default", "oracle"):
            found = score(item.get(f"to_{measure}"))
            if found.value is not None and found.value > 0:
                texts = [clean(item.get(name) or "") for name in ("disk", "workload")]
                yield Ratio(texts[0], texts[1], "kml-readahead", measure, found)


_STATES = {True: "met", False: "missed", None: "open"}


def goals_of(results: Mapping[str, Any]) -> list[list[str]]:
    """Goals: of whom, name, where, figure, limit, ratio, and whether it was met."""
    goals = results.get("goals")
    by_contender = goals if isinstance(goals, Mapping) else {"": goals}
    rows = []
    for contender, judged in by_contender.items():
        for goal in _entries(judged):
            met = goal.get("met")
            limit = number(goal.get("limit"))
            rows.append(
                [
                    clean(contender),
                    clean(goal.get("name") or ""),
                    clean(goal.get("where") or ""),
                    clean(goal.get("figure") or ""),
                    "-" if limit is None else f"{limit:g}",
                    "-" if goal.get("ratio") is None else score(goal["ratio"]).text(),
                    _STATES[met] if met in (True, False, None) else "open",
                ]
            )
    return rows


def failed_of(results: Mapping[str, Any]) -> list[list[str]]:
    """Jobs that failed, and why."""
    rows = []
    failed = results.get("failed")
    for item in failed if isinstance(failed, list) else ():
        if isinstance(item, Mapping):
            rows.append([clean(item.get("job") or ""), clean(item.get("reason") or "")])
        elif isinstance(item, list) and len(item) == 2:
            rows.append([clean(item[0]), clean(item[1])])
    return rows
