"""What a model does once it acts: from a setting, window after window, to where it settles, on measured runs.

A cell of the training set was run at every setting, so what a tuner would see next, and how fast the workload would
be, is known: the windows and the throughput of the runs at the setting that it chose.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from edgeprof.kmodule.library import FixedArray, FloatArray
from edgeprof.kmodule.readahead import CHOICES_KIB, Choice
from edgeprof.kmodule.training.readahead_examples import ReadAheadExamples

WINDOWS = 48
CALM = 2
"""Windows in a row that must agree before a setting is changed."""

Answer = Callable[[FixedArray], FloatArray]
"""Features of windows -> log2 of KiB."""


@dataclass(frozen=True)
class Walk:
    """One cell, from one setting.

    Attributes:
        kib: the setting of each window.
        relative: throughput over the best setting's, on average over the second half of the windows.
        all_along: the same over all windows: with the time that it took to get there.
        changes: of the setting.
    """

    kib: tuple[int, ...]
    relative: float
    all_along: float
    changes: int


def walk(
    examples: ReadAheadExamples, cell: int, answer: Answer, begin_kib: int, calm: int = CALM, windows: int = WINDOWS
) -> Walk:
    """Let a model act on the disk of a cell.  At a setting without windows, or that was not run, it stays."""
    outputs = _outputs(examples, cell, answer)
    choice, kib = Choice(calm), begin_kib
    path: list[int] = []
    for number in range(windows):
        path.append(kib)
        said = outputs.get(kib, ())
        if len(said):
            chosen = choice.of(float(said[number % len(said)]), kib)
            kib = chosen if _was_run(examples, cell, chosen) else kib
    relative = np.array([examples.relative[cell, CHOICES_KIB.index(each)] for each in path])
    return Walk(
        kib=tuple(path),
        relative=float(relative[windows // 2 :].mean()),
        all_along=float(relative.mean()),
        changes=sum(a != b for a, b in pairwise(path)),
    )


def begins(examples: ReadAheadExamples, cell: int) -> Sequence[int]:
    """The settings of a cell that a walk can begin at."""
    return [kib for kib in CHOICES_KIB if _was_run(examples, cell, kib)]


def _was_run(examples: ReadAheadExamples, cell: int, kib: int) -> bool:
    return not np.isnan(examples.relative[cell, CHOICES_KIB.index(kib)])


def _outputs(examples: ReadAheadExamples, cell: int, answer: Answer) -> dict[int, FloatArray]:
    """What the model says of the disk's windows, by the setting under which they were seen."""
    rows = np.flatnonzero((examples.cell == cell) & examples.device)
    said = answer(examples.inputs[rows]) if len(rows) else np.zeros(0)
    current = examples.current_kib[rows]
    return {int(kib): said[current == kib] for kib in np.unique(current)}
