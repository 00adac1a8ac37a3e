"""The runs of the folder: filtered, sorted, with the columns that the reader wants."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dash import dcc, html

from edgeprof.dashboards.app import parts
from edgeprof.dashboards.app.filters import BadFilter, conditions, in_sql
from edgeprof.dashboards.app.index import Snapshot
from edgeprof.dashboards.app.page import Context, Page
from edgeprof.dashboards.app.rows import IDENTITY, READING
from edgeprof.dashboards.app.view import View, link
from edgeprof.dashboards.report.summary import BOUND_BY
from edgeprof.profiler.analysis.registry import METRICS
from edgeprof.profiler.units import count, human

if TYPE_CHECKING:
    from dash import Dash

ROWS = 50
"""Of a page of the list."""
KEY_METRICS = ("wall_time", "throughput", "data_stall", "storage_read_bytes", "rss_peak")
MOST_FACTORS = 4
"""Of the factors in which runs differ, that are shown until the reader chooses."""
NEWEST = "-started"
_LIKELY = (
    "model",
    "framework_name",
    "storage_format",
    "storage_device",
    "storage_cache",
    "isolation",
    "board",
    "lifecycle",
)
"""Factors that tell runs apart for most readers; others that differ come after them."""


@dataclass(frozen=True)
class Listed:
    """A page of the list: its rows by column, and how many rows there are in all."""

    rows: Sequence[dict[str, Any]]
    total: int


def layout(context: Context, view: View) -> Any:
    """The page for a view: ``q`` (filter), ``sort`` (a column, with - for descending), ``columns``, ``page``."""
    known = context.index.snapshot()
    if known.problem:
        return parts.empty("", known.problem)
    if not known.total:
        return parts.empty(
            "",
            f"there is no run in {context.folder}",
            "capture one with `edgeprof run -- COMMAND`, and load this page again",
        )
    columns = _columns(known, view)
    return [
        _filter(view),
        _chooser(known, columns),
        html.Div(_list(known, view, columns), id="runs"),
        dcc.Interval(id="runs-reading", interval=1000, disabled=not known.reading),
    ]


def register(app: Dash, context: Context) -> None:
    """While the runs are being read, the list follows."""
    from dash import Input, Output, State

    @app.callback(  # type: ignore[untyped-decorator]
        Output("runs", "children"),
        Output("runs-reading", "disabled"),
        Input("runs-reading", "n_intervals"),
        State("view", "data"),
        prevent_initial_call=True,
    )
    def follow(_: int, address: str) -> Any:
        known, view = context.index.snapshot(), View.parse(address)
        return _list(known, view, _columns(known, view)), not known.reading


def _filter(view: View) -> Any:
    return html.Form(
        [
            html.Label("Filter", htmlFor="filter"),
            dcc.Input(
                id="filter",
                name="q",
                type="search",
                value=view.get("q"),
                placeholder="framework_name=pytorch wall_time>10s name~demo",
                autoComplete="off",
                spellCheck=False,
            ),
            html.Button("Filter", type="submit"),
        ],
        className="filter",
        role="search",
    )


def _chooser(known: Snapshot, chosen: Sequence[str]) -> Any:
    """All columns, to tick those that the list shows; it also tells the names that a filter may use."""
    groups = []
    for group, title in (("factor", "Factors"), ("metric", "Metrics"), ("run", "The run"), ("host", "The machine")):
        names = sorted(
            name
            for name, column in known.columns.items()
            if column.group == group and name not in (*IDENTITY, "command", "ended", "status")
        )
        if names:
            boxes = [parts.check(name, "columns", name, name in chosen) for name in names]
            groups.append(html.Fieldset([html.Legend(title), *boxes]))
    return parts.details(
        "Columns", *groups, html.P(parts.gather("Show these columns", "columns", "columns", joined=True))
    )


def _columns(known: Snapshot, view: View) -> list[str]:
    """The columns shown besides name, start and result."""
    wanted = [name for name in view.get("columns").split(",") if name in known.columns and name not in IDENTITY]
    if wanted:
        return list(dict.fromkeys(wanted))
    present = [name for name in KEY_METRICS if name in known.columns and _some(known, name)]
    return [*_telling_factors(known), *present, *(["bound_by"] if "bound_by" in known.columns else [])]


def _some(known: Snapshot, name: str) -> bool:
    return bool(known.table.column(name).null_count < known.total)


def _telling_factors(known: Snapshot) -> list[str]:
    """Factors in which the runs differ, each of which tells more of them apart than those before it."""
    factors = [name for name, column in known.columns.items() if column.group == "factor"]
    likely = [name for name in _LIKELY if name in factors]
    others = [name for name in factors if name not in likely and not name.startswith("matrix_")]
    told: list[str] = []
    groups = 1
    called = in_sql(known.table.column_names)
    with _database(known) as connection:
        for name in (*likely, *others):
            kinds = ", ".join(called[kind] for kind in (*told, name))
            found = connection.execute(f"select count(*) from (select distinct {kinds} from runs)").fetchone()  # noqa: S608
            if found[0] > groups:
                told, groups = [*told, name], found[0]
            if len(told) == MOST_FACTORS:
                break
    return told


def _database(known: Snapshot) -> Any:
    """A connection to the table ``runs``, whose columns are called as by `in_sql`, and to nothing else."""
    import duckdb

    connection = duckdb.connect(":memory:", config={"temp_directory": ""})
    connection.register("runs", known.table.rename_columns(list(in_sql(known.table.column_names).values())))
    connection.execute("set enable_external_access = false; set lock_configuration = true")
    return connection


def listed(known: Snapshot, view: View, columns: Sequence[str]) -> Listed:
    """The rows that a view shows.

    Raises:
        BadFilter
    """
    import pyarrow as pa

    numeric = [field.name for field in known.table.schema if field.type == pa.float64()]
    called = in_sql(known.table.column_names)
    found = conditions(view.get("q"), known.columns, numeric, called)
    where = " and ".join(condition.sql for condition in found) or "true"
    values = [value for condition in found for value in condition.values]
    sort = view.get("sort") or NEWEST
    by = sort.removeprefix("-") if sort.removeprefix("-") in known.columns else "started"
    order = f"{called[by]} {'desc' if sort.startswith('-') else 'asc'} nulls last, {called['id']} desc"
    names = list(dict.fromkeys(("id", "name", "started", "state", "problem", *_RESULT, *columns)))
    heads = [name for name in names if name in called]
    shown = ", ".join(called[name] for name in heads)
    page = page_of(view)
    with _database(known) as connection:
        total = connection.execute(f"select count(*) from runs where {where}", values).fetchone()  # noqa: S608
        rows = connection.execute(
            f"select {shown} from runs where {where} order by {order} limit {ROWS} offset {(page - 1) * ROWS}",  # noqa: S608
            values,
        )
        return Listed([dict(zip(heads, row, strict=True)) for row in rows.fetchall()], total[0] if total else 0)


_RESULT = ("exit_code", "signal")


def page_of(view: View) -> int:
    """The page of the list that is asked for, from 1."""
    text = view.get("page")
    return max(1, int(text)) if text.isdecimal() and text.isascii() and len(text) < 8 else 1


def _list(known: Snapshot, view: View, columns: Sequence[str]) -> Any:
    progress = html.P(
        f"Reading the runs: {count(known.total - known.reading)} of {count(known.total)}",
        className="progress",
        role="status",
    )
    try:
        found = listed(known, view, columns)
    except BadFilter as error:
        return [parts.notice(f"{error}.")]
    if not found.rows:
        said = "no run matches the filter" if found.total == 0 else "the list has no such page"
        return [parts.empty("", said, "change the filter, or look at all runs"), html.P(parts.anchor("All runs", "/"))]
    numbers = [i for i, name in enumerate(columns, 4) if _is_number(known, name)]
    sort = view.get("sort") or NEWEST
    names = ["name", "started", "result", *columns]
    order = {
        i: "descending" if sort.startswith("-") else "ascending"
        for i, name in enumerate(names, 1)
        if name == sort.removeprefix("-")
    }
    heads = [html.Span("Compare", className="unseen"), *(_head(known, view, name) for name in names)]
    rows = [_row(known, row, columns) for row in found.rows]
    actions = html.Div(
        [
            parts.gather("Compare", "compare", "run", "/compare"),
            html.Button("Choose none", type="button", **{"data-forget": "1"}),
            parts.pages(view, page_of(view), ROWS, found.total, "run"),
        ],
        className="actions",
    )
    table = parts.table(heads, rows, "Runs", numbers, names=1, sorted_by=order)
    return [*([progress] if known.reading else []), actions, table]


def _is_number(known: Snapshot, name: str) -> bool:
    import pyarrow as pa

    return bool(known.table.schema.field(name).type == pa.float64())


def _head(known: Snapshot, view: View, name: str) -> Any:
    """A column's name, which sorts by it; numbers and times begin with the greatest."""
    if name == "result":
        return "result"
    sort = view.get("sort") or NEWEST
    first = f"-{name}" if name == "started" or _is_number(known, name) else name
    other = name if first.startswith("-") else f"-{name}"
    to = other if sort == first else first
    mark = {name: " ↑", f"-{name}": " ↓"}.get(sort, "")
    words = {"title": _DEFINITIONS[name]} if name in _DEFINITIONS else {}
    return html.A(
        [_HEADS.get(name) or name.replace("_", " "), html.Span(mark, **{"aria-hidden": "true"})],
        href=view.having(sort=None if to == NEWEST else to, page=None).href,
        **words,
    )


