"""``edgeprof kml bench``: measure the library on this machine, and what its users decide in guests."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgeprof.cli.options import json_option
from edgeprof.cli.output import make_console, make_table, plain, print_json

if TYPE_CHECKING:
    from edgeprof.kmodule.evaluation.goals import Goal
    from edgeprof.kmodule.evaluation.guest import Machine
    from edgeprof.kmodule.evaluation.plan import Catalogue
    from edgeprof.kmodule.evaluation.results import Results

_output_option = click.option(
    "-o",
    "--output",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    required=True,
    help="Folder of the results; an evaluation that was begun there goes on.",
)


_machine_options = (
    click.option("--guests", type=click.IntRange(1), help="At once.  [default: one a processor]"),
    click.option("--kernel", "release", default="6.1", show_default=True, metavar="RELEASE", help="5.10, 6.1 or 6.12."),
    click.option(
        "--model",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        help="The trained model of mq-kmlib, or of kml-readahead.",
    ),
)


def _with_machine(function: Callable[..., None]) -> Callable[..., None]:
    for option in reversed(_machine_options):
        function = option(function)
    return function


@click.group(short_help="Measure the library, and what its users decide.")
def bench() -> None:
    """Measure the library on this machine, and schedulers and read-ahead in guests (see docs/evaluation.md)."""


@bench.command(short_help="Measure the library on this machine.")
@click.option("--rounds", type=click.IntRange(1), default=15, show_default=True, help="Of each figure.")
@json_option
def library(rounds: int, as_json: bool) -> None:
    """Measure the library on this machine: nanoseconds a call, sizes, stack.  It takes an idle machine."""
    from dataclasses import asdict

    from edgeprof.kmodule.bench import lines, measure

    measured = measure(rounds)
    if as_json:
        print_json(asdict(measured))
    else:
        click.echo("\n".join(lines(measured)))


def _choices(what: str, called: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Options that both evaluations have."""
    options = [
        _output_option,
        click.option(called, "contenders", multiple=True, metavar="NAME", help=f"Compare this {what}.  [default: all]"),
        click.option("--workload", "workloads", multiple=True, metavar="NAME", help="At this one.  [default: all]"),
        click.option("--disk", "disks", multiple=True, metavar="CLASS", help="On this class.  [default: all]"),
        click.option("--repeats", type=click.IntRange(1), default=5, show_default=True, help="With other seeds."),
        click.option("--keep-raw", is_flag=True, help="Keep the kernel's trace pages."),
        json_option,
    ]

    def apply(function: Callable[..., None]) -> Callable[..., None]:
        function = _with_machine(function)
        for option in reversed(options):
            function = option(function)
        return function

    return apply


@bench.command(short_help="Compare I/O schedulers at fixed work.")
@_choices("scheduler", "--scheduler")
@click.option("--device", "path", metavar="DISK", help="On this real disk (as root), which is erased.")
@click.option("--erase", default="", metavar="DISK", help="The same again, where it holds data.")
def schedulers(path: str | None, erase: str, **options: Any) -> None:
    """Compare I/O schedulers at fixed work, on modelled disks, in guests whose time follows their instructions.

    With --device on a real disk instead, as far as the schedulers are installed here.
    """
    from edgeprof.kmodule.evaluation.plan import SCHEDULERS

    if path is None:
        _evaluate(SCHEDULERS, **options)
    else:
        _evaluate_device(SCHEDULERS, path, erase, **options)


@bench.command(short_help="Compare read-ahead sizes and kml-readahead at fixed work.")
@_choices("one", "--size")
def readahead(**options: Any) -> None:
    """Compare fixed sizes of read-ahead and kml-readahead at fixed work, in the same guests."""
    from edgeprof.kmodule.evaluation.readahead import CATALOGUE

    _evaluate(CATALOGUE, **options)


@bench.command(short_help="Count the instructions that a scheduler takes for a request.")
@click.option("--scheduler", "names", multiple=True, metavar="NAME", help="Measure this one.  [default: all]")
@_with_machine
@json_option
def cost(names: tuple[str, ...], release: str, model: Path | None, guests: int | None, as_json: bool) -> None:
    """Count the instructions that a scheduler takes for a request, on a disk that takes no time."""
    from dataclasses import asdict

    from edgeprof.kmodule.evaluation.cost import measure
    from edgeprof.kmodule.evaluation.plan import CONTENDERS, contender

    found = measure(_machine(release, guests, model), [contender(name) for name in names] or CONTENDERS)
    if as_json:
        print_json([asdict(item) for item in found])
        return
    headings = ["scheduler", "requests", "instructions", "of the scheduler"]
    rows = [[item.contender, item.load, f"{item.instructions:.0f}", f"{item.own:+.0f}"] for item in found]
    make_console().print(make_table(headings, rows, right=(2, 3)))


