"""Small files of the kernel: numbers, keys and wide tables, from real lines and from any bytes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeprof.collectors import text
from edgeprof.collectors.text import MOST, KeyedColumns, keyed, rows_of, scaled, to_int


@pytest.mark.parametrize(
    ("written", "value"),
    [
        (b"0", 0),
        (b"-1", -1),
        (b"9223372036854771712", 9223372036854771712),  # v1's "no limit"
        (b"18446744073709551615", MOST),  # an unsigned 64-bit counter that went below 0
        (b"", None),
        (b"-", None),
        (b"max", None),
        (b"1.5", None),
        (b"+1", None),
        (b"1_000", None),
        (b"0x10", None),
        (b"\xb2", None),  # ISO 8859-1's raised 2
        (b"9" * 21, None),
        (b"9" * 100_000, None),
    ],
)
def test_numbers(written: bytes, value: int | None) -> None:
    assert to_int(written) == value


def test_a_unit_does_not_overflow() -> None:
    assert scaled(3, 1024) == 3072
    assert scaled(MOST, 1024) == MOST
    assert scaled(-MOST, 1024) == -MOST - 1


def test_keys_with_and_without_colon_and_unit() -> None:
    """Lines of /proc/meminfo and /proc/vmstat of Linux 6.18."""
    payload = (
        b"MemTotal:       24684264 kB\nActive(anon):     531404 kB\nHugePages_Total:       0\nnr_free_pages 5640011\n"
    )
    assert keyed(payload, "x_", {"kB": 1024}) == {
        "x_MemTotal": 24684264 * 1024,
        "x_Active_anon": 531404 * 1024,
        "x_HugePages_Total": 0,
        "x_nr_free_pages": 5640011,
    }


def test_lines_that_are_cut_or_foreign_are_left_out() -> None:
    assert keyed(b"MemTotal:\nMemFree: many kB\n\n 7\nCached: 12", "") == {"Cached": 12}
    assert list(rows_of(b"a b c\nd e\n\nf g h i", 3)) == [[b"a", b"b", b"c"], [b"f", b"g", b"h", b"i"]]


def test_there_are_never_more_columns_than_a_kernel_has_keys() -> None:
    many = b"".join(b"key%d 1\n" % number for number in range(10_000))
    assert len(keyed(many, "")) == text.MAX_COLUMNS
    columns = KeyedColumns()
    columns.add(1, keyed(many, "a_"))
    columns.add(2, keyed(many, "b_"))
    assert columns.table("system", lambda name: "count").num_columns == text.MAX_COLUMNS + 1


def test_a_key_that_is_missing_in_a_sample_is_null() -> None:
    columns = KeyedColumns()
    columns.add(20, {"new": 2, "real": 0.5})
    columns.add(10, {"old": 1})
    columns.add(20, {"later": 3})
    columns.add(30, {})
    table = columns.table("system", lambda name: "bytes" if name == "old" else "count")
    assert table.to_pydict() == {
        "time_ns": [10, 20],
        "new": [None, 2],
        "real": [None, 0.5],
        "old": [1, None],
        "later": [None, 3],
    }
    assert table.schema.field("old").metadata == {b"unit": b"bytes"}


def test_a_table_that_would_be_enormous_loses_its_rarest_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text, "MAX_CELLS", 20)
    columns = KeyedColumns()
    columns.add(0, {f"once{number}": 1 for number in range(50)})
    for time_ns in range(10):
        columns.add(time_ns, {"often": 1, "always": 2})
    table = columns.table("system", lambda name: "count")
    assert table.column_names == ["time_ns", "often", "always"]
    assert columns.dropped == 50


@given(st.binary(max_size=300))
def test_no_bytes_raise(payload: bytes) -> None:
    columns = KeyedColumns()
    columns.add(1, keyed(payload, "k_", {"kB": 1024}))
    assert columns.table("system", lambda name: "count").num_rows in (0, 1)
    to_int(payload)
    list(rows_of(payload, 2))


@pytest.mark.parametrize("payload", [b"a " * 2_000_000, b"\n" * 4_000_000, b"9" * 4_000_000, b"k " + b"9" * 4_000_000])
def test_endless_lines_are_no_trouble(payload: bytes) -> None:
    assert keyed(payload, "") == {}
