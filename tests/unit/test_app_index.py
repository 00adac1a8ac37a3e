"""What the dashboard knows of a folder of runs: all of them, whatever their state, and again at the next start."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from edgeprof.dashboards.app import index, rows, stored
from edgeprof.dashboards.app.index import RunIndex, discover
from edgeprof.dashboards.app.links import LeadsOut
from edgeprof.dashboards.app.page import Context
from tests.synthetic_run import Shape, write_run
from tests.unit.test_report_build import HOSTILE

SMALL = Shape(seconds=2, steps=4, requests=100)


def name(number: int) -> str:
    return f"20261121T12{number:04d}Z-demo-{number:06x}"


def make(folder: Path, number: int, **changes: Any) -> Path:
    return write_run(
        folder / name(number), SMALL, only=("system",), manifest={"run": {"name": f"demo {number}"}, **changes}
    )


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    for number in range(3):
        make(folder, number)
    return folder


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "runs"))


def known(folder: Path, cache: Path | None = None) -> dict[str, dict[str, Any]]:
    """The index's rows by id after one look at the folder."""
    found = RunIndex(folder, cache)
    found.refresh()
    return {row["id"]: row for row in found.snapshot(0).table.to_pylist()}


def test_a_row_holds_identity_factors_host_and_metrics(folder: Path) -> None:
    found = RunIndex(folder)
    found.refresh()
    snapshot = found.snapshot(0)
    row = {row["id"]: row for row in snapshot.table.to_pylist()}[name(1)]
    assert row["name"] == "demo 1"
    assert row["state"] == "finished"
    assert row["framework_name"] == "pytorch"
    assert row["wall_time"] == pytest.approx(2.0)
    assert row["host_hostname"]
    assert (snapshot.columns["wall_time"].group, snapshot.columns["wall_time"].unit) == ("metric", "s")
    assert snapshot.columns["framework_name"].group == "factor"
    assert (snapshot.reading, snapshot.problem) == (0, "")


def test_a_metric_that_was_not_measured_is_null_and_no_zero(folder: Path) -> None:
    path = folder / name(0) / "metrics.parquet"
    metrics = pq.read_table(path)
    unknown = pa.array([None] * metrics.num_rows, pa.float64())
    pq.write_table(metrics.set_column(metrics.column_names.index("value"), "value", unknown), path)
    assert known(folder)[name(0)]["throughput"] is None
    assert known(folder)[name(1)]["throughput"] > 0


def test_runs_in_any_state_are_told(folder: Path) -> None:
    (folder / name(0) / "manifest.json").write_text('{"schema": 1, "run": {')
    newer = json.loads((folder / name(1) / "manifest.json").read_text())
    (folder / name(1) / "manifest.json").write_text(json.dumps({**newer, "schema": 99}))
    (folder / name(2) / "metrics.parquet").write_bytes(b"PAR1 and then nothing of the kind")
    running = folder / name(3)
    (running / "raw").mkdir(parents=True)
    (running / "manifest.partial.json").write_text(
        json.dumps({"run": {"name": "half", "started": "2026-11-21T12:00:03Z"}})
    )
    found = known(folder)
    assert {run: row["state"] for run, row in found.items()} == {
        name(0): "damaged",
        name(1): "newer",
        name(2): "finished",
        name(3): "not ingested",
    }
    assert "upgrade" in found[name(1)]["problem"]
    assert "metrics" in found[name(2)]["problem"]
    assert found[name(3)]["name"] == "half"
    assert found[name(2)]["framework_name"] == "pytorch"


@pytest.mark.parametrize(
    "value",
    [
        HOSTILE,
        "x" * 100_000,
        10**400,
        -1,
        True,
        None,
        ["a", 1],
        {"deep": {"deeper": [1]}},
        "\ud800",
        "\0",
        float("1e308"),
    ],
)
def test_factors_of_any_kind_become_a_row(folder: Path, value: Any) -> None:
    path = folder / name(0) / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["factors"] = {"model": value, "odd name": value, HOSTILE: value}
    path.write_text(json.dumps(manifest))
    row = known(folder)[name(0)]
    assert row["state"] == "finished"
    assert all(len(text) <= rows.LONGEST_TEXT for text in row.values() if isinstance(text, str))


def change_manifest(folder: Path, **parts: Any) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**manifest, **parts}))


