"""Components that all pages share.  They come without colours of their own: the style sheet has them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from dash import dcc, html

from edgeprof.dashboards.report.figures.base import Absent, DataTable, Outcome, Picture
from edgeprof.dashboards.report.text import clean
from edgeprof.profiler.units import count, counted

if TYPE_CHECKING:
    from edgeprof.dashboards.app.page import Figure
    from edgeprof.dashboards.app.view import View

Component = Any
"""A Dash component, or text."""


def heading(text: object, title: object = "") -> Component:
    """A page's name, once on each page; ``title`` is the browser's title where that is longer."""
    return html.H1(clean(text), id="title", tabIndex=-1, **{"data-title": clean(title or text)})


def section(key: str, title: str, *children: Component) -> Component:
    """A part of a page under a heading."""
    return html.Section([html.H2(title, id=f"{key}-title"), *children], id=key, **{"aria-labelledby": f"{key}-title"})


def anchor(text: object, href: str, **more: Any) -> Component:
    """A link within the application: followed without a new load of the page."""
    return html.A(clean(text), href=href, **more)


def notice(*sentences: object) -> Component:
    """What the reader should know first."""
    return html.Div([html.P(clean(text)) for text in sentences], className="notice", role="status")


def empty(title: str, reason: str, remedy: str = "", failed: bool = False) -> Component:
    """What stands where something has nothing to show: why, and what to do."""
    words = [html.H3(clean(title))] if title else []
    words.append(html.P([html.Strong("Nothing to show: "), f"{clean(reason).rstrip('.')}."], className="why"))
    if remedy:
        words.append(html.P([html.Strong("To get it: "), f"{clean(remedy).rstrip('.')}."], className="how"))
    return html.Div(words, className="empty", **({"data-failed": "1"} if failed else {}))


def tiles(pairs: Iterable[tuple[str, str]]) -> Component:
    """Key figures: name and value with its unit."""
    return html.Dl(
        [html.Div([html.Dt(clean(name)), html.Dd(clean(value))]) for name, value in pairs], className="tiles"
    )


def table(
    columns: Sequence[Component],
    rows: Iterable[Sequence[Component]],
    label: str,
    numbers: Iterable[int] = (),
    names: int = 0,
    sorted_by: Mapping[int, str] | None = None,
) -> Component:
    """A table.

    Args:
        columns, rows: text, or components such as `anchor`.
        label: what it holds, for screen readers.
        numbers: the columns that are set flush right.
        names: the column that names the row.
        sorted_by: columns by which it is sorted: ``ascending`` or ``descending``.
    """
    right, order = frozenset(numbers), sorted_by or {}
    classes = ["number" if i in right else None for i in range(len(columns))]
    head = [
        html.Th(_cell(name), scope="col", className=classes[i], **({"aria-sort": order[i]} if i in order else {}))
        for i, name in enumerate(columns)
    ]
    body = [
        html.Tr(
            [
                html.Th(_cell(cell), scope="row") if i == names else html.Td(_cell(cell), className=classes[i])
                for i, cell in enumerate(row)
            ]
        )
        for row in rows
    ]
    return html.Div(
        html.Table([html.Thead(html.Tr(head)), html.Tbody(body)], className="pairs" if len(columns) == 2 else None),
        className="scroll",
        tabIndex=0,
        role="region",
        **{"aria-label": f"{clean(label)}, table"},
    )


def _cell(value: Component) -> Component:
    return (
        value if hasattr(value, "to_plotly_json") or isinstance(value, list) else clean("" if value is None else value)
    )


def details(summary: str, *children: Component) -> Component:
    """Children behind a line that opens them."""
    return html.Details([html.Summary(clean(summary)), *children])


def select(view: View, name: str, label: str, options: Sequence[tuple[str, str]], whole: str = "all") -> Component:
    """A choice of one value of the view's parameter ``name``; what is chosen goes into the address.

    Args:
        options: value and text of each.
        whole: the text of choosing none.
    """
    chosen = view.get(name)
    known = [("", whole), *options]
    if chosen and chosen not in (value for value, _ in known):
        known.append((chosen, f"{chosen} (not here)"))
    return html.Label(
        [
            html.Span(clean(label)),
            html.Select(
                [
                    html.Option(clean(text), value=value, **({"selected": True} if value == chosen else {}))
                    for value, text in known
                ],
                **{"data-parameter": name, "data-value": chosen},
            ),
        ],
        className="choice",
    )


def check(label: object, group: str, value: str, checked: bool = False, seen: bool = True) -> Component:
    """A box that is ticked in the browser; `gather` collects the ticked ones of a group.

    Args:
        seen: whether the label is shown, or only told to screen readers.
    """
    told = {} if seen else {"aria-label": clean(label)}
    return html.Button(
        clean(label) if seen else "",
        type="button",
        role="checkbox",
        className="check",
        **{"aria-checked": "true" if checked else "false", "data-check": group, "data-value": value, **told},
    )


def gather(text: str, group: str, parameter: str, path: str = "", joined: bool = False) -> Component:
    """A button that goes to a view with the values of the ticked boxes of ``group`` as its ``parameter``.

    Args:
        path: the view's page; empty for this one with its other parameters.
        joined: whether the values become one, with commas, or the parameter is given several times.
    """
    about = {"data-gather": group, "data-parameter": parameter, "data-path": path, "data-joined": "1" if joined else ""}
    return html.Button(text, type="button", **about)


def pages(view: View, page: int, size: int, total: int, what: str) -> Component:
    """Links to the pages of a long list, and where the reader is in it.

    Args:
        page: the one shown, from 1.
        size: rows of a page.
        what: the noun for one of them.
    """
    last = max(1, -(-total // size))
    begin, end = min((page - 1) * size + 1, total), min(page * size, total)
    place = f"{count(begin)} to {count(end)} of {counted(total, what)}" if total > size else counted(total, what)
    links = [
        anchor(text, view.having(page=str(to) if to > 1 else None).href, **{"aria-label": f"{text} page"})
        for text, to in (("First", 1), ("Previous", page - 1), ("Next", page + 1), ("Last", last))
        if 1 <= to <= last and to != page
    ]
    shown: list[Component] = [html.Span(place, role="status")]
    return html.Nav([*shown, *links] if last > 1 else shown, className="pages", **{"aria-label": "Pages of the list"})


def figure(item: Figure) -> Component:
    """The place of a figure: it is drawn for the view when the page stands, and again as the view's window moves."""
    part = {"key": item.key, "kind": "time" if item.time else "plain"}
    return html.Figure(
        [
            html.H3(clean(item.title), id=f"{item.key}-title"),
            dcc.Store(id={"type": "drawing", **part}),
            html.Div(
                dcc.Graph(
                    id={"type": "graph", **part},
                    responsive=True,
                    config={**_CONFIG, "toImageButtonOptions": {"format": "svg", "filename": f"edgeprof-{item.key}"}},
                    style={"display": "none"},
                    className="plot",
                ),
                className="canvas",
                role="group",
                **{"aria-labelledby": f"{item.key}-title {item.key}-label"},
            ),
            html.Div(html.P("Drawing…", className="drawing"), id={"type": "words", **part}),
        ],
        id=f"figure-{item.key}",
        **{"aria-labelledby": f"{item.key}-title"},
    )


