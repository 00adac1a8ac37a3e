"""The application: its pages behind one address each, its figures, their CSV, and the server that hands them out."""

from __future__ import annotations

import errno
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeprof.dashboards.app import parts, sheet, stored
from edgeprof.dashboards.app.index import RunIndex
from edgeprof.dashboards.app.page import Context, Figure, Page
from edgeprof.dashboards.app.pages import PAGES
from edgeprof.dashboards.app.security import Access, protect
from edgeprof.dashboards.app.view import View
from edgeprof.dashboards.report import theme
from edgeprof.dashboards.report.figures.base import Absent
from edgeprof.dashboards.report.text import clean, script_json
from edgeprof.profiler.errors import EdgeprofError

if TYPE_CHECKING:
    from dash import Dash
    from werkzeug.serving import BaseWSGIServer

_log = logging.getLogger(__name__)
_HERE = Path(__file__).parent
_SHARED = {"report.css": _HERE.parent / "report" / "report.css", "theme.js": _HERE.parent / "theme.js"}
"""Files of the reports that the application's pages use, too."""
_KEPT = ("run", "t", "phase", "process", "device", "op", "file")
"""Parameters of a run that its other pages keep."""


class CannotServe(EdgeprofError):
    """An address that the server cannot listen at."""

    def __init__(self, host: str, port: int, error: OSError) -> None:
        why = "is in use" if error.errno == errno.EADDRINUSE else f"cannot be used ({error.strerror or error})"
        super().__init__(f"port {port} of {host} {why}; name another with --port, or --port 0 for any that is free")


def make_app(
    folder: Path,
    access: Access | None = None,
    pages: Sequence[Page] = PAGES,
    keep: bool = True,
) -> Dash:
    """The Dash application over a folder of runs, and begin to read the folder.

    Args:
        access: who may use it; a token means that other machines can reach it.
        keep: whether the index is kept in the user's cache folder for the next start.
    """
    from dash import Dash, dcc, html

    access = access or Access()
    index = RunIndex(folder, stored.place(folder) if keep else None)
    context = Context(folder, index, access.token is None)
    app = Dash(
        __name__,
        title="edgeprof",
        update_title="",
        assets_folder=str(_HERE / "assets"),
        serve_locally=True,
        suppress_callback_exceptions=True,
        index_string=_frame(pages),
        on_error=_note,
    )
    app.layout = html.Div([dcc.Store(id="address"), dcc.Store(id="theme-state"), html.Div(id="page", className="page")])
    _add_pages(app, context, pages)
    _add_figures(app, context, {figure.key: figure for page in pages for figure in page.figures})
    _add_files(app, context, {figure.key: figure for page in pages for figure in page.figures})
    for page in pages:
        if page.register is not None:
            page.register(app, context)
    protect(app.server, access, {page.path for page in pages}, ("/shared/", "/csv/", "/metrics"), app.csp_hashes())
    index.start()
    return app


def _note(error: Exception) -> None:
    """A callback that failed leaves the page as it is."""
    _log.warning("part of a page could not be made (%s: %s)", type(error).__name__, clean(error))
    _log.debug("the reason", exc_info=error)


def _frame(pages: Sequence[Page]) -> str:
    """The page around all pages: it is there before the first script."""
    from markupsafe import escape

    links = "".join(
        f'<li><a href="{escape(page.path)}">{escape(page.title)}</a></li>' for page in pages if not page.of_run
    )
    themes = {"light": theme.template(False), "dark": theme.template(True), "partners": theme.dark_partners()}
    text = (_HERE / "frame.html").read_text("utf-8")
    return text.replace("[[menu]]", links).replace("[[themes]]", script_json(themes))


def _add_pages(app: Dash, context: Context, pages: Sequence[Page]) -> None:
    from dash import ClientsideFunction, Input, Output

    by_path = {page.path: page for page in pages}

    @app.callback(Output("page", "children"), Input("address", "data"))  # type: ignore[untyped-decorator]
    def show(address: str | None) -> Any:
        if address is None:
            return None
        view = View.parse(address)
        page = by_path.get(view.path)
        return _page(context, pages, page, view) if page else _not_found()

    app.clientside_callback(ClientsideFunction("edgeprof", "begin"), Output("address", "data"), Input("page", "id"))


def _page(context: Context, pages: Sequence[Page], page: Page, view: View) -> list[Any]:
    from dash import dcc

    heading, body = page.title, []
    try:
        if page.of_run:
            heading = clean(context.run(view.get("run")).manifest["run"].get("name") or view.get("run"))
            body.append(_run_menu(pages, page, view))
        laid = page.layout(context, view)
        body += laid if isinstance(laid, list) else [laid]
    except EdgeprofError as error:
        body.append(parts.notice(error))
    except Exception as error:  # a reader gets a sentence, whoever looks for the reason gets it with EDGEPROF_DEBUG=1
        _note(error)
        body.append(
            parts.notice(
                f"This page could not be made ({type(error).__name__}: {clean(error)}); please report this bug."
            )
        )
    title = f"{heading}: {page.title}" if page.of_run else heading
    return [parts.heading(heading, title), *body, dcc.Store(id="view", data=view.href)]


