"""Runs, or groups of runs, against the first of them.

Addresses: ``run=ID`` for each run; with ``by=FACTOR`` the runs (all of the folder where none is named) in a group for
each value of the factor; or ``folder=PATH`` for each folder of runs or matrix.  ``base=NAME`` is what the others are
compared with, ``align=step`` begins all at their first step, ``t`` is the window looked at.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dash import html

from edgeprof.dashboards.app import parts, run_parts
from edgeprof.dashboards.app.cut import Cut, CutData
from edgeprof.dashboards.app.index import Snapshot
from edgeprof.dashboards.app.kept import Kept
from edgeprof.dashboards.app.links import LeadsOut, check_parts
from edgeprof.dashboards.app.page import Context, Figure, Page
from edgeprof.dashboards.app.rows import stamp, text_of, texts
from edgeprof.dashboards.app.stamps import stamps
from edgeprof.dashboards.app.view import View, link
from edgeprof.dashboards.compare_report.figures import SECTIONS, Entry, Section
from edgeprof.dashboards.compare_report.figures.differences import table
from edgeprof.dashboards.compare_report.render import heading
from edgeprof.dashboards.compare_report.sides import ALIGN, MOST_SIDES, Align, Sides, Window, compared, single
from edgeprof.dashboards.compare_report.told import Told, told
from edgeprof.dashboards.report.figures.base import DataTable, Outcome
from edgeprof.dashboards.report.text import clean
from edgeprof.profiler.dataset import entry_of, looks_like_a_run, run_directories
from edgeprof.profiler.errors import EdgeprofError
from edgeprof.profiler.matrix.folder import is_matrix
from edgeprof.profiler.run import open_run
from edgeprof.profiler.statistics.selection import Group, group_entries, matrix_group
from edgeprof.profiler.units import counted

if TYPE_CHECKING:
    from dash import Dash

MOST_COMPARED = 500
"""Runs whose metrics and facts are read for one page."""
FACTORS_OFFERED = 40
OVER_TIME = "over-time"
"""The section whose figure has a time axis."""

_compared: Kept[Sides] = Kept(8)
_drawn: Kept[Sides] = Kept(2)
"""The view that is looked at and the whole time, whose span its bar shows; each may hold tables of many runs."""

Key = tuple[tuple[str, tuple[str, ...]], ...]
"""Each side's name and the ids of its runs, or the path of its folder; the first is the base."""


def sides(context: Context, view: View) -> Sides:
    """What the address names, compared.

    Raises:
        EdgeprofError: it names nothing that can be compared.
    """
    key = _key(context, view)
    folders = bool(view.all("folder"))
    made = tuple((stamps if folders else stamp)(context.path(item)) for _, items in key for item in items)
    align: Align = "step" if view.get("align") == "step" else "start"

    def compare() -> Sides:
        groups: list[Group] = []
        left_out: list[tuple[str, str]] = []
        for name, items in key:
            try:
                groups.append(_group(context, name, items, folders))
            except EdgeprofError as error:
                left_out.append((name, str(error)))
        if len(groups) < 2 and left_out:
            raise EdgeprofError("; ".join(reason for _, reason in left_out))
        return replace(compared(groups), left_out=left_out)

    def draw() -> Sides:
        found = _compared.get((str(context.folder), key, made), compare)
        return replace(found, align=align, window=view.window, tables=_tables)

    return _drawn.get((str(context.folder), key, made, align, view.window), draw)


def _tables(path: Path, window: Window | None) -> CutData:
    return CutData(open_run(path).inside, Cut(window))


def _key(context: Context, view: View) -> Key:
    folders, by = list(dict.fromkeys(view.all("folder"))), view.get("by")
    if folders:
        key: Key = tuple((folder, (folder,)) for folder in folders)
    elif by:
        key = _by(context.index.snapshot(), by, view.all("run"))
    else:
        key = tuple((run, (run,)) for run in dict.fromkeys(view.all("run")))
    if len(key) > MOST_SIDES:
        raise EdgeprofError(
            f"{len(key)} sides are too many to tell apart: choose {MOST_SIDES} at most, or group the runs by a factor"
        )
    count = sum(len(items) for _, items in key)
    if count > MOST_COMPARED:
        raise EdgeprofError(f"{count} runs are too many for one comparison: choose {MOST_COMPARED} at most")
    base = view.get("base")
    return tuple(sorted(key, key=lambda side: side[0] != base)) if base else key


