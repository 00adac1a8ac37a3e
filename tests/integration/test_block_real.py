"""Block requests of a real kernel: a loop device, fio with a known amount of I/O, both tracefs back ends."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from edgeprof.collectors.base import Context, Status
from edgeprof.collectors.block.capture import Block
from edgeprof.collectors.block.parse import parse
from edgeprof.collectors.parsing import Parsed, RunFacts
from edgeprof.collectors.tracefs import capture as tracefs
from tests.conftest import find_tool
from tests.helpers import tracing, tracing_left
from tests.integration import slow_file

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(find_tool("fio") is None, reason="no fio here: apt-get install fio"),
    pytest.mark.skipif(find_tool("losetup") is None, reason="no losetup here: apt-get install mount"),
    pytest.mark.skipif(
        os.geteuid() == 0 and not tracefs.probe().available, reason="no tracefs here: use a kernel with CONFIG_FTRACE"
    ),
]

SIZE = 64 << 20


@dataclass
class Ledger:
    """A journal that remembers what was changed and what of it was put back."""

    entries: dict[int, tuple[str, dict[str, Any]]] = field(default_factory=dict)
    undone: set[int] = field(default_factory=set)

    def record(self, kind: str, **details: Any) -> int:
        self.entries[len(self.entries) + 1] = kind, details
        return len(self.entries)

    def done(self, number: int) -> None:
        self.undone.add(number)


@dataclass
class Captured:
    """What one back end made of a command."""

    parsed: Parsed
    status: Status
    journal: Ledger
    facts: RunFacts
    raw: Path

    @property
    def requests(self) -> pd.DataFrame:
        """The table block_io with nullable integers, without the loop device's own look at its partitions."""
        return self.parsed.tables["block_io"].to_pandas(types_mapper=pd.ArrowDtype)


@pytest.fixture
def loop(tmp_path: Path) -> Iterator[str]:
    """A loop device of `SIZE` bytes that reads its file directly, so that requests take their time."""
    image = tmp_path / "image"
    with image.open("wb") as file:
        for _ in range(SIZE >> 20):
            file.write(os.urandom(1 << 20))
        file.flush()
        os.fsync(file.fileno())
    attach = ["losetup", "--find", "--show", "--direct-io=on", str(image)]
    device = subprocess.run(attach, capture_output=True, text=True, check=True).stdout.strip()
    yield device
    subprocess.run(["losetup", "--detach", device], check=True)


@pytest.fixture
def slow_loop(tmp_path: Path) -> Iterator[str]:
    """A loop device whose requests take so long that what fio adds to them does not count."""
    if not Path("/dev/fuse").exists():
        pytest.skip("no /dev/fuse here: use a kernel with CONFIG_FUSE_FS")
    folder = tmp_path / "slow"
    folder.mkdir()
    server = subprocess.Popen([*at_once(), sys.executable, slow_file.__file__, str(folder), str(SIZE)])
    file = folder / slow_file.NAME.decode()
    try:
        wait_until(lambda: folder.is_mount() and file.exists())
        device = subprocess.run(
            ["losetup", "--find", "--show", str(file)], capture_output=True, text=True, check=True
        ).stdout.strip()
        yield device
        subprocess.run(["losetup", "--detach", device], check=True)
        wait_until(lambda: not (Path("/sys/block") / Path(device).name / "loop").exists())
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=False)
        server.kill()
        server.wait()


def wait_until(condition: Callable[[], bool]) -> None:
    """Poll for at most 10 s."""
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, "this did not come about within 10 s"
        time.sleep(0.01)


def capture(folder: Path, command: Sequence[str], backends: Sequence[str], **options: Any) -> list[Captured]:
    """Run a command while the collector captures it, with all back ends at the same time."""
    budget = options.pop("budget", 1e8)
    deep = options.pop("deep", False)
    running = []
    for number, backend in enumerate(backends):
        raw = folder / f"{number}-{backend}" / "raw"
        (raw / "block").mkdir(parents=True)
        journal = Ledger()
        context = Context(
            str(raw / "block"), journal=journal, budget_bytes=budget, deep=deep, options=dict(options, backend=backend)
        )
        collector = Block(context)
        assert collector.probe().available
        running.append((collector, raw, journal))
    try:
        for collector, _, _ in running:
            collector.start()
        start = time.monotonic_ns()
        process = subprocess.Popen(list(command), stdout=subprocess.DEVNULL)
        while True:
            for collector, _, _ in running:
                collector.sample(time.monotonic_ns())
            try:
                process.wait(0.05)
                break
            except subprocess.TimeoutExpired:
                continue
        assert process.returncode == 0
        end = time.monotonic_ns()
    finally:
        stopped = [collector.stop() for collector, _, _ in running]
    facts = RunFacts(start, end, process.pid, frozenset({os.getpid()}))
    return [
        Captured(parse(raw, facts), status, journal, facts, raw)
        for status, (_, raw, journal) in zip(stopped, running, strict=True)
    ]