def _not_found() -> list[Any]:
    return [parts.heading("No such page"), parts.notice("Choose a page from the menu above.")]


def _run_menu(pages: Sequence[Page], shown: Page, view: View) -> Any:
    from dash import html

    links = [
        html.Li(
            parts.anchor(
                page.title,
                view.at(page.path, *_KEPT).href,
                **({"aria-current": "page"} if page is shown else {}),
            )
        )
        for page in pages
        if page.of_run
    ]
    return html.Nav(html.Ul(links), className="tabs", **{"aria-label": "Pages of this run"})


def _add_figures(app: Dash, context: Context, figures: dict[str, Figure]) -> None:
    from dash import ALL, MATCH, ClientsideFunction, Input, Output, State

    def part(kind: str) -> dict[str, Any]:
        return {"type": kind, "key": MATCH, "kind": MATCH}

    @app.callback(  # type: ignore[untyped-decorator]
        Output(part("drawing"), "data"),
        Output(part("words"), "children"),
        Input("view", "data"),
        State(part("drawing"), "id"),
    )
    def draw(address: str, place: dict[str, str]) -> Any:
        view, figure = View.parse(address), figures[place["key"]]
        found = context.draw(figure, view)
        return parts.drawing(figure, found, view), parts.words(figure, found, view)

    app.clientside_callback(
        ClientsideFunction("edgeprof", "coloured"),
        Output(part("graph"), "figure"),
        Output(part("graph"), "style"),
        Input(part("drawing"), "data"),
        Input("theme-state", "data"),
    )
    app.clientside_callback(
        ClientsideFunction("edgeprof", "zoomed"),
        Output("address", "id"),  # never set: the function changes the address itself
        Input({"type": "graph", "key": ALL, "kind": "time"}, "relayoutData"),
    )


def _add_files(app: Dash, context: Context, figures: dict[str, Figure]) -> None:
    from flask import Response, abort, request, send_file

    @app.server.get("/shared/<name>")  # type: ignore[untyped-decorator]
    def shared(name: str) -> Response:
        if name not in _SHARED:
            abort(404)
        return send_file(_SHARED[name])

    @app.server.get("/csv/<key>")  # type: ignore[untyped-decorator]
    def rows(key: str) -> Response:
        if key not in figures:
            abort(404)
        try:
            body = _csv(context, figures[key], View.parse(request.full_path))
        except EdgeprofError as error:
            return Response(f"edgeprof: {clean(error)}\n", 404, mimetype="text/plain")
        about = {"Content-Disposition": f'attachment; filename="edgeprof-{key}.csv"'}
        return Response(body, mimetype="text/csv", headers=about)

    @app.server.get("/metrics")  # type: ignore[untyped-decorator]
    def metrics() -> Response:
        from edgeprof.dashboards.export.openmetrics import scrape

        kind, body = scrape(context.index.snapshot().table, request.headers.get("Accept", ""))
        return Response(body, content_type=kind)


def _csv(context: Context, figure: Figure, view: View) -> bytes:
    if figure.rows is not None:
        return sheet.of_rows(figure.rows(context, view))
    found = context.draw(figure, view)
    if isinstance(found, Absent):
        raise EdgeprofError(f"{found.title} has nothing to show: {found.reason}")
    if found.table is None:
        raise EdgeprofError(f"{found.title} has no table behind it")
    return sheet.of_table(found.table)


def make_server(app: Dash, host: str, port: int) -> BaseWSGIServer:
    """The server, listening; ``serve_forever`` answers until ``shutdown``.

    Args:
        port: 0 for any that is free.

    Raises:
        CannotServe
    """
    import socket

    from werkzeug import serving

    class Handler(serving.WSGIRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 60  # of a connection that says nothing

        def version_string(self) -> str:
            return "edgeprof"

        def log(self, type: str, message: str, *args: Any) -> None:
            _log.debug("%s: " + message, type, *args)

    try:
        family, _, _, _, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, socket.SOCK_STREAM) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(place)
            listener.listen(128)
            return serving.make_server(
                host, port, app.server, threaded=True, request_handler=Handler, fd=listener.fileno()
            )
    except OSError as error:
        raise CannotServe(host, port, error) from None


Ready = Callable[[str], None]
"""Is told the address once the server listens."""


def serve(app: Dash, access: Access, host: str, port: int, ready: Ready) -> None:
    """Serve until interrupted.  Raises CannotServe."""
    server = make_server(app, host, port)
    name = f"[{host}]" if ":" in host else host
    if host in ("0.0.0.0", "::"):  # noqa: S104  (any address: this machine's name leads there)
        import socket

        name = socket.gethostname()
    ready(f"http://{name}:{server.port}/" + (f"?token={access.token}" if access.token else ""))
    try:
        server.serve_forever()
    finally:
        server.server_close()
