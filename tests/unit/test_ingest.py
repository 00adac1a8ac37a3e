"""Ingest: each collector's part by itself, from raw folders made here; the kernel's own are in tests/integration."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from edgeprof.collectors import schema
from edgeprof.collectors.base import FrameWriter
from edgeprof.collectors.parsing import Parsed, RunFacts, read_raw
from edgeprof.profiler import ingest as module
from edgeprof.profiler.errors import NotARun
from edgeprof.profiler.ingest import NothingCaptured, ingest, recover_manifest
from edgeprof.profiler.run import wrong_part

STAT = b"100 (train) R 1 1 1 0 -1 0 98 0 2 0 7 3 0 0 20 0 1 0 548610 3133440 362 0 0 0 0 0 0\n"
SECOND = 1_000_000_000


@pytest.fixture(autouse=True)
def own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEPROF_STATE", str(tmp_path / "state"))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A capture directory with five seconds of /proc, interrupted before it had a manifest."""
    run = tmp_path / "20261121T120000Z-train-abc123"
    raw = run / "raw/procfs"
    raw.mkdir(parents=True)
    writer = FrameWriter(str(raw / "samples.frames"))
    for second in range(10, 15):
        writer.frame(second * SECOND, writer.source("system/stat"), b"cpu  1 2 3 4 5 6 7 8 9 10\nctxt 5\n" + b"#" * 900)
        writer.frame(second * SECOND, writer.source("process/100/stat"), STAT)
    writer.close()
    return run


def final(path: Path, **changes: Any) -> dict[str, Any]:
    """Give the capture a final manifest."""
    content = recover_manifest(path)
    content["notes"] = []
    content["run"] |= {
        "status": "finished",
        "pid": 100,
        "start_ns": 10 * SECOND,
        "end_ns": 15 * SECOND,
        "wall_time": 5.0,
        "exit_code": 0,
    }
    content |= {"collectors": [{"name": "procfs", "available": True, "lost": 1}], "overhead": {"lost_records": 1}}
    content |= changes
    (path / "manifest.json").write_text(json.dumps(content))
    return content


def parser(monkeypatch: pytest.MonkeyPatch, name: str, parse: Any) -> None:
    """Put a parser in the place of a collector's."""
    real = module.import_module

    def find(wanted: str) -> Any:
        return SimpleNamespace(parse=parse) if wanted == f"edgeprof.collectors.{name}.parse" else real(wanted)

    monkeypatch.setattr(module, "import_module", find)


def test_a_finished_run(path: Path) -> None:
    final(path)
    run = ingest(path)
    assert run.manifest["ingest"]["tables"] == {"cpu": 0, "disk": 0, "process": 5, "system": 5}
    assert run.manifest["ingest"]["notes"] == []
    assert run.tables == ["cpu", "disk", "process", "system"]
    assert run.table("process")["comm"].tolist() == ["train"] * 5
    assert run.manifest["verdict"]["bound_by"]
    assert run.metrics["wall_time"]["value"] == 5.0
    assert wrong_part(run.manifest) is None


def test_raw_files_are_compressed_and_still_read(path: Path) -> None:
    frames = path / "raw/procfs/samples.frames"
    small = path / "raw/procfs/small"
    small.write_bytes(b"x")
    before = frames.read_bytes()
    final(path)
    ingest(path)
    assert not frames.exists()
    assert small.exists()
    assert read_raw(frames) == before
    assert frames.with_name("samples.frames.zst").stat().st_size < len(before) / 4


