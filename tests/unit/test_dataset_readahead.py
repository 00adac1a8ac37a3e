"""The training set read-ahead: windows, choices and their ties, what is left out, and the data card."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml

from benchmarks import read_patterns, readahead_guests
from edgeprof.cli import main as cli
from edgeprof.collectors.tracefs.capture_windows import WINDOW
from edgeprof.kmodule.readahead import CHOICES_KIB, FEATURES, Windows
from edgeprof.kmodule.training.readahead_measure import KernelMeasure
from edgeprof.profiler.guest import architecture
from edgeprof.profiler.run import Run
from edgeprof.profiler.training_sets import readahead_choices
from edgeprof.profiler.training_sets.errors import Unusable
from edgeprof.profiler.training_sets.readahead import windows_of_run
from edgeprof.profiler.training_sets.readahead_choices import choose
from edgeprof.profiler.training_sets.readahead_windows import NO_DEVICE, Additions, cut
from tests.kml_objects import skip_without_tools
from tests.readahead_runs import DEV, READERS, START_NS, Reader, additions, page_cache, write_run, write_study
from tests.source_tree import ROOT

STREAM, ROWS = READERS[0], READERS[2]


@pytest.fixture(autouse=True, scope="module")
def compiler() -> None:
    """The features come from libkml.so."""
    skip_without_tools(architecture.here())


def examples(folder: Path, *args: Any, **options: Any) -> list[dict[str, Any]]:
    """The windows of one run as rows."""
    found = windows_of_run(Run(write_run(folder, *args, **options)), "run", KernelMeasure())
    return [dict(zip(found.columns, row, strict=True)) for row in zip(*found.columns.values(), strict=True)]


class TestChoose:
    def test_the_best_is_chosen_where_repeats_agree(self) -> None:
        found = choose({8: [100, 101], 128: [50, 50.5], 1024: [10, 10.1]})
        assert (found.best_kib, [item.tied for item in found.settings]) == (8, [True, False, False])
        assert [round(item.relative, 3) for item in found.settings] == [1, 0.5, 0.1]

    def test_of_what_cannot_be_told_apart_the_default_is_chosen(self) -> None:
        assert choose({8: [100, 60], 128: [70, 90], 1024: [10, 11]}).best_kib == 128

    def test_or_else_the_nearest_to_it(self) -> None:
        assert choose({8: [100, 101], 32: [100, 100.5], 128: [50, 50.5]}).best_kib == 32
        assert choose({64: [100, 101], 256: [100, 101], 128: [50, 50.5]}).best_kib == 64

    def test_a_gain_that_nobody_would_notice_is_none(self) -> None:
        exact = {128: [1000.0, 1000.001], 1024: [1010.0, 1010.001]}
        assert choose(exact).best_kib == 128
        assert choose(exact | {1024: [1030.0, 1030.001]}).best_kib == 1024

    def test_without_repeats_a_spread_is_assumed(self) -> None:
        assert choose({128: [100], 256: [110]}).best_kib == 128
        assert choose({128: [100], 256: [120]}).best_kib == 256
        assert choose({128: [100], 256: [120]}).spread is None

    def test_the_choices_are_those_of_the_kernel(self) -> None:
        assert readahead_choices.CHOICES_KIB == CHOICES_KIB


class TestWindows:
    def test_additions_are_cut_by_time_and_file_and_the_disk_has_a_window_of_its_own(self) -> None:
        time, file = np.array([0, 5, 9, 10, 19, 20, 31]), np.array([1, 2, 1, 1, 1, 2, 1])
        found = cut(Additions(time, file, time, np.ones(7, int)), [(0, 20), (22, 32)], 10)
        assert found.begun[found.device == NO_DEVICE].tolist() == [0, 10, 22]
        assert (found.ended - found.begun).tolist() == [10] * 7
        assert found.begun[found.device != NO_DEVICE].tolist() == [0, 0, 10, 22]
        assert found.begun[found.which].tolist() == [0, 0, 0, 10, 10, 22]
        assert found.index.tolist() == [0, 5, 9, 10, 19, 31]  # what lies between the spans is in none

    @pytest.mark.parametrize(("end", "begins"), [(25, [0, 10]), (10, [0]), (9, [])])
    def test_what_is_left_of_a_span_is_in_none(self, end: int, begins: list[int]) -> None:
        each = np.arange(30)
        found = cut(Additions(each, np.zeros(30, int), each, np.ones(30, int)), [(0, end)], 10)
        assert found.begun[found.device == NO_DEVICE].tolist() == begins
        assert len(found.which) == 10 * len(begins)

    def test_short_windows_of_a_long_run_take_no_more_room_than_what_is_in_them(self) -> None:
        hours, one = np.array([0, 10 * 3600 * 10**9 + 7]), np.ones(2, int)
        found = cut(Additions(hours, one, one, one), [(0, 1 << 60)], 1000)
        assert found.begun.tolist() == [0, 10 * 3600 * 10**9] * 2

    def test_features_are_the_librarys(self, tmp_path: Path) -> None:
        rows = [row for row in additions(STREAM, 128) if row["time_ns"] - START_NS < 250e6]
        expected = Windows(1)
        expected.begin(0, 32, START_NS)
        expected.add([0] * len(rows), [row["index"] for row in rows], [row["pages"] for row in rows])
        features, enough = expected.features(START_NS + 250_000_000)
        found = examples(tmp_path / "run", STREAM, 128)
        assert enough[0]
        first = [row for row in found if row["time_ns"] == START_NS + 250_000_000]
        assert [row["scope"] for row in first] == ["file", "device"]
        for row in first:
            assert [row[name] for name in FEATURES] == (features[0] / 65536).tolist()

    def test_a_window_knows_nothing_of_what_comes_later(self, tmp_path: Path) -> None:
        rows = additions(ROWS, 32)
        before = examples(tmp_path / "before", ROWS, 32)
        for number in (1, 2):
            end = before[number * 2]["time_ns"]
            other = [row if row["time_ns"] < end else row | {"index": 5 * row["index"] % 977} for row in rows]
            after = examples(tmp_path / str(number), ROWS, 32, table=page_cache(other))
            assert [row for row in after if row["time_ns"] <= end] == [row for row in before if row["time_ns"] <= end]
            assert after != before

    def test_other_disks_do_not_count(self, tmp_path: Path) -> None:
        rows = additions(STREAM, 128)
        foreign = [row | {"dev": DEV + 1, "index": row["index"] * 7} for row in rows]
        mixed = sorted(rows + foreign, key=lambda row: row["time_ns"])
        found = examples(tmp_path / "mixed", STREAM, 128, table=page_cache(mixed))
        assert found == examples(tmp_path / "own", STREAM, 128)

    def test_only_whole_windows_of_a_budgeted_capture_count(self, tmp_path: Path) -> None:
        path = write_run(tmp_path / "run", STREAM, 128, collector={"mode": "sampled"})
        (path / "raw" / "tracefs").mkdir(parents=True)
        spans = [(START_NS, START_NS + 300_000_000), (START_NS + 400_000_000, 0)]
        (path / "raw" / "tracefs" / "windows.bin").write_bytes(b"".join(WINDOW.pack(*span) for span in spans))
        found = windows_of_run(Run(path), "run", KernelMeasure())
        ends = sorted({(int(end) - START_NS) // 10**6 for end in found.columns["time_ns"]})
        assert ends == [250, 650, 900]


class TestRunsThatCannotBeUsed:
    @pytest.mark.parametrize(
        ("changes", "why"),
        [
            ({"setup": {"storage": {"disk": None}}}, "which disk"),
            ({"factors": {"storage": {"read_ahead": 100 << 10}}}, "was 102400 bytes"),
            ({"factors": {"storage": {"read_ahead": None}}}, "is not known"),
        ],
    )
    def test_for_want_of_facts(self, tmp_path: Path, changes: dict[str, Any], why: str) -> None:
        with pytest.raises(Unusable, match=why):
            examples(tmp_path / "run", STREAM, 128, **changes)

    def test_for_want_of_a_throughput(self, tmp_path: Path) -> None:
        path = write_run(tmp_path / "run", STREAM, 128)
        (path / "metrics.parquet").unlink()
        with pytest.raises(Unusable, match="throughput is not known"):
            windows_of_run(Run(path), "run", KernelMeasure())

    @pytest.mark.parametrize(
        ("collector", "why"),
        [
            ({"lost": 3}, "were lost"),
            ({"lost": None}, "were lost"),
            ({"mode": "sampled"}, "raw/, which tells when, is gone"),
        ],
    )
    def test_without_a_whole_trace_a_run_still_says_how_fast_it_was(
        self, tmp_path: Path, collector: dict[str, Any], why: str
    ) -> None:
        found = windows_of_run(
            Run(write_run(tmp_path / "run", STREAM, 128, collector=collector)), "run", KernelMeasure()
        )
        assert (found.rows, found.throughput > 0) == (0, True)
        assert why in found.about["no_windows"]

    def test_with_a_damaged_table(self, tmp_path: Path) -> None:
        path = write_run(tmp_path / "run", STREAM, 128)
        (path / "tables" / "page_cache.parquet").write_bytes(b"PAR1 not really")
        assert "damaged" in windows_of_run(Run(path), "run", KernelMeasure()).about["no_windows"]


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of all readers at all sizes, with a run that failed and a reader that was run at one size only."""
    folder: Path = write_study(tmp_path_factory.mktemp("study"))
    write_run(folder / "20261122T120000Z-failed", STREAM, 128, run={"exit_code": 1})
    write_run(folder / "20261122T120000Z-single", Reader("single", 4), 128)
    return folder


