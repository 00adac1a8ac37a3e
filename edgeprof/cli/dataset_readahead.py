"""``edgeprof dataset build readahead``, and what ``describe`` prints of such a set."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgeprof.cli.dataset_words import listed, print_columns, say, tell_skipped
from edgeprof.cli.options import FolderType
from edgeprof.cli.output import make_console, make_table
from edgeprof.cli.quantities import DurationType
from edgeprof.cli.workers import tell_runs, where_of, worker_options

if TYPE_CHECKING:
    from edgeprof.profiler.training_sets.readahead_card import ReadAheadCard

LEAST_SECONDS = 1e-3
"""Of a window."""


@click.command(short_help="Windows of the page cache, and the read-ahead that served best.")
@click.argument("folder", required=False, type=FolderType())
@click.option(
    "-o", "--output", required=True, type=click.Path(dir_okay=False, path_type=Path), help="The Parquet file to write."
)
@click.option("--window", type=DurationType(), help="Length of the windows.  [default: 250ms]")
@worker_options
def readahead(
    folder: Path | str | None, output: Path, window: float | None, scheduler: str | None, workers: int | None
) -> None:
    """How files were read, and which read-ahead served that workload best.

    FOLDER holds runs of workloads at several sizes of --read-ahead, captured with --collect deep.
    [default: $EDGEPROF_RUNS, else edgeprof-runs]
    """
    from edgeprof.kmodule.training.readahead_measure import KernelMeasure
    from edgeprof.profiler.dataset import runs_folder
    from edgeprof.profiler.training_sets.readahead import WINDOW_SECONDS
    from edgeprof.profiler.training_sets.readahead_build import build

    if window is not None and window < LEAST_SECONDS:
        raise click.UsageError("nothing can be told of a window so short: give --window something like 250ms")
    where = where_of(scheduler, workers)
    built = build(runs_folder(folder), output, KernelMeasure(), window or WINDOW_SECONDS, where, tell_runs)
    tell_skipped(built.skipped)
    click.echo(f"edgeprof: {built.rows:,} windows of {built.runs:,} runs", err=True)
    click.echo(built.path)


def print_readahead(card: ReadAheadCard) -> None:
    """Print the data card of a training set of read-ahead."""
    from edgeprof.profiler.units import human

    about, runs = card.about, card.about["runs"]
    say("training set", f"{about['name']}, version {about['version']}, made by edgeprof {about.get('edgeprof')}")
    say(
        "windows",
        f"{card.rows:,} of {about['window_seconds']:g} s, of {len(runs):,} runs, {human(card.bytes, 'bytes')}",
    )
    for name, counts in card.counts.items():
        say(name.replace("_", " by "), ", ".join(f"{value} {number:,}" for value, number in counts.items()))
    say("machines", listed(run.get("machine") for run in runs))
    say("kernels", listed(run.get("kernel") for run in runs))
    blind = [run["no_windows"] for run in runs if run.get("no_windows")]
    if blind:
        say("no windows", f"{len(blind)} runs, which only tell how fast they were ({blind[0]})")
    skipped = about["skipped"]
    first = f" ({skipped[0].get('run')}: {skipped[0].get('reason')})" if skipped else ""
    say("left out", f"{len(skipped)} runs{first}" if skipped else "nothing")
    _print_cells(about["cells"])
    print_columns(card.columns, card.rows)


def _print_cells(cells: list[dict[str, Any]]) -> None:
    """Throughput of each workload and read-ahead, over that of its best; in brackets what is tied with it."""
    sizes = sorted({item["kib"] for cell in cells for item in cell["settings"]})
    rows = []
    for cell in cells:
        found = {item["kib"]: item for item in cell["settings"]}
        shown = [_relative(found.get(kib)) for kib in sizes]
        spread = None if cell["spread"] is None else f"{100 * cell['spread']:.1f} %"
        rows.append([cell["workload"], cell["machine"], *shown, f"{cell['best_kib']} KiB", spread])
    click.echo("\nThroughput over the best, by read-ahead in KiB; in brackets: cannot be told from the best")
    headings = ["workload", "machine", *map(str, sizes), "choice", "repeats differ"]
    make_console().print(make_table(headings, rows, right=range(2, len(headings))))
    situations = {(cell["machine"], cell["situation"]) for cell in cells}
    for machine, situation in sorted(situations):
        say("there", f"{machine} {situation}")


def _relative(setting: dict[str, Any] | None) -> str | None:
    if setting is None:
        return None
    text = f"{setting['relative']:.2f}"
    return f"[{text}]" if setting["tied"] else text