@pytest.mark.parametrize("name_of", ["", "a\0b", "x" * 201, "\x1b[2J"])
@pytest.mark.parametrize("part", ["factors", "host"])
def test_a_name_that_cannot_be_shown_is_left_out_and_said(folder: Path, name_of: str, part: str) -> None:
    change_manifest(folder / name(0), **{part: {name_of or "\0": 1} if part == "host" else {name_of: 1, "kept": 2}})
    found = RunIndex(folder)
    found.refresh()
    snapshot = found.snapshot(0)
    about = {row["id"]: row for row in snapshot.table.to_pylist()}
    assert (snapshot.reading, len(about)) == (0, 3)
    assert about[name(0)]["problem"] == "names of its factors, host facts or metrics cannot be shown: 1 left out"
    assert about[name(1)]["problem"] is None
    assert all(text and text.isprintable() for text in (*snapshot.columns, *snapshot.table.column_names))


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("name", pa.nulls(1, pa.string())),
        ("name", pa.array([["a list"]])),
        ("value", pa.array(["much"])),
        ("value", pa.array([True])),
    ],
)
def test_metrics_that_ingest_did_not_write_are_damaged(folder: Path, column: str, values: pa.Array) -> None:
    path = folder / name(0) / "metrics.parquet"
    metrics = pq.read_table(path)
    spoilt = pa.concat_arrays([values] * metrics.num_rows)
    pq.write_table(metrics.set_column(metrics.column_names.index(column), column, spoilt), path)
    found = known(folder)
    assert "metrics" in found[name(0)]["problem"]
    assert (found[name(0)]["throughput"], found[name(0)]["framework_name"]) == (None, "pytorch")
    assert found[name(1)]["throughput"] > 0


@pytest.mark.parametrize("value", ["100", 100, None])
def test_a_factor_named_like_a_metric_is_told_apart_from_it(folder: Path, value: Any) -> None:
    measured = known(folder)[name(0)]["throughput"]
    change_manifest(folder / name(0), factors={"throughput": value})
    found = RunIndex(folder)
    found.refresh()
    snapshot = found.snapshot(0)
    row = {row["id"]: row for row in snapshot.table.to_pylist()}[name(0)]
    assert row["throughput"] == measured
    assert row["factor_throughput"] == value
    groups = [snapshot.columns[column].group for column in ("throughput", "factor_throughput")]
    assert groups == ["metric", "factor"]


@pytest.mark.parametrize("parts", [{"overhead": {"cpu_share": "much"}}, {"run": {"wall_time": 10**400}}])
def test_a_column_of_a_metric_holds_numbers_alone(folder: Path, parts: dict[str, Any]) -> None:
    manifest = json.loads((folder / name(0) / "manifest.json").read_text())
    change_manifest(folder / name(0), **{key: {**manifest[key], **change} for key, change in parts.items()})
    found = RunIndex(folder)
    found.refresh()
    table = found.snapshot(0).table
    assert table.schema.field("wall_time").type == table.schema.field("overhead_cpu_share").type == pa.float64()
    assert table.column("wall_time").null_count == 0  # as it is among the metrics


@pytest.mark.parametrize("odd", ["\ud800", RuntimeError("it is odd")])
def test_a_run_like_no_other_keeps_none_back(folder: Path, monkeypatch: pytest.MonkeyPatch, odd: Any) -> None:
    def read(run: str, path: Path) -> rows.Row:
        row = rows.read_row(run, path)
        if run != name(1):
            return row
        if isinstance(odd, Exception):
            raise odd
        return rows.Row({**row.values, odd: 1.0}, row.columns)

    monkeypatch.setattr(index, "read_row", read)
    found = RunIndex(folder)
    found.refresh()
    snapshot = found.snapshot(0)
    about = {row["id"]: row for row in snapshot.table.to_pylist()}
    assert snapshot.reading == 0
    assert [about[name(number)]["state"] for number in range(3)] == ["finished", "damaged", "finished"]
    assert "it is not what edgeprof writes" in about[name(1)]["problem"]
    assert about[name(1)]["stamp"], "it is read again when it changes, not at each look"


def test_a_manifest_cannot_flood_the_index(folder: Path) -> None:
    path = folder / name(0) / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["factors"] = {f"factor_{number}": number for number in range(20_000)}
    path.write_text(json.dumps(manifest))
    assert len(known(folder)[name(0)]) < rows.MOST_COLUMNS


def test_a_column_that_is_a_number_in_one_run_and_text_in_another_is_text(folder: Path) -> None:
    for number, value in ((0, 4), (1, "four")):
        path = folder / name(number) / "manifest.json"
        manifest = json.loads(path.read_text())
        manifest["factors"]["threads"] = value
        path.write_text(json.dumps(manifest))
    found = known(folder)
    assert (found[name(0)]["threads"], found[name(1)]["threads"], found[name(2)]["threads"]) == ("4", "four", None)


def test_each_look_finds_what_is_new_changed_or_gone(folder: Path) -> None:
    found = RunIndex(folder)
    found.refresh()
    make(folder, 7)
    shutil.rmtree(folder / name(0))
    path = folder / name(1) / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["run"]["name"] = "renamed"
    path.write_text(json.dumps(manifest))
    os.utime(path, ns=(1, 1))
    found.refresh()
    names = {row["id"]: row["name"] for row in found.snapshot(0).table.to_pylist()}
    assert names == {name(1): "renamed", name(2): "demo 2", name(7): "demo 7"}


