"""blktrace's files are read as blkparse reads them, whole, cut or damaged."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeprof.collectors.block import blktrace, records
from edgeprof.collectors.block.encoding import text
from edgeprof.collectors.block.kinds import OPERATIONS
from edgeprof.collectors.block.requests import pair
from tests.guest.compare_blkparse import as_blkparse_prints, blkparse_lines, blkparse_times, our_times, recording_of
from tests.source_tree import ROOT

FIXTURE = ROOT / "tests" / "data" / "block" / "blktrace-6.1"

READ, WRITE, SYNC, NOTIFY = 1 << 16, 1 << 17, 1 << 19, 1 << 26
DISK = 8 << 20


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def record(
    action: int, time: int = 0, sector: int = 0, length: int = 0, pid: int = 0, payload: bytes = b"", order: str = "<"
) -> bytes:
    """One struct blk_io_trace and its payload."""
    head = struct.pack(
        order + "IIQQIIIIIHH", 0x65617407, 1, time, sector, length, action, pid, DISK, 0, 0, len(payload)
    )
    return head + payload


def named(pid: int, comm: bytes, time: int = 0, order: str = "<") -> bytes:
    return record(NOTIFY | records.PROCESS, time, pid=pid, payload=comm.ljust(16, b"\0"), order=order)


def test_a_real_trace_reads_as_blkparse_prints_it() -> None:
    files = files_of(FIXTURE)
    recording = recording_of(files)
    assert recording.notes == []
    assert as_blkparse_prints(recording) == blkparse_lines(files["blkparse.txt"])


def test_the_requests_of_a_real_trace_take_as_long_as_blkparse_says() -> None:
    files = files_of(FIXTURE)
    expected, found = blkparse_times(files["deltas.txt"]), our_times(recording_of(files))
    assert len(expected["C"]) > 200
    assert len(expected["I"]) > 100
    # A durable write ends with the flush after it, which blkparse does not know.
    durable = expected["C"].keys() - found["C"].keys()
    assert len(durable) == files["blkparse.txt"].count(b" G WFS ")
    assert {time: expected["C"][time] for time in found["C"].keys() & expected["C"].keys()} == {
        time: delta for time, delta in found["C"].items() if time in expected["C"]
    }
    assert {time: found["I"].get(time) for time in expected["I"]} == expected["I"]


def test_every_request_of_a_real_trace_is_whole() -> None:
    recording = recording_of(files_of(FIXTURE))
    found = pair(recording.actions())
    assert (found.has_queued & found.has_issued & found.has_completed).all()
    printed = as_blkparse_prints(recording)
    data = [line for line in printed if line[5] == "C" and line[8] != "0"]
    assert int(found.length.sum()) == sum(int(line[8]) for line in data)
    assert int((found.length > 0).sum()) == len(data)
    flushes = sum(line[5] == "G" and line[6] == "FWS" for line in printed)
    assert [OPERATIONS[kind] for kind in found.kind].count("flush") == flushes > 0


def test_times_are_those_of_the_monotonic_clock() -> None:
    files = files_of(FIXTURE)
    before, after = (float(line) for line in files["uptime"].split())
    times = recording_of(files).rows["time"] / 1e9
    assert before - 0.01 <= times.min() <= times.max() <= after + 0.01


def test_a_trace_cut_at_any_byte_reads_up_to_its_last_whole_record() -> None:
    parts = [
        named(7, b"fio"),
        record(records.TIMESTAMP | NOTIFY, payload=struct.pack("<II", 3, 4)),
        record(4 | READ, 10, 100, 4096, 7),
        record(10 | READ, 11, 0, 0, 7, payload=struct.pack(">Q", 1)),
        record(7 | READ, 12, 100, 4096, 7),
        record(8 | READ, 20, 100, 4096, 0),
    ]
    ends = np.cumsum([len(part) for part in parts]).tolist()
    whole = b"".join(parts)
    for length in range(len(whole) + 1):
        recording = blktrace.read([("x", whole[:length])])
        assert len(recording.rows) == sum(end <= length for end in ends)
        assert bool(recording.notes) == (length not in [0, *ends])


def test_a_big_endian_trace_reads_the_same() -> None:
    def trace(order: str) -> bytes:
        return named(7, b"fio", order=order) + record(4 | WRITE | SYNC, 10, 100, 4096, 7, order=order)

    little, big = blktrace.read([("x", trace("<"))]), blktrace.read([("x", trace(">"))])
    assert little.rows.tolist() == big.rows.tolist()
    assert little.names == big.names == (b"fio",)


def test_files_of_several_cpus_become_one_order() -> None:
    one = record(4 | READ, 10, 8, 512, 1) + record(4 | READ, 30, 24, 512, 1)
    other = record(4 | READ, 20, 16, 512, 2)
    recording = blktrace.read([("x.blktrace.0", one), ("x.blktrace.1", other)])
    assert recording.rows["sector"].tolist() == [8, 16, 24]


def test_the_magic_within_a_payload_is_not_taken_for_a_record() -> None:
    false = record(4 | READ, 15, 99, 512, 9)
    whole = record(4 | READ, 10, 8, 512, 1, payload=false + b"abc") + record(7 | READ, 20, 8, 512, 1)
    recording = blktrace.read([("x", whole)])
    assert recording.rows["sector"].tolist() == [8, 8]
    assert recording.notes == []


def test_after_damage_reading_goes_on_at_the_next_record() -> None:
    whole = record(4 | READ, 10, 8, 512, 1) + b"damage" + record(4 | READ, 20, 16, 512, 1)
    recording = blktrace.read([("x", whole)])
    assert recording.rows["sector"].tolist() == [8, 16]
    assert len(recording.notes) == 1


def test_what_is_not_a_trace_is_said_to_be_none() -> None:
    recording = blktrace.read([("x", b"something else"), ("y", b"")])
    assert len(recording.rows) == 0
    assert recording.notes == ["x is not a blktrace file of version 7"]


def test_a_thread_has_the_name_it_had_at_the_time() -> None:
    whole = named(7, b"sh", 5) + named(7, b"fio", 15)
    whole += b"".join(record(4 | READ, time, time, 512, 7) for time in (1, 10, 20)) + record(4 | READ, 30, 30, 512, 8)
    recording = blktrace.read([("x", whole)])
    rows = ~records.is_note(recording.rows["action"])
    names = [recording.names[code].decode() if code >= 0 else None for code in recording.comm[rows]]
    assert names == ["sh", "sh", "fio", None]


def test_times_of_another_clock_are_laid_on_the_monotonic_one() -> None:
    stamp = record(records.TIMESTAMP | NOTIFY, 1_000, payload=struct.pack("<II", 2_000, 0))
    recording = blktrace.read([("x", stamp)])
    offset = 500_000_000_000 - 2_000_000_000_000  # monotonic is at 500 s when real time is at 2000 s
    assert recording.shift_to_monotonic(offset) == 500_000_000_000 - 1_000
    assert recording.shift_to_monotonic(1_000 - 2_000_000_000_000) == 0
    assert recording.shift_to_monotonic(0) == 0


@pytest.mark.parametrize(
    ("flags", "length", "printed", "kernel"),
    [
        (0b1, 512, "R", "R"),
        (0b1, 0, "N", "N"),
        (0b110, 0, "FW", "FW"),
        (0b101, 0, "FN", "FF"),
        (0b1010 | 1 << 15, 512, "WFS", "WFS"),
        (0b10 | 1 << 13 | 1 << 3, 512, "DS", "DS"),
        (0b1 | 1 << 11, 512, "RA", "RA"),
        (0b1 | 1 << 12 | 1 << 3, 512, "RSM", "RSM"),
    ],
)
def test_flags_are_spelt_as_blkparse_and_as_the_kernel_spell_them(
    flags: int, length: int, printed: str, kernel: str
) -> None:
    assert records.printed_rwbs(flags << 16, length) == printed
    words = records.rwbs_words(np.array([flags << 16], np.uint32), np.array([length]))
    assert text(int(words[0])) == kernel


def test_notes_are_no_actions_even_when_their_number_is_that_of_one() -> None:
    action = np.array([4 | NOTIFY, 4 | READ, 9 | READ, 4 | READ | 1 << 8, 200], np.uint32)
    assert bytes(records.letters(action).tolist()) == b"\0G\0G\0"


_SOME = st.sampled_from(
    [
        record(4 | READ, 10, 8, 512, 7),
        record(7 | READ, 11, 8, 512, 7),
        record(8 | READ, 12, 8, 512),
        record(3 | WRITE, (1 << 64) - 1, (1 << 64) - 1, (1 << 32) - 1, 7),
        record(10 | READ, 1, payload=b"12345678"),
        named(7, b"fio"),
        record(records.TIMESTAMP | NOTIFY, payload=b"123"),
        b"\x07\x74\x61\x65",
        b"",
    ]
)


@settings(max_examples=300)
@given(st.lists(st.tuples(_SOME, st.integers(0, 80), st.binary(max_size=4)), max_size=12))
def test_damage_of_any_kind_is_survived(parts: list[tuple[bytes, int, bytes]]) -> None:
    content = b"".join(part[:keep] + noise for part, keep, noise in parts)
    recording = blktrace.read([("x", content)])
    assert len(recording.rows) <= len(content) // blktrace.HEADER_BYTES
    found = pair(recording.actions())
    assert len(found) <= len(recording.rows)


@given(st.binary(max_size=400))
def test_any_bytes_are_survived(noise: bytes) -> None:
    recording = blktrace.read([("x", record(4 | READ, 10, 8, 512, 7) + noise)])
    assert 8 in recording.rows["sector"]
