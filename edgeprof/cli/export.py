"""``edgeprof export``: a run in another tool's format."""

from __future__ import annotations

from pathlib import Path

import click

from edgeprof.cli.options import RUN_HELP, folder_option, json_option, run_argument
from edgeprof.cli.output import print_json
from edgeprof.profiler.errors import EdgeprofError, NotIngested


@click.command(epilog=RUN_HELP)
@run_argument
@folder_option
@click.option("--format", "format_name", required=True, metavar="FORMAT", help="perfetto or csv.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="File or folder to write.  [default: in the run]")
@json_option
def command(run: str, folder: Path | None, format_name: str, output: Path | None, as_json: bool) -> None:
    """Write a run in another tool's format: perfetto (opens in ui.perfetto.dev) or csv (one file a table)."""
    from edgeprof.dashboards.export import FORMATS, export
    from edgeprof.profiler.dataset import find_run, runs_folder

    if format_name not in FORMATS:
        raise click.UsageError(f"there is no format {format_name!r}; there are: {', '.join(FORMATS)}")
    found = find_run(run, runs_folder(folder))
    if not found.tables:
        raise NotIngested(found.path)
    try:
        path = export(found, format_name, output)
    except OSError as error:
        raise EdgeprofError(f"cannot write {error.filename or output}: {error.strerror}") from None
    if as_json:
        print_json({"format": format_name, "path": str(path)})
    else:
        click.echo(path)