def _by(known: Snapshot, by: str, runs: Sequence[str]) -> Key:
    """Runs in groups by a column of the index, in the order of their values."""
    if by not in known.columns or by not in known.table.column_names:
        raise EdgeprofError(f"no run has a factor {clean(by)!r}: choose another to group by")
    wanted = set(runs)
    found: dict[str, list[str]] = {}
    ids, values = (known.table.column(name).to_pylist() for name in ("id", by))
    for run, value in zip(ids, values, strict=True):
        if value is not None and (not wanted or run in wanted):
            found.setdefault(text_of(value), []).append(run)
    if len(found) < 2:
        raise EdgeprofError(f"these runs do not differ in {clean(by)}: choose another factor to group by")
    return tuple((value, tuple(sorted(found[value]))) for value in sorted(found, key=_in_order))


def _in_order(value: str) -> tuple[bool, float, str]:
    """Sorts numbers by their value, before other text."""
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    return (False, number, value) if math.isfinite(number) else (True, 0.0, value)


def _group(context: Context, name: str, items: Sequence[str], folders: bool) -> Group:
    paths = [context.path(item) for item in items]
    if folders:
        return _folder(name, paths[0], context.folder.resolve())
    entries = [entry_of(path) for path in paths]
    if len(entries) == 1 and name == items[0]:
        title = str(entries[0].info.get("name") or "")
        return single(entries[0], f"{title} {entries[0].short_id}".strip())
    return group_entries(name, entries)


def _folder(name: str, path: Path, root: Path) -> Group:
    """A matrix, a folder of runs, or a run; runs that only links make its own, from elsewhere, are left out unread."""
    if is_matrix(path):
        return matrix_group(name, path, root)
    runs = [path] if looks_like_a_run(path) else run_directories(path)
    inside, outside = [], []
    for run in runs:
        try:
            check_parts(run, root)
        except LeadsOut as error:
            outside.append((run.name, str(error)))
        else:
            inside.append(run)
    if not inside:
        why = f"{outside[0][0]}: {outside[0][1]}" if outside else "name a folder that holds some"
        raise EdgeprofError(f"there are no runs in {clean(name)}: {why}")
    group = group_entries(name, [entry_of(run) for run in inside])
    return replace(group, left_out=[*group.left_out, *outside])


def _figure(entry: Entry, time: bool) -> Figure:
    def build(context: Context, view: View) -> Outcome:
        return entry.draw(sides(context, view))

    return Figure(f"compare-{entry.key}", entry.title, build, time=time)


_SECTIONS = [
    (section, [_figure(entry, time=section.key == OVER_TIME) for entry in section.entries]) for section in SECTIONS
]


def register(app: Dash, context: Context) -> None:
    """The bar that moves the window of time follows it, as the figures do."""
    from dash import MATCH, Input, Output, State

    @app.callback(  # type: ignore[untyped-decorator]
        Output({"type": "sides-window", "key": MATCH}, "children"),
        Input("view", "data"),
        State({"type": "sides-window", "key": MATCH}, "id"),
    )
    def fill(address: str, place: dict[str, str]) -> Any:
        view = View.parse(address)
        whole = sides(context, view.having(t=None)).span
        return run_parts.bar(view, view.window or whole, whole, "the whole time")


def layout(context: Context, view: View) -> Any:
    """The page for a view."""
    if not (view.all("run") or view.get("by") or view.all("folder")):
        return [_choices(context, view), _nothing()]
    try:
        found = sides(context, view)
    except EdgeprofError as error:
        return [_choices(context, view), parts.notice(error)]
    words = told(found)
    return [
        html.P(clean(heading(found)), className="meta"),
        _choices(context, view, found),
        _summary(found, words),
        *(
            parts.section(section.key, section.title, *_bar(section), *(parts.figure(figure) for figure in figures))
            for section, figures in _SECTIONS
        ),
        parts.section(
            "facts",
            "Factors and machines",
            *_facts("Factors that differ", words.factors),
            *_facts("Machine facts that differ", words.host),
        ),
        parts.section("sides", "Sides", _members(context, view, found)),
    ]


