"""From a folder of runs to a training set and its data card, through the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow.parquet as pq
import pytest

from edgeprof.cli import main as cli
from edgeprof.profiler.training_sets.groups import device_class, split_by_workload, workload_of
from edgeprof.profiler.training_sets.schema import COLUMNS, VERSION
from tests import tiny_run
from tests.source_tree import ROOT
from tests.training_runs import request, write_run

RUNS = [f"2026112{number}T120000Z-made-{number}" for number in range(4)]


class Said(NamedTuple):
    """What a command said."""

    code: int
    out: str
    err: str


Call = Callable[..., Said]


@pytest.fixture
def edgeprof(capsys: pytest.CaptureFixture[str]) -> Call:
    """Calls edgeprof in this process."""

    def call(*args: object) -> Said:
        code = cli.main([str(arg) for arg in args])
        captured = capsys.readouterr()
        return Said(code, captured.out, captured.err)

    return call


def requests(latency: float, count: int = 200) -> list[dict[str, Any]]:
    """Reads one after another, every tenth of which takes ten times as long."""
    return [request(number * 20, number * 20 + latency * (10 if number % 10 == 9 else 1)) for number in range(count)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three workloads, one of them with two runs; one run without block requests; one damaged."""
    place: Path = tmp_path_factory.mktemp("runs")
    for name, model in zip(RUNS, ("cnn", "cnn", "vit", "lstm"), strict=True):
        write_run(place / name, requests(1.0), factors={"model": model})
    tiny_run.write(place / "20261126T120000Z-none-5", without=("block_io",), metrics=False)
    (place / "20261127T120000Z-cut-6").mkdir()
    (place / "20261127T120000Z-cut-6" / "manifest.json").write_text('{"schema": 1')
    return place


