"""Options of commands that work on many runs, and how far they are."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from edgeprof.profiler.remote_data.tasks import Where


def worker_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--scheduler`` and ``--workers``."""
    for option in (
        click.option("--workers", type=click.IntRange(1, 1024), help="Read the runs in so many processes here."),
        click.option(
            "--scheduler", metavar="ADDRESS", help="Read the runs on a Dask scheduler's workers, like tcp://desk:8786."
        ),
    ):
        command = option(command)
    return command


def where_of(scheduler: str | None, workers: int | None) -> Where:
    """Where to work, as the two options say."""
    from edgeprof.profiler.remote_data.tasks import Where

    if scheduler is not None and workers is not None:
        raise click.UsageError("--scheduler has its own workers: give it or --workers")
    return Where(scheduler, workers)


def tell_runs(done: int, total: int) -> None:
    """How many runs are done, on one line of a terminal."""
    if sys.stderr.isatty():
        click.echo(f"\redgeprof: {done:,} of {total:,} runs" + ("\n" if done == total else ""), nl=False, err=True)
