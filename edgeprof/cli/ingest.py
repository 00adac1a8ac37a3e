"""``edgeprof ingest``: tables, metrics and verdict of a capture."""

from __future__ import annotations

from pathlib import Path

import click

from edgeprof.cli.options import RUN_HELP, folder_option, json_option, run_argument
from edgeprof.cli.output import make_console, print_json, print_summary, summary


@click.command(epilog=RUN_HELP)
@run_argument
@folder_option
@click.option("--force", is_flag=True, help="Make the tables anew where there are some.")
@json_option
def command(run: str, folder: Path | None, force: bool, as_json: bool) -> None:
    """Make a run's tables and metrics from what was captured, also from an interrupted run."""
    from edgeprof.profiler.dataset import entry_of, find_path, runs_folder
    from edgeprof.profiler.ingest import ingest

    path = find_path(run, runs_folder(folder))
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
