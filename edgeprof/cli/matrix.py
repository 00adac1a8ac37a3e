"""``edgeprof matrix``: a study over the cells of a matrix: plan it, run it, see how far it is, report on it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgeprof.cli.options import json_option
from edgeprof.cli.output import plain, print_json
from edgeprof.profiler.errors import EdgeprofError

if TYPE_CHECKING:
    from edgeprof.profiler.fleet.shelf import Shelf
    from edgeprof.profiler.matrix.axes import Axis
    from edgeprof.profiler.matrix.execute import How
    from edgeprof.profiler.matrix.executor import Executor
    from edgeprof.profiler.matrix.folder import MatrixFolder
    from edgeprof.profiler.matrix.placement import Board
    from edgeprof.profiler.matrix.plan import Plan
    from edgeprof.profiler.matrix.spec import MatrixSpec

FAILED, STOPPED, INTERRUPTED = 1, 3, 130
"""Exit codes of ``matrix run``: some run failed; the budget, the time or the disk is used up; Ctrl-C."""

spec_argument = click.argument("spec", type=click.Path(dir_okay=False, path_type=Path), metavar="SPEC")
place_argument = click.argument("place", type=click.Path(path_type=Path), metavar="FOLDER|SPEC")
boards_option = click.option(
    "--boards",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Run the cells on these boards, all at once; see docs/fleet.md.",
)
scheduler_option = click.option(
    "--scheduler", metavar="ADDRESS", help="Run them on the boards served at a Dask scheduler, as tcp://127.0.0.1:8786."
)
output_option = click.option(
    "-o",
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of the matrix.  [default: edgeprof-matrix/NAME]",
)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def command() -> None:
    """Run a workload over every combination of frameworks, formats, limits, ...: a study in one YAML file."""


@command.command()
@spec_argument
@output_option
@boards_option
@json_option
def plan(spec: Path, output: Path | None, boards: Path | None, as_json: bool) -> None:
    """Print the cells that SPEC makes, those left out and why, and what running it would take."""
    from edgeprof.cli.matrix_show import print_plan
    from edgeprof.profiler.matrix.errors import NoMatrix
    from edgeprof.profiler.matrix.estimate import Estimator
    from edgeprof.profiler.matrix.state import Progress, read_state
    from edgeprof.profiler.matrix.tell import plan_told

    shelf = _shelf(boards) if boards else None
    made = _plan(spec, shelf.boards if shelf else ())
    folder = _folder(made.spec, output)
    try:
        progress = read_state(folder.path)
    except NoMatrix:
        progress = Progress()
    estimator = Estimator(made.options(), progress)
    told = plan_told(made, estimator, folder)
    if shelf is not None:
        from edgeprof.profiler.fleet.foretell import fleet_told

        told |= fleet_told(made, shelf.boards, estimator, progress)
    if as_json:
        print_json(told)
    else:
        print_plan(told)


@command.command()
@spec_argument
@output_option
@click.option("--retry-failed", is_flag=True, help="Run those again that failed.")
@click.option("--only", multiple=True, metavar="AXIS=VALUE", help="Run these cells only, for now; may be repeated.")
@click.option("--max-time", metavar="TIME", help="Stop before a run that would end later, such as 1h.")
@click.option(
    "--keep",
    type=click.Choice(["raw", "tables", "metrics"]),
    default="tables",
    show_default=True,
    help="What a finished run keeps on disk.",
)
@boards_option
@scheduler_option
@click.option("-q", "--quiet", is_flag=True, help="Say nothing but errors and the result.")
@json_option
@click.pass_context
def run(
    ctx: click.Context,
    spec: Path,
    output: Path | None,
    retry_failed: bool,
    only: tuple[str, ...],
    max_time: str | None,
    keep: str,
    boards: Path | None,
    scheduler: str | None,
    quiet: bool,
    as_json: bool,
) -> None:
    """Run what is left of SPEC, in random order; on many boards at once with --boards or --scheduler.

    It may be interrupted at any moment, and goes on when it is called again.  Exits with 0 when nothing is left and
    nothing failed, 1 when a run failed, 3 when a budget, the disk or the loss of boards stopped it.
    """
    from edgeprof.cli.matrix_progress import watch
    from edgeprof.cli.matrix_show import print_result
    from edgeprof.profiler.matrix.execute import How, run_matrix
    from edgeprof.profiler.matrix.quantities import parse_time

    if boards is not None and scheduler is not None:
        raise click.UsageError("take either --boards or --scheduler: a scheduler knows its boards")
    seconds = parse_time(max_time) if max_time is not None else None
    if max_time is not None and seconds is None:
        raise click.BadParameter(f"{max_time!r} is not a time; write it like 90s, 10m or 2h", param_hint="--max-time")
    how = How(keep=keep, retry_failed=retry_failed, max_time=seconds)
    with _executor(spec, output, boards, scheduler, how) as (made, folder, how, executor):
        how = replace(how, only=_only(made.spec, only))
        with watch(quiet or as_json) as watcher:
            result = run_matrix(made, folder, how, watcher, executor)
    if as_json:
        print_json({"folder": str(folder.path), **vars(result)})
    else:
        fleet = ["--boards", str(boards)] if boards else ["--scheduler", scheduler] if scheduler else []
        print_result(result, folder, spec, is_default=output is None, is_part=bool(only), fleet=fleet)
    if result.interrupted:
        ctx.exit(INTERRUPTED)
    ctx.exit(STOPPED if result.stopped else FAILED if result.failed else 0)


@command.command()
@place_argument
@json_option
def status(place: Path, as_json: bool) -> None:
    """Print how far a matrix is: runs done, failed and left, cell by cell."""
    from edgeprof.cli.matrix_show import print_status
    from edgeprof.profiler.matrix.tell import status_told

    told = status_told(_existing(place))
    if as_json:
        print_json(told)
    else:
        print_status(told)


@command.command()
@place_argument
@click.option("-o", "--output", type=click.Path(path_type=Path), help="File to write.  [default: in the folder]")
@click.option("--run-reports/--no-run-reports", default=True, show_default=True, help="Also write those of the runs.")
@json_option
def report(place: Path, output: Path | None, run_reports: bool, as_json: bool) -> None:
    """Write the report of a matrix: effects, intervals, heat maps, and a link to each run's own report."""
    from edgeprof.dashboards.matrix_report import build
    from edgeprof.profiler.matrix.results import study
    from edgeprof.profiler.statistics.summary import summary

    folder = _existing(place)
    found = study(folder.path)
    if run_reports:
        _build_run_reports([run.run_path for run in found.cells if run.run_path is not None and not run.failed])
    path = build(found, output or folder.path / "report.html")
    told = summary(found)
    if as_json:
        print_json({"path": str(path), **told})
    else:
        click.echo(path)
        click.echo("\n".join(map(plain, told["sentences"])), err=True)


