"""Charts in the terminal: drawn to scale, in ASCII where nothing else is known, and not into pipes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from edgeprof.cli.charts import ASCII, UNICODE, bar, highest, histogram, sparkline
from edgeprof.cli.encoding import in_ascii
from edgeprof.cli.main import cli
from edgeprof.dashboards.report.figures.series import Series
from tests.helpers import ROOT
from tests.synthetic_run import Shape, write_run


def series(times: list[float], values: list[float]) -> Series:
    return Series("x", np.array(times), np.array(values), "bytes", "")


def test_a_line_is_drawn_from_zero_to_its_highest_value() -> None:
    assert sparkline(np.array([0.0, 1, 2, 4, 8]), UNICODE.levels) == "▁▁▂▄█"
    assert sparkline(np.array([1.0, 2, 3, 4, 5, 6, 7, 8]), ASCII.levels) == ASCII.levels
    assert sparkline(np.array([0.0, 0, np.nan, 0]), UNICODE.levels) == "▁▁ ▁"
    assert sparkline(np.array([np.nan, np.nan]), UNICODE.levels) == "  "


def test_a_peak_of_one_sample_stays_visible() -> None:
    values = np.ones(10_000)
    values[5_555] = 50.0
    found = highest(series(list(np.linspace(0, 100, 10_000)), list(values)), 100.0, 40)
    assert found[22] == 50.0
    assert np.delete(found, 22).tolist() == [1.0] * 39


def test_a_seldom_sampled_series_has_no_holes_and_a_stretch_without_samples_has() -> None:
    seldom = highest(series([2.0, 4.0, 6.0, 8.0, 10.0], [1.0, 2.0, 3.0, 4.0, 5.0]), 10.0, 20)
    assert np.isfinite(seldom).all()
    dense = [t / 10 for t in range(30)] + [t / 10 for t in range(70, 100)]
    stopped = highest(series(dense, [1.0] * 60), 10.0, 20)
    assert np.isnan(stopped[7:13]).all()
    assert np.isfinite(stopped[:6]).all()
    assert np.isfinite(stopped[14:]).all()


def test_bars_are_to_scale_and_what_is_there_is_seen() -> None:
    assert bar(1.0, UNICODE.parts, 40) == "█" * 40
    assert bar(0.5, ASCII.parts, 40) == "#" * 20
    assert bar(1e-9, UNICODE.parts, 40) == "▏"
    assert bar(0.0, UNICODE.parts, 40) == ""


def test_a_histogram_counts_every_value() -> None:
    lines = histogram(np.array([15e-6] * 30 + [150e-6] * 60 + [1.5e-3] * 10), ASCII, 100)
    assert [line.split()[-1] for line in lines] == ["30", "0", "0", "60", "0", "0", "10"]
    assert lines[0].split()[:5] == ["10", "µs", "to", "20", "µs"]
    assert lines[3].count("#") == 2 * lines[0].count("#") == 40


@pytest.mark.parametrize("width", range(1, 100, 7))
def test_a_narrow_terminal_has_narrow_charts_or_none(width: int) -> None:
    assert all(len(line) <= width for line in histogram(np.array([15e-6, 1.5e-3]), UNICODE, width))


def test_a_very_wide_histogram_says_what_it_leaves_out() -> None:
    lines = histogram(np.array([2e-9] + [1.5e-3] * 98 + [900.0]), ASCII, 100)
    assert len(lines) <= 15
    assert lines[-1].strip() == "2 others took shorter or longer"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_run(tmp_path_factory.mktemp("charts") / "run", Shape()))


def shown(*words: str) -> str:
    result = CliRunner().invoke(cli, ["show", *words])
    assert result.exit_code == 0, result.output
    return result.output


def test_pipes_get_no_charts_unless_they_are_asked_for(run: str) -> None:
    assert shown(run) == shown(run, "--no-charts")
    with_charts = shown(run, "--charts")
    assert "▁" not in shown(run)
    for name in ("memory", "read", "written", "I/O pressure", "step time", "Latency of"):
        assert name in with_charts
    begin = with_charts.index("\nOver time")
    assert with_charts[:begin] == shown(run)[:begin]
    assert with_charts.endswith(shown(run)[begin:])
    assert shown(run, "--charts", "--json") == shown(run, "--json")


def test_charts_are_ascii_where_the_output_knows_nothing_else(run: str) -> None:
    command = [sys.executable, "-m", "edgeprof.cli.main", "show", run, "--charts"]
    settings = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONPATH": str(ROOT)}
    text = subprocess.run(command, env=settings, stdout=subprocess.PIPE, check=True, timeout=60).stdout.decode("ascii")
    drawn = text[text.index("Over time") :]
    assert "####" in drawn
    assert "?" not in drawn


def test_a_run_without_tables_has_no_charts(tmp_path: Path) -> None:
    empty = write_run(tmp_path / "run", Shape(), only=(), metrics=False)
    assert "Over time" not in shown(str(empty), "--charts")


def test_what_ascii_lacks_is_written_in_other_words() -> None:
    assert in_ascii("3.4 µs … 5\u202f000 “x” ±1 €") == '3.4 us ... 5 000 "x" +-1 ?'
