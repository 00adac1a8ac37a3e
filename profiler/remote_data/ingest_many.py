"""Ingest of many captures, one task each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from edgeprof.profiler.dataset import entry_of
from edgeprof.profiler.remote_data.runs import Tell, no_word
from edgeprof.profiler.remote_data.tasks import HERE, Done, Where, each


@dataclass(frozen=True)
class Ingested:
    """What ingest made of a capture: tables (0: it had them already), the time it took, its notes."""

    tables: int
    seconds: float
    notes: tuple[str, ...] = ()


def ingest_each(
    paths: Sequence[Path], force: bool = False, where: Where = HERE, tell: Tell = no_word
) -> Iterator[Done[Ingested]]:
    """Ingest captures, in the order given; what is wrong with one is told of it and does not stop the others.

    Args:
        paths: capture directories; Dask's workers must have them under the same paths.
        force: also those that have tables already.
        where, tell: see `each`, `Tell`.

    Raises:
        DaskError
    """
    items = [str(path.resolve()) for path in paths]
    for number, done in enumerate(each(partial(ingest_one, force), items, where), 1):
        tell(number, len(items))
        yield done


def ingest_one(force: bool, item: str) -> Ingested:
    """Ingest one capture, unless it has tables.  Raises EdgeprofError."""
    from edgeprof.profiler.ingest import ingest

    entry = entry_of(Path(item))
    if entry.run is not None and entry.problem is None and not force:
        return Ingested(0, 0.0)
    about = ingest(Path(item)).manifest["ingest"]
    return Ingested(len(about["tables"]), about["seconds"], tuple(about["notes"]))
