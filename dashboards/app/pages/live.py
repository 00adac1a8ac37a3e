"""Runs in progress: what they do now and did in the last two minutes, a second or so behind."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

from edgeprof.dashboards.app import parts
from edgeprof.dashboards.app.figures import live
from edgeprof.dashboards.app.following import Followed, Following
from edgeprof.dashboards.app.page import Context, Page
from edgeprof.dashboards.app.view import View, link
from edgeprof.dashboards.report.text import clean
from edgeprof.profiler.errors import EdgeprofError
from edgeprof.profiler.live.follow import Follower
from edgeprof.profiler.live.measures import MEASURES
from edgeprof.profiler.units import human

if TYPE_CHECKING:
    from pathlib import Path

    from dash import Dash

EVERY = 1000
"""Milliseconds between two looks: the agent writes its samples once a second."""
MOST_SHOWN = 12
COMMAND_SHOWN = 300


def layout(context: Context, view: View) -> Any:
    """The page for a view."""
    from dash import dcc, html

    return [
        dcc.Interval(id="live-tick", interval=EVERY),
        dcc.Store(id="live-shown"),
        html.Div(id="live-runs"),
    ]


def register(app: Dash, context: Context) -> None:
    """Finds the runs in progress at each tick, and draws each anew."""
    from dash import MATCH, ClientsideFunction, Input, Output, State, no_update

    following = Following(context.folder)

    @app.callback(  # type: ignore[untyped-decorator]
        Output("live-runs", "children"),
        Output("live-shown", "data"),
        Input("live-tick", "n_intervals"),
        State("live-shown", "data"),
    )
    def find(_: int | None, shown: Any) -> Any:
        known = [run for run in shown if isinstance(run, str)] if isinstance(shown, list) else []
        running = following.running(_folders(context))
        now = [*running, *(run for run in known if run not in running)][:MOST_SHOWN]
        if shown is not None and now == known:
            return no_update, no_update
        return ([_place(run) for run in now] or _nothing(context)), now

    @app.callback(  # type: ignore[untyped-decorator]
        Output({"type": "live-drawing", "run": MATCH}, "data"),
        Output({"type": "live-words", "run": MATCH}, "children"),
        Input("live-tick", "n_intervals"),
        State({"type": "live-drawing", "run": MATCH}, "id"),
    )
    def follow(_: int | None, place: dict[str, str]) -> Any:
        try:
            found = following.of(place["run"], context.path(place["run"]))
        except EdgeprofError as error:
            return no_update, parts.notice(error)
        with found.lock:
            found.look()
            return _drawing(found.follower), _words(place["run"], found)

    app.clientside_callback(
        ClientsideFunction("edgeprof", "coloured"),
        Output({"type": "live-graph", "run": MATCH}, "figure"),
        Output({"type": "live-graph", "run": MATCH}, "style"),
        Input({"type": "live-drawing", "run": MATCH}, "data"),
        Input("theme-state", "data"),
    )


def _folders(context: Context) -> list[Path]:
    """The folder served, and those of the runs of its matrices."""
    return [context.folder, *(context.folder / path / "runs" for path in context.index.snapshot(0).matrices)]


def _place(run: str) -> Any:
    """Where a run is shown."""
    from dash import dcc, html

    return html.Section(
        [
            html.Div(id={"type": "live-words", "run": run}),
            dcc.Store(id={"type": "live-drawing", "run": run}),
            html.Div(
                dcc.Graph(
                    id={"type": "live-graph", "run": run},
                    responsive=True,
                    config={"displayModeBar": False},
                    style={"display": "none"},
                ),
                className="canvas",
                role="img",
                **{"aria-label": f"The last two minutes of {clean(run)}; the figures above are its latest values"},
            ),
        ],
        **{"aria-label": clean(run)},
    )


def _nothing(context: Context) -> Any:
    return parts.empty(
        "",
        "no run is in progress in this folder",
        f"start one with `edgeprof run --output {context.folder} -- COMMAND`; it appears here by itself",
    )


def _drawing(follower: Follower) -> dict[str, Any] | None:
    histories = follower.histories()
    if not histories or follower.seconds is None:
        return None
    figure = live.build(histories, follower.seconds)
    figure.layout.template = None
    drawn: dict[str, Any] = figure.to_plotly_json()
    return drawn


def _words(run: str, found: Followed) -> list[Any]:
    from dash import html

    follower = found.follower
    words = [html.H2(clean(follower.info.get("name") or run)), html.P(_command(follower), className="unread")]
    if follower.ended:
        words.append(html.P([html.Strong("It has ended. "), parts.anchor("Open the run", link("/run", run=run))]))
    elif not found.running:
        words.append(
            parts.notice(
                "edgeprof itself has ended before this run was complete; "
                f"`edgeprof ingest {follower.path}` makes tables of what there is."
            )
        )
    if follower.behind:
        words.append(html.P(f"{human(follower.behind, 'bytes')} are still to be read.", className="progress"))
    if follower.problem:
        words.append(parts.notice(follower.problem))
    words.append(parts.tiles(_tiles(follower)))
    return words


def _command(follower: Follower) -> str:
    command = follower.info.get("command")
    text = shlex.join(map(str, command)) if isinstance(command, list) else ""
    return clean(text if len(text) <= COMMAND_SHOWN else text[:COMMAND_SHOWN] + " ...")


def _tiles(follower: Follower) -> list[tuple[str, str]]:
    """Name and latest value of each measure; what is not captured here is left out."""
    found = [("time", human(None if follower.seconds is None else round(follower.seconds), "s"))]
    if follower.steps:
        found.append(("steps", human(follower.steps, "count")))
    for item in MEASURES:
        history = follower.histories().get(item.name)
        if history is not None:
            limit = follower.memory_limit if item.name == "memory" else None
            found.append(
                (item.title, human(history.latest, item.unit) + (f" of {human(limit, 'bytes')}" if limit else ""))
            )
    return found


PAGE = Page("/live", "Live", layout, register=register)
