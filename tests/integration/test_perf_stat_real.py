"""perf_stat with the real perf tool on this kernel: nothing of the workload is missed, and the times are right."""

from __future__ import annotations

import ctypes
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edgeprof.collectors.base import Context
from edgeprof.collectors.parsing import RunFacts
from edgeprof.collectors.perf_stat import parse as perf
from edgeprof.collectors.perf_stat.capture import READY_SECONDS, PerfStat

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(shutil.which("perf") is None, reason="perf is missing: apt-get install linux-perf"),
]

PAGES = 5000
NOBODY = 65534
PR_SET_DUMPABLE = 4  # linux/prctl.h
CHILDREN = f"""
import mmap, os
for _ in range(3):
    child = os.fork()
    if child == 0:
        memory = mmap.mmap(-1, {PAGES} * 4096)
        for page in range({PAGES}):
            memory[page * 4096] = 1
        os._exit(0)
    os.waitpid(child, 0)
"""


class Held:
    """A process that waits before its exec until it is let go, as the agent holds the workload."""

    def __init__(self, *argv: str) -> None:
        waiting, self._go = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(self._go)
            os.read(waiting, 1)
            os.execv(argv[0], argv)
        os.close(waiting)

    def run(self) -> None:
        os.write(self._go, b"x")
        os.waitpid(self.pid, 0)


class NoJournal:
    """A journal kept in memory."""

    def __init__(self) -> None:
        self.entries: dict[int, dict[str, Any]] = {}

    def record(self, kind: str, **details: Any) -> int:
        self.entries[len(self.entries) + 1] = {"kind": kind, "open": True, **details}
        return len(self.entries)

    def done(self, number: int) -> None:
        self.entries[number]["open"] = False


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    (tmp_path / "perf_stat").mkdir()
    return tmp_path


@pytest.mark.parametrize("control", [True, False])
def test_faults_of_all_children_are_counted_from_the_first_instruction(folder: Path, control: bool) -> None:
    held = Held(sys.executable, "-c", CHILDREN)
    journal = NoJournal()
    options = {"interval": 0.1, "control": control}
    collector = PerfStat(Context(str(folder / "perf_stat"), pid=held.pid, journal=journal, options=options))
    assert collector.probe().available
    collector.start()
    begin = time.monotonic_ns()
    held.run()
    end = time.monotonic_ns()
    status = collector.stop()
    after = time.monotonic_ns()

    parsed = perf.parse(folder, RunFacts(begin, end, held.pid))
    rows = parsed.tables["counters"].to_pylist()
    faults = [row for row in rows if row["event"] == "page-faults"]
    assert sum(row["value"] or 0 for row in faults) >= 3 * PAGES
    assert {row["event"] for row in rows} == set(status.details["events"])
    assert status.records == len((folder / "perf_stat/stat.json").read_text().splitlines()) - 2  # its header
    assert status.lost == 0

    error = perf_error(parsed.notes)
    assert begin - error <= min(row["time_ns"] for row in rows)
    assert end - error <= max(row["time_ns"] for row in rows) <= after + error
    assert sum(row["interval"] for row in faults) * 1e9 <= after - begin + error + READY_SECONDS * 1e9

    assert [entry["kind"] for entry in journal.entries.values()] == ["process"]
    assert not any(entry["open"] for entry in journal.entries.values())
    assert 0 < status.details["helper_setup_cpu_seconds"] <= status.details["helper_cpu_seconds"] + 0.001
    assert not Path(f"/proc/{status.details['helper_pid']}").exists()


def test_cycles_are_null_with_a_reason_where_this_processor_has_no_counters(folder: Path) -> None:
    held = Held(sys.executable, "-c", "pass")
    collector = PerfStat(Context(str(folder / "perf_stat"), pid=held.pid))
    collector.probe()
    collector.start()
    held.run()
    collector.stop()
    rows = perf.parse(folder, RunFacts(0, None, held.pid)).tables["counters"].to_pylist()
    cycles = [row for row in rows if row["event"] == "cycles"]
    assert cycles
    for row in cycles:
        assert (row["value"] is None) == (row["reason"] is not None)
        assert row["value"] is None or row["value"] > 0


def test_a_workload_that_is_gone_is_a_reason_not_a_hang(folder: Path) -> None:
    held = Held("/bin/true")
    held.run()
    collector = PerfStat(Context(str(folder / "perf_stat"), pid=held.pid))
    collector.probe()
    with pytest.raises(OSError, match="perf ended at once"):
        collector.start()
    assert collector.stop().records == 0


def perf_error(notes: list[str]) -> int:
    """The error that the parser states, ns, plus one for its rounding to 0.1 ms."""
    (note,) = [item for item in notes if "counter times are known" in item]
    return int((float(note.split("±")[1].split()[0]) + 0.1) * 1e6)


def test_an_ordinary_user_gets_no_zero_for_what_user_mode_cannot_count() -> None:
    paranoid = int(Path("/proc/sys/kernel/perf_event_paranoid").read_text())
    if paranoid != 2:
        pytest.skip(f"perf_event_paranoid is {paranoid}, not 2: `sysctl kernel.perf_event_paranoid=2` to test this")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name, "perf_stat")
        folder.mkdir()
        for path in (name, folder):
            os.chown(path, NOBODY, NOBODY)
        child = os.fork()
        if child == 0:
            os._exit(count_as_nobody(folder))
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        parsed = perf.parse(Path(name), RunFacts(0, None, 1))
    rows = parsed.tables["counters"].to_pylist()
    switches = [row for row in rows if row["event"] == "context-switches" and row["reason"] != perf.NOT_RUN]
    assert switches
    assert {(row["value"], row["reason"]) for row in switches} == {(None, perf.USER_ONLY)}
    assert sum(row["value"] or 0 for row in rows if row["event"] == "page-faults") > 0
    assert any("only user mode was counted" in note for note in parsed.notes)


def count_as_nobody(folder: Path) -> int:
    """Run the collector as the user nobody; returns 0 when it went well."""
    os.setgroups([])
    os.setresgid(NOBODY, NOBODY, NOBODY)
    os.setresuid(NOBODY, NOBODY, NOBODY)
    ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 1, 0, 0, 0)  # lost with root; an ordinary user's process has it
    held = Held("/bin/sh", "-c", "for i in 1 2 3; do /bin/true; done")
    collector = PerfStat(Context(str(folder), pid=held.pid))
    if not collector.probe().available:
        return 1
    collector.start()
    held.run()
    return 0 if collector.stop().records else 2
