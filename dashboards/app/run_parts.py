"""What the pages of one run share: figures of a cut, the choices that make it, and the time that is shown."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from edgeprof.dashboards.app import parts
from edgeprof.dashboards.app.cut import Cut, CutData
from edgeprof.dashboards.app.page import Context, Figure
from edgeprof.dashboards.app.view import View
from edgeprof.dashboards.report.figures.base import Outcome, Picture
from edgeprof.dashboards.report.figures.phasing import main_phases
from edgeprof.dashboards.report.figures.timeline import stacked
from edgeprof.dashboards.report.figures.timeline.row import RowBuilder
from edgeprof.dashboards.report.text import clean
from edgeprof.profiler.dataset import metrics_of
from edgeprof.profiler.errors import DamagedMetrics
from edgeprof.profiler.units import human, seconds

_log = logging.getLogger(__name__)
_MOST_OPTIONS = 60
_STEPS = (("Zoom in", 0.25, 0.75), ("Zoom out", -0.5, 1.5), ("Earlier", -0.5, 0.5), ("Later", 0.5, 1.5))
"""Next window in parts of the present one."""


def data_of(context: Context, view: View) -> CutData:
    """The tables of the view's run, cut as the view says."""
    return context.data(view.get("run"), Cut.of(view))


def figure(key: str, title: str, build: Callable[[CutData], Outcome], *, time: bool = False, table: str = "") -> Figure:
    """A figure of a run's page.

    Args:
        time: its x axis is the run's time; dragging over it chooses a window.
        table: whose rows in the cut its CSV holds; without one, the CSV holds the picture's own figures.
    """

    def build_cut(context: Context, view: View) -> Outcome:
        return build(data_of(context, view))

    def rows(context: Context, view: View) -> pa.Table:
        return data_of(context, view).rows(table)

    return Figure(key, title, build_cut, time=time, rows=rows if table else None)


def rows_over_time(key: str, title: str, builders: Sequence[RowBuilder]) -> Figure:
    """Rows above each other on one axis of time; dragging chooses time alone."""

    def build(data: CutData) -> Outcome:
        found = stacked(data, key, title, builders)
        if isinstance(found, Picture):
            found.figure.update_yaxes(fixedrange=True)
        return found

    return figure(key, title, build, time=True)


@dataclass(frozen=True)
class Listing:
    """A part of a page in words or tables that follows the window, as figures do."""

    key: str
    make: Callable[[Context, View], Any]


def listing(item: Listing) -> Any:
    """The place of a listing; it is filled when the page stands."""
    from dash import html

    return html.Div(id={"type": "listing", "key": item.key}, className="listing", **{"aria-live": "polite"})


def register(app: Any, context: Context, listings: Sequence[Listing]) -> None:
    """Fill listings, and let clicks, keys and numbers choose the window."""
    from dash import ALL, MATCH, ClientsideFunction, Input, Output, State

    by_key = {item.key: item for item in listings}

    @app.callback(  # type: ignore[untyped-decorator]
        Output({"type": "listing", "key": MATCH}, "children"),
        Input("view", "data"),
        State({"type": "listing", "key": MATCH}, "id"),
    )
    def fill(address: str, place: dict[str, str]) -> Any:
        try:
            return by_key[place["key"]].make(context, View.parse(address))
        except Exception as error:  # the rest of the page still tells about the run
            _log.debug("the listing %s failed", place["key"], exc_info=True)
            return parts.empty("", str(error) or type(error).__name__, failed=True)

    app.clientside_callback(
        ClientsideFunction("edgeprof_run", "drilled"), Input({"type": "graph", "key": ALL, "kind": "time"}, "clickData")
    )
    app.clientside_callback(
        ClientsideFunction("edgeprof_run", "typed"), Input({"type": "window-end", "end": ALL}, "value")
    )


def choices(context: Context, view: View, *, requests: bool = True, files: bool = False) -> Any:
    """The part of the run that the page shows: selects, and the window."""
    from dash import html

    data = context.data(view.get("run"))
    selects = [parts.select(view, "process", "Process", _options(_processes, data))]
    if requests:
        selects = [
            parts.select(view, "phase", "Phase", _options(_phases, data)),
            *selects,
            parts.select(view, "device", "Device", _options(_devices, data)),
            parts.select(view, "op", "Operation", _options(_operations, data)),
        ]
    if files and data.has("page_cache"):
        selects.append(parts.select(view, "file", "File", _options(_files, data)))
    return html.Div(
        [
            html.Div(selects, className="choices", role="group", **{"aria-label": "What is shown"}),
            listing(WINDOW),
            *_explained(view, requests),
        ],
        className="cut",
    )


def _explained(view: View, requests: bool) -> list[Any]:
    cut = Cut.of(view)
    words = []
    if view.get("t") and cut.window is None:
        words.append("The time in the address is not two numbers “from,to”, so the whole run is shown.")
    if view.get("process") and cut.process is None:
        words.append("The process in the address is not a number, so all processes are shown.")
    if requests and (cut.phase or cut.device or cut.op or cut.file):
        words.append(
            "Phase, device, operation and file choose block requests and page-cache events; what is sampled, such as "
            "memory and CPU time, is shown whole."
        )
    return [parts.notice(*words)] if words else []


