"""What the commands on training sets have in common when they print."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import click

from edgeprof.cli.output import make_console, make_table, plain

if TYPE_CHECKING:
    from edgeprof.profiler.training_sets.build import Skipped
    from edgeprof.profiler.training_sets.card import ColumnFacts

NAMED_RUNS = 5
"""Runs that are named; the data card has all."""


def tell_skipped(skipped: Sequence[Skipped]) -> None:
    """Say on standard error which runs were left out, and why."""
    for item in skipped[:NAMED_RUNS]:
        click.echo(f"edgeprof: left out {plain(item.run)}: {plain(item.reason)}", err=True)
    if len(skipped) > NAMED_RUNS:
        click.echo(f"edgeprof: left out {len(skipped) - NAMED_RUNS} more; the data card names them", err=True)


def say(name: str, value: object) -> None:
    """A line of a card."""
    click.echo(f"{name + ':':<14} {plain(value)}")


def listed(values: Iterable[Any]) -> str:
    """The first few of what there is."""
    found = sorted({str(value) for value in values if value is not None})
    more = f" and {len(found) - NAMED_RUNS} more" if len(found) > NAMED_RUNS else ""
    return (", ".join(found[:NAMED_RUNS]) + more) or "not known"


def share(some: int, of: int) -> str | None:
    """A share in percent with enough digits that few of many do not read as none."""
    if of == 0:
        return None
    return "0" if some == 0 else f"{100 * some / of:.2g} %" if some < of else "100 %"


def print_columns(columns: Sequence[ColumnFacts], rows: int) -> None:
    """The table of a set's columns."""
    click.echo("\nColumns")
    table = make_table(
        ["column", "type", "unit", "for", "missing", "meaning"],
        [[item.name, item.type, item.unit, item.role, share(item.missing, rows), item.about] for item in columns],
        right=[4],
    )
    make_console().print(table)
