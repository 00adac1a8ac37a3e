"""Reading phase records: against a plain reference, on damaged files, and the questions asked of the table."""

from __future__ import annotations

import json
import os
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeprof.collectors.base import Context
from edgeprof.collectors.parsing import Parsed, RunFacts
from edgeprof.collectors.phases import capture, parse
from edgeprof.collectors.phases.recorder import (
    BEGIN,
    END,
    EXIT,
    HEADER,
    MAGIC,
    MARK,
    RECORD,
    ROLE,
    STEP,
    STEP_BEGIN,
    encode_name,
)
from edgeprof.collectors.schema import SCHEMAS

NAN = float("nan")
START, FINISH = 1_000, 1_000_000
Row = tuple[int, int, str, int, float]
"""Kind, time, name, thread, value."""


def content(rows: list[Row], pid: int = 7, start: int = START, lost: int = 0) -> bytes:
    head = HEADER.pack(MAGIC, 1, 64, pid, 1, start, 0, lost, start)
    packed = []
    for kind, time, name, tid, value in rows:
        raw = encode_name(name)
        packed.append(RECORD.pack(time, value, tid, raw, len(raw), kind))
    return head + b"".join(packed)


def parsed(tmp_path: Path, *files: bytes, facts: RunFacts | None = None) -> Parsed:
    folder = tmp_path / "raw" / "phases"
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.iterdir():
        path.unlink()
    for number, data in enumerate(files):
        (folder / f"{number}-1.bin").write_bytes(data)
    return parse.parse(tmp_path / "raw", facts or RunFacts(START, FINISH, 7))


def begin(time: int, name: str, tid: int = 7) -> Row:
    return (BEGIN, time, name, tid, NAN)


def end(time: int, name: str, tid: int = 7) -> Row:
    return (END, time, name, tid, NAN)


def step(time: int, name: str = "", value: float = NAN) -> Row:
    return (STEP, time, name, 7, value)


def dated(time: int, name: str) -> Row:
    return (STEP_BEGIN, time, name, 7, NAN)


def reference(rows: list[Row], process_end: int) -> list[tuple[int, int, str, int, bool]]:
    """Phases by the obvious loop: a stack for each thread and name."""
    spans: list[list[Any]] = []
    stacks: dict[tuple[int, str], list[int]] = {}
    for kind, time, name, tid, _ in rows:
        stack = stacks.setdefault((tid, name), [])
        if kind == BEGIN:
            stack.append(len(spans))
            spans.append([time, max(time, process_end), name, tid, True])
        elif kind == END and stack:
            span = spans[stack.pop()]
            span[1], span[4] = max(span[0], time), False
    return sorted(tuple(span) for span in spans)


events = st.lists(
    st.tuples(
        st.sampled_from([BEGIN, END]),
        st.integers(START, FINISH),
        st.sampled_from(["a", "b", "ü"]),
        st.sampled_from([7, 8]),
        st.just(NAN),
    ),
    max_size=60,
)


@given(rows=events)
def test_matching_agrees_with_a_plain_loop(rows: list[Row], tmp_path_factory: pytest.TempPathFactory) -> None:
    table = parsed(tmp_path_factory.mktemp("match"), content(rows)).tables["phases"]
    found = [tuple(row[key] for key in ("start_ns", "end_ns", "name", "tid", "cut")) for row in table.to_pylist()]
    assert sorted(found) == reference(rows, FINISH)
    assert table.schema.equals(SCHEMAS["phases"])


def test_depth_counts_the_open_phases_of_the_thread(tmp_path: Path) -> None:
    rows = [
        begin(2000, "a"), begin(2100, "b"), begin(2150, "x", tid=8), end(2200, "b"), begin(2300, "c"), begin(2400, "d"),
        end(2500, "d"), end(2600, "c"), end(2700, "a"), begin(2800, "e"), end(2900, "e"), end(3000, "x", tid=8),
    ]  # fmt: skip
    table = parsed(tmp_path, content(rows)).tables["phases"]
    assert dict(zip(table["name"].to_pylist(), table["depth"].to_pylist(), strict=True)) == {
        "a": 0, "b": 1, "x": 0, "c": 1, "d": 2, "e": 0,
    }  # fmt: skip


def test_times_are_kept_within_the_run(tmp_path: Path) -> None:
    rows = [begin(5, "startup"), end(2000, "startup"), begin(FINISH - 1, "late"), end(FINISH + 5, "late")]
    rows += [begin(FINISH + 10, "after"), end(FINISH + 20, "after")]
    table = parsed(tmp_path, content(rows)).tables["phases"]
    assert [tuple(row.values())[:3] for row in table.to_pylist()] == [
        (START, 2000, "startup"),
        (FINISH - 1, FINISH, "late"),
    ]


