"""``edgeprof runs``: the runs of a folder, those that cannot be read among them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from edgeprof.cli.options import FolderType, folder_option, json_option
from edgeprof.cli.output import make_console, make_table, outcome, plain, print_json
from edgeprof.profiler.dataset import Entry, list_runs, metrics_of, named, runs_folder
from edgeprof.profiler.errors import DamagedMetrics
from edgeprof.profiler.units import human

KEY_METRICS = (
    ("wall time", "wall_time"),
    ("throughput", "throughput"),
    ("data stall", "data_stall"),
    ("read", "storage_read_bytes"),
    ("RSS peak", "rss_peak"),
    ("overhead", "overhead_cpu_share"),
)
"""Heading and metric of the table's figures."""


@click.command()
@click.argument("folder_argument", metavar="[FOLDER]", required=False, type=FolderType())
@folder_option
@json_option
def command(folder_argument: Path | str | None, folder: Path | str | None, as_json: bool) -> None:
    """List the runs of a folder, oldest first; any part of a run's id that is unique names it."""
    place = runs_folder(folder_argument or folder)
    entries = list_runs(place)
    if as_json:
        print_json({"folder": named(place), "runs": [_as_dict(entry) for entry in entries]})
        return
    if not entries:
        click.echo(f"no runs in {named(place)}; capture one with `edgeprof run -- COMMAND`")
        return
    console = make_console()
    headings = ["id", "started", "name", "result", *(heading for heading, _ in KEY_METRICS), "bound by"]
    console.print(make_table(headings, map(_row, entries), right=range(4, 4 + len(KEY_METRICS))))
    for entry in entries:
        if entry.problem:
            click.echo(f"{plain(entry.short_id)}: {plain(entry.problem)}")


def _metrics(entry: Entry) -> dict[str, dict[str, Any]]:
    """The run's metrics; none where they cannot be read."""
    if entry.run is None:
        return {}
    try:
        return metrics_of(entry.run.inside)
    except DamagedMetrics:
        return {}


def _result(entry: Entry) -> str:
    return outcome(entry.info) if entry.state == "finished" else entry.state


def _row(entry: Entry) -> list[object]:
    metrics = _metrics(entry)
    figures = [
        human(metrics[name]["value"], metrics[name]["unit"])
        if name in metrics and metrics[name]["value"] is not None
        else None
        for _, name in KEY_METRICS
    ]
    verdict = (entry.run.manifest.get("verdict") or {}).get("bound_by") if entry.run else None
    return [entry.short_id, entry.info.get("started"), entry.info.get("name"), _result(entry), *figures, verdict]


def _as_dict(entry: Entry) -> dict[str, Any]:
    metrics = _metrics(entry)
    return {
        "id": entry.id,
        "path": named(entry.path),
        "state": entry.state,
        "problem": entry.problem,
        "run": entry.info,
        "metrics": {name: metrics.get(name) for _, name in KEY_METRICS},
        "verdict": (entry.run.manifest.get("verdict") if entry.run else None),
    }
