"""One run: what bound it, its time, its steps and phases, and the requests behind them."""

from __future__ import annotations

import shlex
from typing import Any

import numpy as np

from edgeprof.dashboards.app import parts, run_parts
from edgeprof.dashboards.app.cut import CutData, event_time
from edgeprof.dashboards.app.figures import phase_shares, steps
from edgeprof.dashboards.app.page import Context, Page
from edgeprof.dashboards.app.pages.memory import PHASE_MEMORY
from edgeprof.dashboards.app.run_parts import Listing, choices, data_of, figure, listing, rows_over_time, window_text
from edgeprof.dashboards.app.view import View
from edgeprof.dashboards.report import account, summary
from edgeprof.dashboards.report.figures import timeline
from edgeprof.dashboards.report.figures.requests import device_time, latency, of_run, queue_time
from edgeprof.dashboards.report.figures.steps import stall_share
from edgeprof.dashboards.report.figures.zones import offset_text
from edgeprof.dashboards.report.text import clean
from edgeprof.dashboards.report.theme import OWNER_NAMES
from edgeprof.profiler.dataset import metrics_of
from edgeprof.profiler.errors import DamagedMetrics
from edgeprof.profiler.units import count, human, seconds

SLOWEST_STEPS, SLOWEST_REQUESTS = 10, 20
_SECTOR = 512
_ALL = "all"
"""What the parameter ``show`` says where the long tables are wanted: each cell slows everything on the page."""

TIMELINE = rows_over_time("timeline", "Timeline", timeline.ROWS)
PROGRAM = (
    figure(steps.KEY, steps.TITLE, steps.build, time=True, table="steps"),
    figure(phase_shares.KEY, phase_shares.TITLE, phase_shares.build, table="phases"),
    PHASE_MEMORY,
)


def layout(context: Context, view: View) -> Any:
    """The page for a view."""
    data = context.data(view.get("run"))
    return [
        *_head(data),
        parts.section("summary", "Summary", *_summary(data)),
        parts.section("over-time", "Over time", choices(context, view), parts.figure(TIMELINE)),
        parts.section(
            "program", "The program", parts.figure(PROGRAM[0]), listing(STEPS), *map(parts.figure, PROGRAM[1:])
        ),
        parts.section("requests", "Slowest requests", listing(REQUESTS)),
        parts.section("capture", "Capture and its cost", *_capture(data, view)),
    ]


def _head(data: CutData) -> list[Any]:
    from dash import html

    run, host = data.manifest["run"], data.manifest.get("host")
    where = clean(host.get("hostname") or "") if isinstance(host, dict) else ""
    words = [account.status(data), clean(run.get("started") or ""), where]
    command = run.get("command")
    shown = shlex.join(clean(word) for word in command) if isinstance(command, list) else ""
    found: list[Any] = [html.P(" · ".join(word for word in words if word), className="meta")]
    if shown:
        found.append(html.Pre(html.Code(shown), className="command", tabIndex=0, **{"aria-label": "Command"}))
    return found


def _summary(data: CutData) -> list[Any]:
    from dash import html

    verdict = summary.verdict(data)
    headline: list[Any] = [verdict.headline]
    if verdict.confidence:
        headline += [" ", html.Span(f"{verdict.confidence} confidence", className="confidence")]
    words: list[Any] = [html.P(headline, className="headline")]
    for title, sentences in (
        ("Evidence", verdict.evidence),
        ("What to try" if verdict.known else "What to do", verdict.advice),
    ):
        if sentences:
            words += [html.H3(title), html.Ul([html.Li(sentence) for sentence in sentences])]
    found: list[Any] = [html.Div(words, className="verdict" if verdict.known else "verdict open")]
    notes = account.notes(data)
    if notes:
        found.append(html.Ul([html.Li(note) for note in notes], className="notice", **{"aria-label": "Notes"}))
    return [*found, *_metrics(data)]


def _metrics(data: CutData) -> list[Any]:
    from dash import html

    try:
        metrics_of(data.run)
    except DamagedMetrics as error:
        return [parts.notice(error)]
    found: list[Any] = []
    tiles = summary.tiles(data)
    measured = [(tile.title, tile.value) for tile in tiles if tile.value is not None]
    if measured:
        found.append(parts.tiles(measured))
    reasons = [item for tile in tiles if tile.value is None for item in (html.Dt(tile.title), html.Dd(tile.reason))]
    if reasons:
        found.append(parts.details("Key figures that were not measured", html.Dl(reasons, className="reasons")))
    return found


def _capture(data: CutData, view: View) -> list[Any]:
    from dash import html

    marks = {"good": "good", "partial": "partial", "absent": "absent"}
    rows = [
        [
            line.name,
            html.Span(line.state, className=f"state {marks[line.kind]}"),
            line.records,
            line.bytes,
            line.lost,
            [
                " ".join(line.remarks),
                *([html.Span(f"To get it: {line.remedy}", className="remedy")] if line.remedy else []),
            ],
        ]
        for line in account.collector_lines(data)
    ]
    heads = ("Collector", "Status", "Records", "Bytes", "Lost", "Remarks")
    return [
        parts.table(heads, rows, "Collectors", numbers=(2, 3, 4)),
        parts.details(
            "What edgeprof itself used", parts.table(("Measure", "Value"), account.overhead_rows(data), "Cost")
        ),
        *_everything(data, view),
    ]


