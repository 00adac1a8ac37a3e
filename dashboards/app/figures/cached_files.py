"""The page cache by file: what of the run's files came into it, what left it, and how that went over time."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeprof.dashboards.app.cut import CutData
from edgeprof.dashboards.app.figures.memory_rows import page_bytes
from edgeprof.dashboards.report.downsample import BINS, Floats, Ints
from edgeprof.dashboards.report.figures.base import (
    BYTES,
    LEGEND_ABOVE,
    Absent,
    DataTable,
    Outcome,
    Picture,
    absent,
    compact,
    time_axis,
)
from edgeprof.dashboards.report.figures.series import SUMMARY_COLUMNS, Series, hover
from edgeprof.dashboards.report.text import clean, label
from edgeprof.dashboards.report.theme import BLUE, CYCLE, INK, ORANGE
from edgeprof.profiler.units import count, human

FILES_KEY, FILES_TITLE = "cache-files", "Page cache by file"
TIME_KEY, TIME_TITLE = "cache-time", "Page cache over time"
MOST_FILES = 40
"""More files than these are put together by folder."""
SHOWN, LINES = 15, 6
UNNAMED = "files without a known name"
_SINCE = "What was in the page cache before the capture began does not count as added."


@dataclass(frozen=True)
class Groups:
    """The files that the run used, or the folders they are in: the group of each event (-1 none), and their names."""

    of_event: Ints
    names: list[str]
    folders: bool

    @property
    def what(self) -> str:
        return "folder" if self.folders else "file"


@dataclass(frozen=True)
class _Moved:
    """Pages of each group that were added and dropped, in bytes or, where a page's size is unknown, in pages."""

    added: Floats
    dropped: Floats
    faults: Floats


def groups_of(data: CutData) -> Groups:
    """The groups of the cut's events."""
    paths, owners = data.text("page_cache", "path"), data.text("page_cache", "owner")
    of_run = owners.is_("run")
    used = np.unique(paths.codes[of_run & (paths.codes >= 0)])
    names = [paths.names[code] for code in used]
    folders = len(names) > MOST_FILES
    shown = [name.rpartition("/")[0] or name for name in names] if folders else names
    distinct = list(dict.fromkeys(shown))
    number = {name: i for i, name in enumerate(distinct)}
    lookup = np.full(len(paths.names) + 1, -1, np.int64)  # the last place is that of no path
    lookup[used] = [number[name] for name in shown]
    of_event = lookup[paths.codes]
    unnamed = of_run & (paths.codes < 0)
    if unnamed.any():
        of_event[unnamed] = len(distinct)
        distinct.append(UNNAMED)
    return Groups(of_event, distinct, folders)


def files(data: CutData) -> Outcome:
    """Bars of what was added and dropped, those with most first; a mark for what is left of it."""
    gone = _absent(data, FILES_KEY, FILES_TITLE)
    if gone is not None:
        return gone
    groups = groups_of(data)
    moved, unit = _moved(data, groups), _unit(data)
    order = np.argsort(-(moved.added + moved.dropped), kind="stable")
    order = order[(moved.added + moved.dropped + moved.faults)[order] > 0]
    if not len(order):
        return Absent(FILES_KEY, FILES_TITLE, "no file of the run came into the page cache or left it")
    left = len(order) - SHOWN
    total = human(float(moved.added.sum()), unit), human(float(moved.dropped.sum()), unit)
    caption = (
        f"Bytes of each {groups.what} that the run used that came into the page cache (for anyone) and left it, in the "
        f"time shown: {total[0]} in, {total[1]} out. The mark is the difference."
    )
    if groups.folders:
        caption += f" They are put together by folder, since there are more than {MOST_FILES}."
    rows = [
        [
            clean(groups.names[i]),
            human(float(moved.added[i]), unit),
            human(float(moved.dropped[i]), unit),
            human(float(moved.added[i] - moved.dropped[i]), unit),
            count(int(moved.faults[i])),
        ]
        for i in order[:200]
    ]
    return Picture(
        key=FILES_KEY,
        title=FILES_TITLE,
        figure=_bars(groups, moved, order[:SHOWN], unit),
        caption=caption,
        label=f"Bars of bytes that came into the page cache and left it, by {groups.what}.",
        limits=[_SINCE, *([f"{left} smaller ones are not drawn."] if left > 0 else [])],
        table=DataTable(
            (groups.what.capitalize(), "Added", "Dropped", "Difference", "Faults"),
            rows,
            f"The first 200 of {len(order)}." if len(order) > 200 else "",
        ),
    )