@pytest.fixture(scope="module")
def dataset(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The training set of these runs, with deadlines by quantile."""
    path: Path = tmp_path_factory.mktemp("sets") / "latency.parquet"
    assert cli.main(["dataset", "build", "latency", str(folder), "-o", str(path), "--deadline-quantile", "0.8"]) == 0
    return path


class TestBuild:
    def test_it_prints_the_path_and_says_what_was_left_out(self, edgeprof: Call, folder: Path, tmp_path: Path) -> None:
        target = tmp_path / "set.parquet"
        said = edgeprof("dataset", "build", "latency", folder, "-o", target)
        assert (said.code, said.out) == (0, f"{target}\n")
        assert "left out 20261126T120000Z-none-5: it has no table block_io" in said.err
        assert "left out 20261127T120000Z-cut-6" in said.err
        assert "800 requests of 4 runs" in said.err
        assert [item.name for item in tmp_path.iterdir()] == ["set.parquet"]

    def test_the_file_has_the_columns_of_the_schema_with_their_units(self, dataset: Path) -> None:
        schema = pq.read_schema(dataset)
        assert schema.names == [column.name for column in COLUMNS]
        assert [field.metadata[b"unit"].decode() for field in schema] == [column.unit for column in COLUMNS]
        assert [field.type for field in schema] == [column.kind for column in COLUMNS]

    def test_the_same_runs_give_the_same_bytes(self, edgeprof: Call, folder: Path, dataset: Path) -> None:
        again = dataset.with_name("again.parquet")
        edgeprof("dataset", "build", "latency", folder, "-o", again, "--deadline-quantile", "0.8")
        assert again.read_bytes() == dataset.read_bytes()

    def test_a_workload_is_in_one_part_only(self, dataset: Path) -> None:
        found = pq.read_table(dataset, columns=["workload", "split_workload"]).to_pylist()
        pairs = {(row["workload"], row["split_workload"]) for row in found}
        assert len(pairs) == 3
        assert {part for _, part in pairs} == {"train", "validation", "test"}

    def test_a_quantile_is_taken_of_what_is_training_in_both_splits(self, edgeprof: Call, tmp_path: Path) -> None:
        slow = max(split_by_workload(["model=a", "model=b"]).items(), key=lambda item: item[1])[0]  # the held-out one
        for number, model in enumerate(("a", "b")):
            latency = 5.0 if slow == f"model={model}" else 1.0
            write_run(tmp_path / "runs" / RUNS[number], requests(latency), factors={"model": model})
        edgeprof("dataset", "build", "latency", tmp_path / "runs", "-o", tmp_path / "set", "--deadline-quantile", "0.8")
        rows = pq.read_table(tmp_path / "set").to_pylist()
        assert {round(row["deadline"], 9) for row in rows} == {0.001}
        assert all(row["missed"] == (row["latency"] > row["deadline"]) for row in rows)

    def test_fixed_deadlines(self, edgeprof: Call, folder: Path, tmp_path: Path) -> None:
        edgeprof("dataset", "build", "latency", folder, "-o", tmp_path / "set", "--read-deadline", "5ms")
        rows = pq.read_table(tmp_path / "set").to_pylist()
        assert {row["deadline"] for row in rows} == {0.005}
        assert np.mean([row["missed"] for row in rows]) == pytest.approx(0.1)

    def test_only_reads_and_writes_have_fixed_deadlines(self, edgeprof: Call, tmp_path: Path) -> None:
        write_run(tmp_path / "runs" / RUNS[0], [request(0, 1), request(2, 9000, "write"), request(3, 4, "flush")])
        edgeprof("dataset", "build", "latency", tmp_path / "runs", "-o", tmp_path / "set")
        rows = pq.read_table(tmp_path / "set").to_pylist()
        assert [(row["deadline"], row["missed"]) for row in rows] == [(0.5, False), (5.0, True), (None, None)]

    def test_a_quantile_of_too_few_is_none(self, edgeprof: Call, tmp_path: Path) -> None:
        write_run(tmp_path / "runs" / RUNS[0], requests(1.0, 30))
        target = tmp_path / "set"
        edgeprof("dataset", "build", "latency", tmp_path / "runs", "-o", target, "--deadline-quantile", "0.8")
        assert pq.read_table(target)["missed"].null_count == 30


class TestRefusals:
    def test_nothing_found_is_one_sentence(self, edgeprof: Call, tmp_path: Path) -> None:
        tiny_run.write(tmp_path / "runs" / RUNS[0], without=("block_io",), metrics=False)
        said = edgeprof("dataset", "build", "latency", tmp_path / "runs", "-o", tmp_path / "set")
        assert (said.code, said.out, said.err.count("\n")) == (120, "", 1)
        assert "no run in" in said.err
        assert "it has no table block_io" in said.err
        assert not (tmp_path / "set").exists()

    def test_a_folder_without_runs(self, edgeprof: Call, tmp_path: Path) -> None:
        said = edgeprof("dataset", "build", "latency", tmp_path, "-o", tmp_path / "set")
        assert (said.code, said.err.count("\n")) == (120, 1)
        assert "no run that can be read" in said.err

    def test_a_file_that_is_no_training_set_is_not_replaced(self, edgeprof: Call, folder: Path, tmp_path: Path) -> None:
        (tmp_path / "thesis.tex").write_text("years of work")
        said = edgeprof("dataset", "build", "latency", folder, "-o", tmp_path / "thesis.tex")
        assert said.code == 120
        assert "is no training set" in said.err
        assert (tmp_path / "thesis.tex").read_text() == "years of work"

    def test_a_folder_that_is_not_there(self, edgeprof: Call, folder: Path, tmp_path: Path) -> None:
        said = edgeprof("dataset", "build", "latency", folder, "-o", tmp_path / "no" / "set")
        assert (said.code, said.err.count("\n")) == (120, 1)
        assert "cannot be written" in said.err

    @pytest.mark.parametrize("text", ["soon", "0", "-1ms", "1 year", "1e400"])
    def test_a_deadline_that_is_none(self, edgeprof: Call, folder: Path, tmp_path: Path, text: str) -> None:
        said = edgeprof("dataset", "build", "latency", folder, "-o", tmp_path / "set", f"--read-deadline={text}")
        assert said.code == 120
        assert "is not a duration" in said.err

    def test_a_quantile_beside_a_deadline(self, edgeprof: Call, folder: Path, tmp_path: Path) -> None:
        options = ("--deadline-quantile", "0.9", "--read-deadline", "1ms")
        said = edgeprof("dataset", "build", "latency", folder, "-o", tmp_path / "set", *options)
        assert said.code == 120


class TestDescribe:
    def test_the_card_as_json(self, edgeprof: Call, dataset: Path) -> None:
        card = json.loads(edgeprof("dataset", "describe", dataset, "--json").out)
        assert (card["rows"], card["about"]["version"]) == (800, VERSION)
        assert [run["run"] for run in card["about"]["runs"]] == RUNS
        assert {run["kernel"] for run in card["about"]["runs"]} == {"6.1.0"}
        assert [item["run"] for item in card["about"]["skipped"]] == [
            "20261126T120000Z-none-5",
            "20261127T120000Z-cut-6",
        ]
        assert card["splits"]["split_time"]["train"]["rows"] == 560
        assert sum(part["rows"] for part in card["splits"]["split_workload"].values()) == 800
        assert card["operations"]["read"]["missed"] == 80
        assert card["devices"][0]["device"] == "nvme0n1"
        missing = {item["name"]: item["missing"] for item in card["columns"]}
        assert (missing["queue"], missing["queue_1"], missing["write_latency_1"]) == (0, 4, 800)
        assert all(item["unit"] and item["role"] and item["about"] for item in card["columns"])

    def test_the_card_for_people(self, edgeprof: Call, dataset: Path) -> None:
        said = edgeprof("dataset", "describe", dataset)
        assert said.code == 0
        for words in (
            "latency, version 1",
            "800 of 4 runs",
            "desk",
            "6.1.0",
            "2 runs",
            "0.8 quantile",
            "split_workload",
        ):
            assert words in said.out

    @pytest.mark.parametrize("content", [b"", b"PAR1", b"not parquet at all"])
    def test_a_file_that_is_none(self, edgeprof: Call, tmp_path: Path, content: bytes) -> None:
        (tmp_path / "x").write_bytes(content)
        said = edgeprof("dataset", "describe", tmp_path / "x")
        assert (said.code, said.err.count("\n")) == (120, 1)
        assert "is not a training set" in said.err

    def test_a_file_that_is_not_there(self, edgeprof: Call, tmp_path: Path) -> None:
        said = edgeprof("dataset", "describe", tmp_path / "x")
        assert (said.code, said.err.count("\n")) == (120, 1)
        assert "cannot read" in said.err

    def test_another_parquet_file(self, edgeprof: Call, folder: Path) -> None:
        said = edgeprof("dataset", "describe", folder / RUNS[0] / "tables" / "block_io.parquet")
        assert said.code == 120
        assert "does not say how it was made" in said.err

    @pytest.mark.parametrize(
        "change",
        [
            {"runs": 3},
            {"runs": [3]},
            {"deadlines": []},
            {"runs": [{"workload": "x", "devices": [1]}]},
            {"skipped": None},
        ],
    )
    def test_a_card_that_was_tampered_with(
        self, edgeprof: Call, dataset: Path, tmp_path: Path, change: dict[str, Any]
    ) -> None:
        said = edgeprof("dataset", "describe", self.changed(dataset, tmp_path, change))
        assert said.code == 120
        assert "is damaged" in said.err

    def test_a_set_of_a_newer_edgeprof(self, edgeprof: Call, dataset: Path, tmp_path: Path) -> None:
        said = edgeprof("dataset", "describe", self.changed(dataset, tmp_path, {"version": VERSION + 1}))
        assert said.code == 120
        assert "upgrade" in said.err

    def changed(self, dataset: Path, place: Path, change: dict[str, Any]) -> Path:
        table = pq.read_table(dataset)
        about = json.loads(table.schema.metadata[b"edgeprof_training_set"]) | change
        pq.write_table(table.replace_schema_metadata({"edgeprof_training_set": json.dumps(about)}), place / "set")
        return place / "set"


class TestGroups:
    def test_a_workload_is_what_runs_not_where(self) -> None:
        factors = {"model": "vit", "framework": {"name": "pytorch", "version": "2"}, "storage": {"device": "nvme"}}
        assert workload_of({"run": {}, "factors": factors}) == "model=vit framework.name=pytorch"

    def test_a_command_without_a_model_is_its_own_workload(self) -> None:
        manifest = {"run": {"command": ["dd", "if=/dev/x y"]}, "factors": {"unit": {"kind": "cpu"}}}
        assert workload_of(manifest) == "dd 'if=/dev/x y'"

    @pytest.mark.parametrize(
        ("name", "facts", "kind"),
        [
            ("nvme0n1", {}, "nvme"),
            ("mmcblk0", {}, "mmc"),
            ("vda", {"rotational": 1}, "virtio"),
            ("sda", {"rotational": 1}, "hdd"),
            ("sda", {"rotational": 0}, "ssd"),
            ("sda", {}, "other"),
        ],
    )
    def test_the_class_of_a_device(self, name: str, facts: dict[str, Any], kind: str) -> None:
        assert device_class(name, facts) == kind

    def test_one_workload_cannot_be_held_out(self) -> None:
        assert set(split_by_workload(["a", "a"]).values()) == {0}

    @pytest.mark.parametrize("count", [2, 3, 10, 40])
    def test_some_workloads_are_held_out(self, count: int) -> None:
        parts = list(split_by_workload(f"w{number}" for number in range(count)).values())
        assert parts.count(2) == max(1, round(count * 0.15))
        assert parts.count(1) == (parts.count(2) if count > 2 else 0)


def test_every_column_is_documented() -> None:
    page = (ROOT / "docs" / "datasets.md").read_text()
    for column in COLUMNS:
        assert f"`{column.name}`" in page
