"""How files are read, from what is added to the page cache: the features of read-ahead models, by the kernel's code."""

from __future__ import annotations

import ctypes

import numpy as np
import numpy.typing as npt

from edgeprof.kmodule.abi import ONE, fixed
from edgeprof.kmodule.errors import WrongShape
from edgeprof.kmodule.library import FixedArray, library, memory

VERSION = 1
"""KML_READAHEAD_VERSION: of the meaning of the features."""
FEATURES = (
    *("rate", "sequential", "interleaved", "forward", "jump", "whole"),
    *("run", "run_weighted", "run_ratio", "short", "files", "current"),
)
"""Names of the features, in the order in which a model takes them; what each is, `kml/readahead.h` says."""
CHOICES_KIB = (8, 16, 32, 64, 128, 256, 512, 1024)
STREAMS = 8


class _Run(ctypes.Structure):
    """struct kml_readahead_run"""

    _fields_ = (("next", ctypes.c_uint64), ("pages", ctypes.c_uint64))


class _Runs(ctypes.Structure):
    """struct kml_readahead_runs"""

    _fields_ = tuple((name, ctypes.c_uint64) for name in ("count", "pages", "squares", "none_went_on"))


class Window(ctypes.Structure):
    """struct kml_readahead_window"""

    _fields_ = (
        *((name, ctypes.c_uint64) for name in ("begun", "added", "sequential", "interleaved", "jumps", "forward")),
        *((name, ctypes.c_uint64) for name in ("jump_log", "whole", "files")),
        ("ended", _Runs),
        ("readahead", ctypes.c_uint32),
        ("open", ctypes.c_uint32),
        ("runs", _Run * STREAMS),
    )


class Windows:
    """A number of windows, each of a file or, by merging, of a device; a window is begun before it is added to.

    As few calls as can be: all of these go through many windows, or many additions, in one call of C or NumPy.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self._memory = memory(ctypes.sizeof(Window) * count)
        self._windows = (Window * count).from_address(self._memory.ctypes.data)

    def begin(self, which: int, current_pages: int, now_ns: int) -> None:
        """Begin a window, or begin it anew, under a read-ahead of so many pages."""
        library().kml_readahead_begin(self._address(which), current_pages, now_ns)

    def add(self, which: npt.ArrayLike, index: npt.ArrayLike, pages: npt.ArrayLike) -> None:
        """Additions in the order of time: to which window, from which page of the file on, how many pages.

        Raises:
            WrongShape: the arrays are of different lengths, or there is no such window.
        """
        to = np.ascontiguousarray(which, dtype=np.uint32)
        begins = np.ascontiguousarray(index, dtype=np.uint64)
        counts = np.ascontiguousarray(pages, dtype=np.uint32)
        if not to.shape == begins.shape == counts.shape == (to.size,):
            raise WrongShape("the additions", (to.shape, begins.shape, counts.shape), "three rows of one length")
        if to.size and int(to.max()) >= self.count:
            raise WrongShape("the additions", int(to.max()), f"windows below {self.count}")
        places = (to.ctypes.data, begins.ctypes.data, counts.ctypes.data)
        library().kml_readahead_add_each(self._memory.ctypes.data, self.count, *places, to.size)

    def merge(self, into: int, which: npt.ArrayLike) -> None:
        """Add what the windows ``which`` have seen to that of their device."""
        merge, device = library().kml_readahead_merge, self._address(into)
        for file in np.atleast_1d(np.asarray(which, dtype=np.int64)).tolist():
            merge(device, self._address(file))

    def added(self) -> npt.NDArray[np.int64]:
        """Pages added to each window."""
        return np.array([window.added for window in self._windows], dtype=np.int64)

    def features(self, now_ns: npt.ArrayLike) -> tuple[FixedArray, npt.NDArray[np.bool_]]:
        """``[windows, features]`` in Q16.16, and which windows have seen enough; rows of the others are 0.

        Args:
            now_ns: the end of all windows, or of each.
        """
        out = np.zeros((self.count, len(FEATURES)), dtype=np.int32)
        enough = np.zeros(self.count, dtype=np.bool_)
        ends = np.broadcast_to(np.asarray(now_ns, dtype=np.uint64), self.count).tolist()
        call, row = library().kml_readahead_features, out.strides[0]
        for at, end in enumerate(ends):
            enough[at] = call(self._address(at), end, out.ctypes.data + at * row)
        return out, enough

    def _address(self, which: int) -> int:
        if not 0 <= which < self.count:
            raise WrongShape("the window", which, f"below {self.count}")
        return int(self._memory.ctypes.data) + which * ctypes.sizeof(Window)


def alike(before: FixedArray, after: FixedArray) -> bool:
    """Whether the features of two windows show the same kind of reading, whatever the read-ahead was in each."""
    return bool(_compared("kml_readahead_alike", before, after))


def gain(before: FixedArray, after: FixedArray) -> float:
    """log2 of how much faster a file was read after its read-ahead changed; of windows that are `alike`."""
    return _compared("kml_readahead_gain", before, after) / ONE


def _compared(function: str, before: FixedArray, after: FixedArray) -> int:
    rows = [np.ascontiguousarray(values, dtype=np.int32) for values in (before, after)]
    if any(values.shape != (len(FEATURES),) for values in rows):
        raise WrongShape("the features", [values.shape for values in rows], f"two rows of {len(FEATURES)}")
    return int(getattr(library(), function)(*(values.ctypes.data for values in rows)))


class Choice:
    """What to do with the answers of a model, window after window, for one file or device."""

    def __init__(self, calm: int = 1) -> None:
        self.calm = calm
        self._state = ctypes.c_uint32()

    def of(self, output: float, current_kib: int) -> int:
        """The read-ahead to use, in KiB: ``output`` is log2 of KiB; the present one until ``calm`` windows agree."""
        chosen = library().kml_readahead_choose(fixed(output), current_kib, self.calm, ctypes.byref(self._state))
        return int(chosen)