@pytest.mark.parametrize("left", ["samples.frames.zst.tmp", "samples.frames.zst"])
def test_an_ingest_that_was_killed_is_made_good(path: Path, left: str) -> None:
    """It may leave a part of a compressed file, or a whole one beside the file itself."""
    final(path)
    frames = path / "raw/procfs/samples.frames"
    before = frames.read_bytes()
    (path / "tables").mkdir()
    (path / "tables/.process.tmp").write_bytes(b"half")
    frames.with_name(left).write_bytes(b"half")
    (path / ".manifest.json.tmp").write_text("half")
    (path / ".reserve").write_bytes(bytes(100))
    assert ingest(path).arrow("process").num_rows == 5
    assert read_raw(frames) == before
    names = sorted(str(item.relative_to(path)) for item in path.rglob("*") if item.is_file())
    assert names == [
        *("manifest.json", "metrics.parquet", "raw/procfs/samples.frames.zst", "tables/cpu.parquet"),
        *("tables/disk.parquet", "tables/process.parquet", "tables/system.parquet"),
    ]


def test_tables_of_an_earlier_ingest_that_are_no_more_are_removed(path: Path) -> None:
    final(path)
    (path / "tables").mkdir()
    pq.write_table(schema.empty("gpu"), path / "tables/gpu.parquet")
    assert "gpu" not in ingest(path).tables


