"""The same work on each run of a folder, here or on Dask workers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

from edgeprof.profiler.dataset import Entry, entry_of, named
from edgeprof.profiler.remote_data.tasks import HERE, Done, Where, each
from edgeprof.profiler.run import local_run

T = TypeVar("T")
Tell = Callable[[int, int], object]
"""Called with the number of runs that are done, and of all."""


def no_word(done: int, total: int) -> None:
    """Tells nothing."""


def on_runs(
    work: Callable[[Entry], T], entries: Sequence[Entry], where: Where = HERE, tell: Tell = no_word
) -> Iterator[tuple[Entry, Done[T]]]:
    """Do ``work`` on each run, in the order given.

    Args:
        work: a function of a module, or a partial of one; on a worker it gets the run as the worker sees it: of a
            run at an address the worker's own mirror, of another the same path, which all workers must have.
        entries: the runs.
        where, tell: see `each`, `Tell`.

    Raises:
        DaskError
    """
    if where == HERE:
        results: Iterator[Done[T]] = (Done(entry.id, work(entry)) for entry in entries)
    else:
        results = each(partial(_on_item, work), [item_of(entry.path) for entry in entries], where)
    for number, (entry, done) in enumerate(zip(entries, results, strict=True), 1):
        tell(number, len(entries))
        yield entry, done


def item_of(path: Path) -> str:
    """How a run is named to a worker: by its address, or by its whole path."""
    text = named(path)
    return text if "://" in text else str(path.resolve())


def _on_item(work: Callable[[Entry], T], item: str) -> T:
    return work(entry_of(local_run(item)))
