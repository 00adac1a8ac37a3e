"""The page_cache table from a real capture, and the naming of files from maps, folders and mounts."""

from __future__ import annotations

import shutil
import subprocess
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeprof.collectors import schema
from edgeprof.collectors.base import Context, FrameWriter, Roots
from edgeprof.collectors.page_cache import capture_paths
from edgeprof.collectors.page_cache.capture import PageCache
from edgeprof.collectors.page_cache.capture_paths import ENTRY, PathGatherer
from edgeprof.collectors.page_cache.names import Devices, names_in_folder, names_in_maps, read_names
from edgeprof.collectors.page_cache.parse import EVENTS, in_order, parse, remove_repeated, to_table
from edgeprof.collectors.parsing import RunFacts
from edgeprof.collectors.tracefs.events import read_trace

CAPTURED = Path(__file__).parents[1] / "data" / "tracefs" / "x86_64-6.18"
COLD = "/tmp/edgeprof-fixture/cold.bin"
COLD_PAGES = (256 << 10) // 4096
FACTS = RunFacts(0, None, main_pid=1)


def captured_rows(facts: RunFacts = FACTS) -> list[dict[str, object]]:
    return parse(CAPTURED, facts).tables["page_cache"].to_pylist()


def test_a_cold_file_enters_the_cache_page_by_page_and_is_named() -> None:
    rows = captured_rows()
    added = [row for row in rows if row["event"] == "add" and row["path"] == COLD]
    pages = sorted(page for row in added for page in range(row["index"], row["index"] + row["pages"]))
    assert pages == list(range(COLD_PAGES))
    assert {(row["dev"], row["comm"]) for row in added} == {(254 << 20, "python3")}
    asked = [row for row in rows if row["event"] == "get" and row["path"] == COLD]
    assert sum(row["pages"] for row in asked) >= COLD_PAGES


def test_every_event_is_in_the_table_in_the_order_of_time() -> None:
    trace = read_trace(CAPTURED)
    rows = captured_rows()
    assert [row["time_ns"] for row in rows] == sorted(row["time_ns"] for row in rows)
    counts = Counter(row["event"] for row in rows)
    for name, event in (
        ("mm_filemap_add_to_page_cache", "add"),
        ("mm_filemap_get_pages", "get"),
        ("mm_filemap_fault", "fault"),
        ("mm_filemap_map_pages", "map"),
    ):
        assert counts[event] == len(trace.get("filemap", name)) > 0
    assert counts["readahead"] == 3  # of the four events one was handed on to another
    assert parse(CAPTURED, FACTS).tables["page_cache"].schema.equals(schema.empty("page_cache").schema)


def test_owners_tell_the_run_from_the_others() -> None:
    reader = next(row["pid"] for row in captured_rows() if row["path"] == COLD)
    rows = captured_rows(RunFacts(0, None, main_pid=reader))
    owners = {row["comm"]: row["owner"] for row in rows}
    assert owners["python3"] == owners["true"] == "run"
    assert owners["kworker/u8:3"] == "kernel"


def test_without_a_capture_the_table_is_empty(tmp_path: Path) -> None:
    assert parse(tmp_path, FACTS).tables["page_cache"].num_rows == 0
    (tmp_path / "page_cache").mkdir()
    parsed = parse(tmp_path, FACTS)
    assert parsed.tables["page_cache"].num_rows == 0


def test_without_names_the_events_are_still_there(tmp_path: Path) -> None:
    raw = Path(shutil.copytree(CAPTURED, tmp_path / "raw"))
    (raw / "page_cache" / "paths.bin").unlink()
    parsed = parse(raw, FACTS)
    assert parsed.tables["page_cache"].column("path").null_count == parsed.tables["page_cache"].num_rows > 400
    assert any("files cannot be named" in note for note in parsed.notes)


def test_a_kernel_without_the_order_field_adds_single_pages(tmp_path: Path) -> None:
    raw = Path(shutil.copytree(CAPTURED, tmp_path / "raw"))
    file = raw / "tracefs" / "formats" / "filemap.mm_filemap_add_to_page_cache"
    file.write_text("\n".join(line for line in file.read_text().splitlines() if " order;" not in line))
    rows = parse(raw, FACTS).tables["page_cache"].to_pylist()
    assert {row["pages"] for row in rows if row["event"] == "add"} == {1}


