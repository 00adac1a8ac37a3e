"""The tracefs engine on the running kernel: what is captured, what is counted, and what is put back."""

from __future__ import annotations

import errno
import mmap
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edgeprof.collectors.base import Context, Probe
from edgeprof.collectors.tracefs import capture, capture_files
from edgeprof.collectors.tracefs.capture import REST_NS, TraceInstance
from edgeprof.collectors.tracefs.events import EventColumns, Trace, read_trace
from edgeprof.profiler.agent.journal import UndoJournal, read_journal
from edgeprof.profiler.agent.undo import undo_all
from tests.helpers import tracing

FOUND = capture.probe()
pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(not FOUND.available, reason=f"no tracefs: {FOUND.reason}; {FOUND.remedy}"),
]
REPOSITORY = Path(__file__).parents[2]
SECTOR = 512
BLOCK = 4096
BLOCK_EVENTS = ("block_bio_queue", "block_rq_insert", "block_rq_issue", "block_rq_complete")


class Disk:
    """A loop device to read from, past the page cache."""

    def __init__(self, image: Path) -> None:
        image.write_bytes(bytes(16 << 20))
        made = subprocess.run(["losetup", "-f", "--show", str(image)], capture_output=True, text=True, check=False)
        if made.returncode != 0:
            pytest.skip(f"no loop device: {made.stderr.strip()}; run in a privileged container")
        self.path = made.stdout.strip()
        self._file = os.open(self.path, os.O_RDONLY | os.O_DIRECT)
        self._buffer = mmap.mmap(-1, BLOCK)
        device = os.fstat(self._file).st_rdev
        self.dev = os.major(device) << 20 | os.minor(device)

    def read(self, block: int) -> None:
        assert os.preadv(self._file, [self._buffer], block * BLOCK) == BLOCK

    def close(self) -> None:
        os.close(self._file)
        subprocess.run(["losetup", "-d", self.path], check=True)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    made = Disk(tmp_path / "disk.img")
    yield made
    made.close()


@pytest.fixture
def journal(tmp_path: Path) -> UndoJournal:
    return UndoJournal(str(tmp_path), "run", str(tmp_path / "capture"))


def context(tmp_path: Path, **settings: object) -> Context:
    raw = tmp_path / "raw" / "block"
    raw.mkdir(parents=True, exist_ok=True)
    return Context(str(raw), **settings)  # type: ignore[arg-type]


def begun(where: Context) -> TraceInstance:
    trace = TraceInstance.acquire(where)
    assert all(trace.enable("block", event) for event in BLOCK_EVENTS)
    trace.begin()
    return trace


def of_disk(trace: Trace, event: str, disk: Disk) -> list[int]:
    """Sectors of an event on the disk, in the order of time."""
    events = trace.get("block", event)
    rows = sorted(
        zip(events.time_ns.tolist(), events.field("dev").tolist(), events.field("sector").tolist(), strict=True)
    )
    return [sector for _, dev, sector in rows if dev == disk.dev]


def is_left(instance: str | Path) -> bool:
    """Whether the kernel still has an instance; the mount that it was made through may be gone."""
    return (tracing() / "instances" / Path(instance).name).exists()


def test_the_instance_is_journalled_made_and_removed(tmp_path: Path, journal: UndoJournal) -> None:
    where = context(tmp_path, journal=journal)
    trace = begun(where)
    path = Path(trace.path)
    assert path.is_dir()
    assert path.name.startswith(f"edgeprof-{os.getpid()}-")
    assert [entry["path"] for entry in journal.open_entries.values() if entry["kind"] == "tracefs_instance"] == [
        trace.path
    ]
    assert "[mono]" in (path / "trace_clock").read_text()
    status = trace.release()
    assert not is_left(trace.path)
    assert journal.open_entries == {}
    assert where.shared == {}
    assert (status.lost, status.mode, status.details["windows"]) == (0, "full", 1)


