"""How long a cell's run takes and what it keeps on disk: from earlier runs in the folder, else a stated guess."""

from __future__ import annotations

import bisect
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
        self._cells = cells
        self._isolation = {cell: str(_given(options, "isolation") or "bare") for cell, options in cells.items()}
        self._of_cell: dict[str, _Median] = {}
        self._alike: dict[str, _Median] = {}
        for (cell, _), end in progress.ended.items():
            self.take(cell, end)

    def take(self, cell: str, end: Ended) -> None:
        """A run has ended."""
        if end.failed or end.interrupted or cell not in self._cells:
            return
        self._of_cell.setdefault(cell, _Median()).add(end)
        self._alike.setdefault(self._isolation[cell], _Median()).add(end)

    def of(self, cell: str) -> Estimate:
        """What one run of a cell takes."""
        if cell in self._of_cell:
            return self._of_cell[cell].estimate("measured")
        alike = self._alike.get(self._isolation[cell])
        return alike.estimate("similar") if alike else self._assumed(cell)

    def all(self) -> dict[str, Estimate]:
        """What one run of each cell takes, by the cell's id."""
        return {cell: self.of(cell) for cell in self._cells}

    def _assumed(self, cell: str) -> Estimate:
        seconds = ASSUMED_SECONDS.get(self._isolation[cell], ASSUMED_SECONDS["bare"])
        return Estimate(seconds + float(_given(self._cells[cell], "duration") or 0), ASSUMED_BYTES, "assumed")


class _Median:
    """Medians of runs that keep coming: 10,000 of them are asked for after each."""

    def __init__(self) -> None:
        self._seconds: list[float] = []
        self._bytes: list[float] = []

    def add(self, end: Ended) -> None:
        bisect.insort(self._seconds, end.seconds)
        bisect.insort(self._bytes, end.bytes)

    def estimate(self, source: str) -> Estimate:
        return Estimate(_middle(self._seconds), _middle(self._bytes), source)


def _middle(values: Sequence[float]) -> float:
    half = len(values) // 2
    return values[half] if len(values) % 2 else (values[half - 1] + values[half]) / 2


def _given(options: Mapping[str, Any], name: str) -> Any:
    value = options.get(name)
    return None if value == DEFAULT else value
