"""What was added to the page cache: found in trace pages as the full decoder finds it, and worth so many accesses."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeprof.collectors.tracefs.formats import PageLayout
from edgeprof.collectors.tracefs.ring_buffer import decode
from edgeprof.kmodule.tuning import records
from edgeprof.kmodule.tuning.accesses import per_page
from edgeprof.kmodule.tuning.additions import Additions
from tests.unit.test_ring_buffer import LAYOUTS, WORD64, Page

RECORD = 40


def record(number: int, size: int = RECORD) -> bytes:
    return struct.pack("<Q", number).ljust(size, b"\0")


def found(pages: list[Page], layout: PageLayout) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """Times and offsets by both ways of finding them, in the order of offsets."""
    data = np.frombuffer(b"".join(page.bytes() for page in pages), np.uint8)
    times, offsets = records.find(data, layout, RECORD)
    whole = decode(data, layout)
    return (
        sorted(zip(offsets.tolist(), times.tolist(), strict=True)),
        sorted(zip(whole.offset.tolist(), whole.time_ns.tolist(), strict=True)),
    )


def full_page(layout: PageLayout, time: int) -> Page:
    page = Page(layout, time=time)
    for number in range(92):
        page.event(number * 3, record(number))
    return page


@LAYOUTS
def test_plain_pages_are_read_by_one_stride(layout: PageLayout, monkeypatch: pytest.MonkeyPatch) -> None:
    pages = [full_page(layout, 1000 + n) for n in range(3)] + [Page(layout, time=5).event(7, record(1))]
    stride, whole = found(pages, layout)
    assert stride == whole
    assert len(stride) == 3 * 92 + 1

    def unwanted(*_: object) -> None:
        raise AssertionError("the full decoder was asked")

    monkeypatch.setattr(records, "decode", unwanted)
    data = np.frombuffer(b"".join(page.bytes() for page in pages), np.uint8)
    assert len(records.find(data, layout, RECORD)[0]) == len(whole)


@LAYOUTS
def test_a_pause_before_and_a_filler_behind_are_read_by_stride_too(
    layout: PageLayout, monkeypatch: pytest.MonkeyPatch
) -> None:
    pages = [
        Page(layout).extend(3 << 30).event(0, record(1)).event(9, record(2)),
        Page(layout).event(0, record(1)).padded(),
    ]
    stride, whole = found(pages, layout)
    assert stride == whole
    assert len(whole) == 3
    monkeypatch.setattr(records, "decode", None)
    data = np.frombuffer(b"".join(page.bytes() for page in pages), np.uint8)
    assert len(records.find(data, layout, RECORD)[0]) == 3


def test_no_pages_hold_no_records() -> None:
    times, offsets = records.find(np.empty(0, np.uint8), WORD64, RECORD)
    assert (len(times), len(offsets)) == (0, 0)


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("event"), st.integers(0, 1000)),
        st.tuples(st.just("extend"), st.integers(0, 1 << 40)),
        st.tuples(st.just("long"), st.integers(0, 1000)),
        st.tuples(st.just("discarded"), st.integers(0, 1000)),
    ),
    max_size=40,
)


@settings(max_examples=150, deadline=None)
@given(st.lists(STEPS, max_size=4))
def test_whatever_pages_hold_both_ways_find_the_same(all_steps: list[list[tuple[str, int]]]) -> None:
    pages = []
    for steps in all_steps:
        page = Page(WORD64)
        for kind, delta in steps:
            if kind == "event":
                page.event(delta, record(delta))
            elif kind == "extend":
                page.extend(delta)
            elif kind == "long":
                page.event(delta, record(delta, 44))
            else:
                page.discarded(delta, record(0, 8))
        pages.append(page)
    stride, whole = found(pages, WORD64)
    assert stride == whole


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=32), st.integers(0, 1 << 32))
def test_garbage_is_not_followed_beyond_its_page(head: bytes, seed: int) -> None:
    garbage = (head + np.random.default_rng(seed).bytes(4096))[:4096]
    data = np.frombuffer(garbage + full_page(WORD64, 5).bytes(), np.uint8)
    _, offsets = records.find(data, WORD64, RECORD)
    assert ((offsets >= 0) & (offsets < len(data))).all()
    assert (offsets >= 4096).sum() == 92


def additions(*runs: tuple[int, int, int], pages: int = 1) -> Additions:
    """Of (inode, first page, pages); each addition is of so many pages."""
    rows = [(inode, index) for inode, begin, count in runs for index in range(begin, begin + count, pages)]
    inode, index = (np.array(values, np.int64) for values in zip(*rows, strict=True))
    same = np.full(len(rows), 7, np.int64)
    return Additions(same, inode, index, np.full(len(rows), pages, np.int64), same, 0.1)


def test_a_random_access_is_one_however_much_is_read_ahead_for_it() -> None:
    far = [(1, 1000 * n, 32) for n in range(20)]
    near = [(1, 1000 * n, 2) for n in range(20)]
    assert per_page(additions(*far), 32) == pytest.approx(1 / 32)
    assert per_page(additions(*near), 32) == pytest.approx(1 / 2)


def test_what_is_read_on_counts_by_its_length_under_any_read_ahead() -> None:
    whole = additions((1, 0, 3200))
    assert per_page(whole, 32) == pytest.approx(1 / 32)
    assert per_page(additions((1, 0, 3200), pages=32), 32) == per_page(whole, 32)


def test_the_order_of_additions_says_nothing() -> None:
    seen = additions((1, 0, 640), (2, 0, 640), (1, 5000, 2))
    turned = seen.of(np.random.default_rng(0).permutation(len(seen)))
    assert per_page(turned, 32) == per_page(seen, 32)


def test_pages_of_two_files_make_no_run() -> None:
    assert per_page(additions((1, 0, 10), (2, 10, 10)), 32) == pytest.approx(2 / 20)


def test_of_nothing_nothing_is_known() -> None:
    assert per_page(additions((1, 0, 1)).of(np.array([False])), 32) is None