def test_events_without_a_file_have_no_file() -> None:
    columns = {
        "time_ns": np.array([5, 3]),
        "event": np.array([EVENTS.index("user_fault"), EVENTS.index("add")], np.int8),
        "pid": np.array([1, 2]),
        "pages": np.array([-1, 4]),
        "dev": np.array([-1, 254 << 20]),
        "inode": np.array([-1, 9]),
        "index": np.array([-1, 7]),
    }
    table = to_table(in_order(columns), read_trace(CAPTURED), FACTS, {(254 << 20, 9): "/a"}).to_pylist()
    assert [(row["event"], row["dev"], row["inode"], row["index"], row["pages"], row["path"]) for row in table] == [
        ("add", 254 << 20, 9, 7, 4, "/a"),
        ("user_fault", None, None, None, None, None),
    ]


def test_read_ahead_that_is_handed_on_is_counted_once() -> None:
    ahead, add = EVENTS.index("readahead"), EVENTS.index("add")
    rows = [  # time, event, nested, pid, index
        (1, ahead, False, 10, 0),
        (2, ahead, True, 10, 0),  # the same, handed on
        (3, add, False, 10, 0),
        (4, ahead, True, 10, 64),  # of its own
        (5, ahead, False, 20, 64),
        (6, ahead, True, 10, 64),  # another task's came between
    ]
    time, event, nested, pid, index = (np.array(values) for values in zip(*rows, strict=True))
    columns = {"time_ns": time, "event": event, "nested": nested.astype(bool), "pid": pid, "index": index}
    columns |= {"dev": np.full(6, 1), "inode": np.full(6, 2)}
    assert remove_repeated(columns)["time_ns"].tolist() == [2, 3, 4, 5, 6]


MAPS = b"""55cf57835000-55cf57836000 r--p 00000000 fe:00 26723                      /usr/bin/python3.11
7f51a5b2a000-7f51a5b6a000 r--s 00000000 08:11 2203826                    /data/a file.bin
7f51a5b6a000-7f51a5b6c000 rw-p 00000000 00:00 0                          [heap]
7f51a5b6a000-7f51a5b6c000 rw-p 00000000 fe:00 77                         /tmp/gone (deleted)
7f51a5b6a000-7f51a5b6c000 rw-s 00000000 00:01 1025                       /memfd:x (deleted)
7f51a5b6a000-7f51a5b6c000 r--p 00000000 fe:00 78                         /tmp/two\\012lines
7f51a5b6a000-7f51a5b6c000 rw-p 00000000 fe:00"""


def test_maps_name_the_files_that_still_are_there() -> None:
    assert names_in_maps(MAPS, Devices(b"")) == {
        (254 << 20, 26723): "/usr/bin/python3.11",
        (8 << 20 | 17, 2203826): "/data/a file.bin",
        (254 << 20, 78): "/tmp/two\nlines",
    }


MOUNTS = b"""22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 254:0 / / rw,relatime - ext4 /dev/vda rw
60 27 0:42 /@home /home rw,relatime shared:9 - btrfs /dev/vdb rw
61 60 0:43 / /home/a\\040b rw - btrfs /dev/vdc rw
damaged
"""


def test_a_subvolume_s_own_device_is_replaced_by_that_of_its_file_system() -> None:
    devices = Devices(MOUNTS)
    assert devices.of(b"/data", 254 << 20) == 254 << 20
    assert devices.of(b"/home/user/set", 55) == 42
    assert devices.of(b"/home/a b/c", 56) == 43
    assert devices.of(b"/homes", 57) == 254 << 20
    assert Devices(b"").of(b"/x", 57) == 57


OVERLAYS = (
    MOUNTS
    + b"""70 27 0:50 / /merged rw - overlay overlay rw,lowerdir=/l1:/home/l2:l/X,upperdir=/u,workdir=/w
71 27 0:51 / /box rw - overlay overlay rw,lowerdir=/l1:l/X,upperdir=/u\\054p,workdir=/w
"""
)