def test_an_open_phase_ends_with_its_process(tmp_path: Path) -> None:
    sampled = pa.table({"pid": pa.array([9, 9, 7], pa.int32()), "time_ns": [4000, 5000, 6000]})
    facts = RunFacts(START, FINISH, 7, tables={"process": sampled})
    files = [
        content([begin(2000, "a")], pid=7),
        content([begin(3000, "b")], pid=9),
        content([begin(3500, "c")], pid=10),
    ]
    table = parsed(tmp_path, *files, facts=facts).tables["phases"]
    ends = dict(zip(table["name"].to_pylist(), table["end_ns"].to_pylist(), strict=True))
    assert ends == {"a": FINISH, "b": 5000, "c": 3500}
    assert table["cut"].to_pylist() == [True] * 3


def test_main_is_the_first_that_worked(tmp_path: Path) -> None:
    launcher = content([begin(2000, "startup"), begin(2000, "import"), end(2100, "import")], pid=5, start=1500)
    first = content([begin(3000, "forward"), end(3100, "forward")], pid=6, start=2500)
    second = content([begin(3000, "forward"), end(3100, "forward")], pid=7, start=2600)
    worker = content(
        [(ROLE, 2400, "worker", 4, 0.0), begin(2500, "fetch", 4), end(2600, "fetch", 4)], pid=4, start=2200
    )
    table = parsed(tmp_path, second, worker, launcher, first).tables["phases"]
    assert {row["pid"] for row in table.to_pylist() if row["main"]} == {6}
    table = parsed(tmp_path, worker, launcher).tables["phases"]
    assert {row["pid"] for row in table.to_pylist() if row["main"]} == {5}


def test_steps_of_training_hide_those_of_its_validation(tmp_path: Path) -> None:
    rows = [
        begin(1900, "load"), dated(1900, "train"), step(2100, "train", 8.0), step(2200, "train+"),
        dated(2300, "infer"), step(2400, "infer", 4.0), dated(2500, "train"), step(2600, "train", 8.0),
    ]  # fmt: skip
    table = parsed(tmp_path, content(rows)).tables["steps"]
    assert table.to_pylist() == [
        {"step": 0, "start_ns": 1900, "end_ns": 2200, "pid": 7, "samples": 8.0},
        {"step": 1, "start_ns": 2500, "end_ns": 2600, "pid": 7, "samples": 8.0},
    ]


def test_the_users_own_steps_hide_all_others(tmp_path: Path) -> None:
    rows = [
        begin(1500, "startup"),
        end(1600, "startup"),
        begin(1700, "epoch"),
        dated(1800, "train"),
        step(1900, "train"),
    ]
    rows += [step(2000, "", 3.0), step(2500), (MARK, 2600, "x", 7, 1.0)]
    table = parsed(tmp_path, content(rows)).tables["steps"]
    assert [(row["start_ns"], row["end_ns"], row["samples"]) for row in table.to_pylist()] == [
        (1700, 2000, 3.0),
        (2000, 2500, None),
    ]


def test_a_prolonging_step_without_a_step_is_none(tmp_path: Path) -> None:
    other = content([step(2000, "train", 1.0)], pid=8)
    table = parsed(tmp_path, content([step(2500, "train+")]), other).tables["steps"]
    assert table["pid"].to_pylist() == [8]
    assert table["end_ns"].to_pylist() == [2000]


def test_damage_is_left_out_and_said(tmp_path: Path) -> None:
    good = content([begin(2000, "a"), end(2100, "a")])
    bad_kind = RECORD.pack(2000, NAN, 7, b"x", 1, 99)
    bad_length = RECORD.pack(2000, NAN, 7, b"x", 43, BEGIN)
    bad_time = RECORD.pack(1 << 63, NAN, 7, b"x", 1, BEGIN)
    bad_thread = RECORD.pack(2000, NAN, 1 << 31, b"x", 1, BEGIN)
    hole = bytes(64)
    newer = struct.pack("<8sI", MAGIC, 2) + good[12:]
    result = parsed(
        tmp_path,
        good + bad_kind + hole + bad_length + bad_time + bad_thread + good[64:100],
        b"",
        b"\x7fELF" * 40,
        newer,
    )
    assert result.tables["phases"].num_rows == 1
    text = "\n".join(result.notes)
    assert "4 damaged records" in text
    assert "empty or cut" in text
    assert "not a record file" in text
    assert "upgrade edgeprof" in text


