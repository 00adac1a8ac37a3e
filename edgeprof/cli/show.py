"""``edgeprof show``: one run, for a person or as JSON."""

from __future__ import annotations

from pathlib import Path

import click

from edgeprof.cli.options import RUN_HELP, folder_option, json_option, run_argument
from edgeprof.cli.output import make_console, print_json, print_summary, summary


@click.command(epilog=RUN_HELP)
@run_argument
@folder_option
@json_option
@click.option("--charts/--no-charts", default=None, help="Draw small charts.  [default: on a terminal]")
def command(run: str, folder: Path | str | None, as_json: bool, charts: bool | None) -> None:
    """Print a run: verdict, figures, phases, what was not captured and why, overhead."""
    from edgeprof.cli.charts import print_charts, wanted
    from edgeprof.profiler.dataset import find_run, runs_folder

    found = find_run(run, runs_folder(folder))
    if as_json:
        print_json(summary(found))
    else:
        print_summary(found.inside, make_console(), print_charts if wanted(charts) else None)
