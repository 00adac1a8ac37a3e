"""The ``edgeprof`` command: finds the command asked for, loads only that one, and turns errors into sentences."""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import NamedTuple

import click

from edgeprof import __version__
from edgeprof.profiler.errors import EdgeprofError

USAGE_ERROR, BUG, INTERRUPTED, BROKEN_PIPE = 120, 125, 130, 141
"""Exit codes; 120 to 125 are edgeprof's own, so that scripts can tell them from a workload's."""


_NO_ARGUMENTS: tuple[type[Exception], ...] = tuple(
    filter(None, [getattr(click.exceptions, "NoArgsIsHelpError", None)])  # since click 8.2
)
"""A group of commands was called without one: its help is the answer, as it is of ``edgeprof`` alone."""


class CommandEntry(NamedTuple):
    """A command: the module that holds it as ``command``, and its line in ``edgeprof --help``."""

    module: str
    help: str


COMMANDS: dict[str, CommandEntry] = {
    "run": CommandEntry("edgeprof.cli.run", "Capture any command: what memory and I/O did while it ran."),
    "workloads": CommandEntry("edgeprof.cli.workloads", "List the built-in workloads and the frameworks here."),
    "data": CommandEntry("edgeprof.cli.data", "Make a data set for the workloads, or say what one is."),
    "report": CommandEntry("edgeprof.cli.report", "Write a run's HTML report."),
    "runs": CommandEntry("edgeprof.cli.runs", "List the runs of a folder."),
    "show": CommandEntry("edgeprof.cli.show", "Print a run: verdict, figures, phases, what was not captured."),
    "matrix": CommandEntry("edgeprof.cli.matrix", "Run a study over a matrix of options, from one YAML file."),
    "compare": CommandEntry("edgeprof.cli.compare", "Print how runs, or groups of them, differ from the first."),
    "dashboard": CommandEntry("edgeprof.cli.dashboard", "Look at a folder of runs in the browser."),
    "query": CommandEntry("edgeprof.cli.query", "Run SQL over the tables of all runs of a folder."),
    "dataset": CommandEntry("edgeprof.cli.dataset", "Push runs elsewhere, aggregate many, make training sets."),
    "export": CommandEntry("edgeprof.cli.export", "Write a run in another tool's format."),
    "ingest": CommandEntry("edgeprof.cli.ingest", "Make a run's tables and metrics from what was captured."),
    "kml": CommandEntry("edgeprof.cli.kml", "Build and try the in-kernel machine-learning library."),
    "tune": CommandEntry("edgeprof.cli.tune", "Tune disks while programs use them, by what they read."),
    "doctor": CommandEntry("edgeprof.cli.doctor", "Say what this machine can capture, and how to get the rest."),
    "board": CommandEntry("edgeprof.cli.board", "Add, list and check boards that runs are sent to over SSH."),
    "clean": CommandEntry("edgeprof.cli.clean", "Undo what an interrupted run left on the machine."),
}
"""In the order of the help text.  A module is imported when its command is called, not before."""


class LazyGroup(click.Group):
    """Loads a command's module when it is called; the help text needs none of them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        entry = COMMANDS.get(cmd_name)
        if entry is None:
            return None
        found = import_module(entry.module).command
        assert isinstance(found, click.Command)
        return found

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        command = self.get_command(ctx, name)
        if command is not None:
            return name, command, args[1:]
        if name.startswith("-"):
            raise click.NoSuchOption(name, ctx=ctx)
        near = difflib.get_close_matches(name, COMMANDS, n=1)
        hint = f", did you mean {near[0]!r}" if near else ""
        raise click.UsageError(f"there is no command {name!r}{hint}", ctx)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.help) for name, entry in COMMANDS.items()])


@click.group(cls=LazyGroup, invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message="%(prog)s %(version)s")
@click.option("--debug", is_flag=True, help="On an unexpected error, print the traceback (also EDGEPROF_DEBUG=1).")
@click.pass_context
def cli(ctx: click.Context, debug: bool) -> None:
    """What memory and I/O do to a deep-learning run.

    Capture one with `edgeprof run -- python train.py`; the others read what was captured.
    """
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code; errors are printed as one sentence."""
    args = list(sys.argv[1:] if arguments is None else arguments)
    if any(getattr(stream, "encoding", "utf-8") not in ("utf-8", None) for stream in (sys.stdout, sys.stderr)):
        from edgeprof.cli.encoding import survive

        survive()
    if "_EDGEPROF_COMPLETE" in os.environ:
        cli.main(args, prog_name="edgeprof")
    try:
        code = _invoke(list(args))  # click empties the list that it parses
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        return _leave_pipe()
    except KeyboardInterrupt:
        click.echo("edgeprof: interrupted", err=True)
        return INTERRUPTED
    except Exception as error:
        if _debug_wanted(args):
            raise
        click.echo(
            f"edgeprof: unexpected {type(error).__name__}: {_one_line(str(error))};"
            " this is a bug: please report it with what `edgeprof --debug ...` prints",
            err=True,
        )
        return BUG


def _invoke(args: list[str]) -> int:
    try:
        with cli.make_context("edgeprof", args) as ctx:
            result = cli.invoke(ctx)
        return result if isinstance(result, int) else 0
    except click.exceptions.Exit as ending:
        return ending.exit_code
    except click.Abort:
        click.echo("edgeprof: interrupted", err=True)
        return INTERRUPTED
    except click.UsageError as error:
        if isinstance(error, _NO_ARGUMENTS) and error.ctx:
            click.echo(error.ctx.get_help())
            return 0
        where = error.ctx.command_path if error.ctx else "edgeprof"
        _complain(f"{_sentence(error.format_message())}; `{where} --help` tells what there is")
        return USAGE_ERROR
    except click.ClickException as error:
        _complain(_sentence(error.format_message()))
        return USAGE_ERROR
    except EdgeprofError as error:
        _complain(str(error))
        return error.exit_code


def _complain(sentence: str) -> None:
    click.echo(f"edgeprof: {_one_line(sentence)}", err=True)


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _sentence(text: str) -> str:
    """Click's messages as the first part of one of ours."""
    text = text.strip().rstrip(".?").replace(". Did you mean", ", did you mean")
    return text[:1].lower() + text[1:] if text[1:2].islower() else text


def _leave_pipe() -> int:
    """The reader of our output has gone (``| head``): leave without a word, also at the interpreter's last flush."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, sys.stdout.fileno())
    return BROKEN_PIPE


def _debug_wanted(args: Sequence[str]) -> bool:
    before_command = []
    for word in args:
        if not word.startswith("-"):
            break
        before_command.append(word)
    return "--debug" in before_command or os.environ.get("EDGEPROF_DEBUG", "") not in ("", "0")


if __name__ == "__main__":
    sys.exit(main())
