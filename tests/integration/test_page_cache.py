"""The page_cache collector on the running kernel: a cold read is seen page by page, by name."""

from __future__ import annotations

import json
import mmap
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgeprof.collectors.base import Context
from edgeprof.collectors.page_cache.capture import PageCache
from edgeprof.collectors.page_cache.parse import parse
from edgeprof.collectors.parsing import RunFacts
from edgeprof.collectors.tracefs import capture as tracefs
from edgeprof.collectors.tracefs.capture import TraceInstance
from tests.helpers import Places, tracing, tracing_left

FOUND = tracefs.probe()
pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(not FOUND.available, reason=f"no tracefs: {FOUND.reason}; {FOUND.remedy}"),
]
PAGE = os.sysconf("SC_PAGE_SIZE")
PAGES = 300

READER = """
import mmap, os, sys
sys.stdin.readline()
file = os.open(sys.argv[1], os.O_RDONLY)
while os.read(file, 1 << 16):
    pass
with mmap.mmap(file, 0, prot=mmap.PROT_READ) as view:
    view[0], view[-1]
print("done", flush=True)
sys.stdin.readline()
"""


def cold_file(folder: Path, pages: int = PAGES) -> Path:
    """A file of which no page is in memory; on a disk, as tmpfs has nothing else."""
    path = folder / "cold.bin"
    path.write_bytes(os.urandom(pages * PAGE))
    drop(path)
    return path


def drop(path: Path) -> None:
    file = os.open(path, os.O_RDONLY)
    os.fsync(file)
    os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(file)


def collector(tmp_path: Path, pid: int, shared: dict[str, object] | None = None, **options: object) -> PageCache:
    raw = tmp_path / "raw" / "page_cache"
    raw.mkdir(parents=True)
    context = Context(
        str(raw), pid=pid, pids=lambda: [pid], deep=True, budget_bytes=1e9, options=options, shared=shared
    )
    made = PageCache(context)
    assert made.probe().available
    return made