def test_an_empty_or_absent_folder(tmp_path: Path) -> None:
    result = parse.parse(tmp_path, RunFacts(0, None, 0))
    assert [table.num_rows for table in result.tables.values()] == [0, 0, 0]
    assert result.tables["steps"].schema.equals(SCHEMAS["steps"])
    assert parse.facts(tmp_path) == {}
    assert parse.coverage(result.tables["phases"], 0, 10) == 0.0
    assert parse.assign_phase(result.tables["phases"], np.array([1, 2])).to_pylist() == [None, None]


def test_lost_records_are_added_up(tmp_path: Path) -> None:
    assert parsed(tmp_path, content([], lost=3), content([], pid=8, lost=4)).lost == 7


def test_compressed_files_are_read(tmp_path: Path) -> None:
    folder = tmp_path / "raw" / "phases"
    folder.mkdir(parents=True)
    with pa.CompressedOutputStream(str(folder / "7-1.bin.zst"), "zstd") as file:
        file.write(content([begin(2000, "a"), end(2100, "a")]))
    with pa.CompressedOutputStream(str(folder / "7-facts.json.zst"), "zstd") as file:
        file.write(json.dumps({"model": "Net", "lifecycle": "train"}).encode())
    assert parse.parse(tmp_path / "raw", RunFacts(START, FINISH, 7)).tables["phases"].num_rows == 1
    assert parse.facts(tmp_path / "raw")["model"] == "Net"


