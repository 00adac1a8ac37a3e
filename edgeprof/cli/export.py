"""``edgeprof export``: a run in another tool's format."""

from __future__ import annotations

from pathlib import Path

import click

from edgeprof.cli.options import RUN_HELP, folder_option, json_option, run_argument
from edgeprof.cli.output import print_json

_DEFAULT_NAMES = {"perfetto": "perfetto.json.gz", "csv": "csv"}
"""What is written below the run's folder where no other place is named."""


@click.command(epilog=RUN_HELP)
@run_argument
@folder_option
@click.option("--format", "format_name", required=True, metavar="FORMAT", help="perfetto or csv.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="File or folder to write.  [default: in the run]")
@json_option
def command(run: str, folder: Path | None, format_name: str, output: Path | None, as_json: bool) -> None:
    """Write a run in another tool's format: perfetto (opens in ui.perfetto.dev) or csv (one file a table)."""
    from edgeprof.dashboards.export import export
    from edgeprof.profiler.dataset import find_run, runs_folder

    found = find_run(run, runs_folder(folder))
    path = export(found, format_name, output or found.path / _DEFAULT_NAMES.get(format_name, format_name))
    if as_json:
        print_json({"format": format_name, "path": str(path)})
    else:
        click.echo(path)
