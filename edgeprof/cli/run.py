"""``edgeprof run``: capture a command, then read what was captured and report on it."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgeprof.cli.options import output_option
from edgeprof.cli.quantities import BudgetType, SizeType
from edgeprof.cli.run_board import board_options, perform_on_board, refuse_on_board
from edgeprof.cli.run_isolation import isolation_of, isolation_options
from edgeprof.cli.run_steady import steady_of, steady_options
from edgeprof.cli.run_storage import storage_of, storage_options
from edgeprof.cli.run_workload import WorkloadChoice, is_built_in, workload_of, workload_options
from edgeprof.profiler.errors import EdgeprofError

if TYPE_CHECKING:
    from edgeprof.profiler.agent.capture import Outcome
    from edgeprof.profiler.experiment import Experiment

DEFAULT_BUDGET = (0.01, 4e6)
DEEP_BUDGET = (0.02, 16e6)
"""Share of one core and raw bytes a second that capturing may use; deep capture is asked for, so it may use more."""

ROLES = {"procfs": {"roles": True}, "cgroup": {"roles": True}}
"""Options of the collectors for a scenario."""

_OPT_IN = ("page_cache",)
"""Collectors that only run when asked for, by name or with ``deep``: their cost shows."""


class RunCommand(click.Command):
    """Tells ``edgeprof run WORKLOAD`` from ``edgeprof run -- COMMAND...``: click itself drops the ``--``."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        words = list(args)
        rest = super().parse_args(ctx, args)
        command = list(ctx.params.get("command") or ())
        before = len(words) - len(command) - 1
        ctx.meta["edgeprof.separator"] = before >= 0 and words[before] == "--"
        if len(command) > 1 and not ctx.meta["edgeprof.separator"] and is_built_in(command[0]):
            # What follows a workload's name is options of ours; what follows a command is its own.
            ctx.params.clear()
            return super().parse_args(ctx, [*words[: before + 1], *command[1:], command[0]])
        return rest


