"""The recorder in real processes: what it writes, and that it never gets in the program's way."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from edgeprof.collectors.base import Context
from edgeprof.collectors.parsing import Parsed, RunFacts
from edgeprof.collectors.phases import capture, parse, recorder

FILE = Path(recorder.__file__).resolve()
LOAD = (
    "import importlib.util, os, signal, sys, threading, time\n"
    f"spec = importlib.util.spec_from_file_location('recorder', {str(FILE)!r})\n"
    "r = importlib.util.module_from_spec(spec); sys.modules['recorder'] = r; spec.loader.exec_module(r)\n"
)
PYTHONS = [
    sys.executable,
    *filter(None, [shutil.which("python3.8", path=str(p)) for p in Path.home().glob(".pyenv/versions/3.8*/bin")]),
]


def record(raw: Path, program: str, python: str = sys.executable, code: int = 0, **variables: str) -> Parsed:
    """Run a program that has the recorder as ``r``; parse what it recorded."""
    folder = raw / "phases"
    folder.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "EDGEPROF_PHASES": str(folder), **variables}
    done = subprocess.run([python, "-c", LOAD + program], env=environment, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (code, "")
    return parse.parse(raw, RunFacts(0, None, 0))


def rows(table: pa.Table, *columns: str) -> list[tuple[object, ...]]:
    return [tuple(row[name] for name in columns) for row in table.to_pylist()]


@pytest.mark.parametrize("python", PYTHONS)
def test_phases_steps_and_marks(tmp_path: Path, python: str) -> None:
    parsed = record(
        tmp_path,
        "with r.phase('epoch'):\n"
        "    with r.phase('load'): pass\n"
        "    r.step(samples=32)\n"
        "    r.mark('loss', 0.5)\n"
        "@r.phase('validate')\n"
        "def f(x): return x + 1\n"
        "assert f(1) == 2 and f.__name__ == 'f'\n"
        "r.mark('done')\n"
        "r.step()\n",
        python,
    )
    assert parsed.notes == []
    assert rows(parsed.tables["phases"], "name", "depth", "main", "cut") == [
        ("epoch", 0, True, False),
        ("load", 1, True, False),
        ("validate", 0, True, False),
    ]
    assert rows(parsed.tables["steps"], "step", "samples") == [(0, 32.0), (1, None)]
    assert rows(parsed.tables["marks"], "name", "value") == [("loss", 0.5), ("done", None)]
    first, second = parsed.tables["steps"].to_pylist()
    assert first["start_ns"] == parsed.tables["phases"]["start_ns"][0].as_py()
    assert second["start_ns"] == first["end_ns"]


def test_a_step_may_begin_before_the_one_before_it_ended(tmp_path: Path) -> None:
    program = "t = time.monotonic_ns()\nr.step(samples=1, start_ns=t)\nr.step(start_ns=t - 5)\nr.mark('t', t % 1e9)\n"
    parsed = record(tmp_path, program)
    first, second = parsed.tables["steps"].to_pylist()
    (moment,) = parsed.tables["marks"]["value"].to_pylist()
    assert (first["start_ns"] % 10**9, second["start_ns"]) == (moment, first["start_ns"] - 5)
    assert second["end_ns"] >= first["end_ns"] >= first["start_ns"]


def test_outside_a_run_nothing_happens(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "EDGEPROF_PHASES"}
    program = (
        "def f(): pass\n"
        "assert r.phase('x')(f) is f and r.phase('x') is r.phase('y') and r.writer() is None\n"
        "with r.phase('x'): r.step(1); r.mark('m', 2)\n"
    )
    subprocess.run([sys.executable, "-c", LOAD + program], env=environment, cwd=tmp_path, check=True, timeout=60)
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_created_before_the_first_record(tmp_path: Path) -> None:
    parsed = record(tmp_path, "pass")
    assert list((tmp_path / "phases").iterdir()) == []
    assert parsed.tables["phases"].num_rows == 0


def test_names_are_cut_at_a_character(tmp_path: Path) -> None:
    parsed = record(tmp_path, "r.mark('é' * 30); r.mark('x' * 100); r.mark('a\\udc80b'); r.mark(7)")
    names = [name for (name,) in rows(parsed.tables["marks"], "name")]
    assert names == ["é" * 21, "x" * 42, "a?b", "7"]


def test_values_that_are_no_numbers(tmp_path: Path) -> None:
    parsed = record(tmp_path, "r.mark('a', 'text'); r.mark('b', None); r.mark('c', True); r.step(object())")
    assert rows(parsed.tables["marks"], "name", "value") == [("a", None), ("b", None), ("c", 1.0)]
    assert rows(parsed.tables["steps"], "samples", "start_ns") == [(None, None)]


def test_threads_write_whole_records(tmp_path: Path) -> None:
    parsed = record(
        tmp_path,
        "def work(name):\n"
        "    for _ in range(5000):\n"
        "        with r.phase(name): pass\n"
        "threads = [threading.Thread(target=work, args=('t%d' % i,)) for i in range(6)]\n"
        "[t.start() for t in threads]; [t.join() for t in threads]\n",
    )
    phases = parsed.tables["phases"].to_pandas()
    assert phases.groupby("name", observed=True).size().to_dict() == {f"t{i}": 5000 for i in range(6)}
    assert (phases.groupby("name", observed=True)["tid"].nunique() == 1).all()
    assert not phases["cut"].any()
    assert (phases["depth"] == 0).all()


def test_a_forked_child_has_a_file_of_its_own(tmp_path: Path) -> None:
    parsed = record(
        tmp_path,
        "with r.phase('outer'):\n"
        "    pid = os.fork()\n"
        "    if pid == 0:\n"
        "        with r.phase('child'): pass\n"
        "    else:\n"
        "        os.waitpid(pid, 0)\n",
    )
    phases = parsed.tables["phases"].to_pandas()
    assert sorted(zip(phases["name"], phases["main"], phases["cut"], strict=True)) == [
        ("child", False, False),
        ("outer", True, False),
    ]
    assert phases["pid"].nunique() == 2


def test_a_signal_handler_may_record(tmp_path: Path) -> None:
    parsed = record(
        tmp_path,
        "signal.signal(signal.SIGALRM, lambda *a: r.mark('alarm'))\n"
        "signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)\n"
        "for i in range(20000): r.mark('loop', i)\n"
        "signal.setitimer(signal.ITIMER_REAL, 0)\n",
    )
    assert (parsed.lost, parsed.notes) == (0, [])
    marks = parsed.tables["marks"].to_pandas()
    assert marks.loc[marks["name"] == "loop", "value"].tolist() == list(range(20000))
    assert (marks["name"] == "alarm").any()


def test_a_signal_handler_may_record_while_the_file_grows(tmp_path: Path) -> None:
    parsed = record(
        tmp_path,
        "allocate = os.posix_fallocate\n"
        "def interrupted(*a):\n"
        "    signal.raise_signal(signal.SIGUSR1); allocate(*a); signal.raise_signal(signal.SIGUSR1)\n"
        "os.posix_fallocate = interrupted\n"
        "signal.signal(signal.SIGUSR1, lambda *a: r.mark('signal'))\n"
        "for i in range(3000): r.mark('loop', i)\n",
    )
    marks = parsed.tables["marks"].to_pandas()
    assert marks.loc[marks["name"] == "loop", "value"].tolist() == list(range(3000))
    assert (marks["name"] == "signal").sum() == 2 * 3  # 64, 64 and 128 KiB
    assert parsed.lost == 0


def test_coroutines_are_measured_to_their_end(tmp_path: Path) -> None:
    parsed = record(
        tmp_path,
        "import asyncio\n"
        "@r.phase('serve')\n"
        "async def serve():\n"
        "    r.mark('before'); await asyncio.sleep(0); r.mark('after')\n"
        "asyncio.run(serve())\n",
    )
    (phase,) = parsed.tables["phases"].to_pylist()
    before, after = parsed.tables["marks"]["time_ns"].to_pylist()
    assert phase["start_ns"] <= before <= after <= phase["end_ns"]


def test_killed_in_the_middle(tmp_path: Path) -> None:
    parsed = record(
        tmp_path,
        "with r.phase('outer'):\n    for i in range(3000): r.mark('n', i)\n    os.kill(os.getpid(), 9)\n",
        code=-9,
    )
    assert parsed.tables["marks"]["value"].to_pylist() == list(range(3000))
    assert rows(parsed.tables["phases"], "name", "cut") == [("outer", True)]


def test_a_file_that_may_not_grow_loses_records_and_says_so(tmp_path: Path) -> None:
    """A limit on file size refuses the next chunk as a full disk does."""
    parsed = record(
        tmp_path,
        "import resource\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100000, 100000))\n"
        "for i in range(5000): r.mark('n', i)\n",
    )
    kept = parsed.tables["marks"]["value"].to_pylist()
    assert kept == list(range(1023))
    assert parsed.lost == 5000 - 1023 + 1  # and the record of the exit


def test_the_budget_bounds_what_is_written(tmp_path: Path) -> None:
    parsed = record(
        tmp_path,
        "r._BURST_BYTES = 1 << 20\nfor i in range(100000): r.mark('n', i)\n",
        EDGEPROF_PHASES_BUDGET="1000",
    )
    (file,) = (tmp_path / "phases").glob("*.bin")
    assert file.stat().st_size <= 2 << 20
    assert parsed.lost == 100000 - parsed.tables["marks"].num_rows + 1  # and the record of the exit
    assert parsed.lost > 0


@pytest.mark.parametrize("budget", ["", "much", "nan"])
def test_a_folder_that_is_gone_or_a_budget_that_is_none(tmp_path: Path, budget: str) -> None:
    parsed = record(
        tmp_path,
        "r.mark('a')\n",
        EDGEPROF_PHASES=str(tmp_path / "absent"),
        EDGEPROF_PHASES_BUDGET=budget,
    )
    assert parsed.tables["marks"].num_rows == 0


def test_without_shared_maps_records_are_written_one_by_one(tmp_path: Path) -> None:
    parsed = record(
        tmp_path,
        "import mmap\n"
        "def refuse(*a, **k): raise OSError(19, 'No such device')\n"
        "mmap.mmap = refuse\n"
        "for i in range(3000): r.mark('n', i)\n",
    )
    assert parsed.tables["marks"]["value"].to_pylist() == list(range(3000))


def test_all_descriptors_closed_by_a_daemon(tmp_path: Path) -> None:
    """A program that closes all descriptors and opens its own never finds records in its file."""
    other = tmp_path / "other"
    parsed = record(
        tmp_path,
        "r.mark('n', 0)\n"
        "os.closerange(3, 256)\n"
        f"files = [open({str(other)!r}, 'wb') for _ in range(20)]\n"
        "for i in range(1, 9000): r.mark('n', i)\n"
        "[f.write(b'x') for f in files]; [f.close() for f in files]\n",
    )
    assert parsed.tables["marks"].num_rows == 9000
    assert other.read_bytes() == b"x"


def test_loaded_twice_it_is_one(tmp_path: Path) -> None:
    record(
        tmp_path,
        "first = r\n"
        "spec = importlib.util.spec_from_file_location('again', r.__file__)\n"
        "again = importlib.util.module_from_spec(spec); sys.modules['again'] = again; spec.loader.exec_module(again)\n"
        "assert again.phase is first.phase and again.writer() is first.writer()\n"
        "first.mark('a'); again.mark('b')\n",
    )
    assert len(list((tmp_path / "phases").glob("*.bin"))) == 1


def test_stop_cuts_the_reserve_of_ended_processes_only(tmp_path: Path) -> None:
    record(tmp_path, "r.mark('ended')")
    program = LOAD + "r.mark('running'); print('ready', flush=True); sys.stdin.read()"
    environment = {**os.environ, "EDGEPROF_PHASES": str(tmp_path / "phases")}
    with subprocess.Popen(
        [sys.executable, "-c", program], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as running:
        assert running.stdout is not None
        running.stdout.readline()
        status = capture.COLLECTOR(Context(str(tmp_path / "phases"))).stop()
        sizes = {int(path.name.split("-")[0]): path.stat().st_size for path in (tmp_path / "phases").glob("*.bin")}
        kept = sizes.pop(running.pid)
        running.communicate()
    assert status.details["still_recording"] == 1
    assert kept == recorder._FIRST_CHUNK
    assert list(sizes.values()) == [64 * 3]  # header, mark, exit
    assert (status.records, status.bytes, status.lost) == (3, 64 * 5, 0)
    assert sorted(parse.parse(tmp_path, RunFacts(0, None, 0)).tables["marks"]["name"].to_pylist()) == [
        "ended",
        "running",
    ]


def test_process_start_is_before_now() -> None:
    import time

    start, ticks = recorder.process_start()
    assert 0 < start <= time.monotonic_ns()
    assert ticks > 0


def test_record_layout() -> None:
    """The format's promise to readers: 64 bytes, kind last."""
    block = np.zeros(64, np.uint8)
    recorder.RECORD.pack_into(block, 0, 1, 2.0, 3, b"load", 4, 5)
    assert (recorder.HEADER.size, recorder.RECORD.size, block[63], block[62]) == (64, 64, 5, 4)