_HEADS = {"started": "started (UTC)"}
_DEFINITIONS = {metric.name: metric.definition for metric in METRICS}


def _row(known: Snapshot, row: dict[str, Any], columns: Sequence[str]) -> list[Any]:
    name = row["name"] or row["id"]
    return [
        parts.check(f"Compare {name}", "compare", row["id"], seen=False),
        parts.anchor(name, link("/run", run=row["id"]), title=row["id"]),
        html.Time(_moment(row["started"]), dateTime=row["started"]) if row["started"] else "",
        _result(row),
        *(_value(known, row, column) for column in columns),
    ]


def _moment(started: str) -> str:
    """A time of the manifest, which is in UTC, shortened: 2026-11-21 17:43:01; any other text as it is."""
    return started[:19].replace("T", " ") if started.endswith("Z") else started


def _result(row: dict[str, Any]) -> Any:
    state, exit_code, signal = row["state"], row.get("exit_code"), row.get("signal")
    if state == READING:
        return html.Span("not read yet", className="unread")
    if state != "finished":
        return html.Span(
            state, className="state partial" if state == "interrupted" else "state absent", title=row["problem"]
        )
    if signal is not None:
        return html.Span(f"signal {human(signal, '')}", className="state absent")
    if exit_code is None:
        return html.Span("unknown", className="state partial")
    return html.Span(
        "ok" if not exit_code else f"exit code {human(exit_code, '')}",
        className="state good" if not exit_code else "state absent",
    )


def _value(known: Snapshot, row: dict[str, Any], name: str) -> Any:
    value = row.get(name)
    if value is None:
        return html.Span("-", className="none", **{"aria-label": "none"}, role="img")
    if name == "bound_by":
        return BOUND_BY.get(value, value)
    if isinstance(value, float):
        return human(value, known.columns[name].unit)
    return value


PAGE = Page("/", "Runs", layout, register=register)