_CONFIG = {
    "displaylogo": False,
    "showSendToCloud": False,  # plotly offers to upload a figure to its makers
    "doubleClick": "autosize",
    "doubleClickDelay": 500,
    "modeBarButtonsToRemove": ["select2d", "lasso2d", "resetScale2d"],
}


def drawing(item: Figure, found: Outcome, view: View) -> dict[str, Any] | None:
    """A figure as plotly's JSON; on a time axis it shows the view's window.  None where there is nothing to draw."""
    if isinstance(found, Absent):
        return None
    found.figure.layout.template = None
    if item.time and view.window is not None:
        found.figure.update_xaxes(range=list(view.window))
    drawn: dict[str, Any] = found.figure.to_plotly_json()
    return drawn


def words(item: Figure, found: Outcome, view: View) -> Component:
    """What stands below a figure: caption, limits, data and links; or why there is no figure."""
    if isinstance(found, Absent):
        return empty("", found.reason, found.remedy, found.failed)
    label = html.P(clean(found.label), id=f"{item.key}-label", className="unseen")
    return [label, *_words(found), *_data(item, found, view)]


def _words(found: Picture) -> list[Component]:
    words: list[Component] = [html.P(clean(found.caption))] if found.caption else []
    if found.parts:
        parts = [item for name, text in found.parts for item in (html.Dt(clean(name)), html.Dd(clean(text)))]
        words.append(html.Dl(parts, className="parts"))
    words += [html.P(clean(limit), className="limit") for limit in found.limits]
    return [html.Figcaption(words)] if words else []


def _data(item: Figure, found: Picture, view: View) -> list[Component]:
    shown: list[Component] = []
    if found.table is not None:
        shown.append(data_table(found.title, found.table))
    files: list[Component] = []
    if found.table is not None or item.rows is not None:
        address = view.at(f"/csv/{item.key}", *(name for name, _ in view.parameters)).href
        files.append(html.A("CSV", href=address, download="", **{"aria-label": f"{clean(found.title)} as CSV"}))
    for kind in ("svg", "png"):
        about = {"data-image": kind, "data-name": f"edgeprof-{item.key}"}
        label = f"{clean(found.title)} as {kind.upper()}"
        files.append(html.Button(kind.upper(), type="button", **about, **{"aria-label": label}))
    shown.append(html.P(files, className="files"))
    if found.missing:
        shown.append(
            html.Ul(
                [
                    html.Li([html.Strong(clean(part.title)), f" was not captured: {_sentences(part)}"])
                    for part in found.missing
                ],
                className="missing",
            )
        )
    return shown


def _sentences(part: Absent) -> str:
    remedy = f" To get it: {clean(part.remedy).rstrip('.')}." if part.remedy else ""
    return f"{clean(part.reason).rstrip('.')}.{remedy}"


def data_table(title: str, data: DataTable) -> Component:
    """The data behind a picture, folded away."""
    note = [html.P(clean(data.note), className="limit")] if data.note else []
    return details(f"Data of “{clean(title)}”", table(data.columns, data.rows, f"{title}, data"), *note)
