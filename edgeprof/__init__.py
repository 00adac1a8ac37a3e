"""edgeprof: what memory and I/O do to deep learning on a small machine.

In a program under ``edgeprof run`` these mark what it does; elsewhere they do nothing::

    with edgeprof.phase("load"):
        batch = next(batches)
    edgeprof.step(samples=len(batch))

`open_run` opens a captured run for analysis.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeprof.collectors.phases.recorder import mark, phase, step

if TYPE_CHECKING:
    from pathlib import Path

    from edgeprof.profiler.run import Run

__version__ = "0.1.0"
__all__ = ["__version__", "mark", "open_run", "phase", "step"]


def open_run(path: str | Path) -> Run:
    """Open the capture directory at ``path``; see `edgeprof.profiler.run.Run`."""
    from edgeprof.profiler.run import open_run as opener

    return opener(path)
