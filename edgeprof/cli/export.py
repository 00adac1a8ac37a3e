"""``edgeprof export``: runs in another tool's format."""

from __future__ import annotations

from pathlib import Path

import click

from edgeprof.cli.options import RUN_HELP, folder_option, json_option, run_argument
from edgeprof.cli.output import print_json
from edgeprof.profiler.dataset import looks_like_a_run
from edgeprof.profiler.matrix.folder import MatrixFolder, is_matrix

_DEFAULT_NAMES = {
    "perfetto": "perfetto.json.gz",
    "csv": "csv",
    "arrow": "arrow",
    "pyperf": "pyperf.json",
    "openmetrics": "openmetrics.txt",
}
"""What is written below the run's folder where no other place is named."""


@click.command(epilog=RUN_HELP)
@run_argument
@folder_option
@click.option("--format", "format_name", required=True, metavar="FORMAT", help=f"One of {', '.join(_DEFAULT_NAMES)}.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="File or folder to write.  [default: in the run]")
@click.option(
    "--from", "begin", type=float, metavar="SECONDS", help="Only what comes after so many seconds of the run."
)
@click.option("--to", "end", type=float, metavar="SECONDS", help="Only what comes before so many seconds of it.")
@click.option("--phase", metavar="NAME", help="Only what lies in a phase of the main process.")
@click.option("--history", is_flag=True, help="openmetrics of a folder: every run, at the time at which it ended.")
@json_option
def command(
    run: str,
    folder: Path | str | None,
    format_name: str,
    output: Path | None,
    begin: float | None,
    end: float | None,
    phase: str | None,
    history: bool,
    as_json: bool,
) -> None:
    """Write a run in another tool's format.

    \b
    perfetto     one trace, opens in ui.perfetto.dev
    csv          a folder, one file a table
    arrow        a folder, one Arrow IPC file a table
    pyperf       step times and wall time; also of a matrix's folder
    openmetrics  metrics for Prometheus; also of a folder of runs
    """
    from edgeprof.dashboards.export import WHOLE_RUN, CannotCut, Part, export
    from edgeprof.profiler.dataset import find_run, runs_folder

    part = Part(begin, end, phase)
    if part and format_name in WHOLE_RUN:
        raise CannotCut(format_name)
    path = _export_folder(Path(run), format_name, output, history)
    if path is None:
        if history:
            raise click.UsageError("--history is for openmetrics of a folder of runs")
        found = find_run(run, runs_folder(folder))
        path = export(found, format_name, output or found.path / _DEFAULT_NAMES.get(format_name, format_name), part)
    if as_json:
        print_json({"format": format_name, "path": str(path)})
    else:
        click.echo(path)


def _export_folder(folder: Path, format_name: str, output: Path | None, history: bool) -> Path | None:
    """Export a folder of runs in a format that takes one; None where the folder is none, or the format takes none."""
    if not folder.is_dir() or looks_like_a_run(folder):
        return None
    if format_name == "pyperf" and is_matrix(folder) and not history:
        from edgeprof.dashboards.export.pyperf import write_study
        from edgeprof.profiler.matrix.results import study

        return write_study(study(folder), output or folder / _DEFAULT_NAMES["pyperf"])
    if format_name == "openmetrics":
        from edgeprof.dashboards.export.openmetrics import write_folder
        from edgeprof.profiler.dataset import run_directories

        runs = MatrixFolder(folder).runs if is_matrix(folder) else folder
        if run_directories(runs):
            return write_folder(runs, output or folder / _DEFAULT_NAMES["openmetrics"], history)
    return None
