"""``edgeprof dashboard``: the web application over a folder of runs."""

from __future__ import annotations

import logging
import os
import secrets
import signal
from pathlib import Path
from typing import Any

import click

from edgeprof.cli.options import FolderType, folder_option
from edgeprof.profiler.errors import EdgeprofError

ANY_PORT_HELP = "Port to listen at; 0: any that is free."


@click.command()
@click.argument("folder_argument", metavar="[FOLDER]", required=False, type=FolderType())
@folder_option
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen at; 0.0.0.0: all of them.")
@click.option("--port", default=8050, show_default=True, type=click.IntRange(0, 65535), help=ANY_PORT_HELP)
@click.option("--token", metavar="TEXT", help="Ask browsers for this.  [default: made where others can reach --host]")
@click.option("--open/--no-browser", "open_it", default=False, help="Open it in the browser.  [default: no]")
def command(
    folder_argument: Path | str | None,
    folder: Path | str | None,
    host: str,
    port: int,
    token: str | None,
    open_it: bool,
) -> None:
    """Look at a folder of runs (or of a matrix, or of several) in the browser, until Ctrl-C.

    Only this machine can reach it, unless --host names an address that others reach: they then need the token in the
    address that is printed.  It reads the folder and writes nothing into it.
    """
    from edgeprof.profiler.dataset import named

    place = _folder(folder_argument or folder)
    try:
        from edgeprof.dashboards.app.security import Access, is_loopback
        from edgeprof.dashboards.app.server import make_app, serve
    except ModuleNotFoundError as error:
        raise EdgeprofError(
            f"the dashboard needs the package {error.name}; install it with `pip install edgeprof[dashboard]`"
        ) from None

    if token is not None and len(token) < 8:
        raise EdgeprofError("a token of less than 8 characters is guessed soon; leave --token out to have one made")
    access = Access(token or (None if is_loopback(host) else secrets.token_urlsafe(24)))
    logging.basicConfig(format="edgeprof: %(message)s")
    if os.environ.get("EDGEPROF_DEBUG", "") not in ("", "0"):
        logging.getLogger("edgeprof").setLevel(logging.DEBUG)  # each request, and why a figure failed

    def ready(address: str) -> None:
        click.echo(f"{address}  (runs of {named(place)}; Ctrl-C ends it)")
        if open_it:
            click.launch(address)

    signal.signal(signal.SIGTERM, _end)
    try:
        serve(make_app(place, access), access, host, port, ready)
    except KeyboardInterrupt:
        pass  # the way to end it


def _end(*_: Any) -> None:
    raise KeyboardInterrupt


def _folder(named: Path | str | None) -> Path:
    """The folder to serve; one that is not there yet is served where nobody named it: its first run will make it.

    Raises:
        EdgeprofError
    """
    from edgeprof.profiler.dataset import looks_like_a_run, runs_folder

    place = runs_folder(named)
    if looks_like_a_run(place):
        raise EdgeprofError(
            f"{place} is one run; name the folder it lies in: `edgeprof dashboard {place.resolve().parent}`"
        )
    if place.exists() and not place.is_dir():
        raise EdgeprofError(f"{place} is no folder; name a folder of runs")
    if named is not None and not place.exists():
        raise EdgeprofError(f"there is no folder {place}; `edgeprof run -o {place} -- COMMAND` makes one with a run")
    return place
