"""``edgeprof dataset push`` and ``edgeprof dataset aggregate``: folders of runs elsewhere, and many runs at once."""

from __future__ import annotations

from pathlib import Path

import click

from edgeprof.cli.dataset_words import tell_skipped
from edgeprof.cli.options import LocalFolderType, folder_option, json_option
from edgeprof.cli.output import plain, print_json
from edgeprof.cli.workers import tell_runs, where_of, worker_options
from edgeprof.profiler.errors import EdgeprofError


@click.command(short_help="Put runs into a folder at an address, such as s3://bucket/runs.")
@click.argument("runs", metavar="[RUN...]", nargs=-1)
@click.argument("address", metavar="ADDRESS")
@click.option("--folder", type=LocalFolderType(), help="Folder of runs.  [default: $EDGEPROF_RUNS, else edgeprof-runs]")
@click.option("--raw", is_flag=True, help="Also what was captured (raw/), not only what was made of it.")
@click.option("--force", is_flag=True, help="Send every file, also those that are there.")
@json_option
def push(runs: tuple[str, ...], address: str, folder: Path | None, raw: bool, force: bool, as_json: bool) -> int:
    """Put runs into a folder at an fsspec ADDRESS; without RUN, all of the folder of runs.

    What is there already is not sent again, so a push that was cut goes on where it was. Others see a run when it is
    there as a whole.

    \b
    edgeprof dataset push last s3://bucket/runs
    """
    from dataclasses import asdict

    from edgeprof.profiler.dataset import find_path, list_runs, runs_folder
    from edgeprof.profiler.errors import NoRuns
    from edgeprof.profiler.remote_data.address import is_address, open_address
    from edgeprof.profiler.remote_data.push import push as push_run
    from edgeprof.profiler.units import human

    if not is_address(address):
        raise click.UsageError(f"{address} is no address; the last argument is one like s3://bucket/runs")
    elsewhere = next((text for text in runs if is_address(text)), None)
    if elsewhere is not None:
        raise click.UsageError(f"{elsewhere} is at an address already; push from a folder of this machine")
    open_address(address)
    place = runs_folder(folder)
    paths = [find_path(text, place) for text in runs] or [entry.path for entry in list_runs(place)]
    if not paths:
        raise NoRuns(place)
    sent, problems = [], []
    for number, path in enumerate(paths, 1):
        try:
            done = push_run(path, address, raw, force)
        except EdgeprofError as error:
            if len(paths) == 1:
                raise
            problems.append({"run": path.name, "problem": str(error)})
            click.echo(f"edgeprof: not pushed: {plain(path.name)}: {plain(error)}", err=True)
            continue
        sent.append(asdict(done))
        tell_runs(number, len(paths))
        if not as_json:
            new = f"{done.sent_files} files, {human(done.sent_bytes, 'bytes')} sent" if done.sent_files else "was there"
            click.echo(f"{plain(done.address)}  {done.files} files, {human(done.bytes, 'bytes')}; {new}")
    if as_json:
        print_json({"pushed": sent, "problems": problems})
    return EdgeprofError.exit_code if problems else 0


@click.command(short_help="One figure of many runs, in groups; on Dask workers if asked.")
@click.argument("figure", metavar="FIGURE")
@click.option("--by", default="", metavar="COLUMN,...", help="Group by these: factors, or columns of the table.")
@folder_option
@worker_options
@json_option
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV.")
def aggregate(
    figure: str,
    by: str,
    folder: Path | str | None,
    scheduler: str | None,
    workers: int | None,
    as_json: bool,
    as_csv: bool,
) -> None:
    """Count, sum, mean, extremes and standard deviation of a FIGURE of all runs: a metric, or TABLE.COLUMN.

    Each run is read by itself, a part at a time, so it works where the tables have outgrown one machine's memory;
    `edgeprof query` tells the same, and more, where they have not.

    \b
    edgeprof dataset aggregate throughput --by model,storage_device
    edgeprof dataset aggregate block_io.bytes --by board,op --scheduler tcp://desk:8786
    """
    from edgeprof.cli.query import print_csv, print_table
    from edgeprof.profiler.dataset import runs_folder
    from edgeprof.profiler.remote_data.aggregate import aggregate as aggregate_runs
    from edgeprof.profiler.training_sets.build import Skipped

    if as_json and as_csv:
        raise click.UsageError("choose --json or --csv")
    columns = [name.strip() for name in by.split(",") if name.strip()]
    found = aggregate_runs(runs_folder(folder), figure, columns, where_of(scheduler, workers), tell_runs)
    tell_skipped([Skipped(*item) for item in found.skipped])
    if as_json:
        print_json(found.table.to_pylist())
    elif as_csv:
        print_csv(found.table)
    else:
        print_table(found.table)
