"""``edgeprof export``: a run in another tool's format."""

from __future__ import annotations

from pathlib import Path

import click

from edgeprof.cli.options import RUN_HELP, folder_option, json_option, run_argument
from edgeprof.cli.output import print_json
from edgeprof.profiler.matrix.folder import is_matrix

_DEFAULT_NAMES = {"perfetto": "perfetto.json.gz", "csv": "csv", "pyperf": "pyperf.json"}
"""What is written below the run's folder where no other place is named."""


@click.command(epilog=RUN_HELP)
@run_argument
@folder_option
@click.option("--format", "format_name", required=True, metavar="FORMAT", help="perfetto, csv or pyperf.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="File or folder to write.  [default: in the run]")
@json_option
def command(run: str, folder: Path | None, format_name: str, output: Path | None, as_json: bool) -> None:
    """Write a run in another tool's format: perfetto (opens in ui.perfetto.dev), csv (one file a table) or pyperf.

    pyperf also takes the folder of a matrix: step times and wall times of every cell.
    """
    from edgeprof.dashboards.export import export
    from edgeprof.profiler.dataset import find_run, runs_folder

    if format_name == "pyperf" and is_matrix(Path(run)):
        path = _export_matrix(Path(run), output)
    else:
        found = find_run(run, runs_folder(folder))
        path = export(found, format_name, output or found.path / _DEFAULT_NAMES.get(format_name, format_name))
    if as_json:
        print_json({"format": format_name, "path": str(path)})
    else:
        click.echo(path)


def _export_matrix(folder: Path, output: Path | None) -> Path:
    from edgeprof.dashboards.export.pyperf import write_study
    from edgeprof.profiler.matrix.results import study

    return write_study(study(folder), output or folder / _DEFAULT_NAMES["pyperf"])
