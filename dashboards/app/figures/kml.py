"""Figures of KMLib: how good a model is beside its baselines, what it was chosen from, and what it brings."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from edgeprof.dashboards.app.kml.scores import (
    LESS_IS_BETTER,
    MEASURES,
    MIXED,
    MODEL,
    MORE_IS_BETTER,
    OTHERS,
    Part,
    Ratio,
    by_whom,
    is_share,
    number,
    title,
)
from edgeprof.dashboards.forest import Mark, forest
from edgeprof.dashboards.report import theme
from edgeprof.dashboards.report.figures.base import LEGEND_ABOVE, Absent, DataTable, Outcome, Picture
from edgeprof.dashboards.report.text import clean, label

_OVER = {MIXED: "workloads where something can be gained", OTHERS: "workloads where nothing can be gained"}
"""What an evaluation calls its workloads where a ratio is over all of a kind."""


def scores(key: str, heading: str, parts: Mapping[str, Part], chosen: str) -> Outcome:
    """One score of the model and of its baselines, for each part of the data that they were judged by."""
    marks: list[Mark] = []
    rows = []
    for part, by in parts.items():
        having = {who: each[chosen] for who, each in by.items() if chosen in each}
        if not having:
            continue
        marks.append(Mark(f"<b>part {label(part)}</b>"))
        for who, found in having.items():
            own = who == MODEL
            marks.append(
                Mark(
                    label(by_whom(who), 34),
                    value=found.value,
                    low=found.low,
                    high=found.high,
                    series="the model" if own else "what it is compared with",
                    colour=theme.BLUE if own else theme.GREY,
                    symbol="circle" if own else "diamond",
                    note=found.text(),
                    hover=label(f"{part}, {by_whom(who)}: {found.text()}", 160),
                )
            )
            rows.append([clean(part), by_whom(who), found.text()])
    if not any(mark.value is not None for mark in marks):
        return Absent(key, heading, f"the card has no {title(chosen)}", "choose another score")
    better = "lower" if chosen in LESS_IS_BETTER else "higher"
    axis: dict[str, Any] = {"tickformat": "~g"}
    if is_share(chosen):
        low = min(0.0, *(mark.low if mark.low is not None else 0.0 for mark in marks))
        axis["range"] = [low - 0.03, 1.03]
    return Picture(
        key=key,
        title=heading,
        figure=forest(marks, f"{label(title(chosen))} ({better} is better)", axis, room=200),
        caption="Bars are 95 % intervals, from drawing the runs anew. No run of a part was trained on.",
        label=", ".join(f"{row[1]} {row[2]}" for row in rows) + ".",
        table=DataTable(("Part", "By", title(chosen)), rows),
    )


def candidates(key: str, heading: str, card: Mapping[str, Any]) -> Outcome:
    """What was tried: the error of each candidate over the instructions that it takes."""
    import plotly.graph_objects as go

    training = card.get("training")
    training = training if isinstance(training, Mapping) else {}
    tried = []
    for item in training.get("candidates") or ():
        if isinstance(item, Mapping):
            error = number(item.get("validation_error", item.get("lost_throughput")))
            cost = number(item.get("instructions"))
            if error is not None and cost is not None and cost > 0:
                tried.append((clean(item.get("what") or "?"), cost, error, item.get("memory_bytes")))
    if not tried:
        return Absent(key, heading, "the card names no candidates", "train the model again to get them")
    budget = number(training.get("instructions_budget"))
    model = card["model"].get("what")
    figure = go.Figure()
    tried.sort(key=lambda item: item[1])
    above = {item[0]: place % 2 == 0 for place, item in enumerate(tried)}  # labels of neighbours take turns
    for own in (False, True):
        mine = [item for item in tried if (item[0] == model) == own]
        if mine:
            figure.add_trace(
                go.Scatter(
                    x=[item[1] for item in mine],
                    y=[item[2] for item in mine],
                    mode="markers+text",
                    text=[label(item[0], 24) for item in mine],
                    textposition=["top center" if above[item[0]] else "bottom center" for item in mine],
                    name="chosen" if own else "tried",
                    marker={
                        "size": 13 if own else 10,
                        "color": theme.BLUE if own else theme.GREY,
                        "symbol": "circle" if own else "diamond",
                    },
                    hovertemplate="%{text}: %{x:,.0f} instructions, error %{y:.4f}<extra></extra>",
                )
            )
    highest = max(item[2] for item in tried)
    lost = "lost_throughput" in (training["candidates"][0] or {})
    figure.update_xaxes(type="log", title="instructions for a prediction", tickformat="~s", dtick="D2")
    figure.update_xaxes(
        range=[
            math.log10(min(item[1] for item in tried) * 0.7),
            math.log10(max(*(item[1] for item in tried), budget or 0) * 1.4),
        ]
    )
    figure.update_yaxes(
        title="throughput lost, share" if lost else "error over the validation", range=[0, highest * 1.2]
    )
    if budget:
        figure.add_vline(x=budget, line={"color": theme.VERMILLION, "width": 1.5, "dash": "dash"})
    figure.update_layout(
        height=360,
        hovermode="closest",
        showlegend=True,
        legend=LEGEND_ABOVE,
        margin={"l": 70, "r": 16, "t": 30, "b": 50},
    )
    return Picture(
        key=key,
        title=heading,
        figure=figure,
        caption="The least error among those that stay within the budget of instructions"
        + (f" ({budget:,.0f}, the dashed line)." if budget else "."),
        label=", ".join(f"{what}: {cost:.0f} instructions, error {error:.4f}" for what, cost, error, _ in tried) + ".",
        table=DataTable(
            ("Model", "Instructions", "Error", "Bytes"),
            [[what, f"{cost:.0f}", f"{error:.4f}", clean(size or "-")] for what, cost, error, size in tried],
        ),
    )


def benefit(key: str, heading: str, ratios: Sequence[Ratio], contender: str, measure: str, baseline: str) -> Outcome:
    """A contender at every workload, against the baseline."""
    mine = [item for item in ratios if item.contender == contender and item.measure == measure and item.disk]
    if not mine:
        return Absent(
            key, heading, f"{clean(contender)} has no {MEASURES.get(measure, clean(measure))}", "choose another"
        )
    marks: list[Mark] = []
    for disk in dict.fromkeys(item.disk for item in mine):
        marks.append(Mark(f"<b>{label(disk)}</b>"))
        marks += [_mark(label(item.workload, 34), item) for item in mine if item.disk == disk]
    return Picture(
        key=key,
        title=heading,
        figure=forest(marks, _axis(measure, baseline), room=190),
        caption=f"{clean(contender)}: ratios of runs with the same seed. {_INTERVALS}",
        label=", ".join(f"{item.disk} {item.workload} {item.score.text()}" for item in mine) + ".",
        table=DataTable(
            ("Disk", "Workload", "Contender", MEASURES[measure]),
            [[item.disk, item.workload, item.contender, item.score.text()] for item in mine],
        ),
    )


_INTERVALS = (
    "Bars are 95 % intervals, each by itself: of twenty without a difference one shows some by chance. A hollow mark's"
    " includes no change."
)


def overall(key: str, heading: str, ratios: Sequence[Ratio], measure: str, baseline: str) -> Outcome:
    """All contenders over all workloads of a kind."""
    over = [item for item in ratios if not item.disk and item.measure == measure and item.contender != baseline]
    if not any(item.score.value is not None for item in over):
        few = f"{over[0].score.text()} for a 99th percentile over all workloads" if over else ""
        return Absent(key, heading, few or "this evaluation has no ratio over all workloads", "choose another measure")
    marks: list[Mark] = []
    for kind in dict.fromkeys(item.workload for item in over):
        marks.append(Mark(f"<b>{label(_OVER.get(kind, kind))}</b>"))
        marks += [_mark(label(item.contender, 34), item) for item in over if item.workload == kind]
    return Picture(
        key=key,
        title=heading,
        figure=forest(marks, _axis(measure, baseline), room=190),
        caption=f"Over all workloads of a kind, each counting alike. {_INTERVALS}",
        label=", ".join(f"{item.contender} {item.workload} {item.score.text()}" for item in over) + ".",
        table=DataTable(
            ("Workloads", "Contender", MEASURES[measure]),
            [[_OVER.get(item.workload, item.workload), item.contender, item.score.text()] for item in over],
        ),
    )


def _axis(measure: str, baseline: str) -> str:
    if measure in MORE_IS_BETTER:
        return f"{MEASURES[measure].lower()} (higher is better)"
    return f"{MEASURES[measure].lower()}, against {label(baseline)} (lower is better)"


_NONE = "no difference shown"


def _mark(name: str, item: Ratio) -> Mark:
    found = item.score
    if found.value is None:
        return Mark(name, note=found.text())
    low, high = ((None if end is None or end <= 0 else math.log(end)) for end in (found.low, found.high))
    sure = low is not None and high is not None and (low > 0 or high < 0)
    judged = low is not None and high is not None
    better = sure and (found.value > 1) == (item.measure in MORE_IS_BETTER)
    kind = "better" if better else "worse" if sure else _NONE if judged else "one repeat, which cannot be judged"
    colour, symbol = {"better": (theme.GREEN, "circle"), "worse": (theme.VERMILLION, "diamond")}.get(
        kind, (theme.GREY, "circle")
    )
    return Mark(
        name,
        value=math.log(found.value),
        low=low,
        high=high,
        series=kind,
        colour=colour,
        symbol=symbol,
        sure=sure,
        note=found.text(),
        hover=label(f"{item.disk} {item.workload} {item.contender}: {found.text()}", 160),
    )
