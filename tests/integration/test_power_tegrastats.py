"""power with a tool beside the workload: a stand-in for tegrastats that prints a board's real line."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from edgeprof.collectors.base import Context
from edgeprof.collectors.clocks import parse as clocks
from edgeprof.collectors.parsing import RunFacts
from edgeprof.collectors.power import parse as power
from edgeprof.collectors.power.capture import Power
from edgeprof.collectors.thermal import parse as thermal
from edgeprof.profiler import ingest
from tests.board_trees import BOARDS, plant

FACTS = RunFacts(0, None, 1)
LINE = (BOARDS.parent / "tegrastats.txt").read_text().splitlines()[-1]
PRINTS = f'#!/bin/sh\ntest "$1 $2" = "--interval 1000" || exit 3\nwhile echo "{LINE}"; do sleep 0.01; done\n'


class Memory:
    """A journal kept in memory."""

    def __init__(self) -> None:
        self.open: dict[int, dict[str, Any]] = {}
        self.count = 0

    def record(self, kind: str, **details: Any) -> int:
        self.count += 1
        self.open[self.count] = {"kind": kind, **details}
        return self.count

    def done(self, number: int) -> None:
        del self.open[number]


def collector(tmp_path: Path, script: str) -> tuple[Power, Memory]:
    tool = tmp_path / "tegrastats"
    tool.write_text(script)
    tool.chmod(0o755)
    (tmp_path / "power").mkdir()
    journal = Memory()
    roots = plant("virtual-machine", tmp_path)
    return Power(Context(str(tmp_path / "power"), roots, journal=journal, options={"tegrastats": str(tool)})), journal


def sample_until(found: Power, lines: int, tmp_path: Path) -> None:
    deadline = time.monotonic() + 20
    while len(power.tegrastats(tmp_path)) < lines:
        assert time.monotonic() < deadline, "the tool printed nothing"
        found.sample(time.monotonic_ns())


def test_its_lines_become_power_temperatures_and_clocks_at_the_time_they_came(tmp_path: Path) -> None:
    found, journal = collector(tmp_path, PRINTS)
    assert found.probe().available
    before = time.monotonic_ns()
    found.start()
    assert [entry["kind"] for entry in journal.open.values()] == ["process"]
    sample_until(found, 3, tmp_path)
    status = found.stop()
    after = time.monotonic_ns()

    rows = power.parse(tmp_path, FACTS).tables["power"].to_pylist()
    assert len(rows) >= 3
    assert {(row["rail"], row["power"], row["source"], row["total"]) for row in rows} == {
        ("VDD_IN", 5.0, "tegrastats", True)
    }
    assert all(before <= row["time_ns"] <= after for row in rows)
    assert thermal.parse(tmp_path, FACTS).tables["thermal"].num_rows == 6 * len(rows)
    assert "gpu" in set(clocks.parse(tmp_path, FACTS).tables["clocks"]["domain"].to_pylist())

    assert journal.open == {}
    assert not Path(f"/proc/{status.details['helper_pid']}").exists()
    assert status.details["helper_cpu_seconds"] >= 0
    assert status.notes == ()


def test_a_tool_that_ends_early_is_said(tmp_path: Path) -> None:
    found, journal = collector(tmp_path, f'#!/bin/sh\necho "{LINE}"\n')
    found.probe()
    found.start()
    deadline = time.monotonic() + 20
    while found._tegrastats is not None and found._tegrastats.alive():
        assert time.monotonic() < deadline
    found.sample(time.monotonic_ns())
    assert "tegrastats ended before the run did" in found.stop().notes
    assert len(power.tegrastats(tmp_path)) == 1
    assert journal.open == {}


@pytest.mark.parametrize("name", ["power", "thermal", "clocks"])
def test_nothing_captured_is_an_empty_table(tmp_path: Path, name: str) -> None:
    module = {"power": power, "thermal": thermal, "clocks": clocks}[name]
    assert module.parse(tmp_path, FACTS).tables[name].num_rows == 0


def test_temperatures_and_clocks_are_ingested_where_sys_has_none(tmp_path: Path) -> None:
    found, _ = collector(tmp_path, PRINTS)
    found.start()
    sample_until(found, 3, tmp_path)
    found.stop()
    assert not (tmp_path / "thermal").exists() and not (tmp_path / "clocks").exists()
    content: dict[str, Any] = {"run": {"pid": 1}, "collectors": [], "overhead": {}}
    tables, notes = ingest._parse_all(tmp_path, content)
    assert set(tables) == {"power", "thermal", "clocks"}
    assert "cpu" in tables["thermal"]["zone"].to_pylist()
    assert notes == []