def test_a_cold_read_adds_its_pages_and_dropping_them_deletes_them(tmp_path: Path) -> None:
    path = cold_file(tmp_path)
    with subprocess.Popen(
        [sys.executable, "-c", READER, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
    ) as reader:
        assert reader.stdin is not None
        assert reader.stdout is not None
        page_cache = collector(tmp_path, reader.pid)
        page_cache.start()
        reader.stdin.write("go\n")
        reader.stdin.flush()
        assert reader.stdout.readline() == "done\n"
        page_cache.sample(time.monotonic_ns())
        reader.stdin.close()
    drop(path)
    status = page_cache.stop()
    assert (status.lost, status.mode) == (0, "full")
    facts = RunFacts(0, None, main_pid=reader.pid, profiler_pids=frozenset({os.getpid()}))
    parsed = parse(tmp_path / "raw", facts)
    assert parsed.notes == []
    rows = [row for row in parsed.tables["page_cache"].to_pylist() if row["path"] == str(path)]
    stat = path.stat()
    assert {(row["inode"], row["dev"]) for row in rows} == {
        (stat.st_ino, os.major(stat.st_dev) << 20 | os.minor(stat.st_dev))
    }
    for event, owner in (("add", "run"), ("delete", "profiler")):
        seen = [row for row in rows if row["event"] == event]
        assert sorted(page for row in seen for page in range(row["index"], row["index"] + row["pages"])) == list(
            range(PAGES)
        )
        assert {row["owner"] for row in seen} == {owner}
    assert None not in {row["comm"] for row in rows if row["event"] == "add"}
    if "filemap.mm_filemap_get_pages" in status.details["events"]:
        asked = {
            page for row in rows if row["event"] == "get" for page in range(row["index"], row["index"] + row["pages"])
        }
        assert asked >= set(range(PAGES))
    if "filemap.mm_filemap_fault" in status.details["events"]:
        assert {"fault", "map"} & {row["event"] for row in rows}


def test_beside_the_block_collector_it_uses_the_same_trace(tmp_path: Path) -> None:
    shared: dict[str, object] = {}
    (tmp_path / "block").mkdir()
    other = TraceInstance.acquire(Context(str(tmp_path / "raw" / "block"), shared=shared, budget_bytes=1e9))
    other.enable("block", "block_rq_issue")
    other.begin()
    page_cache = collector(tmp_path, os.getpid(), shared, paths=[str(tmp_path)])
    page_cache.start()
    path = cold_file(tmp_path)
    path.read_bytes()
    status = page_cache.stop()
    assert status.records == 0
    assert status.bytes == (tmp_path / "raw" / "page_cache" / "paths.bin").stat().st_size
    whole = other.release()
    assert whole.bytes > status.bytes or whole.records > PAGES
    rows = parse(tmp_path / "raw", RunFacts(0, None, main_pid=os.getpid())).tables["page_cache"].to_pylist()
    added = [row for row in rows if row["event"] == "add" and row["path"] == str(path)]
    assert sum(row["pages"] for row in added) == 2 * PAGES  # once written, once read


@pytest.fixture
def merged(tmp_path: Path) -> Iterator[Path]:
    """A cold file as it is seen through an overlay."""
    folders = {name: tmp_path / name for name in ("lower", "upper", "work", "merged")}
    for folder in folders.values():
        folder.mkdir()
    cold_file(folders["lower"])
    options = "lowerdir={lower},upperdir={upper},workdir={work}".format(**folders)
    mounted = subprocess.run(["mount", "-t", "overlay", "overlay", "-o", options, folders["merged"]], check=False)
    if mounted.returncode != 0:
        pytest.skip("overlayfs cannot be mounted here: run in a privileged container, on a disk")
    yield folders["merged"] / "cold.bin"
    subprocess.run(["umount", folders["merged"]], check=True)


@pytest.fixture
def subvolume(tmp_path: Path) -> Iterator[Path]:
    """A cold file in a subvolume of btrfs."""
    if shutil.which("mkfs.btrfs") is None:
        pytest.skip("no mkfs.btrfs here: the package btrfs-progs has it")
    image, place = tmp_path / "btrfs.img", tmp_path / "mounted"
    place.mkdir()
    with image.open("wb") as file:
        file.truncate(128 << 20)
    subprocess.run(["mkfs.btrfs", "-q", image], check=True)
    mounted = subprocess.run(["mount", "-t", "btrfs", "-o", "loop", image, place], check=False)
    if mounted.returncode != 0:
        pytest.skip("btrfs cannot be mounted here: it needs the kernel's btrfs and a loop device")
    subprocess.run(["btrfs", "-q", "subvolume", "create", place / "own"], check=True)
    yield cold_file(place / "own")
    subprocess.run(["umount", place], check=True)


@pytest.mark.parametrize("kind", ["merged", "subvolume"])
def test_files_are_named_where_stat_and_the_cache_know_different_devices(
    tmp_path: Path, kind: str, request: pytest.FixtureRequest
) -> None:
    points = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    if "/" not in points:
        pytest.skip(
            "no mount holds / here, as in a chroot, so mounts cannot be told apart: run it outside, or in a container"
        )
    path = request.getfixturevalue(kind)
    page_cache = collector(tmp_path, os.getpid(), paths=[str(path.parent)])
    page_cache.start()
    path.read_bytes()
    page_cache.stop()
    rows = parse(tmp_path / "raw", RunFacts(0, None, main_pid=os.getpid())).tables["page_cache"].to_pylist()
    added = [row for row in rows if row["event"] == "add" and row["path"] == str(path)]
    assert sorted(page for row in added for page in range(row["index"], row["index"] + row["pages"])) == list(
        range(PAGES)
    )


def test_every_user_fault_is_captured_when_asked_for(tmp_path: Path) -> None:
    if not (tracing() / "events" / "exceptions" / "page_fault_user").is_dir():
        pytest.skip("this kernel has no event exceptions:page_fault_user (it is there on x86)")
    page_cache = collector(tmp_path, os.getpid(), user_faults=True)
    page_cache.start()
    with mmap.mmap(-1, 64 * PAGE) as memory:
        memory.madvise(mmap.MADV_NOHUGEPAGE)
        for page in range(64):
            memory[page * PAGE] = 1
    page_cache.stop()
    rows = parse(tmp_path / "raw", RunFacts(0, None, main_pid=os.getpid())).tables["page_cache"].to_pylist()
    faults = [row for row in rows if row["event"] == "user_fault" and row["pid"] == os.getpid()]
    assert len(faults) >= 64
    assert {row["inode"] for row in faults} == {None}


def test_a_start_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page_cache = collector(tmp_path, os.getpid())

    def refuse(self: TraceInstance) -> None:
        raise OSError("no room")

    monkeypatch.setattr(TraceInstance, "begin", refuse)
    with pytest.raises(OSError, match="no room"):
        page_cache.start()
    page_cache.stop()
    assert tracing_left(os.getpid()) == []


def test_naming_the_collector_is_enough(places: Places) -> None:
    done = places.run("--collect", "page_cache", "--", "sleep", "0.2")
    assert done.returncode == 0, done.stderr
    manifest = json.loads(next(places.runs.glob("*/manifest.json")).read_text())
    (found,) = (item for item in manifest["collectors"] if item["name"] == "page_cache")
    assert (found["available"], found["reason"]) == (True, "")
