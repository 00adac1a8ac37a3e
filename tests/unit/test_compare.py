"""Comparing runs and groups of runs: differences of metrics, what differs in factors and machine, and the gate."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeprof.cli import main as cli
from edgeprof.profiler.analysis.compare import CAUTION, compare, differing
from edgeprof.profiler.matrix.state import Ended, StateFile
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


Call = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def groups(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders of 6 runs each: base, same, and slow by 10 %, with 1 % of spread."""
    pytest.importorskip("scipy", reason="needs SciPy: make install, or pip install 'edgeprof[matrix]'")
    folder: Path = tmp_path_factory.mktemp("groups")
    random = np.random.default_rng(3)
    for name, factor in (("base", 1.0), ("same", 1.0), ("slow", 1.1)):
        for number in range(6):
            tiny_run.write(
                folder / name / f"2026112{number}T120000Z-{name}-{name[1]}{number}0000",
                run={"name": name, "wall_time": float(10 * factor * np.exp(0.01 * random.normal()))},
                factors={"framework": {"version": "2" if name == "slow" else "1"}},
            )
    return folder


@pytest.fixture
def edgeprof(groups: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """Calls edgeprof beside the folders; gives exit code, output and errors."""
    monkeypatch.chdir(groups)
    monkeypatch.delenv("EDGEPROF_DEBUG", raising=False)

    def call(*args: str) -> tuple[int, str, str]:
        code = cli.main(args)
        return code, *capsys.readouterr()

    return call


def rows_of(out: str, metric: str) -> list[str]:
    """The words of each table row on a metric."""
    return [" ".join(line.split()) for line in out.splitlines() if line.strip().startswith(metric)]


class TestGroups:
    def test_folders_are_groups(self, edgeprof: Call) -> None:
        code, out, _ = edgeprof("compare", "base", "slow")
        assert code == 0
        assert "base: 6 runs" in out
        (row,) = rows_of(out, "wall_time")
        assert "s < 0.001 slower by" in row
        assert rows_of(out, "framework.version") == ["framework.version 1 2"]
        assert "Holm" in out

    def test_no_difference_says_what_could_have_been_shown(self, edgeprof: Call) -> None:
        _, out, _ = edgeprof("compare", "base", "same")
        assert "no difference shown; " in rows_of(out, "wall_time")[0]
        assert rows_of(out, "wall_time")[0].endswith("% could have been")
        assert rows_of(out, "steps") == rows_of(out, "phase_coverage") == []

    def test_all_metrics(self, edgeprof: Call) -> None:
        _, out, _ = edgeprof("compare", "base", "same", "--all")
        assert rows_of(out, "steps")
        assert rows_of(out, "phase_coverage")

    def test_json(self, edgeprof: Call) -> None:
        _, out, _ = edgeprof("compare", "base", "same", "slow", "--json")
        content = json.loads(out)
        assert [len(group["runs"]) for group in content["groups"]] == [6, 6, 6]
        wall = {item["group"]: item for item in content["comparisons"] if item["metric"] == "wall_time"}
        assert wall["slow"]["verdict"] == "more"
        assert wall["slow"]["ratio"]["low"] < 1.1 < wall["slow"]["ratio"]["high"]
        assert wall["slow"]["bootstrap"][0] > 1
        assert wall["same"]["verdict"] == "none shown"
        assert 1 < wall["same"]["detectable"] < 1.05

    def test_named_groups_and_another_base(self, edgeprof: Call) -> None:
        groups = ("--group", "fast=*-base-*", "--group", "slow=a10000,*", "--base", "slow")
        code, _, err = edgeprof("compare", *groups, "--folder", "base")
        assert (code, err.count("\n")) == (120, 1)
        groups = ("--group", "one=a00000,a10000,a20000", "--group", "two=a30000,a40000,a50000", "--base", "two")
        code, out, _ = edgeprof("compare", *groups, "--folder", "base")
        assert code == 0
        assert "one, against two" in out

    def test_by_factor(self, edgeprof: Call, groups: Path, tmp_path: Path) -> None:
        everything = tmp_path / "all"
        everything.mkdir()
        for folder in ("base", "slow"):
            for run in (groups / folder).iterdir():
                (everything / run.name).symlink_to(run)
        _, out, _ = edgeprof("compare", "--by", "framework.version", "--folder", str(everything), "--base", "1")
        assert "slower by" in rows_of(out, "wall_time")[0]

    def test_one_run_of_a_side_is_not_judged(self, edgeprof: Call) -> None:
        code, out, err = edgeprof(
            "compare", "--group", "a=a00000", "--group", "b=a10000,a20000", "--folder", "base", "--fail-on", "steps>1%"
        )
        assert code == 0
        assert "one run says nothing on chance" in out
        assert "not checked: steps>1%" in err


class TestGate:
    def test_a_sure_and_large_regression_is_exit_code_1(self, edgeprof: Call) -> None:
        code, _, err = edgeprof("compare", "base", "slow", "--fail-on", "wall_time>5%", "--fail-on", "rss_peak>10%")
        assert code == 1
        (line,) = err.splitlines()
        assert line.startswith("edgeprof: regression: wall_time is slower by")
        assert line.endswith("the limit is wall_time>5%")

    @pytest.mark.parametrize(
        ("other", "limit"), [("same", "wall_time>0%"), ("slow", "wall_time>20%"), ("slow", "rss_peak>0%")]
    )
    def test_all_else_is_exit_code_0(self, edgeprof: Call, other: str, limit: str) -> None:
        assert edgeprof("compare", "base", other, "--fail-on", limit)[0] == 0

    def test_an_improvement_passes(self, edgeprof: Call) -> None:
        assert edgeprof("compare", "slow", "base", "--fail-on", "wall_time>1%")[0] == 0

    def test_it_fails_with_json_too(self, edgeprof: Call) -> None:
        code, out, _ = edgeprof("compare", "base", "slow", "--fail-on", "wall_time>5%", "--json")
        assert code == 1
        assert len(json.loads(out)["failures"]) == 1

    @pytest.mark.parametrize(
        ("args", "sentence"),
        [
            (["base", "slow", "--fail-on", "wal_time>5%"], "did you mean 'wall_time'"),
            (["base", "slow", "--fail-on", "wall_time=5%"], "is not a limit"),
            (["base/20261120T120000Z-base-a00000", "a10000", "--fail-on", "wall_time>5%"], "need groups of runs"),
            (["base", "slow", "--base", "fast"], "there are: base, slow"),
            (["base"], "at least two groups"),
            (["base", "slow", "--by", "model"], "only one of them"),
            (["--group", "a=", "--group", "b=x"], "names no group"),
            (["base", "base"], "same name"),
        ],
    )
    def test_a_wrong_call_is_one_sentence_and_120(self, edgeprof: Call, args: list[str], sentence: str) -> None:
        code, out, err = edgeprof("compare", *args)
        assert (code, out, err.count("\n")) == (120, "", 1)
        assert sentence in err


FORMATS = {"tar": 10.0, "lmdb": 30.0}
"""Cells of a small matrix, and how long each runs."""


def write_matrix(folder: Path, factor: float, seed: int, failing: str = "") -> Path:
    """A matrix as `edgeprof matrix run` leaves it: 4 repeats of each format."""
    random = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    state = StateFile(folder)
    cells = {f"cell-{name}": {"format": name} for name in FORMATS}
    state.plan({"name": "m", "axes": {"format": list(FORMATS)}, "baseline": {}, "repeats": 4, "cells": cells})
    for repeat in range(1, 5):
        for name, seconds in FORMATS.items():
            run = f"2026112{repeat}T120000Z-{name}-{seed}{name[0]}{repeat}000"
            failed = "it did not end in time" if (name, repeat) == (failing, 1) else ""
            if not failed:
                wall = float(factor * seconds * np.exp(0.01 * random.normal()))
                tiny_run.write(folder / "runs" / run, run={"wall_time": wall})
            key = f"cell-{name}", repeat
            state.started(key)
            state.ended(key, Ended("" if failed else run, 1 if failed else 0, 1.0, 1000, failed))
    state.close()
    return folder


@pytest.mark.usefixtures("groups")
class TestMatrices:
    def test_they_are_compared_cell_by_cell_and_over_all(self, edgeprof: Call, tmp_path: Path) -> None:
        base = write_matrix(tmp_path / "main", 1.0, 1, failing="tar")
        new = write_matrix(tmp_path / "branch", 1.1, 2)
        code, out, err = edgeprof("compare", str(base), str(new), "--fail-on", "wall_time>5%")
        assert code == 1
        assert "main: 7 runs, 1 left out" in out
        assert "left out: cell-tar, repeat 1: it did not end in time" in out
        assert "The mean over all cells, each of which counts alike" in out
        rows = rows_of(out, "wall_time")
        assert len(rows) == 3
        assert all("slower by" in row for row in rows)
        assert len(err.splitlines()) == 3
        assert "wall_time of format tar is slower by" in err

    def test_a_matrix_is_not_compared_with_runs(self, edgeprof: Call, tmp_path: Path) -> None:
        code, _, err = edgeprof("compare", "base", str(write_matrix(tmp_path / "main", 1.0, 1)))
        assert (code, err.count("\n")) == (120, 1)
        assert "with matrices only" in err
