"""``edgeprof board serve``: the proxies of boards, for matrices that name a Dask scheduler."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgeprof.profiler.errors import EdgeprofError

if TYPE_CHECKING:
    from edgeprof.profiler.fleet.shelf import Shelf


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option(
    "--scheduler", required=True, metavar="ADDRESS", help="Of the Dask scheduler, such as tcp://127.0.0.1:8786."
)
@click.option(
    "--boards",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="File of boards that says their kinds; without NAMEs, all of its boards.",
)
@click.option("--kind", help="The kind of all NAMEs.")
def command(names: tuple[str, ...], scheduler: str, boards: Path | None, kind: str | None) -> None:
    """Serve boards to matrices that are run with --scheduler, until Ctrl-C.

    A Dask scheduler does what anybody says who can reach it: keep it on 127.0.0.1, or set up TLS in Dask's
    configuration.
    """
    from edgeprof.profiler.fleet.serve import serve

    if (boards is None) == (kind is None):
        raise click.UsageError("say the boards' kinds: with --boards FILE, or with --kind for those that you name")
    shelf = _chosen(boards, names) if boards is not None else _of_kind(names, kind or "")
    listed = ", ".join(board.name for board in shelf.boards)
    if boards is not None:
        import tempfile

        with tempfile.TemporaryDirectory(prefix="edgeprof-") as folder:
            os.environ["EDGEPROF_BOARDS"] = str(shelf.write_book(Path(folder)))
            serve(shelf, scheduler, lambda: click.echo(f"edgeprof: serving {listed} at {scheduler}", err=True))
    else:
        serve(shelf, scheduler, lambda: click.echo(f"edgeprof: serving {listed} at {scheduler}", err=True))


def _chosen(path: Path, names: Sequence[str]) -> Shelf:
    from dataclasses import replace

    from edgeprof.profiler.fleet.shelf import read_shelf
    from edgeprof.profiler.matrix.errors import near

    shelf = read_shelf(path)
    there = [board.name for board in shelf.boards]
    for name in names:
        if name not in there:
            raise EdgeprofError(f"{path} has no board {name!r}{near(name, there)}; it has: {', '.join(there)}")
    chosen = set(names or there)
    return replace(
        shelf,
        boards=tuple(board for board in shelf.boards if board.name in chosen),
        entries=tuple(entry for entry in shelf.entries if entry.name in chosen),
    )


def _of_kind(names: Sequence[str], kind: str) -> Shelf:
    from edgeprof.profiler.board.book import Book, check_name
    from edgeprof.profiler.fleet.shelf import Shelf
    from edgeprof.profiler.matrix.placement import Board

    if not names:
        raise click.UsageError("name the boards to serve; `edgeprof board list` lists those there are")
    check_name(kind)
    book = Book()
    return Shelf(tuple(Board(book.find(name).name, kind) for name in dict.fromkeys(names)))
