"""Features of windows of page-cache additions for the training set *read-ahead*, by the code that the kernel runs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from edgeprof.kmodule.library import FloatArray, to_float
from edgeprof.kmodule.readahead import FEATURES, VERSION, Windows
from edgeprof.profiler.training_sets.readahead_windows import NO_DEVICE, WindowSet


class KernelMeasure:
    """The `edgeprof.profiler.training_sets.readahead_windows.Measure` of kml/readahead.h."""

    names: Sequence[str] = FEATURES
    version = VERSION

    def __call__(self, windows: WindowSet, current_pages: int) -> tuple[FloatArray, npt.NDArray[np.bool_]]:
        """See `Measure`."""
        count = len(windows.begun)
        if count == 0:
            return np.zeros((0, len(FEATURES))), np.zeros(0, np.bool_)
        seen = Windows(count)
        for which, begun in enumerate(windows.begun.tolist()):
            seen.begin(which, current_pages, begun)
        seen.add(windows.which, windows.index, windows.pages)
        for device in np.flatnonzero(windows.device == NO_DEVICE).tolist():
            seen.merge(device, np.flatnonzero(windows.device == device))
        features, enough = seen.features(windows.ended)
        return to_float(features), enough
