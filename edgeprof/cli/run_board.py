"""Options of ``edgeprof run`` that send the run to a board, and how it is done there."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from edgeprof.profiler.agent.spec import LONGEST_WAIT
from edgeprof.profiler.errors import EdgeprofError

if TYPE_CHECKING:
    from edgeprof.profiler.agent.capture import Outcome
    from edgeprof.profiler.agent.spec import RunSpec
    from edgeprof.profiler.experiment import Experiment

Function = TypeVar("Function", bound=Callable[..., Any])

_OPTIONS = (
    click.option(
        "--board", default="", metavar="NAME", help="Run it on this board, over SSH; `edgeprof board add` adds one."
    ),
    click.option(
        "--sync",
        type=click.Path(file_okay=False, path_type=Path),
        metavar="FOLDER",
        help="First make a folder on the board like this one, and start there.",
    ),
    click.option(
        "--board-wait",
        type=click.FloatRange(0, LONGEST_WAIT),
        default=0.0,
        metavar="SECONDS",
        help="Wait at most this long for somebody else's run on the board.",
    ),
)


def board_options(function: Function) -> Function:
    """Add them to a command."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


def refuse_on_board(experiment: Experiment, options: dict[str, Any]) -> None:
    """What needs edgeprof itself on the board, or changes its disks.  Raises EdgeprofError."""
    from edgeprof.profiler.board.book import check_name
    from edgeprof.profiler.isolation.spec import IsolationSpec
    from edgeprof.profiler.storage.spec import StorageSpec

    if not options["board"]:
        if options["sync"] or options["board_wait"]:
            raise EdgeprofError("--sync and --board-wait are for runs on a board; name one with --board")
        return
    check_name(options["board"])
    if experiment.workload or experiment.scenario or experiment.data or experiment.own_data:
        raise EdgeprofError(
            "built-in workloads and --data need edgeprof on the board; with --board, give a command after --, such as"
            f" `edgeprof run --board {options['board']} -- python3 train.py`"
        )
    if experiment.storage != StorageSpec():
        raise EdgeprofError("storage is not prepared over --board; run edgeprof on the board itself for these options")
    if experiment.isolation != IsolationSpec():
        raise EdgeprofError("--board starts the command as it is; for a container, give its own command after --")


def perform_on_board(run: RunSpec, options: dict[str, Any], say: Callable[[str], None]) -> Outcome:
    """Run it on the board that the options name.  Raises EdgeprofError."""
    from edgeprof.cli.live import chosen_display
    from edgeprof.profiler.board.book import Book
    from edgeprof.profiler.board.connection import Connection
    from edgeprof.profiler.board.run import Request, run_on_board

    display = chosen_display(True, quiet=False) if options["live"] else None

    def show(capture: str, ahead_ns: int) -> None:
        assert display is not None
        display.clock = lambda: time.monotonic_ns() + ahead_ns
        display.show(capture)

    board = Book().find(options["board"])
    request = Request(run, options["sync"], options["board_wait"], show if display else None, pass_on)
    try:
        with Connection(board) as connection:
            if connection.pushed:
                say(f"sent the agent ({connection.agent.size >> 10} KiB) to {board.name}")
            return run_on_board(connection, request, say)
    finally:
        if display:
            display.leave()


def pass_on(name: str, path: Path) -> None:
    """What the workload printed, to edgeprof's own stream of that name."""
    stream = sys.stdout if name == "stdout" else sys.stderr
    stream.flush()
    with path.open("rb") as file:
        shutil.copyfileobj(file, stream.buffer)
    stream.flush()