def _bar(section: Section) -> list[Any]:
    return [html.Div(id={"type": "sides-window", "key": section.key})] if section.key == OVER_TIME else []


def _nothing() -> Any:
    return parts.empty(
        "",
        "no runs are chosen",
        "choose two or more on the page Runs and follow its link to compare them, or group all runs by a factor above",
    )


def _choices(context: Context, view: View, found: Sides | None = None) -> Any:
    children = []
    if not view.all("folder"):
        own = "each run by itself" if view.all("run") else "choose a factor"
        children.append(parts.select(view, "by", "Group by", _factors(context, view), own))
    if found is not None:
        names = [(name, name.rsplit("/", 1)[-1]) for name, _ in _key(context, view.having(base=None))[1:]]
        children.append(parts.select(view, "base", "Compare with", names, "the first"))
        ways = [(value, text) for value, text in ALIGN.items() if value != "start"]
        children.append(parts.select(view, "align", "Time 0 is", ways, ALIGN["start"]))
    return html.Div(children, className="choices", role="group", **{"aria-label": "What is compared"})


def _factors(context: Context, view: View) -> list[tuple[str, str]]:
    """Factors in which the runs differ, in not too many values."""
    import pyarrow.compute as pc

    known = context.index.snapshot()
    wanted = set(view.all("run"))
    table = known.table
    if wanted:
        table = table.filter(pc.is_in(table.column("id"), texts(sorted(wanted))))
    found = []
    for name, column in known.columns.items():
        if (column.group not in ("factor", "host") and name != "name") or name not in table.column_names:
            continue
        values = table.column(name).unique().drop_null()
        if 2 <= len(values) <= MOST_SIDES:
            found.append((name, name.replace("_", " ")))
    return found[:FACTORS_OFFERED]


def _summary(found: Sides, words: Told) -> Any:
    block: list[Any] = [html.P(words.headline, className="headline")]
    if words.evidence:
        block += [
            html.H3("What else differs" if words.sure else "What differs"),
            html.Ul([html.Li(sentence) for sentence in words.evidence]),
        ]
    block += [html.H3("How sure"), html.Ul([html.Li(sentence) for sentence in words.sureness])]
    children: list[Any] = [html.Div(block, className="verdict" if words.sure else "verdict open")]
    metrics = table(found)
    children.append(parts.details("All metrics", parts.table(metrics.columns, metrics.rows, "All metrics")))
    if words.cells is not None:
        cells = parts.table(words.cells.columns, words.cells.rows, "Differences in single cells")
        note = html.P(words.cells.note, className="limit")
        children.append(parts.details("Differences in single cells", cells, note))
    if words.left_out:
        rows = parts.table(["What", "Why"], words.left_out, "Left out")
        children += [html.H3("Left out"), rows]
    if words.unmatched:
        children.append(html.P(f"Cells without a partner: {'; '.join(words.unmatched)}.", className="limit"))
    return parts.section("summary", "Summary", *children)


def _facts(title: str, rows: DataTable) -> list[Any]:
    shown = parts.table(rows.columns, rows.rows, title) if rows.rows else html.P("None.", className="why")
    return [html.H3(title), shown]


def _members(context: Context, view: View, found: Sides) -> Any:
    """The runs of each side, with links to them, and those that were left out."""
    root = context.folder.resolve()
    blocks = []
    for side in found.sides:
        rows: list[list[Any]] = []
        for process in side.group.processes:
            run = process.path.resolve().relative_to(root).as_posix()
            rows.append([parts.anchor(process.id, link("/run", run=run)), "compared"])
        rows += [[run, f"left out: {reason}"] for run, reason in side.group.left_out]
        summary = f"{side.name}: {counted(len(side.group.processes), 'run')}"
        if side.group.left_out:
            summary += f", {len(side.group.left_out)} left out"
        blocks.append(parts.details(summary, parts.table(["Run", ""], rows, f"Runs of {clean(side.name)}")))
    return html.Div(blocks)


PAGE = Page("/compare", "Compare", layout, [figure for _, figures in _SECTIONS for figure in figures], register)
