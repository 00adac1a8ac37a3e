"""``edgeprof report``: the HTML report of a run."""

from __future__ import annotations

import shutil
from pathlib import Path

import click

from edgeprof.cli.options import RUN_HELP, folder_option, json_option, run_argument
from edgeprof.cli.output import print_json
from edgeprof.profiler.errors import EdgeprofError, NotIngested


@click.command(epilog=RUN_HELP)
@run_argument
@folder_option
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Also copy it to this file.")
@click.option("--open", "open_it", is_flag=True, help="Open it in the browser.")
@json_option
def command(run: str, folder: Path | str | None, output: Path | None, open_it: bool, as_json: bool) -> None:
    """Write a run's HTML report: one file that works offline, report.html in the run's folder."""
    from edgeprof.dashboards.report import build_report
    from edgeprof.profiler.dataset import find_run, runs_folder

    found = find_run(run, runs_folder(folder))
    if not found.tables:
        raise NotIngested(found.path)
    path = build_report(found)
    if output is not None:
        try:
            shutil.copyfile(path, output)
        except OSError as error:
            raise EdgeprofError(f"cannot write {output}: {error.strerror}; the report is {path}") from None
        path = output
    if as_json:
        print_json({"report": str(path)})
    else:
        click.echo(path)
    if open_it:
        click.launch(path.resolve().as_uri())
