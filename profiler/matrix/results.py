"""What a matrix has found: its state and the metrics of its runs as a study."""

from __future__ import annotations

from pathlib import Path

from edgeprof.profiler.dataset import metrics_of
from edgeprof.profiler.errors import EdgeprofError
from edgeprof.profiler.matrix.folder import MatrixFolder
from edgeprof.profiler.matrix.state import Ended, read_state
from edgeprof.profiler.run import open_run
from edgeprof.profiler.statistics.study import CellRun, Study


def study(folder: Path, within: Path | None = None) -> Study:
    """Every run that has ended of the cells in the matrix's last plan, failed ones among them.

    Args:
        within: a folder; a capture directory that is a link out of it is not read.  By default links lead anywhere.

    Raises:
        NoMatrix: there is none in the folder.
        EdgeprofError: its state cannot be read.
    """
    place = MatrixFolder(folder)
    progress = read_state(folder)
    root = within.resolve() if within is not None else None
    cells = [
        _cell_run(place, root, key[0], progress.cells[key[0]], key[1], progress.ended[key])
        for key in progress.keys()  # noqa: SIM118  (not a mapping)
        if key in progress.ended
    ]
    return Study(
        name=progress.plan["name"],
        axes={name: list(levels) for name, levels in progress.plan["axes"].items()},
        cells=cells,
        baseline=dict(progress.plan["baseline"]),
    )


def _cell_run(
    place: MatrixFolder, root: Path | None, cell: str, levels: dict[str, str], repeat: int, end: Ended
) -> CellRun:
    path = (place.set_aside if end.failed else place.runs) / end.run if end.run else None
    if path is not None and not path.is_dir():
        path = None
    metrics: dict[str, float | None] = {}
    failed = end.failed
    if path is not None and root is not None and not path.resolve().is_relative_to(root):
        path, failed = None, failed or "its capture directory is a link that leads out of the folder"
    if not failed:
        try:
            if path is None:
                raise EdgeprofError("its capture directory is gone")
            metrics = {name: entry["value"] for name, entry in metrics_of(open_run(path).inside).items()}
        except EdgeprofError as error:
            failed = str(error)
    return CellRun(cell, dict(levels), repeat, path, metrics, failed)