def _everything(data: CutData, view: View) -> list[Any]:
    """All metrics and facts, or the link that shows them."""
    from dash import html

    if view.get("show") != _ALL:
        return [html.P(parts.anchor("Show all metrics and facts", view.having(show=_ALL).href))]
    try:
        metrics = summary.metric_rows(data)
    except (OSError, ValueError, KeyError):  # the summary says so
        metrics = []
    heads = ("Metric", "Value", "Exact", "Why not")
    tables = [parts.details("All metrics", parts.table(heads, metrics, "All metrics"))] if metrics else []
    return tables + [
        parts.details(title, parts.table(("Fact", "Value"), values, title)) for title, values in account.facts(data)
    ]


def _slowest_steps(context: Context, view: View) -> Any:
    data = data_of(context, view)
    if not data.has("steps"):
        return None
    found = steps.steps_of(data)
    if not len(found.start):
        return None
    stall = stall_share(data.whole, found.start, found.end)
    order = np.argsort(-found.length, kind="stable")[:SLOWEST_STEPS]
    middle = float(np.median(found.length))
    rows = [
        [
            parts.anchor(
                f"step {found.number[i]:.0f}",
                view.having(t=window_text((float(found.start[i]), float(found.end[i])))).href,
                **{"data-window": "1"},
            ),
            seconds(float(found.length[i])),
            human(float(found.length[i] / middle) if middle > 0 else None, "ratio"),
            "not known" if stall is None else human(float(stall[i]), "share"),
            f"{found.start[i]:.6g} s",
        ]
        for i in order
    ]
    heads = ("Slowest steps", "Took", "Of the median", "Waited for input", "Began at")
    return parts.table(heads, rows, "Slowest steps", numbers=(1, 2, 3, 4))


def _slowest_requests(context: Context, view: View) -> Any:
    from dash import html

    data = data_of(context, view)
    if not data.has("block_io"):
        return parts.empty("", *data.absence("block_io"))
    took = latency(data)
    mine = data.text("block_io", "owner").is_("run") | of_run(data, "read").mask | of_run(data, "write").mask
    known = np.flatnonzero(np.isfinite(took) & mine)
    if not len(known):
        return parts.empty(
            "", "no request of the run in the part that is chosen was both queued and completed in sight"
        )
    if len(known) > SLOWEST_REQUESTS:
        slowest = known[np.argpartition(took[known], -SLOWEST_REQUESTS)[-SLOWEST_REQUESTS:]]
    else:
        slowest = known
    order = slowest[np.argsort(-took[slowest], kind="stable")]
    heads = (
        "Queued at",
        "Took",
        "In the queue",
        "In the device",
        "Operation",
        "Size",
        "Device",
        "Offset",
        "Command",
        "Whose",
        "Phase",
    )
    time, waited, served = event_time(data, "block_io"), queue_time(data), device_time(data)
    size, offset, pid = (data.number("block_io", name) for name in ("bytes", "sector", "pid"))
    texts = {name: data.text("block_io", name) for name in ("op", "device", "comm", "owner", "phase")}

    def text(name: str, i: int) -> str:
        code = texts[name].codes[i]
        return texts[name].names[code] if code >= 0 else ""

    rows = [
        [
            f"{time[i]:.6f} s",
            *(human(float(part[i]), "s") for part in (took, waited, served)),
            text("op", i),
            human(float(size[i]), "bytes"),
            text("device", i),
            offset_text(float(offset[i] * _SECTOR)) if np.isfinite(offset[i]) else "",
            f"{text('comm', i)} {pid[i]:.0f}" if np.isfinite(pid[i]) else text("comm", i),
            OWNER_NAMES.get(text("owner", i), text("owner", i)),
            text("phase", i),
        ]
        for i in order.tolist()
    ]
    words = (
        f"The slowest {len(rows)} of {count(len(known))} requests of the run in the part that is chosen, with the "
        "writeback of kernel threads."
    )
    if len(took) > len(known):
        words += f" {count(len(took) - len(known))} others, of who else used the devices, are not listed."
    return [html.P(words, className="meta"), parts.table(heads, rows, "Slowest requests", numbers=(0, 1, 2, 3, 5, 7))]


STEPS = Listing("slowest-steps", _slowest_steps)
REQUESTS = Listing("slowest-requests", _slowest_requests)


def register(app: Any, context: Context) -> None:
    """The callbacks of all pages of a run."""
    run_parts.register(app, context, (run_parts.WINDOW, STEPS, REQUESTS))


PAGE = Page("/run", "Run", layout, (TIMELINE, *PROGRAM), register, of_run=True)