@pytest.fixture(scope="module")
def dataset(study: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its training set."""
    path: Path = tmp_path_factory.mktemp("sets") / "readahead.parquet"
    assert cli.main(["dataset", "build", "readahead", str(study), "-o", str(path)]) == 0
    return path


class TestBuild:
    def test_each_workload_gets_the_read_ahead_that_served_it_best(self, dataset: Path) -> None:
        table = pq.read_table(dataset, columns=["workload", "best_kib"]).to_pylist()
        found = {row["workload"]: row["best_kib"] for row in table}
        assert {name.removeprefix("model="): kib for name, kib in found.items()} == {
            "stream": 1024,
            "log": 1024,
            "rows": 8,
            "wide-rows": 8,
            "records": 64,
            "images": 256,
        }

    def test_a_workload_is_in_one_part_only(self, dataset: Path) -> None:
        rows = pq.read_table(dataset, columns=["workload", "split_workload"]).to_pylist()
        pairs = {(row["workload"], row["split_workload"]) for row in rows}
        assert len(pairs) == len(READERS)
        assert {part for _, part in pairs} == {"train", "validation", "test"}

    def test_the_same_runs_give_the_same_bytes(self, study: Path, dataset: Path, tmp_path: Path) -> None:
        again = tmp_path / "again.parquet"
        assert cli.main(["dataset", "build", "readahead", str(study), "-o", str(again)]) == 0
        assert again.read_bytes() == dataset.read_bytes()

    def test_what_is_left_out_is_told(self, study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        cli.main(["dataset", "build", "readahead", str(study), "-o", str(tmp_path / "set.parquet")])
        said = capsys.readouterr().err
        assert "left out 20261122T120000Z-failed: its workload failed" in said
        assert "left out 20261122T120000Z-single: no run of the same workload had another read-ahead than 128" in said

    def test_a_file_that_is_no_training_set_stays(
        self, study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        target = tmp_path / "mine.txt"
        target.write_text("mine")
        assert cli.main(["dataset", "build", "readahead", str(study), "-o", str(target)]) != 0
        assert "is no training set" in capsys.readouterr().err
        assert target.read_text() == "mine"

    def test_one_setting_alone_teaches_nothing(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        write_run(tmp_path / "runs" / "20261122T120000Z-single", STREAM, 128)
        code = cli.main(["dataset", "build", "readahead", str(tmp_path / "runs"), "-o", str(tmp_path / "set.parquet")])
        assert code != 0
        assert "no run in" in capsys.readouterr().err
        assert not (tmp_path / "set.parquet").exists()


class TestCard:
    def test_it_shows_every_workload_at_every_size(self, dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert cli.main(["dataset", "describe", str(dataset)]) == 0
        said = capsys.readouterr().out
        assert "model=records" in said
        assert "64 KiB" in said
        assert "[1.00]" in said

    def test_as_json(self, dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert cli.main(["dataset", "describe", str(dataset), "--json"]) == 0
        card = json.loads(capsys.readouterr().out)
        assert card["rows"] == sum(card["counts"]["scope"].values()) > 500
        assert len(card["about"]["cells"]) == len(READERS)
        assert all(0 < item["relative"] <= 1 for cell in card["about"]["cells"] for item in cell["settings"])

    def test_a_set_of_another_kind_is_refused(self, dataset: Path) -> None:
        from edgeprof.profiler.training_sets.card import describe
        from edgeprof.profiler.training_sets.errors import NotATrainingSet

        with pytest.raises(NotATrainingSet, match="one of readahead, not of latency"):
            describe(dataset)


class TestSources:
    def test_a_guests_untraced_run_tells_how_fast_it_was(self, tmp_path: Path) -> None:
        job = {"seconds": 0.5, "operations": {"read": {"count": 200}}}
        left = {"untraced.json": json.dumps({"jobs": [job]}).encode()}
        readahead_guests.write_run(tmp_path / "run", left, "252:0", "6.1.0", "emmc", "random-mmap-4k", 64)
        found = windows_of_run(Run(tmp_path / "run"), "run", KernelMeasure())
        assert (found.kib, found.throughput, found.rows) == (64, 400, 0)
        assert found.cell[:2] == ("loader random-mmap-4k", "test disk emmc")

    @pytest.mark.parametrize("disk", readahead_guests.CLASSES)
    def test_a_guests_job_fits_into_its_time(self, disk: str) -> None:
        for pattern in readahead_guests.PATTERNS.values():
            for kib in CHOICES_KIB:
                moved = pattern.operations(disk, kib) * pattern.bytes
                assert moved < 2 * readahead_guests.SECONDS * 1e6 * readahead_guests.CLASSES[disk][1] + (24 << 20)

    def test_the_matrix_names_patterns_that_there_are(self) -> None:
        spec = yaml.safe_load((ROOT / "benchmarks" / "matrix" / "readahead.yaml").read_text())
        parser = argparse.ArgumentParser()
        for pattern in spec["axes"]["pattern"]:
            order, call, size = read_patterns.parts_of(parser, pattern)
            assert pattern == f"{order}-{call}-{size >> 10}k"