@bench.command(short_help="Show an evaluation that was made.")
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@json_option
def show(folder: Path, as_json: bool) -> None:
    """Compare again what is in the folder of an evaluation, and print it."""
    _show(folder, as_json)


def _machine(release: str, guests: int | None, model: Path | None) -> Machine:
    from edgeprof.kmodule.evaluation.guest import Machine
    from edgeprof.profiler.guest.releases import release_kernel

    return Machine(release_kernel(release), at_once=guests or os.cpu_count() or 1, model=model)


def _evaluate(
    catalogue: Catalogue,
    folder: Path,
    contenders: tuple[str, ...],
    workloads: tuple[str, ...],
    disks: tuple[str, ...],
    repeats: int,
    keep_raw: bool,
    release: str,
    model: Path | None,
    guests: int | None,
    as_json: bool,
) -> None:
    from edgeprof.kmodule.evaluation.folder import evaluate
    from edgeprof.kmodule.evaluation.guest import run
    from edgeprof.kmodule.evaluation.plan import plan

    chosen = plan(contenders, workloads, disks, repeats, catalogue)
    machine = _machine(release, guests, model)
    evaluate(folder, chosen, machine.facts, lambda jobs, logs: run(machine, jobs, logs), _tell, keep_raw)
    _show(folder, as_json)


def _evaluate_device(catalogue: Catalogue, path: str, erase: str, folder: Path, **options: Any) -> None:
    from edgeprof.kmodule.evaluation.device import device, run, suited
    from edgeprof.kmodule.evaluation.folder import evaluate
    from edgeprof.kmodule.evaluation.plan import plan

    if options["disks"]:
        raise click.UsageError("--disk names a modelled disk and --device a real one: give one of them")
    disk = device(path, erase)
    chosen = plan(options["contenders"], options["workloads"], (), options["repeats"], catalogue)
    chosen = suited(chosen, disk, _say)
    evaluate(folder, chosen, disk.facts, lambda jobs, logs: run(disk, jobs, _say), _tell, options["keep_raw"])
    _show(folder, options["as_json"])


def _say(sentence: str) -> None:
    click.echo(f"edgeprof: {plain(sentence)}", err=True)


def _tell(done: int, total: int, job: dict[str, Any]) -> None:
    """A line for each job that is done, on standard error; those of a guest come together."""
    words = f"failed: {plain(job['failed'])}" if job["failed"] else "done"
    click.echo(f"edgeprof: [{done}/{total}] {job['name']} {words}", err=True)


def _show(folder: Path, as_json: bool) -> None:
    from edgeprof.kmodule.evaluation.folder import read_plan

    if read_plan(folder)["plan"]["kind"] == "readahead":
        _show_readahead(folder, as_json)
    else:
        _show_schedulers(folder, as_json)


def _show_schedulers(folder: Path, as_json: bool) -> None:
    from edgeprof.kmodule.evaluation.plot import write_report
    from edgeprof.kmodule.evaluation.results import as_dict, save_results

    results = save_results(folder)
    report = write_report(results, folder)
    if as_json:
        print_json(as_dict(results))
        return
    _print(results)
    click.echo(f"{report} has it all")


def _show_readahead(folder: Path, as_json: bool) -> None:
    from edgeprof.kmodule.evaluation.readahead import as_dict, save_outcomes, table

    found = save_outcomes(folder)
    if as_json:
        print_json(as_dict(found))
        return
    headings, rows = table(found.outcomes)
    make_console().print(make_table(headings, rows, right=range(2, len(headings))))
    _print_goals("kml-readahead", found.goals)
    _print_failed(found.failed)


def _print(results: Results) -> None:
    from edgeprof.kmodule.evaluation import table

    console = make_console()
    for disk, workload, mixed in results.cells:
        headings, rows = table.by_cell(results, disk, workload)
        click.echo(f"\n{disk}, {workload}{'' if mixed else ' (nothing to gain)'}: ratio to mq-deadline's own figures")
        console.print(make_table(headings, rows, right=range(1, len(headings))))
    for name, judged in results.goals.items():
        _print_goals(name, judged)
    _print_failed(results.failed)


def _print_goals(name: str, judged: Sequence[Goal]) -> None:
    from edgeprof.kmodule.evaluation import table

    click.echo(f"\ngoals of {name}: {table.counted(judged)}")
    headings, rows = table.goals(judged)
    if rows:
        make_console().print(make_table(headings, rows, right=(3, 4)))


def _print_failed(failed: Sequence[tuple[str, str]]) -> None:
    for name, reason in failed:
        click.echo(f"{name} failed: {plain(reason)}")
