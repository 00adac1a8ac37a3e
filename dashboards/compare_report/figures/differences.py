"""How much each metric differs from the first side, as a ratio with its interval: one row a metric and further side."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgeprof.dashboards.forest import Mark, forest
from edgeprof.dashboards.matrix_report.data import title
from edgeprof.dashboards.report.figures.base import Absent, DataTable, Outcome, Picture
from edgeprof.dashboards.report.text import clean, label
from edgeprof.profiler.statistics import words
from edgeprof.profiler.statistics.comparison import Question, told
from edgeprof.profiler.statistics.metrics import MATTER
from edgeprof.profiler.units import human

if TYPE_CHECKING:
    from edgeprof.dashboards.compare_report.sides import Side, Sides

KEY, TITLE = "differences", "Change of each metric"
_NOTHING = -math.log(1e6)
"""Stands for a fall to nothing or below, which has no logarithm."""


@dataclass(frozen=True)
class _Change:
    """A metric of one side against the first; logarithms of ratios, None where a ratio has no meaning."""

    question: Question
    side: Side
    value: float | None
    low: float | None
    high: float | None

    @property
    def shown(self) -> bool:
        found = self.question.found
        return found is not None and found.verdict in ("more", "less")


def build(sides: Sides) -> Outcome:
    """Metrics that people decide by, in their order; a metric that is 0 in the first side has words only."""
    changes = _changes(sides)
    drawn = [change for change in changes if change.value is not None and change.question.about.name in MATTER]
    if not drawn:
        return Absent(
            KEY,
            TITLE,
            "no metric that people decide by was measured on both sides",
            "capture both with the same collectors",
        )
    base = sides.sides[0].name
    left_out = [change for change in changes if change.value is None and change.question.about.name in MATTER]
    names = ", ".join(dict.fromkeys(title(change.question.about.name) for change in left_out))
    return Picture(
        key=KEY,
        title=TITLE,
        figure=_figure(drawn, sides),
        caption=f"Each side against {clean(base)}: the ratio of their means, on an axis where twice and half are"
        f" equally far from no change. {_how_sure(sides)}",
        label=". ".join(f"{title(item.question.about.name)}: {words_of(item.question)}" for item in drawn) + ".",
        limits=[f"No ratio can be drawn of {names}: see the table."] if names else [],
        table=table(sides),
    )


def _how_sure(sides: Sides) -> str:
    if sides.single:
        return "One run each says nothing on chance, so the marks are hollow and have no interval."
    return "Bars are 95 % intervals; a hollow mark has no difference that was shown after correction."


def words_of(question: Question) -> str:
    """What may be said of a question; of single runs the bare difference."""
    found, about = question.found, question.about
    if found is None:
        return clean(question.reason)
    if found.verdict == "not known" and found.runs == (1, 1) and found.effect.value != 0:
        return words.change(about.name, about.unit, found.scale, found.effect.value, None, None)
    if found.verdict == "not known" and found.runs == (1, 1):
        return "the same"
    return told(found, about)


def table(sides: Sides) -> DataTable:
    """Every metric that any side has: its mean in each, and what may be said of the difference."""
    first, *others = sides.sides
    rows = []
    for change in _changes(sides):
        question = change.question
        found, about = question.found, question.about
        means = ("-", "-")
        if found is not None:
            means = (human(float(found.base.mean()), about.unit), human(float(found.other.mean()), about.unit))
        p = words.p_value(found.corrected) if found is not None else "-"
        row = [clean(title(about.name)), about.better or "-", means[0], means[1], words_of(question), p]
        rows.append([row[0], clean(change.side.name), *row[1:]] if len(others) > 1 else row)
    of = "Compared" if len(others) > 1 else clean(others[0].name)
    heads = ["Metric", "Better", f"{clean(first.name)}, mean", f"{of}, mean", "Difference", "p, corrected"]
    return DataTable(["Metric", "Side", *heads[1:]] if len(others) > 1 else heads, rows)


def _changes(sides: Sides) -> list[_Change]:
    """By metric, then by side."""
    by_name = {side.name: side for side in sides.sides}
    asked = [question for question in sides.compared.questions if question.cell is None]
    order = {name: place for place, name in enumerate(dict.fromkeys(question.about.name for question in asked))}
    asked.sort(key=lambda question: order[question.about.name])
    return [_change(question, by_name[question.group]) for question in asked]


def _change(question: Question, side: Side) -> _Change:
    found = question.found
    value = None if found is None else _log(found.share)
    low, high = (None, None) if found is None or found.interval is None else found.interval
    return _Change(question, side, value, _log(low, _NOTHING), _log(high))


def _log(share: float | None, least: float | None = None) -> float | None:
    """The logarithm of 1 + a share; ``least`` stands for a fall to nothing or below."""
    if share is None:
        return None
    return math.log1p(share) if share > -1 else least


def _figure(changes: Sequence[_Change], sides: Sides) -> Any:
    marks, named = [], ""
    for item in changes:
        about = item.question.about
        better = f" <i>({about.better} is better)</i>" if about.better else ""
        marks.append(
            Mark(
                name="" if about.name == named else f"{label(title(about.name))}{better}",
                value=item.value,
                low=item.low,
                high=item.high,
                series=label(item.side.name, 40)
                + ("" if item.shown else ", one run each" if sides.single else ", no difference shown"),
                colour=item.side.colour,
                sure=item.shown,
                note=_note(item),
                hover=label(f"{title(about.name)}: {words_of(item.question)}", 160),
            )
        )
        named = about.name
    return forest(marks, f"against {label(sides.sides[0].name, 40)}")


def _note(item: _Change) -> str:
    found = item.question.found
    text = words_of(item.question)
    if found is not None and found.verdict == "equal":
        return "the same in all runs"
    if found is not None and found.verdict == "none shown":
        could = text.partition("; ")[2].removesuffix(" have been")
        return f"none shown; {could}" if could else "none shown"
    return text.partition("; the bootstrap")[0]
