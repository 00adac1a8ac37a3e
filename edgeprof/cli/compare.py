"""``edgeprof compare``: how runs differ from the first of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgeprof.cli.options import RUN_HELP, folder_option, json_option
from edgeprof.cli.output import make_console, make_table, plain, print_json
from edgeprof.profiler.units import human

if TYPE_CHECKING:
    from rich.console import Console


@click.command(epilog=RUN_HELP)
@click.argument("runs", metavar="A B [...]", nargs=-1, required=True)
@folder_option
@json_option
def command(runs: tuple[str, ...], folder: Path | None, as_json: bool) -> None:
    """Print how runs differ from the first one: metrics, factors, machine.

    One run each says nothing on significance; a difference may be noise.
    """
    from edgeprof.profiler.analysis.compare import compare
    from edgeprof.profiler.dataset import find_run, runs_folder

    if len(runs) < 2:
        raise click.UsageError("name at least two runs to compare")
    place = runs_folder(folder)
    result = compare([find_run(text, place) for text in runs])
    if as_json:
        print_json(result)
    else:
        _print(result, make_console())


def _print(result: dict[str, Any], console: Console) -> None:
    labels = [Path(run["path"]).name.rsplit("-", 1)[-1] for run in result["runs"]]
    for label, run in zip(labels, result["runs"], strict=True):
        click.echo(f"{plain(label)}: {plain(run['name'])} ({plain(run['path'])})")
    headings = ["metric", labels[0]]
    for label in labels[1:]:
        headings += [label, "difference", "relative"]
    rows = [_metric_row(row) for row in result["metrics"] if any(value is not None for value in row["values"])]
    console.print(make_table(headings, rows, right=range(1, len(headings))))
    for title, key in (("Factors that differ", "factors"), ("Machine facts that differ", "host")):
        if result[key]:
            cells = [[row["name"], *row["values"]] for row in result[key]]
            console.print(make_table([title, *labels], cells))
        else:
            click.echo(f"{title}: none")
    untold = [row["name"] for row in result["metrics"] if all(value is None for value in row["values"])]
    if untold:
        click.echo(f"Not measured in any of them: {', '.join(untold)}")
    click.echo(result["caution"])


def _metric_row(row: dict[str, Any]) -> Sequence[str | None]:
    unit = row["unit"]

    def figure(value: float | None) -> str | None:
        return None if value is None else human(value, unit)

    cells: list[str | None] = [row["name"], figure(row["values"][0])]
    for value, difference, relative in zip(row["values"][1:], row["differences"], row["relative"], strict=True):
        sign = "+" if difference is not None and difference > 0 else ""
        cells += [
            figure(value),
            None if difference is None else sign + human(difference, unit),
            None if relative is None else f"{relative:+.1%}",
        ]
    return cells
