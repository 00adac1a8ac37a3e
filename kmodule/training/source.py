"""Where examples come from: a training set, or runs that one is made of first."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from edgeprof.profiler.dataset import list_runs
from edgeprof.profiler.training_sets.build import build
from edgeprof.profiler.training_sets.deadlines import Deadlines

RUNS = "runs"
"""The folder within the results of an evaluation that holds its runs."""


@contextmanager
def latency_set(source: Path, deadline_quantile: float) -> Iterator[Path]:
    """The training set *request latency*: the file that is named, or one made of a folder of runs while it is used.

    Raises:
        NoRuns, NothingToLearn, EdgeprofError: see `edgeprof.profiler.training_sets.build.build`.
    """
    if not source.is_dir():
        yield source
        return
    inside = source / RUNS
    folder = inside if inside.is_dir() and not list_runs(source) else source
    with TemporaryDirectory(prefix="edgeprof-") as scratch:
        target = Path(scratch) / "latency.parquet"
        build(folder, target, Deadlines(quantile=deadline_quantile))
        yield target