def test_collectors_that_were_not_part_of_the_run_are_passed_over(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    final(path)
    asked: list[str] = []
    real = module.import_module

    def watch(name: str) -> Any:
        asked.append(name)
        return real(name)

    monkeypatch.setattr(module, "import_module", watch)
    assert ingest(path).manifest["ingest"]["notes"] == []
    assert asked == ["edgeprof.collectors.procfs.parse"]


def test_a_parser_that_is_missing_or_broken_is_a_note_and_costs_only_its_part(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    final(path)
    for name in ("gpu", "power"):
        (path / "raw" / name).mkdir()
    real = module.import_module

    def find(name: str) -> Any:
        if ".gpu." in name:
            raise ModuleNotFoundError("No module named 'edgeprof.collectors.gpu.parse'")
        if ".power." in name:
            return SimpleNamespace(parse=lambda raw, facts: 1 // 0)
        return real(name)

    monkeypatch.setattr(module, "import_module", find)
    run = ingest(path)
    assert run.arrow("process").num_rows == 5
    assert [note.split(":")[0] for note in run.manifest["ingest"]["notes"]] == ["power", "gpu"]
    assert "ModuleNotFoundError" in run.manifest["ingest"]["notes"][1]
    assert "ZeroDivisionError" in run.manifest["ingest"]["notes"][0]


def test_two_collectors_may_feed_one_table(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    final(path)
    (path / "raw/thermal").mkdir()
    (path / "raw/power").mkdir()
    row = schema.table("thermal", {"time_ns": [1], "zone": ["cpu"], "temperature": [50.0]})
    parser(monkeypatch, "power", lambda raw, facts: Parsed({"thermal": row}))
    assert ingest(path).arrow("thermal").num_rows == 1
    parser(monkeypatch, "thermal", lambda raw, facts: Parsed({"thermal": row}))
    assert ingest(path).arrow("thermal").num_rows == 2


def test_records_that_only_the_parser_saw_to_be_lost_are_added_once(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    final(path)
    parser(monkeypatch, "procfs", lambda raw, facts: Parsed({"system": schema.empty("system")}, lost=7))
    for _ in range(2):
        content = ingest(path).manifest
        assert content["collectors"][0]["lost"] == 7
        assert content["overhead"]["lost_records"] == 7


def test_a_loss_that_is_not_known_stays_unknown(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = {"name": "procfs", "available": True, "lost": None}
    final(path, collectors=[entry], overhead={"lost_records": None})
    parser(monkeypatch, "procfs", lambda raw, facts: Parsed({"system": schema.empty("system")}, lost=7))
    content = ingest(path).manifest
    assert (content["collectors"][0]["lost"], content["overhead"]["lost_records"]) == (None, None)


def test_later_parsers_know_who_was_in_the_run(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    final(path, processes={"agent": 90, "helpers": [91], "left_running": []}, host={"page_bytes": 16384})
    cgroup = path / "raw/cgroup"
    cgroup.mkdir()
    writer = FrameWriter(str(cgroup / "samples.frames"))
    writer.frame(1, writer.source("members"), b"100\n101\n")
    writer.close()
    (path / "raw/gpu").mkdir()
    given: list[RunFacts] = []
    parser(monkeypatch, "gpu", lambda raw, facts: given.append(facts) or Parsed({}))
    ingest(path)
    (facts,) = given
    assert (facts.start_ns, facts.end_ns, facts.main_pid) == (10 * SECOND, 15 * SECOND, 100)
    assert facts.profiler_pids == {90, 91}
    assert facts.run_pids == {100, 101}
    assert facts.host["page_bytes"] == 16384
    assert {"process", "system", "cgroup"} <= set(facts.tables)


def test_a_lost_manifest_is_put_together_from_the_samples(path: Path) -> None:
    run = ingest(path)
    part = run.manifest["run"]
    assert (part["status"], part["start_ns"], part["end_ns"]) == ("interrupted", 10 * SECOND, 14 * SECOND)
    assert part["wall_time"] == 4.0
    assert (part["name"], part["command"], part["exit_code"]) == (path.name, None, None)
    assert run.manifest["notes"] == ["the manifest was lost; what stands here comes from the raw files alone"]
    assert wrong_part(run.manifest) is None


def test_a_partial_manifest_is_completed(path: Path) -> None:
    content = recover_manifest(path)
    content["run"] |= {"start_ns": 9 * SECOND, "command": ["python"], "pid": 100, "name": "mine"}
    content["notes"] = ["as it began"]
    (path / "manifest.partial.json").write_text(json.dumps(content))
    run = ingest(path)
    assert run.manifest["run"]["command"] == ["python"]
    assert run.manifest["run"]["wall_time"] == 5.0
    assert run.manifest["notes"] == [
        "as it began",
        "edgeprof ended before the run did; this is what it had captured",
    ]
    assert not (path / "manifest.partial.json").exists()


def test_what_holds_nothing_is_refused(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(NotARun):
        recover_manifest(empty)
    (empty / "raw/tracefs").mkdir(parents=True)
    with pytest.raises(NothingCaptured):
        ingest(empty)
    (empty / "raw/tracefs/header_page").write_text("set up, but nothing sampled")
    with pytest.raises(NothingCaptured):
        ingest(empty)
    assert not (empty / "tables").exists()


def test_facts_that_the_program_told_fill_the_factors_but_the_users_word_stands(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = {
        "model": "resnet18",
        "lifecycle": "train",
        "framework": {"name": "torch", "version": "2.9"},
        "unit": {"threads": 2},
        "batch_size": 16,
        "workers": 2,
    }
    monkeypatch.setattr("edgeprof.collectors.phases.parse.facts", lambda raw: told)
    final(path, factors={"model": "mine", "framework": {"name": None, "version": "2.8"}, "unit": "odd"})
    factors = ingest(path).manifest["factors"]
    assert factors["model"] == "mine"
    assert factors["lifecycle"] == "train"
    assert factors["framework"] == {"name": "torch", "version": "2.8"}
    assert factors["unit"] == "odd"
    assert (factors["batch_size"], factors["workers"]) == (16, 2)


# -- raw files -----------------------------------------------------------------------------------------------


def test_raw_files_are_read_whole_or_not_at_all(tmp_path: Path) -> None:
    file = tmp_path / "raw"
    with pytest.raises(FileNotFoundError):
        read_raw(file)
    with pa.OSFile(f"{file}.zst", "wb") as sink, pa.CompressedOutputStream(sink, "zstd") as target:
        target.write(b"packed" * 1000)
    assert read_raw(file) == b"packed" * 1000
    file.write_bytes(b"plain")
    assert read_raw(file) == b"plain"
    file.unlink()
    file.symlink_to("/etc/passwd")
    with pytest.raises(OSError, match="not a regular file"):
        read_raw(file)
    file.unlink()
    packed = Path(f"{file}.zst")
    packed.write_bytes(packed.read_bytes()[:20])
    with pytest.raises(OSError, match=r".+"):
        read_raw(file)
