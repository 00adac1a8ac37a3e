"""The words of a comparison: what its pages say besides the figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgeprof.dashboards.compare_report.figures.differences import words_of
from edgeprof.dashboards.compare_report.sides import Sides
from edgeprof.dashboards.matrix_report.data import title
from edgeprof.dashboards.report.figures.base import DataTable
from edgeprof.dashboards.report.text import clean
from edgeprof.profiler.analysis.compare import CAUTION
from edgeprof.profiler.statistics.comparison import Question, as_dict
from edgeprof.profiler.statistics.metrics import MATTER

EVIDENCE = 8
VALUES = 3
"""Values of a fact that a cell lists, of a side whose runs differ in it."""
LONGEST = 80


@dataclass(frozen=True)
class Told:
    """A comparison in words, clean of control characters.

    Attributes:
        sure: whether anything was shown.
        left_out: run and reason.
        factors, host: what differs, a column a side.
        cells: differences shown in single cells of matrices; None where nothing is compared by cell.
        unmatched: cells that only one side has.
    """

    headline: str
    sure: bool
    evidence: Sequence[str]
    sureness: Sequence[str]
    left_out: Sequence[tuple[str, str]]
    factors: DataTable
    host: DataTable
    cells: DataTable | None
    unmatched: Sequence[str]


def told(sides: Sides) -> Told:
    """Everything that is said in words."""
    found = as_dict(sides.compared)
    whole = [question for question in sides.compared.questions if question.cell is None]
    whole.sort(key=lambda question: _place(question.about.name))
    shown = [question for question in whole if _is_shown(question)]
    listed = shown[1:] or ([question for question in whole if _is_change(question)] if sides.single else [])
    return Told(
        headline=_headline(sides, shown),
        sure=bool(shown),
        evidence=[f"{_subject(sides, question)}: {words_of(question)}." for question in listed][:EVIDENCE],
        sureness=_sureness(sides, whole, found["method"]),
        left_out=[
            *((clean(name), clean(reason)) for name, reason in sides.left_out),
            *(
                (f"{clean(run)} of {clean(side.name)}", clean(reason))
                for side in sides.sides
                for run, reason in side.group.left_out
            ),
        ],
        factors=_differing("Factor", found["factors"], sides),
        host=_differing("Fact", found["host"], sides),
        cells=_cells(sides),
        unmatched=[clean(cell) for cell in sides.compared.unmatched],
    )


def _place(name: str) -> int:
    return MATTER.index(name) if name in MATTER else len(MATTER)


def _is_shown(question: Question) -> bool:
    return question.found is not None and question.found.verdict in ("more", "less")


def _is_change(question: Question) -> bool:
    """Whether two single runs differ in a metric that people decide by."""
    return question.found is not None and question.found.effect.value != 0 and question.about.name in MATTER


def _headline(sides: Sides, shown: Sequence[Question]) -> str:
    if shown:
        first = shown[0]
        return f"{title(first.about.name)} of {clean(first.group)}: {words_of(first)}"
    if sides.single:
        return "One run each: what differs may be chance"
    return "No difference was shown"


def _subject(sides: Sides, question: Question) -> str:
    name = title(question.about.name)
    return name if len(sides.sides) == 2 else f"{name} of {clean(question.group)}"


def _sureness(sides: Sides, whole: Sequence[Question], method: Sequence[str]) -> list[str]:
    base, *others = (clean(side.name) for side in sides.sides)
    counts = ", ".join(f"{len(side.group.processes)} of {clean(side.name)}" for side in sides.sides)
    lines = [f"{' and '.join(others)} against {base}; runs: {counts}."]
    if sides.single:
        return [*lines, CAUTION]
    judged = sum(question.found is not None and question.found.corrected is not None for question in whole)
    changed = sum(map(_is_shown, whole))
    return [*lines, f"Of {judged} questions that could be judged, {changed} have a difference that was shown.", *method]


def _differing(kind: str, rows: Sequence[Mapping[str, Any]], sides: Sides) -> DataTable:
    return DataTable(
        [kind, *(clean(side.name) for side in sides.sides)],
        [[clean(row["name"]), *(_fact(value) for value in row["values"])] for row in rows],
    )


def _fact(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, list):
        more = f" and {len(value) - VALUES} more" if len(value) > VALUES else ""
        return ", ".join(_fact(item) for item in value[:VALUES]) + more
    text = clean(value)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def _cells(sides: Sides) -> DataTable | None:
    questions = [question for question in sides.compared.questions if question.cell is not None]
    if not questions:
        return None
    rows = [
        [clean(", ".join(level for _, level in question.cell or ())), _subject(sides, question), words_of(question)]
        for question in questions
        if _is_shown(question)
    ]
    return DataTable(("Cell", "Metric", "Difference"), rows, f"{len(questions) - len(rows)} others: none shown.")
