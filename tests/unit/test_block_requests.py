"""Actions of the block layer become the requests that they were part of."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeprof.collectors.block import actions as act
from edgeprof.collectors.block.encoding import encode, text, word
from edgeprof.collectors.block.kinds import OPERATIONS
from edgeprof.collectors.block.requests import Requests, pair

DISK = 8 << 20


class Row(NamedTuple):
    """A request as the tests write it; None for what was not seen."""

    op: str
    sector: int | None
    sectors: int
    queued: int | None
    inserted: int | None
    issued: int | None
    completed: int | None
    pid: int | None = None
    error: int = 0


def actions(lines: str) -> act.Actions:
    """Lines of ``time letter rwbs sector+sectors [pid] [error]``; the sector may be ``-`` for none."""
    rows = [line.split() for line in lines.strip().splitlines()]
    places = [row[3].split("+") for row in rows]
    return act.make(
        [int(row[0]) for row in rows],
        np.array([ord(row[1]) for row in rows]),
        DISK,
        np.array([-1 if place[0] == "-" else int(place[0]) for place in places], np.int64),
        np.array([int(place[1]) * 512 for place in places]),
        np.array([word(row[2].encode()) for row in rows], np.uint64),
        np.array([int(row[4]) if len(row) > 4 else 0 for row in rows]),
        0,
        np.array([int(row[5]) if len(row) > 5 else 0 for row in rows]),
        [b"task"],
    )


def rows(found: Requests) -> list[Row]:
    """The requests as rows."""

    def known(name: str, index: int) -> int | None:
        return int(getattr(found, name)[index]) if getattr(found, "has_" + name)[index] else None

    return [
        Row(
            OPERATIONS[found.kind[index]],
            None if found.sector[index] < 0 else int(found.sector[index]),
            int(found.length[index]) // 512,
            known("queued", index),
            known("inserted", index),
            known("issued", index),
            known("completed", index),
            int(found.pid[index]) if found.has_asker[index] else None,
            int(found.error[index]) if found.has_completed[index] else 0,
        )
        for index in range(len(found))
    ]


def paired(lines: str, lossy: bool = False) -> list[Row]:
    return rows(pair(actions(lines), lossy))


def test_a_request_goes_from_queue_to_completion() -> None:
    assert paired(
        """
        10 Q R 100+8 7
        11 G R 100+8 7
        12 I R 100+8 7
        15 D R 100+8 3
        40 C R 100+8 0
        """
    ) == [Row("read", 100, 8, 11, 12, 15, 40, 7)]


def test_the_order_of_the_actions_does_not_matter() -> None:
    assert paired("40 C R 100+8\n15 D R 100+8\n11 G R 100+8 7") == [Row("read", 100, 8, 11, None, 15, 40, 7)]


def test_requests_at_one_sector_one_after_the_other() -> None:
    lines = "\n".join(f"{t} G W 8+8 1\n{t + 1} D W 8+8\n{t + 5} C W 8+8" for t in (10, 20, 30))
    assert paired(lines) == [Row("write", 8, 8, t, None, t + 1, t + 5, 1) for t in (10, 20, 30)]


def test_requests_at_one_sector_at_once_are_served_first_in_first_out() -> None:
    lines = "1 G R 8+8 1\n2 G R 8+8 2\n3 D R 8+8\n4 D R 8+8\n8 C R 8+8\n9 C R 8+8"
    assert paired(lines) == [Row("read", 8, 8, 1, None, 3, 8, 1), Row("read", 8, 8, 2, None, 4, 9, 2)]


def test_a_read_and_a_write_at_one_sector_are_told_apart() -> None:
    lines = "1 G R 8+8 1\n2 G W 8+8 2\n3 D W 8+8\n4 D R 8+8\n5 C R 8+8\n6 C W 8+8"
    assert paired(lines) == [Row("read", 8, 8, 1, None, 4, 5, 1), Row("write", 8, 8, 2, None, 3, 6, 2)]


def test_disks_are_told_apart() -> None:
    one = actions("1 G R 8+8 1\n3 D R 8+8\n5 C R 8+8")
    other = actions("2 G R 8+8 2\n4 D R 8+8\n6 C R 8+8")
    other.dev[:] = DISK + 16
    found = pair(act.concatenate([one, other]))
    assert rows(found) == [Row("read", 8, 8, 1, None, 3, 5, 1), Row("read", 8, 8, 2, None, 4, 6, 2)]
    assert found.dev.tolist() == [DISK, DISK + 16]


def test_a_request_has_the_size_it_was_issued_with_after_back_merges() -> None:
    lines = "1 G W 8+8 1\n2 M W 16+8 1\n3 M W 24+8 1\n4 D W 8+24\n9 C W 8+24"
    assert paired(lines) == [Row("write", 8, 24, 1, None, 4, 9, 1)]


def test_front_merges_move_a_request_to_a_lower_sector() -> None:
    lines = "1 G W 24+8 1\n2 I W 24+8 1\n3 F W 16+8 5\n4 F W 8+8 5\n6 D W 8+24\n9 C W 8+24"
    assert paired(lines) == [Row("write", 8, 24, 1, 2, 6, 9, 1)]


@pytest.mark.parametrize(
    "lines",
    [
        "1 G W 24+8 1\n2 I W 24+8 1\n3 M W 32+8 5\n6 D W 24+16\n9 C W 24+16",
        "1 G W 24+8 1\n2 I W 24+8 1\n3 F W 16+8 5\n6 D W 16+16\n9 C W 16+16",
        "1 G W 24+8 1\n2 I W 24+8 1\n3 D W 24+8\n4 R W 24+8\n5 I W 24+8\n6 M W 32+8\n7 D W 24+16\n9 C W 24+16",
    ],
    ids=["back", "front", "requeued"],
)
def test_what_a_request_was_at_its_insertion_is_kept_through_merges(lines: str) -> None:
    found = pair(actions(lines))
    assert (found.inserted_sector.tolist(), found.inserted_length.tolist()) == ([24], [8 * 512])
    assert found.length.tolist() == [16 * 512]


def test_after_a_front_merge_the_old_sector_is_free_again() -> None:
    lines = "1 G W 24+8 1\n2 F W 16+8 1\n3 D W 16+16\n4 G W 24+8 2\n5 D W 24+8\n6 C W 24+8\n9 C W 16+16"
    assert paired(lines) == [Row("write", 16, 16, 1, None, 3, 9, 1), Row("write", 24, 8, 4, None, 5, 6, 2)]


def test_a_front_merge_of_a_request_from_before_the_trace_has_no_queue_time() -> None:
    assert paired("2 F W 16+8 1\n3 D W 16+16\n9 C W 16+16") == [Row("write", 16, 16, None, None, 3, 9)]


def test_a_request_merged_into_another_has_no_row() -> None:
    lines = "1 G W 8+8 1\n2 G W 16+8 1\n3 M W 16+8 1\n4 D W 8+16\n9 C W 8+16"
    assert paired(lines) == [Row("write", 8, 16, 1, None, 4, 9, 1)]


def test_a_merge_of_a_bio_at_a_requests_own_sector_does_not_lose_the_request() -> None:
    lines = "1 G W 8+8 1\n2 M W 8+8 2\n4 D W 8+8\n9 C W 8+8"
    assert paired(lines) == [Row("write", 8, 8, 1, None, 4, 9, 1)]


def test_a_requeued_request_counts_from_its_last_issue() -> None:
    lines = "1 G R 8+8 1\n2 D R 8+8\n3 R R 8+8\n4 I R 8+8\n5 D R 8+8\n6 R R 8+8\n7 D R 8+8\n9 C R 8+8"
    assert paired(lines) == [Row("read", 8, 8, 1, 4, 7, 9, 1)]


def test_of_two_insertions_the_first_counts() -> None:
    lines = "1 G R 8+8 1\n2 I R 8+8\n3 D R 8+8\n4 R R 8+8\n5 I R 8+8\n6 D R 8+8\n9 C R 8+8"
    assert paired(lines) == [Row("read", 8, 8, 1, 2, 6, 9, 1)]


def test_a_requeue_among_requests_at_one_place() -> None:
    lines = "1 G R 8+8 1\n2 G R 8+8 2\n3 D R 8+8\n4 R R 8+8\n5 D R 8+8\n6 D R 8+8\n8 C R 8+8\n9 C R 8+8"
    assert paired(lines) == [Row("read", 8, 8, 1, None, 5, 8, 1), Row("read", 8, 8, 2, None, 6, 9, 2)]


def test_a_request_that_completes_in_parts_is_complete_with_the_last() -> None:
    lines = "1 G R 8+24 1\n2 D R 8+24\n5 C R 8+8\n6 C R 16+8\n9 C R 24+8 0 -5"
    assert paired(lines) == [Row("read", 8, 24, 1, None, 2, 9, 1, -5)]


def test_a_request_whose_last_part_was_not_seen_is_not_complete() -> None:
    assert paired("1 G R 8+24 1\n2 D R 8+24\n5 C R 8+8") == [Row("read", 8, 24, 1, None, 2, None, 1)]


def test_parts_of_two_requests_are_not_mixed() -> None:
    lines = "1 G R 8+16 1\n2 D R 8+16\n3 G R 32+16 2\n4 D R 32+16\n5 C R 32+8\n6 C R 8+8\n7 C R 16+8\n8 C R 40+8"
    assert paired(lines) == [Row("read", 8, 16, 1, None, 2, 7, 1), Row("read", 32, 16, 3, None, 4, 8, 2)]


def test_an_error_is_kept() -> None:
    assert paired("1 G R 8+8 1\n2 D R 8+8\n5 C R 8+8 0 -5")[0].error == -5


def test_fsync_is_one_flush_issued_when_the_command_that_served_it_was() -> None:
    lines = "1 G FWS 0+0 1\n2 D FF 0+0 44\n8 C FF -+0\n9 C WS 0+0"
    assert paired(lines) == [Row("flush", None, 0, 1, None, 2, 9, 1)]


def test_one_flush_command_serves_several_that_wait() -> None:
    lines = "1 G FWS 0+0 1\n2 G FWS 0+0 2\n3 D FF 0+0 44\n8 C FF -+0\n9 C WS 0+0\n10 C WS 0+0"
    assert paired(lines) == [Row("flush", None, 0, 1, None, 3, 9, 1), Row("flush", None, 0, 2, None, 3, 10, 2)]


def test_a_flush_command_that_nobody_seen_waits_for_stays() -> None:
    assert paired("2 D FF 0+0 44\n8 C FF -+0") == [Row("flush", None, 0, None, None, 2, 8, 44)]


def test_a_flush_and_a_write_at_sector_0_are_told_apart() -> None:
    lines = "1 G FWS 0+0 1\n2 G W 0+8 2\n3 D W 0+8\n4 D FF 0+0 44\n5 C W 0+8\n8 C FF -+0\n9 C WS 0+0"
    assert paired(lines) == [Row("flush", None, 0, 1, None, 4, 9, 1), Row("write", 0, 8, 2, None, 3, 5, 2)]


def test_a_durable_write_ends_with_the_flush_after_it() -> None:
    lines = "1 G WFS 8+8 1\n2 D WS 8+8\n4 C WS 8+8\n5 D FF 0+0 44\n8 C FF -+0\n9 C WS 8+0"
    assert paired(lines) == [Row("write", 8, 8, 1, None, 2, 9, 1)]


def test_a_journal_commit_with_a_flush_before_it() -> None:
    lines = "1 G FWFS 8+8 1\n2 D FF 0+0 44\n5 C FF -+0\n6 D WFS 8+8\n9 C WFS 8+8"
    assert paired(lines) == [Row("write", 8, 8, 1, None, 6, 9, 1)]


def test_discards_and_pass_through_requests() -> None:
    lines = "1 G DS 8+2048 1\n2 D DS 8+2048\n3 I N 0+0 6\n4 D N 0+0 7\n5 C N 0+0\n9 C DS 8+2048"
    assert paired(lines) == [Row("discard", 8, 2048, 1, None, 2, 9, 1), Row("other", None, 0, None, 3, 4, 5, 6)]


def test_a_split_bio_is_two_requests() -> None:
    lines = "1 X R 0+8 1\n1 G R 0+8 1\n2 G R 8+4 1\n3 D R 0+8\n4 D R 8+4\n8 C R 8+4\n9 C R 0+8"
    assert paired(lines) == [Row("read", 0, 8, 1, None, 3, 9, 1), Row("read", 8, 4, 2, None, 4, 8, 1)]


def test_times_that_were_not_seen_are_missing() -> None:
    lines = "1 C R 0+8\n2 D R 8+8 9\n3 C R 8+8\n4 G R 16+8 1\n5 D R 16+8\n6 G R 24+8 1"
    assert paired(lines) == [
        Row("read", 0, 8, None, None, None, 1),
        Row("read", 8, 8, None, None, 2, 3),
        Row("read", 16, 8, 4, None, 5, None, 1),
        Row("read", 24, 8, 6, None, None, None, 1),
    ]


def test_after_a_loss_the_newest_request_at_a_place_is_taken() -> None:
    lines = "1 G R 8+8 1\n2 D R 8+8\n100 G R 8+8 2\n101 D R 8+8\n109 C R 8+8"
    assert paired(lines, lossy=True) == [
        Row("read", 8, 8, 1, None, 2, None, 1),
        Row("read", 8, 8, 100, None, 101, 109, 2),
    ]


def test_no_actions_make_no_requests() -> None:
    assert len(pair(act.make([], 0))) == 0
    assert len(pair(actions("1 P N 0+0\n2 U N 0+0"))) == 0


@given(
    st.lists(st.tuples(st.integers(0, 3), st.booleans(), st.integers(1, 5), st.integers(0, 5), st.integers(1, 9))),
    st.booleans(),
)
def test_requests_in_any_overlap_are_told_apart(plan: list[tuple[int, bool, int, int, int]], scheduler: bool) -> None:
    """A device that serves each place first in first out: what comes out is what was put in."""
    last: dict[tuple[int, bool], tuple[int, int]] = {}
    lines, expected, now = [], [], 0
    for number, (place, write, gap, wait, service) in enumerate(plan):
        now += gap
        last_issued, last_completed = last.get((place, write), (0, 0))
        issued = max(now + 2 + wait, last_issued + 1)
        completed = max(issued + service, last_completed + 1)
        last[place, write] = issued, completed
        # Requests of one place never share a time, those of others may: the number makes all of them distinct.
        start, insert, issue, complete = (
            time * 1000 + number for time in (now, now + 1 if scheduler else -1, issued, completed)
        )
        what = f"{'W' if write else 'R'} {place * 8}+8"
        lines += [f"{start} G {what} {number + 1}", f"{issue} D {what}", f"{complete} C {what}"]
        lines += [f"{insert} I {what}"] if scheduler else []
        op, inserted = "write" if write else "read", insert if scheduler else None
        expected.append(Row(op, place * 8, 8, start, inserted, issue, complete, number + 1))
    assert (paired("\n".join(lines)) if lines else []) == expected


_WORDS = [word(text) for text in (b"R", b"W", b"WS", b"FF", b"FWS", b"WFS", b"DS", b"N", b"", b"FWFS", b"\xff\xff")]


@settings(max_examples=200)
@given(st.data(), st.booleans())
def test_nonsense_makes_no_more_requests_than_actions(data: st.DataObject, lossy: bool) -> None:
    count = data.draw(st.integers(0, 40))

    def column(values: st.SearchStrategy[int]) -> list[int]:
        return data.draw(st.lists(values, min_size=count, max_size=count))

    some = act.make(
        np.array(column(st.sampled_from([-(1 << 63), -5, 0, 1, 2, 3, 1 << 40, (1 << 63) - 1])), np.int64),
        np.array(column(st.sampled_from(list(b"QGIDCRMFX\0U\xff"))), np.uint8),
        np.array(column(st.sampled_from([0, 1, -1, DISK])), np.int32),
        np.array(column(st.sampled_from([-1, 0, 8, 16, 1 << 54, (1 << 63) - 1])), np.int64),
        np.array(column(st.sampled_from([0, 512, 4096, 8192, 1 << 40])), np.int64),
        np.array(column(st.sampled_from(_WORDS)), np.uint64),
    )
    found = pair(some, lossy)
    assert len(found) <= count
    assert not (found.has_completed & (some.action.tolist().count(act.COMPLETE) == 0)).any()


def test_so_many_places_that_their_numbers_do_not_fit_into_a_word() -> None:
    sectors = np.array([0, act.MAX_SECTOR, 8, act.MAX_SECTOR - 8] * 500, np.int64)
    count = len(sectors)
    devs = np.arange(count) % 250
    times = np.arange(count) * 10
    parts = [
        act.make(times + offset, letter, devs, sectors, 4096, word(b"R"))
        for offset, letter in ((0, act.GETRQ), (1, act.ISSUE), (2, act.COMPLETE))
    ]
    found = pair(act.concatenate(parts))
    assert len(found) == count
    assert (found.completed - found.queued == 2).all()
    assert found.sector.tolist() == sectors.tolist()


@given(st.lists(st.integers(0, (1 << 64) - 1)))
def test_encoding_gives_equal_words_equal_numbers(values: list[int]) -> None:
    words = np.array(values, np.uint64)
    codes, positions = encode(words)
    assert words[positions][codes].tolist() == values
    assert len(positions) == len(set(values))


def test_encoding_is_exact_where_hashes_collide() -> None:
    words = np.arange(200_000, dtype=np.uint64)
    codes, positions = encode(np.stack([words // np.uint64(7), words], axis=1))
    assert len(positions) == len(words)
    assert (words[positions][codes] == words).all()


@pytest.mark.parametrize("flags", ["R", "FWFSM", "WS"])
def test_short_strings_survive_in_words(flags: str) -> None:
    assert text(word(flags.encode())) == flags
