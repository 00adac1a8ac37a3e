"""What ``edgeprof matrix`` prints: a plan, a status, a result."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgeprof.cli.output import make_console, make_table
from edgeprof.profiler.units import human

if TYPE_CHECKING:
    from edgeprof.profiler.matrix.execute import Result
    from edgeprof.profiler.matrix.folder import MatrixFolder

_SHOWN = 40
"""Rows of a table; --json has all."""


def print_plan(told: dict[str, Any]) -> None:
    """Cells, what is left out, and the estimate."""
    console = make_console()
    axes = list(told["axes"])
    rows = [
        [cell["id"], *cell["levels"].values(), human(cell["seconds"], "s"), cell["estimate"]]
        for cell in told["cells"][:_SHOWN]
    ]
    console.print(make_table(["cell", *axes, "a run", "estimate"], rows, right=[len(axes) + 1]))
    _say_more(len(told["cells"]))
    if told["left_out"]:
        rows = [[*item["levels"].values(), item["reason"]] for item in told["left_out"][:_SHOWN]]
        console.print(make_table([*axes, "left out because"], rows))
        _say_more(len(told["left_out"]))
    sources = {cell["estimate"] for cell in told["cells"]}
    basis = "measured before" if sources == {"measured"} else "a guess until each cell has run once"
    click.echo(
        f"{told['name']}: {len(told['cells'])} cells x {told['repeats']} repeats = {told['runs']} runs,"
        f" {len(told['left_out'])} cells left out"
    )
    if "boards" in told:
        _print_boards(told)
    click.echo(f"about {human(told['seconds'], 's')} and {human(told['bytes'], 'bytes')} in {told['folder']} ({basis})")


def _print_boards(told: dict[str, Any]) -> None:
    rows = [[board["name"], board["kind"], board["cells"]] for board in told["boards"][:_SHOWN]]
    make_console().print(make_table(["board", "kind", "cells that it may run"], rows, right=[2]))
    _say_more(len(told["boards"]))
    for reason, count in Counter(told["unserved"].values()).items():
        click.echo(f"{count} cells stay open: {reason}")
    click.echo(
        f"on these {len(told['boards'])} boards, what is left takes about {human(told['wall_seconds'], 's')} from begin"
        " to end"
    )


def print_result(
    result: Result, folder: MatrixFolder, spec: Path, is_default: bool, is_part: bool, fleet: Sequence[str] = ()
) -> None:
    """What a call of ``matrix run`` came to; ``fleet`` are the options that named its boards."""
    if result.stopped:
        verb = "stopped" if result.interrupted else "stopped early"
        where = [] if is_default else ["-o", str(folder.path)]
        again = shlex.join(["edgeprof", "matrix", "run", str(spec), *where, *fleet])
        click.echo(
            f"edgeprof: {verb}: {result.stopped}; {result.left} runs are left, `{again}` goes on with them", err=True
        )
    failed = f", {result.failed} failed (their last words are in {folder.logs})" if result.failed else ""
    part = " of those that --only names" if is_part else ""
    click.echo(f"{result.done} runs done{failed}, {result.left} left{part} in {folder.path}")


def print_status(told: dict[str, Any]) -> None:
    """Runs by cell, and all together."""
    axes = list(told["axes"])
    rows = [
        [
            cell["id"],
            *cell["levels"].values(),
            cell["done"],
            cell["failed"],
            cell["left"],
            None if cell["seconds"] is None else human(cell["seconds"], "s"),
            cell["problem"] or "",
        ]
        for cell in told["cells"][:_SHOWN]
    ]
    headings = ["cell", *axes, "done", "failed", "left", "a run", "last failure"]
    make_console().print(make_table(headings, rows, right=range(len(axes) + 1, len(axes) + 5)))
    _say_more(len(told["cells"]))
    rest = f", about {human(told['seconds_left'], 's')} to go" if told["left"] else ""
    click.echo(
        f"{told['name']}: {told['done']} runs done, {told['failed']} failed, {told['left']} left{rest};"
        f" {human(told['seconds'], 's')} and {human(told['bytes'], 'bytes')} used in {told['folder']}"
    )


def _say_more(count: int) -> None:
    if count > _SHOWN:
        click.echo(f"... and {count - _SHOWN} more; --json lists them all")