def fio(device: str, output: Path, **options: object) -> list[str]:
    """A fio job whose result goes to ``output`` as JSON."""
    job = {"name": "known", "filename": device, "direct": 1, "size": SIZE, "output-format": "json", "output": output}
    job["allow_file_create"] = 0  # a device that went away must be an error, not a file in /dev
    return ["fio", *(f"--{name}={value}" for name, value in {**job, **options}.items())]


def at_once() -> list[str]:
    """Words before a command that let it run as soon as it can, on however busy a machine; none where none may."""
    words = ["chrt", "--fifo", "1"]
    allowed = shutil.which("chrt") and subprocess.run([*words, "true"], stderr=subprocess.DEVNULL).returncode == 0
    return words if allowed else []


def of_run(requests: pd.DataFrame, device: str) -> pd.DataFrame:
    """The run's requests to a device."""
    return requests[(requests["device"] == Path(device).name) & (requests["owner"] == "run")]


def percentiles(requests: pd.DataFrame) -> dict[str, float]:
    latency = (requests["completed_ns"] - requests["queued_ns"]).to_numpy(dtype=np.int64)
    return {name: float(np.percentile(latency, float(name))) for name in ("50", "90", "99")}


@pytest.mark.parametrize(
    ("engine", "depth", "pattern"), [("psync", 1, "randread"), ("libaio", 4, "randread"), ("libaio", 4, "randwrite")]
)
def test_bytes_and_latencies_are_those_that_fio_counts(
    slow_loop: str, tmp_path: Path, engine: str, depth: int, pattern: str
) -> None:
    output = tmp_path / "fio.json"
    job = [*at_once(), *fio(slow_loop, output, rw=pattern, bs="64k", ioengine=engine, iodepth=depth, number_ios=300)]
    way = "write" if "write" in pattern else "read"
    # What fio sees ends when it has a CPU again: where a busy machine keeps it waiting, that is not the device's time.
    for attempt in range(3):
        folder = tmp_path / str(attempt)
        folder.mkdir()
        (captured,) = capture(folder, job, ["tracefs"], devices=[slow_loop])
        told = json.loads(output.read_bytes())["jobs"][0][way]
        requests = of_run(captured.requests, slow_loop)
        data = requests[requests["op"] == way]
        assert int(data["bytes"].sum()) == told["io_bytes"] == 300 * 65536
        assert len(data) == told["total_ios"]
        assert captured.status.lost == captured.parsed.lost == 0
        expected = {name[:2]: float(value) for name, value in told["clat_ns"]["percentile"].items()}
        found = percentiles(data)
        near = pytest.approx({name: expected[name] for name in found}, rel=0.1)
        if found == near:
            break
    assert found == near


def test_both_tracefs_back_ends_give_equal_tables(loop: str, tmp_path: Path) -> None:
    job = fio(
        loop, tmp_path / "fio.json", rw="randrw", bs="4k", ioengine="libaio", iodepth=8, number_ios=8000, fsync=50
    )
    one, other = capture(tmp_path, job, ["tracefs", "blk"], devices=[loop])
    assert (one.status.details["backend"], other.status.details["backend"]) == ("tracefs", "blk")
    order = ["op", "sector", "queued_ns"]
    # What was in flight when one of the two began or ended is whole in the other only.
    first, second = (
        of_run(item.requests, loop).dropna(subset=["queued_ns", "completed_ns"]).sort_values(order, ignore_index=True)
        for item in (one, other)
    )
    assert len(first) > 8000
    same = ["dev", "device", "sector", "bytes", "op", "flags", "pid", "comm", "error", "owner"]
    pd.testing.assert_frame_equal(first[same].astype("string"), second[same].astype("string"))
    for column in ("queued_ns", "issued_ns", "completed_ns"):
        apart = (first[column] - second[column]).abs().to_numpy(dtype=np.int64)
        assert np.median(apart) < 10_000
    assert set(first["op"]) == {"read", "write", "flush"}


def test_everything_that_was_changed_is_put_back(loop: str, tmp_path: Path) -> None:
    watched = [
        tracing() / name
        for name in ("current_tracer", "trace_clock", "buffer_size_kb", "tracing_on", "saved_cmdlines_size")
    ]
    watched.append(Path("/sys/block") / Path(loop).name / "trace" / "enable")

    def state() -> list[str]:
        return [path.read_text() for path in watched] + tracing_left(os.getpid())

    capture(tmp_path / "first", ["true"], ["blk"], devices=[loop])  # the main buffer keeps its size once it was used
    before = state()
    for captured in capture(tmp_path, ["true"], ["tracefs", "blk"], devices=[loop]):
        assert captured.journal.entries
        assert set(captured.journal.entries) == captured.journal.undone
        assert not captured.status.notes
    assert state() == before