def test_an_event_this_kernel_does_not_have_is_no_error(tmp_path: Path) -> None:
    trace = TraceInstance.acquire(context(tmp_path))
    try:
        assert not trace.enable("block", "no_such_event")
        assert trace.enable("block", "block_rq_issue")
    finally:
        status = trace.release()
    assert status.details["events"] == ["block.block_rq_issue"]


def test_collectors_share_one_instance_until_the_last_lets_go(tmp_path: Path, disk: Disk) -> None:
    shared: dict[str, object] = {}
    first = begun(context(tmp_path, shared=shared))
    second = TraceInstance.acquire(context(tmp_path, shared=shared))
    assert second is first
    disk.read(1)
    first.release()
    assert Path(first.path).is_dir()
    disk.read(2)
    second.release()
    assert not is_left(first.path)
    assert of_disk(read_trace(tmp_path / "raw"), "block_rq_issue", disk) == [8, 16]


def test_where_tracefs_is_not_mounted_runs_at_the_same_time_do_not_disturb_each_other(
    tmp_path: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(capture, "probe", lambda roots: Probe(True, details={"path": None}))
    traces = [begun(context(tmp_path / name)) for name in ("first", "second")]
    mounted = [Path(trace.path).parents[1] for trace in traces]
    disk.read(1)
    traces[0].release()
    disk.read(2)
    status = traces[1].release()
    assert status.notes == ()
    assert of_disk(read_trace(tmp_path / "first" / "raw"), "block_rq_issue", disk) == [8]
    assert of_disk(read_trace(tmp_path / "second" / "raw"), "block_rq_issue", disk) == [8, 16]
    assert not any(is_left(trace.path) for trace in traces)
    assert not any(folder.exists() for folder in mounted)


NO_SPLICE: Callable[[], None] = lambda: None  # noqa: E731


@pytest.mark.parametrize(
    "splice", [capture_files.find_splice, capture_files.library_splice, NO_SPLICE], ids=["os", "libc", "read and write"]
)
def test_each_direct_read_is_one_request_however_the_bytes_are_moved(
    tmp_path: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch, splice: Callable[[], capture_files.Splice | None]
) -> None:
    monkeypatch.setattr(capture_files, "find_splice", splice)
    trace = begun(context(tmp_path, budget_bytes=1e9))
    blocks = [(number * 7) % 4096 for number in range(3000)]
    for number, block in enumerate(blocks):
        disk.read(block)
        if number % 500 == 0:
            trace.drain(time.monotonic_ns())
    status = trace.release()
    assert (status.lost, status.mode) == (0, "full")
    read = read_trace(tmp_path / "raw")
    sectors = [block * BLOCK // SECTOR for block in blocks]
    for event in ("block_bio_queue", "block_rq_issue", "block_rq_complete"):
        assert of_disk(read, event, disk) == sectors
    assert status.records == sum(len(cpu.types) for cpu in read.cpus)
    assert status.bytes == sum(len(cpu.data) for cpu in read.cpus)
    issue = read.get("block", "block_rq_issue")
    mine = issue.field("dev") == disk.dev
    assert set(issue.field("bytes")[mine].tolist()) == {BLOCK}


def test_draining_twice_in_a_tick_drains_once(tmp_path: Path, disk: Disk) -> None:
    trace = begun(context(tmp_path, budget_bytes=1e9))
    try:
        for block in range(200):
            disk.read(block)
        trace.drain(1)
        moved = trace.bytes
        for block in range(200):
            disk.read(block)
        trace.drain(1)
        assert trace.bytes == moved > 0
        trace.drain(2)
        assert trace.bytes == moved, "a drain that found little is followed by a rest"
        trace.drain(1 + REST_NS)
        assert trace.bytes > moved
    finally:
        trace.release()


def test_a_budget_is_held_by_windows_within_which_nothing_is_missing(tmp_path: Path, disk: Disk) -> None:
    budget, tick = 100_000, 100_000_000
    trace = begun(context(tmp_path, budget_bytes=budget))
    begin = now = time.monotonic_ns()
    reads: list[tuple[int, int, int]] = []  # (before, after, sector)
    largest = 0
    for _ in range(120):  # ticks of pretended time: nobody waits
        for block in range(200):
            before = time.monotonic_ns()
            disk.read(block)
            reads.append((before, time.monotonic_ns(), block * 8))
        now += tick
        before_drain = trace.bytes
        trace.drain(now)
        largest = max(largest, trace.bytes - before_drain)
    before_drain = trace.bytes
    status = trace.release()
    largest = max(largest, status.bytes - before_drain)
    assert (status.mode, status.lost) == ("sampled", 0)
    read = read_trace(tmp_path / "raw")
    assert read.windows is not None
    assert len(read.windows) == status.details["windows"] > 2
    inside = [sector for before, after, sector in reads if any(a <= before and after <= b for a, b in read.windows)]
    captured = of_disk(read, "block_rq_issue", disk)
    assert not Counter(inside) - Counter(captured)
    assert 0 < len(captured) < len(reads)
    earned = budget * (now - begin) / 1e9 + (256 << 10)  # and the burst it began with
    assert (
        status.bytes <= earned + 2 * largest
    )  # a tick's worth is seen only when it is there, and once more at the end


def test_the_cpu_budget_is_held_too(tmp_path: Path, disk: Disk) -> None:
    trace = begun(context(tmp_path, budget_bytes=1e9, budget_cpu=1e-6))
    now = time.monotonic_ns()
    for tick in range(50):
        for block in range(100):
            disk.read(block)
        trace.drain(now + tick * 1_000_000)
        if trace.mode == "sampled":
            break
    status = trace.release()
    assert (status.mode, status.lost) == ("sampled", 0)


def test_what_was_overwritten_is_counted(tmp_path: Path, disk: Disk) -> None:
    trace = TraceInstance.acquire(context(tmp_path, budget_bytes=1e9))
    trace.set("buffer_size_kb", "16")
    for event in BLOCK_EVENTS:
        trace.enable("block", event)
    trace.begin()
    for block in range(2000):
        disk.read(block)
    status = trace.release()
    read = read_trace(tmp_path / "raw")
    assert status.lost is not None
    assert status.lost > 1000
    assert read.lost == status.lost
    for cpu in read.cpus:
        overrun = status.details["cpus"][str(cpu.cpu)]["overrun"]
        if cpu.decoded.lost_unknown:  # the page after the gap is so full that its number had no room
            assert cpu.decoded.lost == 0 < overrun
        else:
            assert cpu.decoded.lost == overrun
    assert read.notes == [f"the kernel dropped {status.lost} trace events: they came faster than they were read"]


def test_it_reads_as_the_kernel_renders_it(tmp_path: Path, disk: Disk) -> None:
    trace = begun(context(tmp_path, budget_bytes=1e9))
    for block in range(300):
        disk.read(block * 3)
    trace.set("tracing_on", "0")
    text = (Path(trace.path) / "trace").read_text()
    trace.release()
    read = read_trace(tmp_path / "raw")
    line = re.compile(r"-(\d+)\s+\[(\d+)\] \S+\s+(\d+)\.(\d{6}): (block_\w+): (\d+),(\d+) (\w+) (.*)$", re.MULTILINE)
    theirs = Counter(
        (
            name,
            int(pid),
            int(cpu),
            int(s + us),
            int(major) << 20 | int(minor),
            rwbs,
            int(rest.split(" + ")[0].split()[-1]),
        )
        for pid, cpu, s, us, name, major, minor, rwbs, rest in line.findall(text)
    )
    ours: Counter[tuple[object, ...]] = Counter()
    for name in BLOCK_EVENTS:
        ours.update(_rows(name, read.get("block", name)))
    assert sum(theirs.values()) >= 900
    assert ours == theirs


def _rows(name: str, events: EventColumns) -> list[tuple[object, ...]]:
    times = ((events.time_ns + 500) // 1000).tolist()
    rwbs = [text.decode() for text in events.text("rwbs").tolist()]
    columns = (events.pid, events.cpu, events.field("dev"), events.field("sector"))
    pid, cpu, dev, sector = (column.tolist() for column in columns)
    return list(zip([name] * len(times), pid, cpu, times, dev, rwbs, sector, strict=True))


def test_a_full_disk_ends_the_trace_with_whole_pages_and_everything_put_back(tmp_path: Path, disk: Disk) -> None:
    full = tmp_path / "full"
    full.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", str(full)], check=True)
    try:
        trace = begun(context(full, budget_bytes=1e9))
        for block in range(4000):
            disk.read(block)
        with pytest.raises(OSError, match="No space") as first:
            trace.drain(1)
        assert first.value.errno == errno.ENOSPC
        with pytest.raises(OSError, match="No space"):
            trace.drain(2)
        status = trace.release()
        assert not is_left(trace.path)
        assert any("No space left" in note for note in status.notes)
        assert status.lost is None  # what was on its way to the disk is gone, uncounted
        assert all(path.stat().st_size % 4096 == 0 for path in (full / "raw" / "tracefs").glob("*.raw"))
        read = read_trace(full / "raw")
        # Requests often end on another CPU than they begin on, and its file may be the one that fills the disk.
        assert sum(len(read.get("block", event)) for event in BLOCK_EVENTS) > 1000
        del read  # it holds maps of files on the mount
    finally:
        subprocess.run(["umount", "-l", str(full)], check=True)


KILLED = """
import os, signal, sys, time
from edgeprof.collectors.base import Context
from edgeprof.collectors.tracefs.capture import TraceInstance
from edgeprof.profiler.agent.journal import UndoJournal
journal = UndoJournal(sys.argv[1], "run", sys.argv[1])
os.makedirs(sys.argv[1] + "/raw/block")
trace = TraceInstance.acquire(Context(sys.argv[1] + "/raw/block", journal=journal, budget_bytes=1e9))
trace.enable("sched", "sched_switch")
trace.begin()
deadline = time.monotonic() + 60
while not trace.bytes and time.monotonic() < deadline:
    os.sched_yield()
    os.stat("/")
    trace.drain(time.monotonic_ns())
    open("/dev/null").close()
    os.waitpid(os.posix_spawn("/bin/true", ["true"], {}), 0)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_capture_can_be_read_and_its_instance_undone(tmp_path: Path) -> None:
    killed = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], check=False, timeout=120)
    assert killed.returncode == -signal.SIGKILL
    saved = read_journal(str(tmp_path / "run.journal"))
    assert saved is not None
    instances = [Path(entry["path"]) for entry in saved.entries if entry["kind"] == "tracefs_instance"]
    assert [path.is_dir() for path in instances] == [True]
    _, failed = undo_all(saved.entries)
    assert failed == []
    assert not is_left(instances[0])
    assert not [entry for entry in saved.entries if entry["kind"] == "file" and Path(entry["path"]).exists()]
    read = read_trace(tmp_path / "raw")
    assert len(read.get("sched", "sched_switch")) > 10
    assert read.windows is None


OLD_PYTHON = """
import sys, time
sys.path.insert(0, sys.argv[2])
from edgeprof.collectors.base import Context
from edgeprof.collectors.tracefs.capture import TraceInstance
trace = TraceInstance.acquire(Context(sys.argv[1]))
assert trace.enable("task", "task_newtask")
trace.begin()
trace.drain(time.monotonic_ns())
print(trace.release().lost)
"""


def test_it_captures_on_python_3_8(tmp_path: Path) -> None:
    own = map(str, (Path.home() / ".pyenv" / "versions").glob("3.8*/bin/python3.8"))
    found = next(own, None) or shutil.which("python3.8")
    if found is None:
        pytest.skip("no Python 3.8 here: `pyenv install 3.8` gets one")
    raw = context(tmp_path).raw
    done = subprocess.run([found, "-c", OLD_PYTHON, raw, str(REPOSITORY)], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("0\n", "")
    assert read_trace(tmp_path / "raw").notes == []
