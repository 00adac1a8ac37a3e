"""``edgeprof board``: the boards that runs are sent to, over SSH, with nothing installed there."""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgeprof.cli.options import json_option, output_option
from edgeprof.cli.output import make_console, make_table, plain, print_json
from edgeprof.profiler.errors import EdgeprofError

if TYPE_CHECKING:
    from edgeprof.profiler.board.check import Check
    from edgeprof.profiler.board.connection import Connection
    from edgeprof.profiler.board.job import JobState

ELSEWHERE: dict[str, str] = {"serve": "edgeprof.cli.board_serve"}
"""Commands of the group that have a module of their own, imported when they are called."""


class BoardGroup(click.Group):
    """Knows the commands of other modules without importing them for the others' sake."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*super().list_commands(ctx), *ELSEWHERE]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in ELSEWHERE:
            return super().get_command(ctx, cmd_name)
        found = import_module(ELSEWHERE[cmd_name]).command
        assert isinstance(found, click.Command)
        return found


@click.group(cls=BoardGroup, context_settings={"help_option_names": ["-h", "--help"]})
def command() -> None:
    """Boards: machines that `edgeprof run --board NAME` sends a run to over SSH.

    Nothing is installed there: the agent is one file that the board's own Python 3.8 or later runs.
    """


@command.command()
@click.argument("name")
@click.argument("address")
@click.option("--python", default="python3", show_default=True, help="The board's Python, 3.8 or later.")
@click.option("--check/--no-check", "checked", default=True, help="Whether to connect, and see what it is.")
@json_option
def add(name: str, address: str, python: str, checked: bool, as_json: bool) -> None:
    """Add the board at ADDRESS as NAME.

    ADDRESS is user@host, ssh://user@host:port, or a Host of ~/.ssh/config.  It must let you in with a key, and its
    host key must be known: connect once with ssh.
    """
    from edgeprof.profiler.board.book import Board, Book

    board, book = Board(name, address, python), Book()
    if name in book.boards():
        raise EdgeprofError(f"there is a board {name} already; `edgeprof board remove {name}` takes it out")
    if checked:
        found = _checked(board)
        board = replace(board, seen=found.seen())
    book.put(board)
    if as_json:
        print_json(board.to_dict())
    else:
        click.echo(f"added {name}: {plain(_what(board.seen))}" if checked else f"added {name}, not checked")


@command.command("list")
@json_option
def list_boards(as_json: bool) -> None:
    """List the boards, and what they were when last checked."""
    from edgeprof.profiler.board.book import Book

    boards = Book().boards()
    if as_json:
        print_json({"boards": [board.to_dict() for board in boards.values()]})
        return
    if not boards:
        click.echo("no boards; add one with `edgeprof board add NAME user@host`")
        return
    rows = [
        (board.name, board.address, _what(board.seen), board.seen.get("python"), board.seen.get("checked"))
        for board in boards.values()
    ]
    make_console().print(make_table(("name", "address", "what it is", "Python", "checked"), rows))


@command.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@json_option
@click.pass_context
def check(ctx: click.Context, names: tuple[str, ...], as_json: bool) -> None:
    """Connect to the boards (all, without a NAME), and say what each can capture; nothing is run.

    Exits with 0 when all can be used.
    """
    from edgeprof.profiler.board.book import Book

    book = Book()
    boards = [book.find(name) for name in names] if names else list(book.boards().values())
    told: list[dict[str, Any]] = []
    code = 0
    for board in boards:
        try:
            found = _checked(board)
            book.put(replace(board, seen=found.seen()))
            if not as_json:
                _print_check(found)
            told.append({**found.to_dict(), "usable": True})
        except EdgeprofError as error:
            code = code or error.exit_code
            click.echo(f"edgeprof: {error}", err=True)
            told.append({"board": board.name, "usable": False, "error": str(error), "exit_code": error.exit_code})
    if as_json:
        print_json({"boards": told})
    elif not boards:
        click.echo("no boards; add one with `edgeprof board add NAME user@host`")
    ctx.exit(code)


@command.command()
@click.argument("name")
def remove(name: str) -> None:
    """Take a board out of the list; what is on it stays (~/.edgeprof there)."""
    from edgeprof.profiler.board.book import Book

    board = Book().remove(name)
    click.echo(f"removed {name}; `ssh {board.address} rm -r .edgeprof` removes what edgeprof left there")


@command.command()
@click.argument("name")
@click.argument("job", required=False)
@output_option
@click.option("--wait", is_flag=True, help="Wait for those that still go on.")
@click.option("--report/--no-report", default=True, show_default=True, help="Write report.html of each.")
@click.option("--ingest/--no-ingest", default=True, show_default=True, help="Read the captures.")
@json_option
@click.pass_context
def pull(
    ctx: click.Context, name: str, job: str | None, output: Path, wait: bool, report: bool, ingest: bool, as_json: bool
) -> None:
    """Fetch runs that an earlier command left on a board: cut off, or told to.

    Yours, started from this desk; JOB names one, whoever began it.  What is fetched is removed from the board.
    Exits with 0 when all that is over could be fetched.
    """
    from edgeprof.cli.run import finish
    from edgeprof.cli.run_board import pass_on
    from edgeprof.profiler.board import run as runs
    from edgeprof.profiler.board.book import Book
    from edgeprof.profiler.board.connection import Connection
    from edgeprof.profiler.board.errors import Lost

    def say(line: str) -> None:
        click.echo(f"edgeprof: {line}", err=True)

    outcomes, going_on = [], []
    failures: list[tuple[JobState, EdgeprofError]] = []
    with Connection(Book().find(name)) as connection:
        wanted, others = _wanted(connection, job)
        for state in wanted:
            try:
                if not state.over and wait:
                    say(f"waiting for job {state.job} ...")
                    state = runs.await_end(connection, state.job, say)
                if not state.over:
                    going_on.append(state)
                    continue
                outcomes.append((state, runs.pull(connection, state, output, pass_on, say)))
            except EdgeprofError as error:
                failures.append((state, error))
                if isinstance(error, Lost | runs.Interrupted):  # the others fare no better
                    break
    for state in going_on:
        say(f"job {state.job} goes on; --wait waits for it")
    for state in others:
        whose = plain(state.owner or "somebody")
        say(f"job {state.job} is of {whose} ({state.state}); `edgeprof board pull {name} {state.job}` fetches it")
    if not (wanted or as_json):
        say(f"board {name}: nothing to fetch")
    for state, outcome in outcomes:
        try:
            finish(outcome, {"ingest": ingest, "report": report, "as_json": False, "quiet": as_json}, say)
        except EdgeprofError as error:
            failures.append((state, error))
    for state, failure in failures:
        say(f"job {state.job}: {failure}")
    if as_json:
        print_json(
            {
                "board": name,
                "fetched": [
                    {"job": state.job, "path": outcome.path, "exit_code": outcome.code()} for state, outcome in outcomes
                ],
                "failed": [{"job": state.job, "error": str(failure)} for state, failure in failures],
                "going_on": [state.to_dict() for state in going_on],
            }
        )
    ctx.exit(failures[0][1].exit_code if failures else 0)


@command.command()
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), required=True, help="File to write.")
def agent(output: Path) -> None:
    """Write the agent as one file, to look into it or to carry it to a board by hand."""
    from edgeprof.profiler.board import zipapp

    zipapp.write(output)
    click.echo(output)


def _checked(board: Any) -> Check:
    from edgeprof.profiler.board.check import check as check_board
    from edgeprof.profiler.board.connection import Connection

    with Connection(board) as connection:
        return check_board(connection)


def _wanted(connection: Connection, job: str | None) -> tuple[list[JobState], list[JobState]]:
    """The runs to fetch, and those of others."""
    from edgeprof.profiler.board import job as jobs

    if job is not None:
        from edgeprof.profiler.board.fields import JOB

        if not JOB.fullmatch(job):
            raise EdgeprofError(
                f"{plain(job)!r} is no job; `edgeprof board pull {connection.board.name}` names those there are"
            )
        return [jobs.state(connection, job)], []
    found = jobs.jobs(connection, lambda line: click.echo(f"edgeprof: {line}", err=True))
    mine = [state for state in found if state.owner == jobs.whoami()]
    return mine, [state for state in found if state not in mine]


def _what(seen: dict[str, Any]) -> str:
    """A board in a few words."""
    words = [seen.get("model") or seen.get("hostname"), seen.get("system"), seen.get("machine")]
    return ", ".join(str(word) for word in words if word) or "never checked"


def _print_check(found: Check) -> None:
    from edgeprof.cli.doctor import print_examination
    from edgeprof.profiler.board.check import clock_side
    from edgeprof.profiler.board.errors import Nonsense
    from edgeprof.profiler.units import human

    hello, clock = found.hello, found.clock
    console = make_console()
    rows = [
        ("address", found.address),
        ("system", f"{hello.hostname}, {hello.machine}, Linux {hello.kernel}"),
        ("user", "root" if hello.uid == 0 else f"uid {hello.uid}"),
        ("Python", hello.python),
        ("agent", f"{'sent now' if found.pushed else 'was there'}, answers in {human(found.start_seconds, 's')}"),
        ("free space", f"{human(hello.free_bytes, 'bytes')} below {hello.home}"),
        (
            "clock",
            f"{human(abs(clock.realtime_offset_ns) / 1e9, 's')} {clock_side(clock)} the desk's, "
            f"known to {human(clock.error_ns, 'ns')}",
        ),
        ("runs there now", found.holder.owner or "somebody" if found.holder.held else "nobody's"),
    ]
    console.print(make_table((f"board {found.board}", ""), rows))
    for warning in found.warnings:
        click.echo(f"edgeprof: board {found.board}: {plain(warning)}", err=True)
    try:
        print_examination(found.examination, console)
    except (AttributeError, KeyError, TypeError, ValueError):  # a hostile board's, of a wrong shape further inside
        raise Nonsense(found.board, "what it says it can capture cannot be printed") from None