def test_a_locked_down_kernel_gets_another_back_end_and_a_note(loop: str, tmp_path: Path) -> None:
    job = fio(loop, tmp_path / "fio.json", rw="read", bs="64k", ioengine="psync", io_size=4 << 20)
    (captured,) = capture(tmp_path, job, ["blktrace"], devices=[loop])
    used = captured.status.details["backend"]
    if used == "tracefs":
        assert any("back end blktrace is not used" in note for note in captured.status.notes)
    else:
        assert used == "blktrace"
    assert set(captured.journal.entries) == captured.journal.undone
    assert int(of_run(captured.requests, loop)["bytes"].sum()) >= 4 << 20


@pytest.mark.skipif(find_tool("addpart") is None, reason="no addpart here: apt-get install util-linux")
def test_requests_to_a_partition_are_those_of_its_disk(loop: str, tmp_path: Path) -> None:
    subprocess.run(["addpart", loop, "1", "2048", "65536"], check=True)
    partition = Path(loop + "p1")
    try:
        wait_until(partition.is_block_device)
        with partition.open("rb"):  # the kernel may look for partitions anew, which drops this one unless it is open
            job = fio(str(partition), tmp_path / "fio.json", rw="randread", bs="4k", ioengine="psync", number_ios=100)
            (captured,) = capture(tmp_path, [*job, "--size=16m"], ["tracefs"], devices=[partition.name])
    finally:
        subprocess.run(["delpart", loop, "1"], check=True)
    reads = of_run(captured.requests, loop)
    assert len(reads) == 100
    assert reads[["queued_ns", "issued_ns", "completed_ns"]].notna().all(axis=None)
    assert (reads["sector"] >= 2048).all()


def test_insertions_are_seen_where_a_scheduler_holds_requests(loop: str, tmp_path: Path) -> None:
    scheduler = Path("/sys/block") / Path(loop).name / "queue" / "scheduler"
    if "mq-deadline" not in scheduler.read_text():
        pytest.skip("no scheduler mq-deadline in this kernel: use one with CONFIG_MQ_IOSCHED_DEADLINE")
    before = scheduler.read_text().partition("[")[2].partition("]")[0]
    scheduler.write_text("mq-deadline")
    try:
        job = fio(loop, tmp_path / "fio.json", rw="randread", bs="4k", ioengine="psync", number_ios=200)
        (captured,) = capture(tmp_path, job, ["tracefs"], devices=[loop])
    finally:
        scheduler.write_text(before)
    reads = of_run(captured.requests, loop)
    assert len(reads) >= 200
    assert reads["inserted_ns"].notna().all()
    assert (reads["queued_ns"] <= reads["inserted_ns"]).all()
    assert (reads["inserted_ns"] <= reads["issued_ns"]).all()
    assert (reads["issued_ns"] <= reads["completed_ns"]).all()


def test_a_small_budget_gives_windows_of_time_and_says_so(loop: str, tmp_path: Path) -> None:
    job = fio(
        loop, tmp_path / "fio.json", rw="randread", bs="4k", ioengine="libaio", iodepth=8, runtime=3, time_based=1
    )
    (captured,) = capture(tmp_path, job, ["tracefs"], devices=[loop], budget=1e5)
    assert captured.status.mode == "sampled"
    assert any("% of the time, to keep within the budget" in note for note in captured.parsed.notes)
    requests = of_run(captured.requests, loop)
    complete = requests.dropna(subset=["queued_ns", "issued_ns", "completed_ns"])
    assert len(complete) > 0
    assert (complete["queued_ns"] <= complete["issued_ns"]).all()
    assert (complete["issued_ns"] <= complete["completed_ns"]).all()


def test_the_captures_own_files_are_told_from_the_runs(tmp_path: Path) -> None:
    """The command makes everything reach the disk, its own file and the raw files of the capture alike."""
    data = tmp_path / "data"
    step = f"dd if=/dev/zero of={data} bs=64k count=64 oflag=direct 2> /dev/null; sync; sleep 0.1"
    command = ["sh", "-c", f"for i in 1 2 3 4 5 6 7 8; do {step}; done"]
    (captured,) = capture(tmp_path, command, ["tracefs"])
    extents = (captured.raw / "block" / "extents.bin").read_bytes()
    if not extents:
        pytest.skip("the temporary folder is not on a disk's file system: set TMPDIR to one on ext4 or xfs")
    requests = captured.requests
    profilers = requests[requests["owner"] == "profiler"]
    assert set(profilers[profilers["op"] != "write"]["pid"]) <= {os.getpid()}  # such as its program, read from disk
    own = profilers[profilers["op"] == "write"]
    raw_bytes = sum(path.stat().st_size for path in captured.raw.rglob("*") if path.is_file())
    assert 0 < int(own["bytes"].sum()) <= 2 * raw_bytes + (1 << 20)
    run = requests[(requests["owner"] == "run") & (requests["op"] == "write")]
    assert int(run["bytes"].sum()) >= 32 << 20
    assert set(run["comm"]) <= {"dd", "sync", "sh"}