def test_files_of_an_overlay_are_those_of_its_layers_if_these_are_of_one_file_system() -> None:
    devices = Devices(OVERLAYS)
    assert devices.of(b"/box/data", 51) == 254 << 20
    assert devices.of(b"/merged/data", 50) is None  # of /, and of the btrfs at /home
    maps = b"0-1 r--p 00000000 00:33 9 /box/a\n0-1 r--p 00000000 00:32 9 /merged/a\n"
    assert names_in_maps(maps, devices) == {(254 << 20, 9): "/box/a"}
    payload = ENTRY.pack(50, 7) + b"/merged" + ENTRY.pack(11, 1) + b"a"
    assert names_in_folder(payload, devices) == {}


def test_a_folder_frame_names_its_files_up_to_where_it_is_cut() -> None:
    payload = ENTRY.pack(254 << 20, 5) + b"/data"
    payload += ENTRY.pack(11, 1) + b"a" + ENTRY.pack(12, 2) + b"\xff\n"
    expected = {(254 << 20, 11): "/data/a", (254 << 20, 12): "/data/\ufffd\n"}
    devices = Devices(b"")
    assert names_in_folder(payload, devices) == expected
    for length in range(len(payload)):
        assert names_in_folder(payload[:length], devices).items() <= expected.items()


@given(st.binary(max_size=300))
def test_no_bytes_make_naming_fail(data: bytes) -> None:
    names_in_maps(data, Devices(data))
    names_in_folder(data, Devices(data))


def gather(tmp_path: Path, given: list[str], cwd: str, seen: int | None = None) -> dict[str, int]:
    """Names found by a gatherer, as path -> inode."""
    file = tmp_path / "paths.bin"
    writer = FrameWriter(str(file))
    gatherer = PathGatherer(writer, Roots())
    if seen is not None:
        gatherer.look(1, [seen])
    assert gatherer.finish(given, cwd).whole
    writer.close()
    notes: list[str] = []
    names = read_names(file, notes)
    assert notes == []
    return {path: inode for (_, inode), path in names.items()}


def test_files_given_open_and_in_the_working_folder_are_found(tmp_path: Path) -> None:
    data = tmp_path / "data"
    for name in ("given/deep/er/a", "cwd/b", "seen/class1/c", "seen/class2/d", "elsewhere/e"):
        (data / name).parent.mkdir(parents=True, exist_ok=True)
        (data / name).write_text(name)
    (data / "given" / "link").symlink_to("/")
    with (data / "seen" / "class1" / "c").open() as file, subprocess.Popen(["sleep", "60"], stdin=file) as reader:
        found = gather(tmp_path, [str(data / "given")], str(data / "cwd"), seen=reader.pid)
        reader.kill()
    for name in ("given/deep/er/a", "cwd/b", "seen/class1/c", "seen/class2/d"):
        assert found[str(data / name)] == (data / name).stat().st_ino
    assert str(data / "elsewhere" / "e") not in found


def test_listing_folders_stops_at_its_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in range(3):
        for name in range(10):
            file = tmp_path / "data" / str(folder) / str(name)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.touch()
    monkeypatch.setattr(capture_paths, "MAX_ENTRIES", 15)
    writer = FrameWriter(str(tmp_path / "paths.bin"))
    listed = PathGatherer(writer, Roots()).finish([str(tmp_path / "data")], "")
    writer.close()
    assert not listed.whole
    assert 10 <= listed.files <= 15


def test_it_is_off_until_asked_for(tmp_path: Path) -> None:
    probe = PageCache(Context(str(tmp_path))).probe()
    assert (probe.available, probe.remedy) == (False, "capture with --collect deep")


def test_a_kernel_without_the_events_is_a_reason(tmp_path: Path) -> None:
    tracing = tmp_path / "sys" / "kernel" / "tracing"
    (tracing / "instances").mkdir(parents=True)
    (tracing / "trace_clock").write_text("[local] mono\n")
    roots = Roots(sys=str(tmp_path / "sys"))
    probe = PageCache(Context(str(tmp_path), roots=roots, deep=True)).probe()
    assert not probe.available
    assert "tracepoints" in probe.reason