@given(
    data=st.binary(max_size=1000),
    whole=st.booleans(),
    damage=st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), max_size=20),
    length=st.integers(0, 2000),
)
def test_any_bytes_are_survived(
    data: bytes, whole: bool, damage: list[tuple[int, int]], length: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    rows = [begin(2000, "a"), begin(2100, "b"), dated(2100, "train"), step(2200, "train", 2.0), step(2210, "train+")]
    rows += [end(2300, "b"), (MARK, 2400, "m", 7, 1.0), (ROLE, 2500, "worker", 7, 0.0), (EXIT, 2600, "", 7, NAN)]
    seed = bytearray(content(rows) * 2 if whole else content([]) + data)
    for position, value in damage:
        if position < len(seed):
            seed[position] = value
    result = parsed(tmp_path_factory.mktemp("any"), bytes(seed[:length]), content(rows))
    phases = result.tables["phases"]
    assert phases.num_rows <= length // 64 + 2
    times = np.array([0, 2000, 2150, FINISH, 1 << 62])
    assert len(parse.assign_phase(phases, times)) == 5
    assert 0.0 <= parse.coverage(phases, START, FINISH) <= 1.0


@given(rows=events, times=st.lists(st.integers(0, FINISH + 10), max_size=20))
def test_assigned_phases_contain_their_time(
    rows: list[Row], times: list[int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    phases = parsed(tmp_path_factory.mktemp("assign"), content(rows)).tables["phases"]
    mine = [row for row in phases.to_pylist() if row["main"] and row["tid"] == 7] or [
        row for row in phases.to_pylist() if row["main"]
    ]
    for time, name in zip(times, parse.assign_phase(phases, np.array(times)).to_pylist(), strict=True):
        holding = {row["name"] for row in mine if row["start_ns"] <= time < row["end_ns"]}
        assert name in holding if name is not None else True


def nested(draw: Any, low: int, high: int, level: int = 0) -> list[Row]:
    rows: list[Row] = []
    at = low
    while at + 2 < high and draw(st.booleans()):
        first = draw(st.integers(at, high - 2))
        last = draw(st.integers(first + 1, high))
        name = draw(st.sampled_from("abc")) + str(level)
        inside = nested(draw, first, last, level + 1) if level < 3 else []
        rows += [begin(first, name), *inside, end(last, name)]
        at = last
    return rows


@given(data=st.data())
def test_the_innermost_phase_is_assigned(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    rows = nested(data.draw, START, START + 60)
    phases = parsed(tmp_path_factory.mktemp("inner"), content(rows)).tables["phases"]
    times = np.arange(START, START + 61)
    found = parse.assign_phase(phases, times).to_pylist()
    for time, name in zip(times.tolist(), found, strict=True):
        holding = [row for row in phases.to_pylist() if row["start_ns"] <= time < row["end_ns"]]
        expected = max(holding, key=lambda row: row["depth"])["name"] if holding else None
        assert name == expected
    share = sum(name is not None for name in found[:-1]) / 60
    assert parse.coverage(phases, START, START + 60) == pytest.approx(share)


def test_a_worker_or_another_thread_does_not_count_as_covered(tmp_path: Path) -> None:
    rows = [begin(2000, "forward"), end(3000, "forward"), begin(3000, "background", 8), end(5000, "background", 8)]
    phases = parsed(tmp_path, content(rows)).tables["phases"]
    assert parse.coverage(phases, 1000, 5000) == 0.25
    assert parse.assign_phase(phases, np.array([2500, 4000])).to_pylist() == ["forward", None]


def test_facts_of_a_training_process_go_first(tmp_path: Path) -> None:
    folder = tmp_path / "phases"
    folder.mkdir()
    said: dict[str, Any] = {"framework": {"name": "torch", "version": "2.1"}, "device": "cuda", "threads": 4}
    said.update(model="Net", lifecycle="train", precision="mixed float16", batch_size=16, workers=2, start_ns=5)
    (folder / "8-facts.json").write_text(json.dumps(said))
    (folder / "7-facts.json").write_text(json.dumps({**said, "lifecycle": "infer", "start_ns": 1}))
    (folder / "6-facts.json").write_text("{")
    assert parse.facts(tmp_path) == {
        "model": "Net",
        "lifecycle": "train",
        "framework": {"name": "torch", "version": "2.1"},
        "unit": {"kind": "gpu", "threads": 4, "precision": "mixed float16"},
        "batch_size": 16,
        "workers": 2,
    }


@given(said=st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.sampled_from(["model", "framework", "device", "threads", "start_ns", "lifecycle"]), inner),
    max_leaves=8,
))  # fmt: skip
def test_facts_of_any_shape_are_survived(said: Any, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("facts") / "phases"
    folder.mkdir()
    (folder / "1-facts.json").write_text(json.dumps(said))
    (folder / "2-facts.json").write_text(json.dumps({"model": "x", "lifecycle": ["train"]}))
    found = parse.facts(folder.parent)
    assert isinstance(found["unit"], dict)
    assert found["lifecycle"] in ("train", "infer", None)


def test_environment_without_auto_leaves_python_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "/somewhere")
    plain = capture.COLLECTOR(Context(str(tmp_path))).environment()
    assert plain == {"EDGEPROF_PHASES": str(tmp_path), "EDGEPROF_PHASES_BUDGET": "4000000.0"}
    auto = capture.COLLECTOR(Context(str(tmp_path), options={"auto": True})).environment()
    inject, rest = auto["PYTHONPATH"].split(":")
    assert (Path(inject) / "sitecustomize.py").is_file()
    assert (rest, auto["EDGEPROF_AUTO"]) == ("/somewhere", "1")


def test_probe_is_always_available(tmp_path: Path) -> None:
    assert capture.COLLECTOR(Context(str(tmp_path))).probe().available


def test_stop_survives_files_that_are_not_records(tmp_path: Path) -> None:
    (tmp_path / "1-1.bin").write_bytes(b"")
    (tmp_path / "2-1.bin").write_bytes(b"x" * 500)
    (tmp_path / "3-1.bin").write_bytes(content([begin(1, "a")], pid=3) + bytes(10000))
    status = capture.COLLECTOR(Context(str(tmp_path))).stop()
    assert (status.records, status.bytes) == (1, 128)
    assert any("1-1.bin" in note for note in status.notes)
    assert (tmp_path / "2-1.bin").stat().st_size == 500


def test_links_and_pipes_in_the_folder_are_left_alone(tmp_path: Path) -> None:
    folder = tmp_path / "phases"
    folder.mkdir()
    other = tmp_path / "other"
    other.write_bytes(content([begin(1, "a")], pid=3) + bytes(1000))
    (folder / "1-1.bin").symlink_to(other)
    os.mkfifo(folder / "2-1.bin")
    os.mkfifo(folder / "3-facts.json")
    os.mkfifo(folder / "4-error.txt")
    status = capture.COLLECTOR(Context(str(folder))).stop()
    assert status.records == 0
    assert other.stat().st_size == 128 + 1000
    assert parse.parse(tmp_path, RunFacts(0, None, 0)).tables["phases"].num_rows == 0
    assert parse.facts(tmp_path) == {}


@pytest.mark.parametrize("name", [*capture._INJECTED, "capture.py"])
def test_injected_code_keeps_old_syntax(name: str) -> None:
    import ast

    source = (Path(capture.__file__).parent / name).read_text()
    ast.parse(source, feature_version=(3, 8))
