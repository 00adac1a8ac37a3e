"""``edgeprof ingest``: tables, metrics and verdict of a capture, or of many."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import click

from edgeprof.cli.options import RUN_HELP, LocalFolderType, json_option
from edgeprof.cli.output import make_console, plain, print_json, print_summary, summary
from edgeprof.cli.workers import tell_runs, where_of, worker_options
from edgeprof.profiler.errors import EdgeprofError


@click.command(epilog=RUN_HELP)
@click.argument("runs", metavar="RUN...", nargs=-1)
@click.option("--folder", type=LocalFolderType(), help="Folder of runs.  [default: $EDGEPROF_RUNS, else edgeprof-runs]")
@click.option("--all", "everything", is_flag=True, help="All runs of the folder.")
@click.option("--force", is_flag=True, help="Make the tables anew where there are some.")
@worker_options
@json_option
def command(
    runs: tuple[str, ...],
    folder: Path | None,
    everything: bool,
    force: bool,
    scheduler: str | None,
    workers: int | None,
    as_json: bool,
) -> int:
    """Make a run's tables and metrics from what was captured, also from an interrupted run.

    Of several runs, or on --workers or a --scheduler (whose workers need the same paths), a line each is printed; one
    that fails does not stop the others.
    """
    from edgeprof.profiler.dataset import find_path, run_directories, runs_folder
    from edgeprof.profiler.remote_data.address import RemoteError, is_address

    if bool(runs) == everything:
        raise click.UsageError("name runs, or --all for all of the folder")
    where = where_of(scheduler, workers)
    if any(is_address(text) for text in runs):
        raise RemoteError("captures are ingested in a folder of this machine; what is at an address has its tables")
    place = runs_folder(folder)
    paths = run_directories(place) if everything else [find_path(text, place) for text in runs]
    if len(paths) == 1 and scheduler is None and workers is None:
        _ingest_one(paths[0], force, as_json)
        return 0
    from edgeprof.profiler.remote_data.ingest_many import ingest_each

    results = []
    for done in ingest_each(paths, force, where, tell_runs):
        name = Path(done.item).name
        if done.result is None:
            click.echo(f"edgeprof: {plain(name)}: {plain(done.problem)}", err=True)
        elif not as_json:
            made = f"{done.result.tables} tables in {done.result.seconds:.1f} s" if done.result.tables else "had tables"
            click.echo(f"{plain(name)}  {made}")
        results.append({"run": name, "tables": done.result and done.result.tables, "problem": done.problem})
    if as_json:
        print_json(results)
    return _code(results)


def _code(results: Sequence[Mapping[str, object]]) -> int:
    return EdgeprofError.exit_code if any(item["problem"] for item in results) else 0


def _ingest_one(path: Path, force: bool, as_json: bool) -> None:
    from edgeprof.profiler.dataset import entry_of
    from edgeprof.profiler.ingest import ingest

    entry = entry_of(path)
    if entry.run is not None and entry.problem is None and not force:
        click.echo(f"edgeprof: {path} has its tables already; --force makes them anew", err=True)
        done = entry.run
    else:
        done = ingest(path)
    if as_json:
        print_json(summary(done))
    else:
        print_summary(done, make_console())