def test_only_what_changed_is_read_again(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = tmp_path / "cache" / "index.parquet"
    first = known(folder, cache)
    read: list[str] = []

    def counted(run: str, path: Path) -> rows.Row:
        read.append(run)
        return rows.read_row(run, path)

    monkeypatch.setattr(index, "read_row", counted)
    assert known(folder, cache) == first
    assert read == []
    make(folder, 8)
    assert set(known(folder, cache)) == {*first, name(8)}
    assert read == [name(8)]


@pytest.mark.parametrize("content", [b"", b"PAR1", b"PAR1" + b"\0" * 4000 + b"PAR1", b"not parquet at all"])
def test_a_damaged_cache_is_made_anew(folder: Path, tmp_path: Path, content: bytes) -> None:
    cache = tmp_path / "index.parquet"
    first = known(folder, cache)
    cache.write_bytes(content)
    assert known(folder, cache) == first
    assert stored.load(cache, folder) is not None


def test_a_cache_of_another_folder_or_shape_is_not_used(folder: Path, tmp_path: Path) -> None:
    cache = tmp_path / "index.parquet"
    known(folder, cache)
    assert stored.load(cache, tmp_path) is None
    pq.write_table(pa.table({"id": [1]}), cache)
    assert stored.load(cache, folder) is None


def test_a_cache_that_cannot_be_written_is_done_without(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert len(known(folder, tmp_path / "file" / "index.parquet")) == 3


def test_matrices_bring_their_runs(folder: Path, tmp_path: Path) -> None:
    study = tmp_path / "studies" / "storage"
    study.mkdir(parents=True)
    (study / "state.jsonl").write_text("")
    shutil.copytree(folder, study / "runs")
    make(tmp_path / "studies", 9)
    found = discover(tmp_path / "studies")
    assert found.matrices == ["storage"]
    assert list(found.runs) == [name(9), *(f"storage/runs/{name(number)}" for number in (2, 1, 0))]
    inside = discover(study)
    assert inside.matrices == ["."]
    assert list(inside.runs) == [f"runs/{name(number)}" for number in (2, 1, 0)]


def test_a_foreign_folder_has_no_runs(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "notes.txt").write_text("")
    assert discover(tmp_path) == index.Found([], [])
    assert discover(tmp_path / "missing") == index.Found([], [])


def test_a_link_that_leads_out_of_the_folder_is_no_run(folder: Path, tmp_path: Path) -> None:
    outside = make(tmp_path / "elsewhere", 5)
    (folder / name(5)).symlink_to(outside)
    (folder / "self").symlink_to(folder)
    assert name(5) not in discover(folder).runs


def test_a_matrix_whose_runs_lie_elsewhere_has_none(folder: Path, tmp_path: Path) -> None:
    served = tmp_path / "served"
    for place, target in (("out", folder), ("loop", Path("runs")), ("in", served / "here")):
        (served / place).mkdir(parents=True)
        (served / place / "state.jsonl").write_text("")
        (served / place / "runs").symlink_to(target)
    make(served / "here", 5)
    assert list(discover(served).runs) == [f"in/runs/{name(5)}"]
    assert discover(served / "out").runs == []


@pytest.mark.parametrize("part", ["manifest.json", "metrics.parquet", "tables", "tables/system.parquet"])
def test_a_run_of_which_a_part_leads_out_of_the_folder_is_not_read(folder: Path, tmp_path: Path, part: str) -> None:
    elsewhere = tmp_path / "elsewhere"
    (folder / name(0) / part).rename(elsewhere)
    (folder / name(0) / part).symlink_to(elsewhere)
    found = RunIndex(folder)
    found.refresh()
    row = next(row for row in found.snapshot(0).table.to_pylist() if row["id"] == name(0))
    said = f"its {Path(part).name} is a link that leads out of the folder, and so is not read"
    assert (row["state"], row["problem"]) == ("damaged", said)
    with pytest.raises(LeadsOut):
        Context(folder, found).run(name(0))


def test_folders_with_names_that_cannot_be_shown_are_told_as_such(folder: Path) -> None:
    odd = os.fsdecode(b"20261121T120009Z-\xff\x1b[2J-00000a")
    (folder / name(0)).rename(folder / odd)
    found = RunIndex(folder)
    found.refresh()
    found.refresh()
    problems = [row["problem"] for row in found.snapshot(0).table.to_pylist() if row["state"] == "damaged"]
    assert problems == ["the name of its folder holds what cannot be shown; rename the folder"]


def test_all_runs_are_listed_before_they_are_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = RunIndex(folder)
    seen: list[tuple[int, int]] = []
    publish = found._publish

    def watched(*about: Any) -> None:
        publish(*about)
        seen.append((found.snapshot(0).total, found.snapshot(0).reading))

    monkeypatch.setattr(found, "_publish", watched)
    monkeypatch.setattr(index, "FIRST", 1)
    monkeypatch.setattr(index, "BATCH", 1)
    found.refresh()
    assert seen[0] == (3, 3)
    assert [reading for _, reading in seen[1:4]] == [2, 1, 0]


def test_the_thread_follows_the_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index, "REST_SECONDS", 0.0)
    monkeypatch.setattr(index, "REST_SHARE", 0)
    found = RunIndex(folder)
    found.start()
    assert found.snapshot(30).total == 3
    make(folder, 6)
    assert found.snapshot(30).total == 4
