"""Tables of an evaluation of schedulers: headings and rows of text, for the terminal and for documents."""

from __future__ import annotations

from collections.abc import Sequence

from edgeprof.kmodule.evaluation.goals import Goal
from edgeprof.kmodule.evaluation.plan import BASELINE
from edgeprof.kmodule.evaluation.ratios import LEAST_FOR_TAIL, Ratio
from edgeprof.kmodule.evaluation.results import MIXED, OTHERS, OVER, Results

Table = tuple[list[str], list[list[str]]]
"""Headings, and rows of as many cells."""

COLUMNS = (
    ("completion", "total", "completion"),
    ("all", "all", "mean"),
    ("waited for", "waited", "mean"),
    ("reads", "read", "mean"),
    ("p99", "read", "p99"),
    ("sync writes", "sync_write", "mean"),
    ("p99", "sync_write", "p99"),
    ("writeback", "writeback", "mean"),
)
"""Heading, of what, figure."""
NONE = "-"
WORDS = {True: "met", False: "missed", None: "open"}


def by_cell(results: Results, disk: str, workload: str) -> Table:
    """All contenders at one workload: mq-deadline's own figures, and the others' ratios to them."""
    rows = [
        [name, *_cells(results, disk, workload, name), str(results.late(disk, workload, name))]
        for name in _ordered(results)
    ]
    return ["scheduler", *(heading for heading, _, _ in COLUMNS), "late"], rows


def overall(results: Results) -> Table:
    """All contenders over the workloads where something can be gained, and over the others."""
    rows = [
        [name, *(shown(results.compared.get((OVER, which, name, of, figure))) for which, of, figure in _OVERALL)]
        for name in _ordered(results)
        if name != BASELINE
    ]
    return ["scheduler", *(f"{which}: {_WORDS[of]}" for which, of, _ in _OVERALL)], rows


_OVERALL = tuple(
    (which, of, figure)
    for which in (MIXED, OTHERS)
    for of, figure in (("total", "completion"), ("all", "mean"), ("waited", "mean"))
)
_WORDS = {"total": "completion", "all": "all", "waited": "waited for"}


def goals(judged: Sequence[Goal]) -> Table:
    """Goals that were not met, and how many of each kind were."""
    rows = [
        [goal.name, goal.where, goal.figure, f"{goal.limit:g}", shown(goal.ratio), WORDS[goal.met]]
        for goal in judged
        if goal.met is not True or goal.name == "gain"
    ]
    return ["goal", "where", "figure", "limit", "ratio", ""], rows


def counted(judged: Sequence[Goal]) -> str:
    """How many goals were met, missed and left open."""
    states = [WORDS[goal.met] for goal in judged]
    return ", ".join(f"{states.count(word)} {word}" for word in WORDS.values())


def _ordered(results: Results) -> list[str]:
    return [BASELINE, *(name for name in results.contenders if name != BASELINE)]


def _cells(results: Results, disk: str, workload: str, contender: str) -> list[str]:
    cells = []
    for _, of, figure in COLUMNS:
        found = results.compared.get((disk, workload, contender, of, figure))
        counts = results.values.get((disk, workload, contender, of, "requests"), {})
        if found is None or (figure == "p99" and min(counts.values(), default=0) < LEAST_FOR_TAIL):
            cells.append(NONE)
        elif contender == BASELINE:
            cells.append(_seconds(found.base or 0.0))
        else:
            cells.append(shown(found))
    return cells


def shown(found: Ratio | None) -> str:
    """A ratio and its interval."""
    if found is None:
        return NONE
    if found.low is None or found.high is None:
        return f"{found.value:.2f}"
    return f"{found.value:.2f} ({found.low:.2f}-{found.high:.2f})"


def _seconds(value: float) -> str:
    return f"{value:.2f} s" if value >= 1 else f"{value * 1e3:.3g} ms"
