"""What a contender must reach to count as better than mq-deadline, judged from the figures; never written by hand.

The goals are those of docs/evaluation.md.  Each is judged by the 95 % interval of its ratio: met where all of it is
within the limit, missed where none of it is, and open where the repeats do not decide.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from edgeprof.kmodule.evaluation.ratios import LEAST_FOR_TAIL, Ratio, Values, ratio, ratio_over

MEAN, TAIL, LOSS = 0.75, 1.10, 1.02
"""Limits of ratios: of mean latencies where there is something to gain, of the 99th percentile of a class, and of
everything that must not get worse."""

TAILS = ("read", "sync_write")

Cell = tuple[str, str]
"""Disk and workload."""


@dataclass(frozen=True)
class Goal:
    """One goal and how it came out.

    Attributes:
        where: a disk and workload, or what it is taken over.
        figure: what is judged, in words.
        limit: of the ratio, or of late requests.
        ratio: None where it is no ratio.
        met: None: not decided.
    """

    name: str
    where: str
    figure: str
    limit: float
    ratio: Ratio | None
    met: bool | None


def judge(values: Values, contender: str, mixed: Sequence[Cell], others: Sequence[Cell]) -> list[Goal]:
    """All goals of a contender, on workloads where an order can gain something and on the others."""
    found = list(_gains(values, contender, mixed))
    for cell in (*mixed, *others):
        found += _losses(values, contender, cell)
    for cell in mixed:
        found += _tails(values, contender, cell)
    for cell in others:
        found += [
            _goal("nothing lost", values, contender, cell, of, "mean", LOSS, f"mean of {of}")
            for of in ("all", "waited")
        ]
    return [goal for goal in found if goal.ratio is not None or goal.met is not None]


def _gains(values: Values, contender: str, mixed: Sequence[Cell]) -> Iterable[Goal]:
    for of, words in (("all", "mean of all requests"), ("waited", "mean of those waited for")):
        over = ratio_over(values, mixed, contender, of, "mean")
        yield Goal("gain", "all mixed workloads", words, MEAN, over, over.at_most(MEAN) if over else None)
        for disk in dict.fromkeys(disk for disk, _ in mixed):
            cells = [cell for cell in mixed if cell[0] == disk]
            over = ratio_over(values, cells, contender, of, "mean")
            yield Goal("gain", f"mixed workloads, {disk}", words, MEAN, over, over.at_most(MEAN) if over else None)


def _losses(values: Values, contender: str, cell: Cell) -> Iterable[Goal]:
    parts = [key[3] for key in values if key[:2] == cell and key[2] == contender and key[4] == "completion"]
    for part in parts:
        words = "completion of all" if part == "total" else f"completion of {part}"
        yield _goal("completion", values, contender, cell, part, "completion", LOSS, words)


def _tails(values: Values, contender: str, cell: Cell) -> Iterable[Goal]:
    for of in TAILS:
        requests = values.get((*cell, contender, of, "requests"), {})
        if requests and min(requests.values()) >= LEAST_FOR_TAIL:
            yield _goal("tail", values, contender, cell, of, "p99", TAIL, f"99th percentile of {of}")
    late = values.get((*cell, contender, "writeback", "late"), {})
    if late:
        words = "writeback past its deadline"
        yield Goal("deadline", ", ".join(cell), words, 0, None, max(late.values()) == 0)


def _goal(
    name: str, values: Values, contender: str, cell: Cell, of: str, figure: str, limit: float, words: str
) -> Goal:
    found = ratio(values, *cell, contender, of, figure)
    return Goal(name, ", ".join(cell), words, limit, found, found.at_most(limit) if found else None)
