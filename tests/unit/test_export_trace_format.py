"""An exported trace follows the Trace Event Format, and Perfetto's own trace processor reads all that is in it."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from edgeprof import open_run
from edgeprof.dashboards.export import Part, export
from tests.source_tree import ROOT
from tests.synthetic_run import DEVICE, MAIN_PID, START_NS, Shape, write_run
from tests.trace_processor import Answers, missing, trace_processor
from tests.unit.test_report_build import hostile_run

SMALL = Shape(seconds=5, steps=20, requests=300)
WINDOW = Part(1.0, 2.0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("trace") / "run", SMALL)


def content(path: Path) -> Any:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    return json.loads(path.read_text("utf-8"), parse_constant=refuse)


def problems(trace: Any) -> list[str]:
    """Where a trace breaks the format: its schema, and what a schema cannot say."""
    validator = pytest.importorskip(
        "jsonschema", reason="needs jsonschema: pip install jsonschema"
    ).Draft202012Validator
    schema = json.loads((ROOT / "tests/data/trace_event.schema.json").read_text())
    validator.check_schema(schema)
    found = [f"{error.json_path}: {error.message}" for error in validator(schema).iter_errors(trace)]
    return found or [*badly_nested(trace["traceEvents"]), *unopened(trace["traceEvents"])]


def badly_nested(events: list[dict[str, Any]]) -> Iterator[str]:
    """Complete events of a thread must lie one within the other or apart."""
    threads = defaultdict(list)
    for event in events:
        if event["ph"] == "X":
            threads[event["pid"], event["tid"]].append((event["ts"], -event["dur"], event["name"]))
    for thread in threads.values():
        ends: list[float] = []
        for begin, length, name in sorted(thread):
            while ends and ends[-1] <= begin + 1e-3:
                ends.pop()
            if ends and begin - length > ends[-1] + 1e-3:
                yield f"{name} at {begin} overlaps the one before"
            ends.append(begin - length)


def unopened(events: list[dict[str, Any]]) -> Iterator[str]:
    """An asynchronous event must begin before it ends."""
    began: Counter[tuple[Any, ...]] = Counter()
    for event in events:
        key = tuple(str(event.get(part)) for part in ("cat", "id2", "pid", "name"))
        if event["ph"] == "b":
            began[key] += 1
        elif event["ph"] == "e":
            began[key] -= 1
            if began[key] < 0:
                yield f"{key} ends before it begins"


@pytest.mark.parametrize("part", [Part(), WINDOW, Part(phase="load")], ids=["whole", "window", "phase"])
def test_a_trace_follows_the_format(folder: Path, tmp_path: Path, part: Part) -> None:
    assert problems(content(export(open_run(folder), "perfetto", tmp_path / "t.json", part))) == []


def test_a_hostile_run_follows_the_format(tmp_path: Path) -> None:
    run = open_run(hostile_run(tmp_path / "run"))
    assert problems(content(export(run, "perfetto", tmp_path / "t.json"))) == []


@pytest.mark.parametrize(
    "event",
    [
        {"ph": "X", "name": "load", "cat": "phase", "pid": 1, "tid": 1, "ts": 1.0},
        {"ph": "X", "name": "load", "cat": "phase", "pid": 1, "tid": 1, "ts": 1.0, "dur": -1},
        {"ph": "C", "name": "memory", "pid": 1, "ts": 1, "args": {"anonymous": None}},
        {"ph": "b", "name": "read", "cat": "block", "pid": 1, "tid": 1, "ts": 1},
        {"ph": "e", "name": "read", "cat": "block", "id2": {"local": "1"}, "pid": 1, "tid": 1, "ts": 1},
        {"ph": "M", "name": "process_name", "pid": 1, "args": {"name": None}},
    ],
)
def test_what_breaks_the_format_is_found(event: dict[str, Any]) -> None:
    assert problems({"traceEvents": [event]})


def test_slices_that_cross_are_found() -> None:
    slices = [{"ph": "X", "name": "a", "cat": "c", "pid": 1, "tid": 1, "ts": at, "dur": 10} for at in (0, 5)]
    assert problems({"traceEvents": slices})


@pytest.fixture(scope="module")
def ask(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Answers]:
    reason = missing()
    if reason:
        pytest.skip(reason)
    with trace_processor(export(open_run(folder), "perfetto", tmp_path_factory.mktemp("t") / "t.json.gz")) as answers:
        yield answers


def rows(folder: Path, table: str) -> Any:
    return pq.read_table(folder / "tables" / f"{table}.parquet")


def test_perfetto_reads_the_trace_without_an_error(ask: Answers) -> None:
    assert ask("select name, value from stats where severity in ('error', 'data_loss') and value > 0") == []


def test_perfetto_has_every_phase_step_and_request(folder: Path, ask: Answers) -> None:
    requests = rows(folder, "block_io")
    finished = requests.num_rows - requests["completed_ns"].null_count
    counts = {row["category"]: row["n"] for row in ask("select category, count(*) n from slice group by category")}
    assert counts == {
        "phase": rows(folder, "phases").num_rows,
        "step": rows(folder, "steps").num_rows,
        "block": requests.num_rows + finished,  # the part in the device is a slice of its own
    }
    assert ask("select count(*) n from slice where category = 'block' and depth = 0 and dur = -1") == [
        {"n": requests["completed_ns"].null_count}
    ]


def test_perfetto_has_every_time_to_the_nanosecond(folder: Path, ask: Answers) -> None:
    for table, category, begin, end in (
        ("phases", "phase", "start_ns", "end_ns"),
        ("steps", "step", "start_ns", "end_ns"),
        ("block_io", "block", "queued_ns", "completed_ns"),
    ):
        where = f"category = '{category}' and (category != 'block' or depth = 0)"
        found = ask(f"select min(ts) first, sum(ts - {START_NS}) begins from slice where {where}")
        lengths = ask(f"select sum(dur) n from slice where {where} and dur >= 0")
        data = rows(folder, table)
        assert found[0]["first"] == pc.min(data[begin]).as_py()
        assert found[0]["begins"] == sum(value - START_NS for value in data[begin].to_pylist())
        assert lengths[0]["n"] == pc.sum(pc.subtract(data[end], data[begin])).as_py()


def test_perfetto_has_every_sample_of_memory(folder: Path, ask: Answers) -> None:
    found = ask(
        "select value from counter join track on track.id = counter.track_id"
        " where track.name = 'memory of the run (bytes) anonymous' order by ts"
    )
    assert [row["value"] for row in found] == pytest.approx(rows(folder, "cgroup")["stat_anon"].to_pylist())


def test_perfetto_names_processes_and_devices(ask: Answers) -> None:
    names = {row["pid"]: row["name"] for row in ask("select pid, name from process where name is not null")}
    assert names[MAIN_PID] == "main process"
    assert {f"block device {DEVICE}", "steps", "counters"} <= set(names.values())


def test_requests_lie_on_the_track_of_their_device(ask: Answers) -> None:
    assert ask(
        "select distinct process.name from slice join process_track on process_track.id = slice.track_id"
        " join process using (upid) where category = 'block'"
    ) == [{"name": f"block device {DEVICE}"}]


def test_the_part_in_the_device_lies_within_its_request(ask: Answers) -> None:
    assert ask(
        "select count(*) n from slice inside join slice outside on outside.id = inside.parent_id"
        " where inside.name = 'in the device'"
        " and (inside.ts < outside.ts or inside.ts + inside.dur > outside.ts + outside.dur)"
    ) == [{"n": 0}]
    assert ask("select count(*) n from slice where name = 'in the device' and parent_id is null") == [{"n": 0}]
