"""How much each metric differs from the first side, as a ratio with its interval: one row a metric and further side."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgeprof.dashboards.matrix_report.data import title
from edgeprof.dashboards.report.figures.base import Absent, DataTable, Outcome, Picture
from edgeprof.dashboards.report.text import clean, label
from edgeprof.dashboards.report.theme import GREY, INK
from edgeprof.profiler.statistics import words
from edgeprof.profiler.statistics.comparison import Question, told
from edgeprof.profiler.statistics.metrics import MATTER
from edgeprof.profiler.units import human

if TYPE_CHECKING:
    from edgeprof.dashboards.compare_report.sides import Side, Sides

KEY, TITLE = "differences", "Change of each metric"
ROW = 30
_WIDEST = math.log(1000)
"""Ratios and intervals beyond are cut off at the edge; the words beside them have the number."""

RATIOS = (
    *(1e-3, 0.01, 0.02, 0.05, 0.1, 0.2, 1 / 3, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 1.0),
    *(1.005, 1.01, 1.02, 1.05, 1.1, 1.2, 1.3, 1.5, 2.0, 3.0, 5.0, 10.0, 20.0, 50.0, 100.0, 1e3),
)
"""Marks of an axis of ratios, of which those are kept that have room."""


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
        means = ("–", "–")
        if found is not None:
            means = (human(float(found.base.mean()), about.unit), human(float(found.other.mean()), about.unit))
        p = words.p_value(found.corrected) if found is not None else "-"
        row = [clean(title(about.name)), about.better or "–", means[0], means[1], words_of(question), p]
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
    return _Change(question, side, value, _log(low, -_WIDEST), _log(high))


def _log(share: float | None, least: float | None = None) -> float | None:
    """The logarithm of 1 + a share; ``least`` stands for a fall to nothing or below."""
    if share is None:
        return None
    return math.log1p(share) if share > -1 else least


def _figure(changes: Sequence[_Change], sides: Sides) -> Any:
    import plotly.graph_objects as go

    metrics = list(dict.fromkeys(item.question.about.name for item in changes))
    places = {(item.question.about.name, item.side.name): float(y) for y, item in enumerate(changes)}
    ticks = _ticks(changes, metrics)
    figure = go.Figure()
    for side in sides.sides[1:]:
        for shown in (True, False):
            mine = [item for item in changes if item.side is side and item.shown is shown]
            if mine:
                figure.add_trace(_marks(mine, places, side, shown, sides.single))
    low, high = _range(changes)
    figure.update_layout(
        height=len(changes) * ROW + 110,
        margin={"l": 20, "r": 250, "t": 36, "b": 56},
        showlegend=True,
        legend={"orientation": "h", "x": 0, "y": 1, "yanchor": "bottom", "xanchor": "left"},
        hovermode="closest",
        xaxis={
            "range": [low, high],
            "title": {"text": f"against {label(sides.sides[0].name, 40)}"},
            "zeroline": False,
            **_axis(low, high),
        },
        yaxis={
            "range": [len(changes) - 0.4, -0.6],
            "tickvals": [y for y, _ in ticks],
            "ticktext": [text for _, text in ticks],
            "showgrid": False,
            "zeroline": False,
            "fixedrange": True,
        },
        shapes=[_upright()],
        annotations=[_note(item, places[item.question.about.name, item.side.name]) for item in changes],
    )
    return figure


def _ticks(changes: Sequence[_Change], metrics: Sequence[str]) -> list[tuple[float, str]]:
    """The name of each metric, at its first row where it has several."""
    ticks = []
    for name in metrics:
        rows = [float(y) for y, item in enumerate(changes) if item.question.about.name == name]
        about = next(item.question.about for item in changes if item.question.about.name == name)
        better = f" <i>({about.better} is better)</i>" if about.better else ""
        ticks.append((rows[0], f"{label(title(name))}{better}"))
    return ticks


def _marks(items: Sequence[_Change], places: dict[tuple[str, str], float], side: Side, shown: bool, single: bool) -> Any:
    import plotly.graph_objects as go

    values = [_inside(item.value) for item in items]
    ends = [(_inside(item.low), _inside(item.high)) for item in items]
    suffix = "" if shown else ", one run each" if single else ", no difference shown"
    return go.Scatter(
        x=values,
        y=[places[item.question.about.name, item.side.name] for item in items],
        mode="markers",
        name=label(side.name, 40) + suffix,
        marker={
            "color": side.colour,
            "size": 11,
            "symbol": "circle" if shown else "circle-open",
            "line": {"width": 0 if shown else 2, "color": side.colour},
        },
        error_x={
            "type": "data",
            "symmetric": False,
            "array": [0.0 if high is None else high - value for value, (_, high) in zip(values, ends, strict=True)],
            "arrayminus": [0.0 if low is None else value - low for value, (low, _) in zip(values, ends, strict=True)],
            "color": side.colour,
            "thickness": 2,
            "width": 5,
        },
        customdata=[label(f"{title(item.question.about.name)}: {words_of(item.question)}", 160) for item in items],
        hovertemplate="%{customdata}<extra></extra>",
    )


def _inside(value: float | None) -> Any:
    return None if value is None else max(-_WIDEST, min(_WIDEST, value))


def _range(changes: Sequence[_Change]) -> tuple[float, float]:
    """Around what was found; an interval of very few runs may run out of it."""
    sure = [item.value for item in changes if item.value is not None]
    for item in changes:
        if item.low is not None and item.high is not None and item.high - item.low < 3:
            sure += [item.low, item.high]
    low, high = max(min(0.0, *sure), -_WIDEST), min(max(0.0, *sure), _WIDEST)
    room = max(0.06 * (high - low), 0.02)
    return low - room, high + room


def _axis(low: float, high: float) -> dict[str, Any]:
    """Marks at ratios that have room between them, those nearest to no change first."""
    kept: list[float] = []
    for ratio in sorted(RATIOS, key=lambda ratio: abs(math.log(ratio))):
        at = math.log(ratio)
        if low <= at <= high and all(abs(at - other) > 0.1 * (high - low) for other in kept):
            kept.append(at)
    return {"tickvals": kept, "ticktext": [_mark(at) for at in kept], "tickangle": 0}


def _mark(at: float) -> str:
    ratio = math.exp(at)
    if abs(at) < 1e-9:
        return "the same"
    if ratio > 1.995 or ratio < 0.505:
        return f"{ratio:.2g}x" if ratio < 100 else f"{ratio:.0f}x"
    return f"{'+' if at > 0 else '−'}{abs(ratio - 1) * 100:.2g} %"


def _upright() -> dict[str, Any]:
    line = {"color": GREY, "width": 1.5}
    return {"type": "line", "x0": 0, "x1": 0, "y0": 0, "y1": 1, "yref": "paper", "line": line, "layer": "below"}


def _note(item: _Change, y: float) -> dict[str, Any]:
    found = item.question.found
    assert found is not None
    text = words_of(item.question)
    if found.verdict == "equal":
        text = "the same in all runs"
    if found.verdict == "none shown":
        text = "none shown" + (text.partition(";")[1] + text.partition(";")[2]).replace(" could have been", " could")
    return {
        "text": label(text.partition("; the bootstrap")[0], 44),
        "x": 1,
        "xref": "paper",
        "xanchor": "left",
        "xshift": 12,
        "y": y,
        "yref": "y",
        "yanchor": "middle",
        "showarrow": False,
        "font": {"size": 12, "color": INK if item.shown or found.verdict == "not known" else GREY},
    }