def over_time(data: CutData) -> Outcome:
    """What each group had come to hold since the capture began."""
    gone = _absent(data.whole, TIME_KEY, TIME_TITLE)
    if gone is not None:
        return gone
    since = CutData(data.run, replace(data.cut, window=None, phase="", process=None), data.columns)
    groups, unit = groups_of(since), _unit(data)
    edges = np.linspace(*data.window, BINS + 1)
    pages = _signed_pages(since)
    time = since.number("page_cache", "time_ns")
    changed = np.flatnonzero((groups.of_event >= 0) & (pages != 0) & np.isfinite(time))
    if not len(changed):
        return Absent(TIME_KEY, TIME_TITLE, "no file of the run came into the page cache or left it")
    moved = np.bincount(groups.of_event[changed], np.abs(pages[changed]), len(groups.names))
    series = []
    for i, colour in zip(np.argsort(-moved, kind="stable")[:LINES], CYCLE, strict=False):
        mine = changed[groups.of_event[changed] == i]
        if len(mine):
            series.append(Series(groups.names[i], edges, _held(time[mine], pages[mine], edges), unit, colour))
    total = Series("all files of the run", edges, _held(time[changed], pages[changed], edges), unit, INK)
    left = int((moved > 0).sum()) - len(series)
    return Picture(
        key=TIME_KEY,
        title=TIME_TITLE,
        figure=_lines(data, [total, *series]),
        caption=f"What the page cache holds of each {groups.what} that the run used, more (or less) than when the "
        f"capture began.{f' {left} with less change are in the sum alone.' if left > 0 else ''}",
        label=f"Lines of bytes in the page cache over time by {groups.what}.",
        limits=["A line below 0 has lost pages that were there before the capture began."],
        table=DataTable(
            SUMMARY_COLUMNS, [[clean(row[0]), *row[1:]] for row in (item.summary() for item in (total, *series))]
        ),
    )


def _absent(data: CutData, key: str, title: str) -> Absent | None:
    if data.has("page_cache"):
        return None
    found = absent(data, key, title, "page_cache")
    return Absent(key, title, found.reason, found.remedy or "capture with --collect deep")


def _unit(data: CutData) -> str:
    return "bytes" if page_bytes(data) else "pages"


def _signed_pages(data: CutData) -> Floats:
    """How much each event adds to the page cache (negative: takes from it)."""
    events, pages = data.text("page_cache", "event"), np.nan_to_num(data.number("page_cache", "pages"))
    sign = events.is_("add").astype(np.float64) - events.is_("delete")
    result: Floats = sign * pages * (page_bytes(data) or 1)
    return result


def _moved(data: CutData, groups: Groups) -> _Moved:
    mine: NDArray[np.bool_] = groups.of_event >= 0
    which, pages, number = groups.of_event[mine], _signed_pages(data)[mine], len(groups.names)
    fault = data.text("page_cache", "event").is_("fault")[mine]
    return _Moved(
        np.bincount(which, np.maximum(pages, 0), number).astype(np.float64),
        np.bincount(which, np.maximum(-pages, 0), number).astype(np.float64),
        np.bincount(which, fault, number).astype(np.float64),
    )


def _held(time: Floats, pages: Floats, at: Floats) -> Floats:
    order = np.argsort(time, kind="stable")
    total = np.r_[0.0, np.cumsum(pages[order])]
    result: Floats = total[np.searchsorted(time[order], at, side="right")]
    return result


def _bars(groups: Groups, moved: _Moved, order: Ints, unit: str) -> Any:
    import plotly.graph_objects as go

    order = order[::-1]
    names = [label(groups.names[i], 48) for i in order]
    figure = go.Figure()
    for values, name, colour in ((moved.added, "added", BLUE), (-moved.dropped, "dropped", ORANGE)):
        figure.add_trace(
            go.Bar(
                orientation="h",
                y=names,
                x=compact(values[order]),
                name=name,
                marker={"color": colour},
                hovertemplate="%{x:.3s}" + ("B" if unit == "bytes" else " pages"),
            )
        )
    figure.add_trace(
        go.Scatter(
            y=names,
            x=compact((moved.added - moved.dropped)[order]),
            name="difference",
            mode="markers",
            marker={"symbol": "diamond", "size": 8, "color": INK},
            hovertemplate="%{x:.3s}" + ("B" if unit == "bytes" else " pages"),
        )
    )
    axis = BYTES if unit == "bytes" else {"tickformat": "~s"}
    figure.update_xaxes(title="dropped (left) and added (right)", **axis)
    figure.update_yaxes(type="category")
    figure.update_layout(
        barmode="relative",
        height=130 + 26 * len(order),
        bargap=0.3,
        showlegend=True,
        hovermode="y unified",
        legend=LEGEND_ABOVE,
        margin={"l": 120, "r": 16, "t": 30, "b": 50},
    )
    return figure


def _lines(data: CutData, series: list[Series]) -> Any:
    import plotly.graph_objects as go

    figure = go.Figure(
        [
            go.Scatter(
                x=compact(item.time),
                y=compact(item.values),
                name=label(item.name, 40),
                mode="lines",
                line={"color": item.colour, "width": 1.6, "shape": "hv"},
                hovertemplate=hover(item.unit),
            )
            for item in series
        ]
    )
    axis = BYTES if series[0].unit == "bytes" else {"tickformat": "~s"}
    figure.update_yaxes(title="since the capture began", fixedrange=True, **axis)
    figure.update_xaxes(**time_axis(data.window))
    figure.update_layout(
        height=340,
        hovermode="x unified",
        showlegend=True,
        legend={"orientation": "h", "y": -0.2, "yanchor": "top", "x": 0},
        margin={"l": 70, "r": 16, "t": 16, "b": 50},
    )
    return figure
