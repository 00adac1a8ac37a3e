"""A run exported as a Chrome trace: valid, complete, and exact in time."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from edgeprof import open_run
from edgeprof.dashboards.export import export
from edgeprof.dashboards.export.perfetto import us
from tests.synthetic_run import MAIN_PID, START_NS, Shape, write_run

SMALL = Shape(seconds=5, steps=20, requests=300)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("trace") / "run", SMALL)


@pytest.fixture(scope="module")
def trace(folder: Path) -> dict[str, Any]:
    text = export(open_run(folder), "perfetto", folder / "trace.json").read_text("utf-8")
    content: dict[str, Any] = json.loads(text, parse_float=Decimal)
    return content


def rows(folder: Path, table: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = pq.read_table(folder / "tables" / f"{table}.parquet").to_pylist()
    return found


def test_times_are_exact_to_the_nanosecond() -> None:
    assert us(1_234_567) == "1234.567"
    assert us(5) == "0.005"
    assert us(-1_500) == "-1.500"


def test_phases_are_slices_of_their_thread(folder: Path, trace: dict[str, Any]) -> None:
    slices = [event for event in trace["traceEvents"] if event["ph"] == "X" and event["cat"] == "phase"]
    expected = rows(folder, "phases")
    assert Counter(item["name"] for item in slices) == Counter(row["name"] for row in expected)
    assert {(item["pid"], item["tid"]) for item in slices} == {(MAIN_PID, MAIN_PID)}
    assert sorted(item["ts"] * 1000 for item in slices) == sorted(row["start_ns"] for row in expected)
    assert sum(item["dur"] * 1000 for item in slices) == sum(row["end_ns"] - row["start_ns"] for row in expected)


def test_every_request_is_an_asynchronous_slice_of_its_device(folder: Path, trace: dict[str, Any]) -> None:
    requests = [event for event in trace["traceEvents"] if event.get("cat") == "block"]
    expected = rows(folder, "block_io")
    outer = [item for item in requests if item["ph"] == "b" and "args" in item]
    assert [item["ts"] * 1000 for item in outer] == [row["queued_ns"] for row in expected]
    assert [item["args"]["bytes"] for item in outer] == [row["bytes"] for row in expected]
    assert {item["args"]["owner"] for item in outer} == {row["owner"] for row in expected}
    open_slices: Counter[tuple[int, str]] = Counter()
    for item in requests:
        open_slices[item["id2"]["local"], item["name"]] += 1 if item["ph"] == "b" else -1
    unfinished = sum(row["completed_ns"] is None for row in expected)
    assert Counter(open_slices.values())[1] == unfinished
    assert set(open_slices.values()) <= {0, 1}
    tracks = {event["pid"]: event["args"]["name"] for event in trace["traceEvents"] if event["ph"] == "M"}
    assert {tracks[item["pid"]] for item in requests} == {"block device nvme0n1"}


def test_counters_follow_memory_pressure_cpu_and_power(folder: Path, trace: dict[str, Any]) -> None:
    counters = [event for event in trace["traceEvents"] if event["ph"] == "C"]
    names = {event["name"] for event in counters}
    assert names == {
        "memory of the run (bytes)",
        "memory of the machine (bytes)",
        "pressure of the machine (share)",
        "CPUs busy, machine",
        "CPUs busy, run",
        "power VDD_IN (W)",
        "power VDD_CPU (W)",
        "power VDD_SOC (W)",
    }
    first = next(event for event in counters if event["name"] == "memory of the run (bytes)")
    row = rows(folder, "cgroup")[0]
    assert first["ts"] * 1000 == row["time_ns"]
    assert float(first["args"]["anonymous"]) == pytest.approx(row["stat_anon"])


def test_a_rate_holds_from_the_begin_of_its_interval(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", SMALL, only=("cgroup",))
    path = folder / "tables" / "cgroup.parquet"
    table = pq.read_table(path).slice(0, 5)
    times = [START_NS + second * 10**9 for second in (0, 1, 2, 3, 5)]
    changed = {
        "time_ns": pa.array(times, pa.int64()),
        "cpu_usage": pa.array([0.0, 2.0, 3.0, 3.0, 4.0]),  # read at each tick
        "psi_cpu_some_total": pa.array([None, 0.0, None, 0.5, 0.7]),  # less often
    }
    for name, values in changed.items():
        at = table.column_names.index(name) if name in table.column_names else None
        table = table.append_column(name, values) if at is None else table.set_column(at, name, values)
    pq.write_table(table, path)
    events = json.loads(export(open_run(folder), "perfetto", tmp_path / "t.json").read_text("utf-8"))["traceEvents"]

    def drawn(track: str, key: str) -> list[tuple[float, float]]:
        found = [item for item in events if item["ph"] == "C" and item["name"] == track and key in item["args"]]
        return [(item["ts"] / 1e6 - START_NS / 1e9, item["args"][key]) for item in found]

    assert drawn("CPUs busy, run", "busy") == [(0, 2.0), (1, 1.0), (2, 0.0), (3, 0.5), (5, 0.5)]
    pressure = drawn("pressure of the run (share)", "cpu, some")
    assert pressure == [(1, 0.25), (2, 0.25), (3, pytest.approx(0.1)), (5, pytest.approx(0.1))]


def test_a_counter_that_began_anew_has_no_rate_there(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", SMALL, only=("cgroup",))
    path = folder / "tables" / "cgroup.parquet"
    table = pq.read_table(path).slice(0, 4)
    table = table.set_column(table.column_names.index("cpu_usage"), "cpu_usage", pa.array([5.0, 5.1, 0.0, 0.2]))
    pq.write_table(table, path)
    events = json.loads(export(open_run(folder), "perfetto", tmp_path / "t.json").read_text("utf-8"))["traceEvents"]
    busy = [item["args"]["busy"] for item in events if item["ph"] == "C" and item["name"] == "CPUs busy, run"]
    assert len(busy) == 3
    assert min(busy) > 0


def test_the_clock_and_the_run_are_named(trace: dict[str, Any]) -> None:
    other = trace["otherData"]
    assert other["clock"] == "CLOCK_MONOTONIC"
    assert other["start_ns"] == START_NS
    assert other["clocks"][0]["error_ns"] == 80


def test_a_name_that_ends_in_gz_is_compressed_to_the_same_trace(folder: Path, trace: dict[str, Any]) -> None:
    path = export(open_run(folder), "perfetto", folder / "trace.json.gz")
    with gzip.open(path, "rt", encoding="utf-8") as file:
        assert json.load(file, parse_float=Decimal) == trace


def test_hostile_and_missing_values_keep_the_trace_valid(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", SMALL, only=("phases", "block_io", "power", "steps"))
    for name, column in (("phases", "name"), ("block_io", "comm"), ("block_io", "device"), ("power", "rail")):
        path = folder / "tables" / f"{name}.parquet"
        table = pq.read_table(path)
        values = pa.array(['"\\\n\x00</script>', None, "\u2028"] * table.num_rows)[: table.num_rows]
        pq.write_table(table.set_column(table.column_names.index(column), column, values), path)
    path = folder / "tables" / "phases.parquet"
    table = pq.read_table(path)
    pq.write_table(table.set_column(1, "end_ns", pa.nulls(table.num_rows, pa.int64())), path)
    events = json.loads(export(open_run(folder), "perfetto", tmp_path / "t.json").read_text("utf-8"))["traceEvents"]
    assert not [event for event in events if event.get("cat") == "phase"]
    assert any(event.get("args", {}).get("comm") == '"\\\n\x00</script>' for event in events)


def test_a_run_of_one_sample_is_a_valid_trace(tmp_path: Path) -> None:
    run = open_run(write_run(tmp_path / "run", Shape(seconds=0.05, steps=1, requests=1), only=("system", "cgroup")))
    events = json.loads(export(run, "perfetto", tmp_path / "t.json").read_text())["traceEvents"]
    assert {event["ph"] for event in events} == {"C", "M"}