def run_axes() -> dict[str, Axis]:
    """The axes that this edgeprof's ``run`` has."""
    from edgeprof.cli.run import command as run_command
    from edgeprof.cli.run_workload import workload_options
    from edgeprof.profiler.matrix.axes import axes_of
    from edgeprof.workloads.catalog import WORKLOADS
    from edgeprof.workloads.scenarios.spec import names

    @click.command()
    @workload_options
    def of_workload(**options: Any) -> None:
        """Carries the options that concern built-in workloads only."""

    of_workloads = [parameter.name or "" for parameter in of_workload.params]
    return axes_of(run_command, of_workloads, [*WORKLOADS, *names()])


def refusal(words: Sequence[str]) -> str | None:
    """Why ``edgeprof run WORDS`` would not be begun, found without beginning it; None: it would."""
    from edgeprof.cli.run import command as run_command
    from edgeprof.cli.run import experiment_of

    try:
        with run_command.make_context("run", list(words)) as context:
            experiment_of(context, context.params)
    except click.ClickException as error:
        return error.format_message()
    except EdgeprofError as error:
        return str(error)
    return None


@contextmanager
def _executor(
    spec: Path, output: Path | None, boards: Path | None, scheduler: str | None, how: How
) -> Iterator[tuple[Plan, MatrixFolder, How, Executor | None]]:
    """What is run, where its folder is, how, and by whom: None stands for this machine."""
    if boards is None and scheduler is None:
        made = _plan(spec)
        yield made, _folder(made.spec, output), how, None
        return
    from edgeprof.profiler.fleet.cluster import fleet_at, fleet_here
    from edgeprof.profiler.fleet.foretell import refuse_mixture
    from edgeprof.profiler.fleet.proxy import BoardRunner

    if boards is not None:
        shelf = _shelf(boards)
        made = _plan(spec, shelf.boards)
        refuse_mixture(made, shelf.boards)
        folder = _folder(made.spec, output)
        folder.make()
        how = replace(how, retries=shelf.retries, variables={"EDGEPROF_BOARDS": str(shelf.write_book(folder.path))})
        with fleet_here(shelf, BoardRunner(shelf.wait)) as here:
            yield made, folder, how, here
        return
    from edgeprof.profiler.matrix.spec import read_spec

    folder = _folder(read_spec(spec, run_axes()), output)
    folder.make()
    with fleet_at(scheduler or "", lambda shelf: BoardRunner(shelf.wait), folder.path) as (shelf, there):
        made = _plan(spec, shelf.boards)
        refuse_mixture(made, shelf.boards)
        yield made, folder, replace(how, retries=shelf.retries), there


