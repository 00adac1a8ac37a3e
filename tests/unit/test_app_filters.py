"""The filter of the list of runs: what it means, and that it can be nothing but a filter."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeprof.dashboards.app.filters import BadFilter, conditions, in_sql
from edgeprof.dashboards.app.rows import Column

COLUMNS: Mapping[str, Column] = {
    "id": Column("run"),
    "name": Column("run"),
    "command": Column("run"),
    "model": Column("factor"),
    "lr": Column("factor"),
    "LR": Column("factor"),
    "wall_time": Column("metric", "s"),
    "rss_peak": Column("metric", "bytes"),
    "data_stall": Column("metric", "share"),
    "energy_per_sample": Column("metric", "J/sample"),
}
NUMERIC = ("wall_time", "rss_peak", "data_stall", "energy_per_sample")
ROWS = [
    ("a-1", "demo one", "python train.py", "resnet18", "low", "HIGH", 5.0, 2e9, 0.5, 0.002),
    ("a-2", "demo two", "python infer.py", "ResNet50", None, None, 20.0, 5e8, None, None),
    ("b-3", "other", "cat /dev/sda", None, None, "LOW", 0.05, None, 0.9, 2.0),
]
CALLED = in_sql(COLUMNS)


def chosen(text: str) -> list[str]:
    """The runs that a filter lets through."""
    import duckdb

    found = conditions(text, COLUMNS, NUMERIC, CALLED)
    with duckdb.connect(":memory:") as connection:
        kinds = ", ".join(f"{CALLED[name]} {'double' if name in NUMERIC else 'varchar'}" for name in COLUMNS)
        connection.execute(f"create table runs ({kinds})")
        connection.executemany(f"insert into runs values ({', '.join('?' * len(COLUMNS))})", ROWS)
        where = " and ".join(item.sql for item in found) or "true"
        values = [value for item in found for value in item.values]
        return [
            row[0]
            for row in connection.execute(
                f"select {CALLED['id']} from runs where {where} order by {CALLED['id']}", values
            ).fetchall()
        ]


@pytest.mark.parametrize(
    ("text", "runs"),
    [
        ("", ["a-1", "a-2", "b-3"]),
        ("wall_time>1", ["a-1", "a-2"]),
        ("wall_time>=5 wall_time<20", ["a-1"]),
        ("wall_time<100ms", ["b-3"]),
        ("wall_time<1min", ["a-1", "a-2", "b-3"]),
        ("rss_peak>1GB", ["a-1"]),
        ("rss_peak>1Gi", ["a-1"]),
        ("rss_peak<=500MB", ["a-2"]),
        ("rss_peak=none", ["b-3"]),
        ("rss_peak!=none", ["a-1", "a-2"]),
        ("data_stall>60%", ["b-3"]),
        ("data_stall>0.6", ["b-3"]),
        ("energy_per_sample<3mJ", ["a-1"]),
        ("model=RESNET18", ["a-1"]),
        ("model!=resnet18", ["a-2", "b-3"]),
        ("model~net", ["a-1", "a-2"]),
        ("model!~50", ["a-1", "b-3"]),
        ('name="demo two"', ["a-2"]),
        ("demo", ["a-1", "a-2"]),
        ("sda", ["b-3"]),
        ('"demo o"', ["a-1"]),
        ("demo model~50", ["a-2"]),
        ("lr=low", ["a-1"]),
        ("LR=low", ["b-3"]),
    ],
)
def test_a_filter_chooses_runs(text: str, runs: list[str]) -> None:
    assert chosen(text) == runs


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("wal_time>1", "did you mean 'wall_time'"),
        ("wall_time>fast", "20ms"),
        ("wall_time>5m", "20ms"),
        ("wall_time>5GB", "20ms"),
        ("rss_peak>5s", "1.5GB"),
        ("wall_time~5", "is a number"),
        ("model>resnet", "is text"),
        ("wall_time>", "not understood"),
        ('name="unclosed', "not understood"),
        ("wall_time > 5", "not understood"),
        ("x" * 1000, "shorten"),
        ("a " * 30, "shorten"),
    ],
)
def test_a_filter_that_means_nothing_says_what_to_write(text: str, word: str) -> None:
    with pytest.raises(BadFilter, match=word):
        conditions(text, COLUMNS, NUMERIC, CALLED)


@given(st.text(max_size=200))
def test_any_text_is_a_filter_or_refused(text: str) -> None:
    try:
        found = conditions(text, COLUMNS, NUMERIC, CALLED)
    except BadFilter:
        return
    for item in found:
        assert item.sql.count("?") == len(item.values)


@pytest.mark.parametrize(
    "text", ['model="\'; drop table runs; --"', '"\' or 1=1 --"', 'model~"\') or (1"', 'model="\x00"']
)
def test_sql_in_a_value_stays_a_value(text: str) -> None:
    assert chosen(text) == []
    assert chosen("") == ["a-1", "a-2", "b-3"]
