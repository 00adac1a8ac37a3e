"""Figures of a matrix: effects of levels, what explains the differences, and the cells by two factors."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from edgeprof.dashboards.forest import ROW, Mark, forest
from edgeprof.dashboards.matrix_report.data import title
from edgeprof.dashboards.report import theme
from edgeprof.dashboards.report.downsample import Floats
from edgeprof.dashboards.report.figures.base import BYTES, SECONDS, Absent, DataTable, Outcome, Picture
from edgeprof.dashboards.report.text import clean, label
from edgeprof.profiler.statistics import words
from edgeprof.profiler.statistics.answer import MetricAnswer, by_factor
from edgeprof.profiler.statistics.cells import Cells, cells_of, levels_of
from edgeprof.profiler.statistics.effects import Effect
from edgeprof.profiler.statistics.scale import Scale, back, forward
from edgeprof.profiler.statistics.study import Study
from edgeprof.profiler.statistics.summary import explains, verdict
from edgeprof.profiler.units import human

LEVELS_SHOWN = 60
LEAST_SPAN = 0.1
"""Share of a value that the colours of a heat map span at least: a difference of nothing must not look like one."""

_KINDS = {
    "better": (theme.GREEN, "circle"),
    "worse": (theme.VERMILLION, "diamond"),
    "different": (theme.BLUE, "square"),
    "no difference shown": (theme.GREY, "circle"),
}
"""What the legend calls an effect, its colour and its symbol."""


def floats(values: Iterable[float]) -> Floats:
    """An array of the values."""
    return np.asarray(list(values), np.float64)


def effects(key: str, heading: str, told: MetricAnswer) -> Outcome:
    """Each level of each factor against the baseline, with its interval."""
    drawn = [effect for effect in told.effects if effect.estimate is not None]
    if not drawn:
        reason = told.effects[0].reason if told.effects else told.reason
        return Absent(key, heading, reason or "no factor was varied", "run at least two levels of a factor, twice each")
    about = told.about
    name = title(about.name).lower()
    marks: list[Mark] = []
    for factor, of_factor in by_factor(told.effects, lambda effect: effect.factor).items():
        marks.append(Mark(f"<b>{label(factor, 26)}</b> <i>against {label(of_factor[0].baseline, 22)}</i>"))
        marks += [_mark(effect, told) for effect in of_factor]
    axis = None if told.scale == "log" else _axis(about.unit)
    direction = f" ({about.better} is better)" if about.better else ""
    change = "change" if told.scale == "log" else "difference"
    return Picture(
        key=key,
        title=heading,
        figure=forest(marks, f"{change} of {label(name)}{direction}", axis),
        caption=f"{title(about.name)}: each level against its factor's baseline, averaged over the pairs of cells that"
        " differ in this alone; bars are 95 % intervals. A hollow mark has no difference that was shown after"
        " correction; the words beside it say what size this study could have shown.",
        label=". ".join(clean(f"{item.factor} {item.level}: {verdict(item, told)}") for item in drawn) + ".",
        table=DataTable(
            ("Factor", "Level", "Against", "What was found", "p, corrected", "Pairs of cells", "Runs"),
            [
                [
                    clean(item.factor),
                    clean(item.level),
                    clean(item.baseline),
                    clean(verdict(item, told)),
                    words.p_value(item.corrected),
                    str(item.pairs),
                    str(item.processes),
                ]
                for item in told.effects
            ],
        ),
    )


def _mark(effect: Effect, told: MetricAnswer) -> Mark:
    estimate = effect.estimate
    row = f"{label(effect.level, 34)}"
    if estimate is None:
        return Mark(row, note="no matching cells")
    kind = _kind(effect, told)
    colour, symbol = _KINDS[kind]
    said = verdict(effect, told)
    return Mark(
        row,
        value=estimate.value,
        low=estimate.low,
        high=estimate.high,
        series=kind,
        colour=colour,
        symbol=symbol,
        sure=effect.shown,
        note=_short(said),
        hover=f"{label(f'{effect.factor} {effect.level}: {said}', 200)}<br>{effect.pairs} pairs of cells,"
        f" {effect.processes} runs",
    )


def _kind(effect: Effect, told: MetricAnswer) -> str:
    if not effect.shown or effect.estimate is None:
        return "no difference shown"
    if told.about.better is None:
        return "different"
    return "better" if (effect.estimate.value < 0) == (told.about.better == "lower") else "worse"


def _short(said: str) -> str:
    """A verdict without its p, which the table has."""
    said = said.partition(", p ")[0]
    return said.replace("no difference shown", "none shown").replace(" could have been", " could")


def _axis(unit: str) -> dict[str, Any]:
    """An axis of differences."""
    if unit == "share":
        return {"tickformat": "+.0~%"}
    return {"s": SECONDS, "bytes": BYTES}.get(unit, {"tickformat": "~s"})


def variance(key: str, heading: str, told: MetricAnswer) -> Outcome:
    """The share of the differences between runs that each factor, or pair of factors, explains."""
    import plotly.graph_objects as go

    if not told.variance.shares:
        return Absent(key, heading, told.variance.reason or "there are no differences to divide")
    shares = sorted(told.variance.shares, key=lambda share: (len(share.factors) not in (1, 2), -share.share))
    colours = [{1: theme.BLUE, 2: theme.SKY}.get(len(share.factors), theme.GREY) for share in shares]
    values = floats(share.share for share in shares)
    places = list(range(len(shares)))
    figure = go.Figure(
        go.Bar(
            orientation="h",
            x=values,
            y=places,
            width=0.56,
            marker={"color": colours},
            error_x={
                "type": "data",
                "symmetric": False,
                "array": [max(0.0, (share.high or share.share) - share.share) for share in shares],
                "arrayminus": [
                    max(0.0, share.share - (share.share if share.low is None else share.low)) for share in shares
                ],
                "color": theme.INK,
                "thickness": 1.5,
                "width": 4,
            },
            hovertemplate="%{x:.1%}<extra></extra>",
        )
    )
    figure.update_layout(
        height=len(shares) * ROW + 66,
        margin={"l": 20, "r": 16, "t": 8, "b": 48},
        xaxis={"range": [0, 1], "tickformat": ".0%", "title": {"text": "share of the differences between runs"}},
        yaxis={
            "range": [len(shares) - 0.4, -0.6],
            "tickvals": places,
            "ticktext": [label(share.name, 48) for share in shares],
            "showgrid": False,
            "fixedrange": True,
        },
    )
    return Picture(
        key=key,
        title=heading,
        figure=figure,
        caption=f"{title(told.about.name)}: what each factor, and each pair of factors together, accounts for; bars"
        " are 95 % intervals. The shares add up to 100 %.",
        label=", ".join(clean(f"{share.name} {explains(share)}") for share in shares) + ".",
        table=DataTable(("Of", "Share of the differences"), [[clean(s.name), explains(s)] for s in shares]),
    )


def two(key: str, heading: str, study: Study, told: MetricAnswer, across: str, down: str) -> Outcome:
    """Means over the cells with both levels, as colours and numbers."""
    about, scale = told.about, told.scale
    levels = levels_of(study)
    columns, rows = levels[across][:LEVELS_SHOWN], levels[down][:LEVELS_SHOWN]
    axes = list(study.axes)
    means, counts = _grid(cells_of(study, about.name), scale, (axes.index(across), axes.index(down)), columns, rows)
    if not np.isfinite(means).any():
        return Absent(key, heading, "no run of these cells gave this metric", "choose another metric or other factors")
    shown = [[None if math.isnan(value) else back(value, scale) for value in row] for row in means]
    cut = len(columns) < len(levels[across]) or len(rows) < len(levels[down])
    limits = [f"The first {LEVELS_SHOWN} levels are drawn."] if cut else []
    if len({int(count) for count in counts.ravel() if count}) > 1:
        limits.append("Some cells gave no figures: the means beside each other are then over different cells.")
    return Picture(
        key=key,
        title=heading,
        figure=_heat(means, shown, counts, (label(across), columns), (label(down), rows), about.unit, scale),
        caption=f"{title(about.name)}: the mean of the cells with both levels, over all other factors"
        + (", geometric as for all metrics that are compared as ratios." if scale == "log" else "."),
        label="; ".join(
            f"{clean(row)}: "
            + ", ".join(
                f"{clean(column)} {human(value, about.unit)}" for column, value in zip(columns, line, strict=True)
            )
            for row, line in zip(rows, shown, strict=True)
        ),
        limits=limits,
        table=DataTable(
            (f"{clean(down)} / {clean(across)}", *map(clean, columns)),
            [
                [clean(row), *(human(value, about.unit) if value is not None else "-" for value in line)]
                for row, line in zip(rows, shown, strict=True)
            ],
        ),
    )


def _grid(
    cells: Cells, scale: Scale, places: tuple[int, int], columns: Sequence[str], rows: Sequence[str]
) -> tuple[Floats, Floats]:
    """Mean on the scale, each cell counting alike, and number of cells, by row and column."""
    total, counts = np.zeros((len(rows), len(columns))), np.zeros((len(rows), len(columns)))
    across, down = places
    for key, values in cells.items():
        if key[down] in rows and key[across] in columns:
            place = rows.index(key[down]), columns.index(key[across])
            total[place] += float(forward(values, scale).mean())
            counts[place] += 1
    return np.divide(total, counts, out=np.full_like(total, np.nan), where=counts > 0), counts


def _heat(
    means: Floats,
    shown: Sequence[Sequence[float | None]],
    counts: Floats,
    across: tuple[str, Sequence[str]],
    down: tuple[str, Sequence[str]],
    unit: str,
    scale: Scale,
) -> Any:
    import plotly.graph_objects as go

    low, high = float(np.nanmin(means)), float(np.nanmax(means))
    least = LEAST_SPAN if scale == "log" else LEAST_SPAN * max(abs(low), abs(high)) or 1.0
    spare = max(0.0, least - (high - low)) / 2
    marks = list(dict.fromkeys((low, (low + high) / 2, high)))
    words_of = [
        [
            "not part of the study, or without figures"
            if value is None
            else f"{human(value, unit)}, mean of {int(counts[i, j])} cells"
            for j, value in enumerate(line)
        ]
        for i, line in enumerate(shown)
    ]
    figure = go.Figure(
        go.Heatmap(
            z=means,
            zmin=low - spare,
            zmax=high + spare,
            customdata=words_of,
            text=[["" if value is None else human(value, unit) for value in line] for line in shown],
            texttemplate="%{text}" if means.shape[0] <= 24 and means.shape[1] <= 12 else None,
            hovertemplate="%{customdata}<extra></extra>",
            hoverongaps=True,
            xgap=3,
            ygap=3,
            colorscale=theme.DENSITY,
            colorbar={
                "thickness": 12,
                "outlinewidth": 0,
                "tickvals": marks,
                "ticktext": [human(back(mark, scale), unit) for mark in marks],
                "ticks": "",
            },
        )
    )
    plain = {"showgrid": False, "zeroline": False, "fixedrange": True}
    figure.update_layout(
        height=max(means.shape[0] * 54, 120) + 76,
        margin={"l": 20, "r": 20, "t": 10, "b": 20},
        xaxis={
            "tickvals": list(range(len(across[1]))),
            "ticktext": [label(text, 24) for text in across[1]],
            "title": {"text": across[0]},
            "showline": False,
            "ticks": "",
            **plain,
        },
        yaxis={
            "tickvals": list(range(len(down[1]))),
            "ticktext": [label(text, 28) for text in down[1]],
            "title": {"text": down[0]},
            "autorange": "reversed",
            **plain,
        },
    )
    return figure
