"""Options and arguments that several commands share."""

from __future__ import annotations

from pathlib import Path

import click

folder_option = click.option(
    "--folder",
    type=click.Path(path_type=Path),
    help="Folder of runs.  [default: $EDGEPROF_RUNS, else edgeprof-runs]",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
run_argument = click.argument("run", metavar="RUN")

RUN_HELP = "RUN is a path; or `last`, an id or the first characters of one, looked up in the folder of runs."
