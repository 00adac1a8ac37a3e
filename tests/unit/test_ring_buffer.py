"""Pages of the trace ring buffer, built by hand for each record type and read back."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeprof.collectors.tracefs.formats import FormatError, PageLayout, parse_layout
from edgeprof.collectors.tracefs.ring_buffer import Decoded, decode

HEADER_EVENT = """# compressed entry header
\ttype_len    :    5 bits
\ttime_delta  :   27 bits
\tarray       :   32 bits

\tpadding     : type == 29
\ttime_extend : type == 30
\ttime_stamp : type == 31
\tdata max type_len  == 28
"""


def header_page(commit_size: int, data_offset: int, data_size: int) -> str:
    """events/header_page as kernels print it."""
    return (
        "\tfield: u64 timestamp;\toffset:0;\tsize:8;\tsigned:0;\n"
        f"\tfield: local_t commit;\toffset:8;\tsize:{commit_size};\tsigned:1;\n"
        "\tfield: int overwrite;\toffset:8;\tsize:1;\tsigned:1;\n"
        f"\tfield: char data;\toffset:{data_offset};\tsize:{data_size};\tsigned:0;\n"
    )


WORD64 = parse_layout(header_page(8, 16, 4080), HEADER_EVENT)
WORD32 = parse_layout(header_page(4, 12, 4084), HEADER_EVENT)
PAGE64K = parse_layout(header_page(8, 16, 65520), HEADER_EVENT)
BIG_ENDIAN = parse_layout(header_page(8, 16, 4080), HEADER_EVENT, big_endian=True)
LAYOUTS = pytest.mark.parametrize(
    "layout", [WORD64, WORD32, PAGE64K, BIG_ENDIAN], ids=["64 bit", "32 bit", "64 KiB pages", "big endian"]
)
NS = 5_000_000_000


@dataclass
class Page:
    """Builds one sub-buffer record by record."""

    layout: PageLayout
    time: int = NS
    data: bytes = b""
    flags: int = 0
    behind: bytes = b""
    records: list[bytes] = field(default_factory=list)

    def word(self, value: int) -> bytes:
        return struct.pack(self.layout.order + "I", value)

    def head(self, kind: int, delta: int) -> bytes:
        return self.word(kind << 27 | delta if self.layout.big_endian else delta << 5 | kind)

    def event(self, delta: int, payload: bytes) -> Page:
        assert len(payload) % 4 == 0
        self.records.append(payload)
        if 4 <= len(payload) <= 112:
            self.data += self.head(len(payload) // 4, delta) + payload
        else:
            self.data += self.head(0, delta) + self.word(len(payload) + 4) + payload
        return self

    def extend(self, delta: int) -> Page:
        self.data += self.head(30, delta & ((1 << 27) - 1)) + self.word(delta >> 27)
        return self

    def stamp(self, time: int) -> Page:
        low = time & ((1 << 59) - 1)
        self.data += self.head(31, low & ((1 << 27) - 1)) + self.word(low >> 27)
        return self

    def discarded(self, delta: int, payload: bytes) -> Page:
        self.data += self.head(29, delta) + self.word(len(payload) + 4) + payload
        return self

    def padded(self) -> Page:
        self.data += self.head(29, 0) + b"\xee" * 12
        return self

    def bytes(self) -> bytes:
        commit = (len(self.data) | self.flags) & ((1 << 8 * self.layout.commit_size) - 1)
        header = struct.pack(self.layout.order + "Q", self.time)
        header += commit.to_bytes(self.layout.commit_size, "big" if self.layout.big_endian else "little")
        whole = header.ljust(self.layout.data_offset, b"\0") + self.data + self.behind
        assert len(whole) <= self.layout.page_size
        return whole.ljust(self.layout.page_size, b"\xa5")  # what stands behind the data is not ours to trust


def read(data: bytes, layout: PageLayout) -> tuple[Decoded, list[tuple[int, bytes]]]:
    """Decode; also the events as (time, record)."""
    decoded = decode(np.frombuffer(data, np.uint8), layout)
    places = zip(decoded.time_ns.tolist(), decoded.offset.tolist(), decoded.size.tolist(), strict=True)
    return decoded, [(time, data[offset : offset + size]) for time, offset, size in places]


def payload(number: int, words: int = 2) -> bytes:
    return struct.pack("<I", number) * words


@LAYOUTS
def test_short_records_follow_one_another_with_their_deltas(layout: PageLayout) -> None:
    page = Page(layout).event(0, payload(1)).event(7, payload(2, 28)).event((1 << 27) - 1, payload(3, 1))
    decoded, events = read(page.bytes(), layout)
    assert events == [(NS, payload(1)), (NS + 7, payload(2, 28)), (NS + 7 + (1 << 27) - 1, payload(3, 1))]
    assert (decoded.damaged, decoded.lost, decoded.cut, decoded.pages) == (0, 0, False, 1)


@LAYOUTS
def test_a_long_record_bears_its_length_in_a_word_of_its_own(layout: PageLayout) -> None:
    page = Page(layout).event(3, payload(9, 100)).event(4, payload(8))
    assert read(page.bytes(), layout)[1] == [(NS + 3, payload(9, 100)), (NS + 7, payload(8))]


def test_a_32_bit_kernel_that_aligns_to_8_bytes_writes_even_short_records_as_long_ones() -> None:
    page = Page(WORD32)
    page.data += page.head(0, 1) + page.word(12) + payload(5) + page.head(1, 2) + payload(6, 1)
    assert read(page.bytes(), WORD32)[1] == [(NS + 1, payload(5)), (NS + 3, payload(6, 1))]


@LAYOUTS
def test_a_time_extend_carries_what_27_bits_cannot(layout: PageLayout) -> None:
    hour = 3600 * 10**9
    page = Page(layout).extend(hour).event(0, payload(1)).event(5, payload(2)).extend(hour).event(6, payload(3))
    assert [time for time, _ in read(page.bytes(), layout)[1]] == [NS + hour, NS + hour + 5, NS + 2 * hour + 11]


@LAYOUTS
def test_an_absolute_stamp_replaces_the_time(layout: PageLayout) -> None:
    page = Page(layout).event(1, payload(1)).stamp(NS + 12345).event(0, payload(2)).event(5, payload(3))
    assert [time for time, _ in read(page.bytes(), layout)[1]] == [NS + 1, NS + 12345, NS + 12350]


def test_an_absolute_stamp_takes_its_top_bits_from_the_time_before_it() -> None:
    late = (1 << 60) + 1000
    page = Page(WORD64, time=late).stamp(late + 77).event(0, payload(1))
    assert read(page.bytes(), WORD64)[1][0][0] == late + 77
    wrapped = (1 << 60) - 10
    page = Page(WORD64, time=wrapped).stamp(wrapped + 30).event(0, payload(1))
    assert read(page.bytes(), WORD64)[1][0][0] == wrapped + 30


@LAYOUTS
def test_a_discarded_record_is_passed_over_but_its_time_counts(layout: PageLayout) -> None:
    page = Page(layout).event(1, payload(1)).discarded(50, payload(0, 6)).event(2, payload(2))
    assert read(page.bytes(), layout)[1] == [(NS + 1, payload(1)), (NS + 53, payload(2))]


def test_a_discarded_record_of_delta_one_stands_for_no_time_at_all() -> None:
    page = Page(WORD64).event(1, payload(1)).discarded(1, payload(0, 6)).event(2, payload(2))
    assert [time for time, _ in read(page.bytes(), WORD64)[1]] == [NS + 1, NS + 3]


@LAYOUTS
def test_padding_ends_the_page(layout: PageLayout) -> None:
    first = Page(layout).event(1, payload(1)).padded()
    second = Page(layout, time=NS * 2).event(1, payload(2))
    decoded, events = read(first.bytes() + second.bytes(), layout)
    assert events == [(NS + 1, payload(1)), (NS * 2 + 1, payload(2))]
    assert decoded.damaged == 0


@LAYOUTS
def test_missed_events_are_counted_from_behind_the_data(layout: PageLayout) -> None:
    order = "big" if layout.big_endian else "little"
    page = Page(layout, flags=1 << 31 | 1 << 30, behind=(4321).to_bytes(layout.commit_size, order)).event(0, payload(1))
    decoded, events = read(page.bytes() + Page(layout).event(0, payload(2)).bytes(), layout)
    assert (decoded.lost, decoded.lost_unknown) == (4321, 0)
    assert len(events) == 2


def test_the_flag_of_missed_events_may_come_with_its_sign_extended() -> None:
    page = Page(WORD64, flags=-1 << 30, behind=(77).to_bytes(8, "little")).event(0, payload(1))
    decoded, events = read(page.bytes(), WORD64)
    assert (decoded.lost, decoded.damaged, len(events)) == (77, 0, 1)


def test_missed_events_without_a_number_are_known_to_be_unknown() -> None:
    decoded, events = read(Page(WORD64, flags=1 << 31).event(0, payload(1)).bytes(), WORD64)
    assert (decoded.lost, decoded.lost_unknown, len(events)) == (0, 1, 1)


def test_a_page_of_garbage_does_not_touch_its_neighbours() -> None:
    good = [Page(WORD64, time=NS * n).event(0, payload(n)).event(1, payload(n)).bytes() for n in (1, 2)]
    decoded, events = read(good[0] + b"\xff" * 4096 + good[1], WORD64)
    assert [record for _, record in events] == [payload(1), payload(1), payload(2), payload(2)]
    assert decoded.damaged == 1


@pytest.mark.parametrize(
    "tail",
    [
        b"\x1c\0\0\0" + b"\0" * 8,  # a record of 28 words of which two are there
        b"\x00\0\0\0\xff\xff\xff\xff",  # a record of 4 GiB
        b"\x00\0\0\0\x00\0\0\0",  # a long record shorter than its own length word
        b"\x1e\0\0\0",  # a time extend cut in half
    ],
    ids=["overrun", "huge", "no length", "half extend"],
)
def test_what_stands_before_the_damage_is_kept(tail: bytes) -> None:
    page = Page(WORD64).event(1, payload(1)).event(1, payload(2))
    page.data += tail
    decoded, events = read(page.bytes() + Page(WORD64).event(1, payload(3)).bytes(), WORD64)
    assert [record for _, record in events] == [payload(1), payload(2), payload(3)]
    assert decoded.damaged == 1


@pytest.mark.parametrize("layout", [WORD64, WORD32, BIG_ENDIAN], ids=["64 bit", "32 bit", "big endian"])
def test_a_file_cut_at_any_byte_gives_the_events_that_are_whole(layout: PageLayout) -> None:
    pages = [Page(layout, time=NS * n) for n in (1, 2)]
    for page in pages:
        page.event(1, payload(1)).extend(1 << 30).event(2, payload(2, 30)).stamp(page.time + (1 << 31))
        page.event(4, payload(3, 28)).discarded(9, payload(4)).event(5, payload(5, 1))
    data = b"".join(page.bytes() for page in pages)
    whole = read(data, layout)[1]
    assert len(whole) == 8
    seen = 0
    for length in range(len(data) + 1):
        decoded, events = read(data[:length], layout)
        assert events == whole[: len(events)]
        assert len(events) >= seen
        assert decoded.cut == (length % layout.page_size != 0)
        seen = len(events)
    assert seen == len(whole)


def test_many_pages_of_unequal_length_keep_the_order_of_the_file() -> None:
    pages = [Page(WORD64, time=NS + n * 1000) for n in range(2500)]
    expected = []
    for number, page in enumerate(pages):
        for event in range(number % 7):
            page.event(1, payload(number * 10 + event, 1 + event))
            expected.append((NS + number * 1000 + event + 1, payload(number * 10 + event, 1 + event)))
    decoded, events = read(b"".join(page.bytes() for page in pages), WORD64)
    assert events == expected
    assert decoded.pages == 2500


def reference(data: bytes, layout: PageLayout) -> list[tuple[int, int, int]]:
    """The same walk one event at a time: (time, offset, size) of each event."""
    order = "big" if layout.big_endian else "little"
    found = []
    for start in range(0, len(data), layout.page_size):
        page = data[start : start + layout.page_size]
        if len(page) <= layout.data_offset:
            break
        time = int.from_bytes(page[:8], order)
        commit = int.from_bytes(page[8 : 8 + layout.commit_size], order)
        length = commit & ((1 << 30) - 1)
        if time >> 63 or commit >> 32 not in (0, 0xFFFFFFFF) or length > layout.page_size - layout.data_offset:
            continue
        end = min(layout.data_offset + length, len(page)) & ~3
        position = layout.data_offset
        while position < end:
            word = int.from_bytes(page[position : position + 4], order)
            kind, delta = (word >> 27, word & ((1 << 27) - 1)) if layout.big_endian else (word & 31, word >> 5)
            second = int.from_bytes(page[position + 4 : position + 8], order)
            if kind == 29 and delta == 0:
                break
            before, time = time, time + delta
            if 1 <= kind <= 28:
                begin, size, following = position + 4, kind * 4, position + 4 + kind * 4
            elif kind == 0:
                begin, size, following = position + 8, second - 4, position + 4 + (second + 3) // 4 * 4
                if second < 4:
                    break
            elif kind == 29:
                time -= delta == 1
                position += 4 + (second + 3) // 4 * 4
                continue
            else:
                if kind == 30:
                    time += second << 27
                else:
                    time = second << 27 | delta
                    assert before >> 59 == 0
                if position + 8 > end:
                    break
                position += 8
                continue
            if following > end:
                break
            if size >= 2:
                found.append((time, start + begin, size))
            position = following
    return found


SMALL = replace(WORD64, page_size=256)
SMALL_BIG_ENDIAN = replace(BIG_ENDIAN, page_size=256)


@st.composite
def damaged_pages(draw: st.DrawFn) -> bytes:
    """Pages of plausible headers and words that often, but not always, are records."""
    pages = []
    for _ in range(draw(st.integers(1, 4))):
        commit = draw(
            st.integers(0, 240)
            | st.integers(0, 1 << 33)
            | st.just(120 | 1 << 31 | 1 << 30)
            | st.just((120 - (1 << 30)) % (1 << 64))
        )
        kinds = st.integers(0, 31) | st.sampled_from([0, 1, 2, 28, 29, 30, 31])
        words = st.lists(st.tuples(kinds, st.integers(0, 3) | st.integers(0, (1 << 27) - 1)), max_size=60)
        body = b"".join(struct.pack("<I", delta << 5 | kind) for kind, delta in draw(words))
        pages.append((struct.pack("<QQ", draw(st.integers(0, 1 << 40)), commit) + body).ljust(256, b"\0")[:256])
    data = b"".join(pages)
    return data[: draw(st.integers(0, len(data)))]


@given(damaged_pages(), st.sampled_from([SMALL, SMALL_BIG_ENDIAN]))
def test_damaged_input_reads_as_a_walk_event_by_event_would(data: bytes, layout: PageLayout) -> None:
    decoded, _ = read(data, layout)
    places = zip(decoded.time_ns.tolist(), decoded.offset.tolist(), decoded.size.tolist(), strict=True)
    assert list(places) == reference(data, layout)


@given(st.binary(max_size=2048), st.sampled_from([SMALL, SMALL_BIG_ENDIAN, replace(WORD32, page_size=128)]))
def test_no_bytes_make_it_fail_or_point_outside_the_file(data: bytes, layout: PageLayout) -> None:
    decoded, _ = read(data, layout)
    assert (decoded.offset + decoded.size <= len(data)).all()
    assert (decoded.offset >= 0).all()


@pytest.mark.parametrize(
    ("page", "event"),
    [
        ("", HEADER_EVENT),
        (header_page(8, 16, 0), HEADER_EVENT),
        (header_page(2, 16, 4080), HEADER_EVENT),
        (header_page(8, 8, 4080), HEADER_EVENT),
        (header_page(8, 16, 4079), HEADER_EVENT),
        (header_page(8, 16, 4080), "type_len : 31 bits\ntime_delta : 31 bits"),
    ],
)
def test_headers_that_cannot_be_are_refused(page: str, event: str) -> None:
    with pytest.raises(FormatError):
        parse_layout(page, event)