@click.command(
    cls=RunCommand,
    context_settings={"allow_interspersed_args": False},
    epilog="Exits with the workload's own code (128 + its signal); edgeprof's own failures are 120 to 125.",
)
@click.argument("command", nargs=-1, type=click.UNPROCESSED, metavar="[WORKLOAD | -- COMMAND...]")
@click.option("--name", default="", help="Short name of the run.  [default: the program's]")
@output_option
@click.option("--rate", type=click.FloatRange(0.01, 1000), default=10.0, show_default=True, help="Samples a second.")
@click.option("--budget", type=BudgetType(), help="What capturing may use.  [default: 1%,4MB/s; deep: 2%,16MB/s]")
@click.option(
    "--collect",
    default="default",
    metavar="LIST",
    show_default=True,
    help="Comma list of collectors; `default`; `deep` adds page cache and scheduler events; -NAME leaves one out.",
)
@click.option(
    "--auto",
    is_flag=True,
    help="Mark load, forward, backward, optimizer and checkpoint of an unmodified PyTorch program.",
)
@click.option("--memory-limit", type=SizeType(), help="Memory that the workload may use, such as 2G.")
@click.option("--cpus", type=click.FloatRange(0.01), help="CPUs' worth of time that the workload may use, such as 1.5.")
@click.option(
    "--block-backend",
    type=click.Choice(["tracefs", "blk", "blktrace"]),
    help="Where block requests come from.  [default: the first that works]",
)
@click.option("--device", multiple=True, metavar="NAME", help="Trace only this block device; may be repeated.")
@click.option(
    "--factor",
    multiple=True,
    metavar="NAME=VALUE",
    help="State a factor, such as storage.format=folder; may be repeated.",
)
@click.option("--report/--no-report", default=True, show_default=True, help="Write report.html at the end.")
@click.option("--ingest/--no-ingest", default=True, show_default=True, help="Read the capture at the end.")
@workload_options
@storage_options
@isolation_options
@steady_options
@board_options
@click.option(
    "--live/--no-live",
    default=None,
    help="Show on the terminal's last line what the run does; without a terminal, a line each ten seconds.  "
    "[default: on a terminal]",
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON on standard output.")
@click.option("-q", "--quiet", is_flag=True, help="Say nothing but errors.")
@click.pass_context
def command(ctx: click.Context, /, **options: Any) -> None:
    """Capture a built-in workload, or any command after --: what memory and I/O did while it ran."""
    experiment = experiment_of(ctx, options)
    say = (lambda line: None) if options["quiet"] else (lambda line: click.echo(f"edgeprof: {line}", err=True))
    outcome = _perform(experiment, say, options)
    code = outcome.code()
    try:
        finish(outcome, options, say)
    except EdgeprofError as error:
        click.echo(f"edgeprof: {error}", err=True)
        code = code or error.exit_code
    except KeyboardInterrupt:
        click.echo(f"edgeprof: the capture is complete; finish it with `edgeprof ingest {outcome.path}`", err=True)
        code = code or 130
    except Exception as error:
        if not code:
            raise
        # The workload's own failure is what the caller must see.
        click.echo(
            f"edgeprof: a bug in edgeprof, {type(error).__name__}: {error};"
            f" `edgeprof --debug ingest {outcome.path}` shows where",
            err=True,
        )
    ctx.exit(code)


def experiment_of(ctx: click.Context, options: dict[str, Any]) -> Experiment:
    """What the parsed options ask for; nothing is done yet.  Raises EdgeprofError."""
    from edgeprof.profiler.agent.spec import RunSpec
    from edgeprof.profiler.experiment import Experiment

    words = list(options["command"])
    choice = WorkloadChoice()
    if words and not ctx.meta["edgeprof.separator"]:
        choice = workload_of(words, options)
        words = []
    elif options["data"]:
        choice = WorkloadChoice(own_data=options["data"])
    names, deep = choose_collectors(options["collect"])
    cpu, rate = options["budget"] or (None, None)
    default_cpu, default_rate = DEEP_BUDGET if deep else DEFAULT_BUDGET
    block: dict[str, Any] = {}
    if options["block_backend"]:
        block["backend"] = options["block_backend"]
    if options["device"]:
        block["devices"] = list(options["device"])
    own: dict[str, dict[str, Any]] = {"block": block} if block else {}
    if not deep:
        own |= {name: {"enabled": True} for name in _OPT_IN if name in names}
    run = RunSpec(
        command=words,
        folder=str(options["output"]),
        name=options["name"] or choice.name(),
        rate=options["rate"],
        budget_cpu=cpu or default_cpu,
        budget_bytes=rate or default_rate,
        collect=names,
        deep=deep,
        auto=options["auto"],
        memory_limit=options["memory_limit"],
        cpus=options["cpus"],
        options={**own, **(ROLES if choice.scenario else {})},
        factors=_factors(options["factor"]),
        **steady_of(options),
    )
    experiment = Experiment(
        run=run,
        workload=choice.workload,
        scenario=choice.scenario,
        data=choice.data,
        own_data=choice.own_data,
        storage=storage_of(options),
        isolation=isolation_of(options),
    )
    refuse_on_board(experiment, options)
    return experiment


def choose_collectors(text: str) -> tuple[list[str], bool]:
    """Collector names and whether costly detail is wanted, from ``--collect``.  Raises EdgeprofError."""
    from edgeprof.collectors.registry import NAMES

    chosen: list[str] = []
    dropped: list[str] = []
    deep = False
    for word in filter(None, (part.strip() for part in text.split(","))):
        if word in ("default", "deep"):
            deep = deep or word == "deep"
            chosen += [name for name in NAMES if word == "deep" or name not in _OPT_IN]
        elif word.lstrip("-") not in NAMES:
            raise EdgeprofError(f"there is no collector {word!r}; there are: default, deep, {', '.join(NAMES)}")
        elif word.startswith("-"):
            dropped.append(word[1:])
        else:
            chosen.append(word)
    if dropped and not chosen:
        chosen = [name for name in NAMES if name not in _OPT_IN]
    return [name for name in NAMES if name in chosen and name not in dropped], deep


def _factors(pairs: tuple[str, ...]) -> dict[str, str]:
    factors = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not re.fullmatch(r"[a-z_]+(\.[a-z_]+)*", name):
            raise EdgeprofError(f"{pair!r} is not a factor; write it like storage.format=folder")
        factors[name] = value
    return factors


def _perform(experiment: Experiment, say: Any, options: dict[str, Any]) -> Outcome:
    from edgeprof import __version__
    from edgeprof.cli.live import chosen_display
    from edgeprof.profiler.experiment import perform

    if options["board"]:
        return perform_on_board(experiment.run, options, say)
    display = chosen_display(options["live"], quiet=options["quiet"] or options["as_json"])
    if options["live"]:
        say(
            f"`edgeprof dashboard {_shown(options['output'])}` shows it in the browser, too, at http://127.0.0.1:8050/live"
        )
    try:
        return perform(experiment, say, __version__, display.show if display else None)
    finally:
        if display:
            display.leave()


def finish(outcome: Outcome, options: dict[str, Any], say: Any) -> None:
    """Ingest, report, summary, as the options say; whatever fails here, the capture stays."""
    path = Path(outcome.path)
    if outcome.signal is not None:
        say(f"the workload was ended by signal {outcome.signal}")
    if not options["ingest"]:
        say(f"captured in {_shown(path)}; read it with `edgeprof ingest {_shown(path)}`")
        return
    from edgeprof.cli.charts import print_charts
    from edgeprof.cli.output import make_console, print_closing, print_json, print_summary, summary
    from edgeprof.profiler.ingest import ingest

    say("reading what was captured ...")
    run = ingest(path)
    report = None
    if options["report"]:
        from edgeprof.dashboards.report import build_report

        report = build_report(run)
    if options["as_json"]:
        print_json(summary(run))
    elif not options["quiet"]:
        console = make_console(stderr=True)
        if console.is_terminal:
            print_closing(run.inside, console, print_charts)
        else:
            print_summary(run.inside, console)
    say(f"capture: {_shown(path)}; `edgeprof show {_shown(path)}` tells all of it")
    if report:
        say(f"report:  {_shown(report)}")


def _shown(path: Path) -> str:
    """The path as a user would type it: relative where it is below the working folder."""
    try:
        return os.fspath(path.resolve().relative_to(Path.cwd().resolve()))
    except ValueError:
        return os.fspath(path)
