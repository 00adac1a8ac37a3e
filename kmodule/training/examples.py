"""Examples for a model with one output: what goes in, what should come out, and the run that each is from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgeprof.kmodule.library import FixedArray, FloatArray

Mask = npt.NDArray[np.bool_]
Codes = npt.NDArray[np.int32]

PARTS = {
    "train": "what the model learned from",
    "validation": "what the candidates were chosen by",
    "time": "later than all that was learned, of workloads that were learned",
    "workload": "of workloads of which nothing was learned",
}
"""The parts of the examples; models are judged by the last two."""


@dataclass(frozen=True)
class Examples:
    """Rows of examples.

    Attributes:
        names: of the features, in the order of the model's inputs.
        inputs: Q16.16, as the kernel computes them.
        target: what the model should give.
        run: index into ``runs``, of each example.
        parts: by the names of `PARTS`; an example may be in none.
    """

    names: tuple[str, ...]
    inputs: FixedArray
    target: FloatArray
    run: Codes
    runs: tuple[str, ...]
    parts: dict[str, Mask]

    def __len__(self) -> int:
        return len(self.target)

    def rows(self, part: str, at_most: int, seed: int) -> npt.NDArray[np.intp]:
        """The rows of a part; of more than ``at_most``, so many drawn at random."""
        rows = np.flatnonzero(self.parts[part])
        if len(rows) > at_most:
            rows = np.sort(np.random.default_rng(seed).choice(rows, at_most, replace=False))
        return rows
