"""edgeprof: what memory and I/O do to deep learning on a small machine.

In a program under ``edgeprof run`` these mark what it does; elsewhere they do nothing::

    with edgeprof.phase("load"):
        batch = next(batches)
    edgeprof.step(samples=len(batch))

`open_run` opens a captured run for analysis, `open_runs` a folder of them; a notebook shows both.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeprof.collectors.phases.recorder import mark, phase, step

if TYPE_CHECKING:
    from pathlib import Path

    from edgeprof.dashboards.notebook import NotebookRun, Runs

__version__ = "0.1.0"
__all__ = ["__version__", "mark", "open_run", "open_runs", "phase", "step"]


def open_run(path: str | Path) -> NotebookRun:
    """Open a captured run; see `edgeprof.profiler.run.Run`, and `NotebookRun.plot` for figures.

    Args:
        path: its capture directory, or its address (``s3://bucket/runs/RUN``).

    Raises:
        NotARun, DamagedManifest, NewerSchema, RemoteError
    """
    from edgeprof.dashboards.notebook import NotebookRun

    return NotebookRun.open(path)


def open_runs(folder: str | Path | None = None) -> Runs:
    """Open a folder of runs; see `edgeprof.dashboards.notebook.Runs`.

    Args:
        folder: a path or an address; by default ``$EDGEPROF_RUNS``, else ``edgeprof-runs``.

    Raises:
        EdgeprofError: the folder cannot be read.
    """
    from edgeprof.dashboards.notebook import Runs
    from edgeprof.profiler.dataset import runs_folder

    return Runs(runs_folder(folder))
