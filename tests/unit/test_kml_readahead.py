"""Windows of page-cache additions from Python: arrays reach the C code in order, and names are its own."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest

from edgeprof.kmodule.errors import WrongShape
from edgeprof.kmodule.library import library, to_float
from edgeprof.kmodule.readahead import FEATURES, Choice, Windows, alike, gain

SECOND = 10**9


def seen(windows: Windows, which: int) -> dict[str, float]:
    features, enough = windows.features(2 * SECOND)
    assert enough[which]
    return dict(zip(FEATURES, to_float(features[which]).tolist(), strict=True))


def begun(count: int, current_pages: int = 32) -> Windows:
    windows = Windows(count)
    for which in range(count):
        windows.begin(which, current_pages, SECOND)
    return windows


def test_names_are_those_of_the_library() -> None:
    names = (ctypes.c_char_p * len(FEATURES)).in_dll(library(), "kml_readahead_names")
    assert tuple(name.decode() for name in names if name) == FEATURES


def test_a_sequential_and_a_random_window() -> None:
    windows = begun(2)
    places = np.random.default_rng(0).integers(0, 1 << 30, 64)
    which = np.tile([0, 1], 64)
    index = np.stack([np.arange(64) * 32, places], axis=1).ravel()
    windows.add(which, index, np.full(128, 32))
    sequential, random = seen(windows, 0), seen(windows, 1)
    assert (sequential["run"], sequential["run_ratio"], sequential["short"]) == (11, 6, 0)
    assert (random["run"], random["run_ratio"], random["short"]) == (5, 0, 1)
    assert sequential["rate"] == pytest.approx(11, abs=0.001)


def test_a_device_sees_the_sum_of_its_files() -> None:
    windows = begun(9)
    windows.add(np.repeat(np.arange(1, 9), 2), np.tile([0, 16], 8), np.full(16, 16))
    windows.merge(0, range(1, 9))
    device = seen(windows, 0)
    assert (device["files"], device["whole"], device["run"], device["short"]) == (3, 1, 5, 1)


def test_a_window_with_too_little_says_so() -> None:
    windows = begun(2)
    windows.add([0, 1], [0, 0], [127, 128])
    features, enough = windows.features([2 * SECOND, 2 * SECOND])
    assert enough.tolist() == [False, True]
    assert not features[0].any() and features[1].any()


@pytest.mark.parametrize(("which", "index", "pages"), [([0], [0, 1], [1, 1]), ([2], [0], [1]), ([[0]], [[0]], [[1]])])
def test_additions_that_do_not_fit_are_refused(which: object, index: object, pages: object) -> None:
    with pytest.raises(WrongShape, match="the additions"):
        begun(2).add(which, index, pages)  # type: ignore[arg-type]


def test_a_window_that_is_not_there_is_refused() -> None:
    with pytest.raises(WrongShape, match="the window"):
        begun(2).begin(2, 32, 0)


def test_no_windows_have_no_features() -> None:
    features, enough = Windows(0).features(0)
    assert features.shape == (0, len(FEATURES)) and enough.size == 0


def test_a_gain_is_that_of_the_places_read() -> None:
    windows = Windows(2)
    for which, (current_pages, reads) in enumerate([(32, 100), (2, 400)]):
        windows.begin(which, current_pages, SECOND)
        places = np.arange(reads) * 1000
        windows.add(np.full(reads, which), places, np.full(reads, current_pages))
    features, _ = windows.features(2 * SECOND)
    assert alike(features[0], features[1])
    assert gain(features[0], features[1]) == pytest.approx(2, abs=0.01)
    with pytest.raises(WrongShape, match="the features"):
        gain(features, features)


def test_a_choice_waits_for_windows_that_agree() -> None:
    choice = Choice(calm=2)
    assert [choice.of(output, 128) for output in (3.1, 9.8, 3.1, 2.0)] == [128, 128, 128, 8]
    assert Choice().of(7.4, 128) == 128
    assert Choice().of(40.0, 128) == 1024
