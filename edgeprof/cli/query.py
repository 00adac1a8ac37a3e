"""``edgeprof query``: SQL over the tables of a folder of runs."""

from __future__ import annotations

import csv
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgeprof.cli.options import folder_option, json_option
from edgeprof.cli.output import make_console, make_table, plain, print_json, wanted_width

if TYPE_CHECKING:
    import pyarrow as pa

SHOWN_ROWS = 200
"""Rows that a person wants on a terminal; --json and --csv give all."""


@click.command()
@click.argument("sql")
@folder_option
@click.option("--run", "runs", multiple=True, metavar="RUN", help="Only this run; may be repeated.")
@json_option
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV.")
def command(sql: str, folder: Path | str | None, runs: tuple[str, ...], as_json: bool, as_csv: bool) -> None:
    """Run one SELECT statement (DuckDB's SQL) over the runs of a folder.

    There is a view for each table (`show tables` lists them), with the column run_id in front; `metrics`, and
    `runs` with one row a run and its factors as columns.  Nothing can be written from here.

    \b
    edgeprof query "select run_id, value from metrics where name = 'throughput'"
    """
    from edgeprof.profiler.dataset import list_runs, runs_folder
    from edgeprof.profiler.query import Dataset

    if as_json and as_csv:
        raise click.UsageError("choose --json or --csv")
    place = runs_folder(folder)
    entries = _chosen(runs, place) if runs else list_runs(place)
    with Dataset(entries, place) as dataset:
        result = dataset.query(sql)
        for path in dataset.skipped:
            click.echo(f"edgeprof: left out {plain(path)}: it is damaged; `edgeprof ingest` makes it anew", err=True)
    if as_json:
        print_json(result.to_pylist())
    elif as_csv:
        print_csv(result)
    else:
        print_table(result)


def _chosen(runs: Sequence[str], place: Path) -> list[Any]:
    from edgeprof.profiler.dataset import entry_of, find_run

    return [entry_of(find_run(text, place).path) for text in runs]


def print_csv(result: pa.Table) -> None:
    """A table as CSV on standard output."""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(result.column_names)
    for batch in result.to_batches(max_chunksize=10_000):
        writer.writerows(zip(*(column.to_pylist() for column in batch.columns), strict=True))


def print_table(result: pa.Table) -> None:
    """A table for a person, shortened where it is long."""
    shown = result.slice(0, SHOWN_ROWS)
    rows = list(zip(*(column.to_pylist() for column in shown.columns), strict=True)) if result.num_columns else []
    right = [number for number, field in enumerate(result.schema) if _is_number(field.type)]
    console, table = make_console(), make_table(result.column_names, rows, right=right)
    if wanted_width(table, console) <= console.width:
        console.print(table)
    else:
        _print_records(result.column_names, rows)
    if result.num_rows > SHOWN_ROWS:
        click.echo(f"{result.num_rows - SHOWN_ROWS} more rows; --csv or --json print all")


def _print_records(names: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Rows that are too wide for the terminal, one column a line."""
    width = max(map(len, names))
    for number, row in enumerate(rows):
        click.echo(f"row {number + 1}")
        for name, value in zip(names, row, strict=True):
            click.echo(f"  {plain(name):<{width}}  {'-' if value is None else plain(value)}")


def _is_number(kind: pa.DataType) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))
