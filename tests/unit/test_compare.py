"""Comparing runs: differences of metrics, and what differs in factors and machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edgeprof.profiler.analysis.compare import CAUTION, compare, differing
from edgeprof.profiler.run import open_run
from tests import tiny_run


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Two runs: the second has another scheduler and kernel, took 12.5 s and had no power sensor."""
    folder: Path = tmp_path_factory.mktemp("runs")
    first = tiny_run.write(folder / "a")
    changes: dict[str, Any] = {
        "run": {"wall_time": 12.5},
        "factors": {"storage": {"device": "disk1", "scheduler": "kyber"}},
        "host": {"kernel": "6.12"},
    }
    second = tiny_run.write(folder / "b", without=("power",), **changes)
    return compare([open_run(first), open_run(second)])


def metric(result: dict[str, Any], name: str) -> dict[str, Any]:
    """A row by its name."""
    found: dict[str, Any] = next(row for row in result["metrics"] if row["name"] == name)
    return found


def test_differences_are_absolute_and_relative_to_the_first(result: dict[str, Any]) -> None:
    row = metric(result, "wall_time")
    assert (row["values"], row["differences"], row["relative"]) == ([10.0, 12.5], [2.5], [0.25])


def test_a_value_that_is_missing_has_no_difference_but_a_reason(result: dict[str, Any]) -> None:
    row = metric(result, "energy")
    assert (row["values"], row["differences"], row["relative"]) == ([50.0, None], [None], [None])
    assert row["reasons"][0] is None
    assert row["reasons"][1]


def test_from_zero_there_is_no_relative_difference(tmp_path: Path) -> None:
    lossy = [{"name": "block", "available": True, "mode": "full", "lost": 3}]
    runs = [tiny_run.write(tmp_path / "a"), tiny_run.write(tmp_path / "b", collectors=lossy)]
    row = metric(compare([open_run(path) for path in runs]), "lost_records")
    assert (row["values"], row["differences"], row["relative"]) == ([0.0, 3.0], [3.0], [None])


def test_only_what_differs_is_listed(result: dict[str, Any]) -> None:
    assert result["factors"] == [{"name": "storage.scheduler", "values": ["none", "kyber"]}]
    assert result["host"] == [{"name": "kernel", "values": ["6.1", "6.12"]}]


def test_significance_is_not_claimed(result: dict[str, Any]) -> None:
    assert result["caution"] == CAUTION
    assert "significance" in CAUTION


def test_a_factor_that_only_one_run_has_differs() -> None:
    assert differing([{"a": {"b": 1}}, {}, {"a": {"b": 1}}]) == [{"name": "a.b", "values": [1, None, 1]}]
