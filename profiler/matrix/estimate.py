"""How long a cell's run takes and what it keeps on disk: from earlier runs in the folder, else a stated guess."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgeprof.profiler.matrix.axes import DEFAULT
from edgeprof.profiler.matrix.state import Ended, Progress

ASSUMED_SECONDS = {"bare": 30.0, "container": 40.0, "vm": 90.0}
"""For a first run, by isolation, besides the ``duration`` that it is given."""
ASSUMED_BYTES = 8 << 20
"""That a first run keeps."""


@dataclass(frozen=True)
class Estimate:
    """One run of a cell; ``source`` is ``measured`` (this cell), ``similar`` (its isolation) or ``assumed``."""

    seconds: float
    bytes: float
    source: str


class Estimator:
    """Medians of the runs that ended well; ``cells`` gives the options of each cell, as values or as levels."""

    def __init__(self, cells: Mapping[str, Mapping[str, Any]], progress: Progress) -> None:
        self._cells, self._progress = cells, progress
        self._isolation = {cell: str(_given(options, "isolation") or "bare") for cell, options in cells.items()}

    def all(self) -> dict[str, Estimate]:
        """What one run of each cell takes, by the cell's id."""
        ended = self._progress.by_cell()
        good = {cell: [end for end in ended.get(cell, ()) if not end.failed] for cell in self._cells}
        alike: dict[str, list[Ended]] = {}
        for cell, ends in good.items():
            alike.setdefault(self._isolation[cell], []).extend(ends)
        similar = {isolation: _median(several, "similar") for isolation, several in alike.items() if several}
        return {
            cell: _median(ends, "measured") if ends else similar.get(self._isolation[cell]) or self._assumed(cell)
            for cell, ends in good.items()
        }

    def _assumed(self, cell: str) -> Estimate:
        seconds = ASSUMED_SECONDS.get(self._isolation[cell], ASSUMED_SECONDS["bare"])
        return Estimate(seconds + float(_given(self._cells[cell], "duration") or 0), ASSUMED_BYTES, "assumed")


def _given(options: Mapping[str, Any], name: str) -> Any:
    value = options.get(name)
    return None if value == DEFAULT else value


def _median(ended: Sequence[Ended], source: str) -> Estimate:
    seconds = statistics.median(end.seconds for end in ended)
    return Estimate(seconds, statistics.median(end.bytes for end in ended), source)