def _shelf(boards: Path) -> Shelf:
    from edgeprof.profiler.fleet.shelf import read_shelf

    return read_shelf(boards)


def _plan(spec: Path, boards: Sequence[Board] = ()) -> Plan:
    from edgeprof.profiler.matrix.plan import make_plan
    from edgeprof.profiler.matrix.spec import read_spec

    return make_plan(read_spec(spec, run_axes()), refusal_on(boards) if boards else refusal)


def refusal_on(boards: Sequence[Board]) -> Callable[[Sequence[str]], str | None]:
    """As `refusal`, for cells that are placed on boards: which of them is no matter of an option's value."""
    from edgeprof.profiler.matrix.execute import placed_words

    return lambda words: refusal(placed_words(words, boards[0].name))


def _folder(spec: MatrixSpec, output: Path | None) -> MatrixFolder:
    from edgeprof.profiler.matrix.folder import DEFAULT_PARENT, MatrixFolder

    return MatrixFolder(output or DEFAULT_PARENT / spec.name)


def _existing(place: Path) -> MatrixFolder:
    from edgeprof.profiler.matrix.folder import DEFAULT_PARENT, MatrixFolder
    from edgeprof.profiler.matrix.spec import name_of

    return MatrixFolder(DEFAULT_PARENT / name_of(place) if place.is_file() else place)


def _only(spec: MatrixSpec, pairs: Sequence[str]) -> dict[str, list[str]]:
    from edgeprof.profiler.matrix.axes import WrongValue
    from edgeprof.profiler.matrix.errors import near
    from edgeprof.profiler.matrix.spec import find_level

    only: dict[str, list[str]] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or name not in spec.axes:
            hint = near(name, spec.axes)
            raise EdgeprofError(f"--only {pair}: name one of the axes, {', '.join(spec.axes)}, as AXIS=VALUE{hint}")
        try:
            only.setdefault(name, []).append(find_level(spec.known[name], spec.axes[name], value))
        except WrongValue as error:
            raise EdgeprofError(f"--only {pair}: {error}") from None
    return only


def _build_run_reports(paths: Sequence[Path]) -> None:
    """The reports that are missing, so that each link of the matrix report leads somewhere."""
    from edgeprof.dashboards.report import build_report
    from edgeprof.profiler.run import open_run

    for path in paths:
        if not (path / "report.html").exists():
            build_report(open_run(path))