def _window(context: Context, view: View) -> Any:
    data = data_of(context, view)
    return bar(view, data.window, (0.0, data.wall_time))


def bar(view: View, shown: tuple[float, float], whole: tuple[float, float], what: str = "the whole run") -> Any:
    """The window of time shown, in numbers, and links that move it.

    Args:
        shown, whole: begin and end, seconds.
        what: is shown without a window.
    """
    from dash import dcc, html

    (begin, end), (low, high) = shown, whole
    length = end - begin
    told = f"{seconds(length)} of {seconds(high - low)}" if view.window else f"{what}, {seconds(high - low)}"
    links = []
    for name, first, last in _STEPS:
        target = begin + first * length, begin + last * length
        if name == "Later" and target[1] > high:
            target = high - length, high
        if name == "Earlier" and target[0] < low:
            target = low, low + length
        target = max(low, target[0]), min(high, target[1])
        if target == (begin, end) or target[1] <= target[0]:
            links.append(html.Span(name, className="off"))
        else:
            links.append(_jump(name, view, target))
    every = what[4:].capitalize()
    links.append(_jump(every, view, None) if view.window else html.Span(every, className="off"))
    ends = [
        html.Label(
            [
                html.Span(text),
                dcc.Input(
                    id={"type": "window-end", "end": text},
                    type="text",
                    inputMode="decimal",
                    value=f"{value:.9g}",
                    debounce=True,
                ),
            ]
        )
        for text, value in (("From (s)", begin), ("To (s)", end))
    ]
    return html.Div(
        [html.P(["Time shown: ", html.Strong(told)]), *ends, *links],
        className="window",
        role="group",
        **{"aria-label": "Time shown"},
    )


WINDOW = Listing("window", _window)


def _jump(name: str, view: View, window: tuple[float, float] | None) -> Any:
    """A link to another window of the same page, which stays where it is."""
    return parts.anchor(name, view.having(t=window_text(window)).href, **{"data-window": "1"})


def window_text(window: tuple[float, float] | None) -> str:
    """A window as the parameter ``t`` has it; to the nearest nanosecond or nine digits."""
    return "" if window is None else ",".join(f"{edge:.9g}" for edge in window)


def _options(find: Callable[[CutData], Sequence[tuple[str, str]]], data: CutData) -> Sequence[tuple[str, str]]:
    try:
        return find(data)[:_MOST_OPTIONS]
    except (ArithmeticError, LookupError, TypeError, ValueError):  # tables that no collector writes
        _log.debug("no options", exc_info=True)
        return ()


def _phases(data: CutData) -> list[tuple[str, str]]:
    phases = main_phases(data)
    return [] if phases is None else [(name, name) for name in phases.time_by_name()]


def _processes(data: CutData) -> list[tuple[str, str]]:
    """The run's processes, those that used most CPU time first."""
    pid = data.number("process", "pid")
    if not len(pid):
        return []
    used = np.nan_to_num(data.number("process", "utime") + data.number("process", "stime"))
    commands = data.text("process", "comm")
    order = np.argsort(used, kind="stable")[::-1]
    first = dict.fromkeys(pid[order][np.isfinite(pid[order])].astype(np.int64).tolist())
    code = dict(
        zip(pid[np.isfinite(pid)].astype(np.int64).tolist(), commands.codes[np.isfinite(pid)].tolist(), strict=True)
    )
    return [(str(item), f"{item} {commands.names[code[item]] if code[item] >= 0 else ''}") for item in first]


def _devices(data: CutData) -> list[tuple[str, str]]:
    return [(name, name) for name in data.text("block_io", "device").present()]


def _operations(data: CutData) -> list[tuple[str, str]]:
    return [(name, name) for name in data.text("block_io", "op").present()]


def _files(data: CutData) -> list[tuple[str, str]]:
    """The files of which the run's own events moved most pages."""
    paths, mine = data.text("page_cache", "path"), data.text("page_cache", "owner").is_("run")
    mine &= paths.codes >= 0
    pages = np.bincount(paths.codes[mine], np.nan_to_num(data.number("page_cache", "pages")[mine]), len(paths.names))
    order = np.argsort(-pages, kind="stable")
    return [(paths.names[i], _short(paths.names[i])) for i in order if pages[i] > 0]


def _short(path: str) -> str:
    return path if len(path) <= 60 else f"…{path[-59:]}"


def metric_tiles(data: CutData, names: Mapping[str, str]) -> list[Any]:
    """Key figures of the whole run by metric name, and below them why some were not measured."""
    from dash import html

    try:
        metrics = metrics_of(data.run)
    except DamagedMetrics as error:
        return [parts.notice(error)]
    known = [
        (title, human(metrics[name]["value"], metrics[name].get("unit")))
        for name, title in names.items()
        if _value(metrics, name)
    ]
    absent = [
        item
        for name, title in names.items()
        if name in metrics and not _value(metrics, name)
        for item in (html.Dt(title), html.Dd(clean(metrics[name].get("reason") or "no reason was recorded")))
    ]
    found: list[Any] = [parts.tiles(known)] if known else []
    if absent:
        found.append(parts.details("Key figures that were not measured", html.Dl(absent, className="reasons")))
    return found


def _value(metrics: Mapping[str, Mapping[str, Any]], name: str) -> bool:
    return metrics.get(name, {}).get("value") is not None
