"""Captured block traces become the table block_io: back ends, owners, devices, and what is damaged or missing."""

from __future__ import annotations

import os
import shutil
import struct
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from edgeprof.collectors.base import Context, Roots
from edgeprof.collectors.block import actions as act
from edgeprof.collectors.block.capture import Block
from edgeprof.collectors.block.capture_places import (
    EXTENT,
    block_devices,
    filter_of,
    own_extents,
    traced_disks,
)
from edgeprof.collectors.block.encoding import word
from edgeprof.collectors.block.owner import Extents, owners
from edgeprof.collectors.block.parse import device_names, parse, to_table
from edgeprof.collectors.block.requests import Requests, pair
from edgeprof.collectors.block.trace_events import to_disks
from edgeprof.collectors.parsing import RunFacts
from edgeprof.collectors.schema import SCHEMAS
from edgeprof.collectors.tracefs.tasks import OWNERS, Tasks
from tests.guest.record_backends import tables_in
from tests.source_tree import ROOT

DATA = ROOT / "tests" / "data" / "block"
DISK, PARTITION = 8 << 20, 8 << 20 | 1
FACTS = RunFacts(0, 1_000, main_pid=100, profiler_pids=frozenset({50}), run_pids=frozenset({100, 101}))


@pytest.mark.parametrize("other", ["blktrace", "blk"])
def test_back_ends_give_equal_tables_for_the_same_load(other: str) -> None:
    tables = tables_in(DATA / "backends-6.1" / f"tracefs-{other}")
    first, second = (
        table.to_pandas(types_mapper=pd.ArrowDtype)
        .query("owner == 'run'")
        .dropna(subset=["queued_ns", "completed_ns"])
        .sort_values(["op", "sector", "queued_ns"], ignore_index=True)
        for table in (tables["tracefs"], tables[other])
    )
    assert int((first["op"] != "flush").sum()) == 120
    assert int(first["bytes"].sum()) == 120 * 4096
    same = ["dev", "device", "sector", "bytes", "op", "flags", "pid", "comm", "error", "owner"]
    pd.testing.assert_frame_equal(first[same].astype("string"), second[same].astype("string"))
    for column in ("queued_ns", "inserted_ns", "issued_ns", "completed_ns"):
        assert first[column].isna().equals(second[column].isna())


def test_the_table_has_the_columns_of_the_schema_and_rows_in_order_of_time() -> None:
    table = tables_in(DATA / "backends-6.1" / "tracefs-blk")["blk"]
    assert table.schema.names == SCHEMAS["block_io"].names
    assert [field.type for field in table.schema] == [field.type for field in SCHEMAS["block_io"]]
    first = table.select(["queued_ns", "issued_ns", "completed_ns"]).to_pandas().min(axis=1)
    assert first.is_monotonic_increasing
    assert table["phase"].null_count == len(table)


def requests_of(lines: list[tuple[int, str, str, int, int, int, str]]) -> Requests:
    """Requests from (time, letter, rwbs, sector, sectors, pid, comm)."""
    comms = sorted({line[6] for line in lines})
    return pair(
        act.make(
            [line[0] for line in lines],
            np.array([ord(line[1]) for line in lines]),
            DISK,
            np.array([line[3] for line in lines]),
            np.array([line[4] * 512 for line in lines]),
            np.array([word(line[2].encode()) for line in lines], np.uint64),
            np.array([line[5] for line in lines]),
            np.array([comms.index(line[6]) for line in lines]),
            0,
            [comm.encode() for comm in comms],
        )
    )


def owner_names(requests: Requests, tasks: Tasks, processes: dict[int, int], extents: Extents) -> list[str]:
    return [OWNERS[owner] for owner in owners(requests, tasks, FACTS, processes, extents)]


def test_owners_are_told_by_task_process_and_name() -> None:
    asked = [(100, "python"), (150, "worker"), (160, "thread"), (50, "edgeprof"), (9, "kworker/0:1"), (7, "kthing")]
    lines = [(index, "G", "R", index * 8, 8, *who) for index, who in enumerate([*asked, (500, "sshd")])]
    tasks = Tasks(started=((101, 150, False),), kernel=frozenset({7}))
    assert owner_names(requests_of(lines), tasks, {160: 101}, Extents.of([])) == [
        "run",
        "run",  # started by one of the run's while tracing was on
        "run",  # a thread of the run's
        "profiler",
        "kernel",  # by its name: nobody saw it alive
        "kernel",
        "other",
    ]


def test_a_request_from_before_the_trace_is_nobodys() -> None:
    requests = requests_of([(1, "D", "R", 0, 8, 100, "python"), (2, "C", "R", 0, 8, 0, "swapper/0")])
    assert owner_names(requests, Tasks(), {}, Extents.of([])) == ["other"]
    table = to_table(requests, np.array([3], np.int32), {})
    assert table.select(["queued_ns", "pid", "comm"]).to_pylist() == [{"queued_ns": None, "pid": None, "comm": None}]


def test_writes_into_the_captures_own_files_are_the_profilers() -> None:
    places = [(100, 8), (96, 8), (108, 8), (120, 8), (128, 8), (300, 8)]
    lines = [(index, "G", "W", *place, 9, "kworker/0:1") for index, place in enumerate(places)]
    lines.append((9, "G", "R", 100, 8, 9, "kworker/0:1"))
    extents = Extents.of([(DISK, 100, 16), (DISK, 116, 20), (DISK + 1, 300, 8), (DISK, -1, 5), (DISK, 1 << 60, 8)])
    assert owner_names(requests_of(lines), Tasks(), {}, extents) == [
        "profiler",
        "kernel",  # begins before the file
        "profiler",
        "profiler",
        "profiler",  # ends where the file ends
        "kernel",  # of another disk
        "kernel",  # a read
    ]


def test_extents_that_lie_within_another_change_nothing() -> None:
    extents = Extents.of([(DISK, 0, 1000), (DISK, 8, 8), (DISK, 2000, 8)])
    lines = [(index, "G", "W", sector, 8, 9, "x") for index, sector in enumerate((500, 992, 996, 2000))]
    assert owner_names(requests_of(lines), Tasks(), {}, extents) == ["profiler", "profiler", "other", "profiler"]


def test_devices_have_names_or_numbers() -> None:
    names = device_names(
        {"devices": {"8:0": {"name": "sda"}}}, {"devices": {"8:0": {"name": "x"}, "7:1": {"name": "loop1"}}}
    )
    assert names == {8 << 20: "sda", 7 << 20 | 1: "loop1"}
    requests = requests_of([(1, "G", "R", 0, 8, 1, "x")])
    assert to_table(requests, np.array([3], np.int32), names)["device"].to_pylist() == ["sda"]
    assert to_table(requests, np.array([3], np.int32), {})["device"].to_pylist() == ["8:0"]


@pytest.mark.parametrize(
    "nonsense", [None, [], "x", {"8": {}, "a:b": {"name": "x"}, "8:0": 5, "9" * 9 + ":0": {"name": "y"}}]
)
def test_device_facts_that_are_nonsense_name_nothing(nonsense: object) -> None:
    assert device_names({"devices": nonsense}) == {}


def test_partitions_are_translated_to_their_disks() -> None:
    devs = np.array([PARTITION, DISK, 7 << 20], np.int32)
    assert to_disks(devs, {PARTITION: DISK}).tolist() == [DISK, DISK, 7 << 20]
    assert to_disks(devs, {}) is devs


def plant_devices(sys: Path) -> None:
    """A /sys with a disk, its partition, a loop device without a file, and zram."""
    for number, folder, files in (
        (
            "259:0",
            "devices/pci/block/nvme0n1",
            {"mq/0/x": "", "queue/scheduler": "none [mq-deadline] bfq", "size": "100"},
        ),
        ("259:1", "devices/pci/block/nvme0n1/nvme0n1p1", {"partition": "1", "start": "2048"}),
        ("7:0", "devices/virtual/block/loop0", {"mq/0/x": "", "size": "0"}),
        ("253:0", "devices/virtual/block/zram0", {"size": "100"}),
    ):
        for name, content in {**files, "dev": number}.items():
            (sys / folder / name).parent.mkdir(parents=True, exist_ok=True)
            (sys / folder / name).write_text(content + "\n")
        (sys / "dev" / "block").mkdir(parents=True, exist_ok=True)
        (sys / "dev" / "block" / number).symlink_to(sys / folder)


def test_devices_are_read_from_sysfs(tmp_path: Path) -> None:
    plant_devices(tmp_path)
    devices = block_devices(Roots(sys=str(tmp_path)))
    assert devices["259:1"] == {"name": "nvme0n1p1", "disk": "259:0", "start": 2048}
    assert devices["259:0"]["scheduler"] == "mq-deadline"
    assert traced_disks(devices, []) == ["259:0"]
    assert traced_disks(devices, ["/dev/nvme0n1p1", "loop0"]) == ["259:0", "7:0"]
    assert filter_of(devices, ["259:0"]) == f"dev == {259 << 20} || dev == {259 << 20 | 1}"
    assert block_devices(Roots(sys=str(tmp_path / "nowhere"))) == {}


def test_a_file_lies_where_the_file_system_says(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x" * 100_000)
    with (tmp_path / "file").open("rb") as file:
        os.fsync(file.fileno())
    device = tmp_path.stat().st_dev
    number = f"{os.major(device)}:{os.minor(device)}"
    on_disk, whole = own_extents(str(tmp_path), {number: {"name": "x"}})
    on_partition, _ = own_extents(str(tmp_path), {number: {"name": "x", "disk": "8:0", "start": 2048}})
    assert whole
    assert own_extents(str(tmp_path), {}) == (b"", True)
    places = list(EXTENT.iter_unpack(on_disk))
    if not places:
        pytest.skip(
            "the temporary folder's file system does not tell where files lie: set TMPDIR to one on ext4 or xfs"
        )
    assert sum(sectors for _, _, sectors in places) * 512 >= 100_000
    moved = [(DISK, sector + 2048, sectors) for _, sector, sectors in places]
    assert list(EXTENT.iter_unpack(on_partition)) == moved


@pytest.fixture
def capture(tmp_path: Path) -> Path:
    """A copy of a real capture's raw folder."""
    shutil.copytree(DATA / "backends-6.1" / "tracefs-blktrace" / "tracefs" / "raw", tmp_path / "raw")
    return tmp_path / "raw"


def test_an_empty_raw_folder_gives_an_empty_table(tmp_path: Path) -> None:
    parsed = parse(tmp_path, FACTS)
    assert parsed.tables["block_io"].num_rows == 0
    assert parsed.notes == ["no kernel trace was captured"]


@pytest.mark.parametrize("file", ["about.json", "end.json", "saved_tgids", "extents.bin"])
@pytest.mark.parametrize(
    "content", [b"", b"{", b"[" * 100_000, b"\xff\0nonsense 1 2\n", b'{"devices": 5, "kernel_tasks": {}}']
)
def test_damaged_side_files_cost_no_requests(capture: Path, file: str, content: bytes) -> None:
    expected = parse(capture, FACTS).tables["block_io"].num_rows
    (capture / "block" / file).write_bytes(content)
    assert parse(capture, FACTS).tables["block_io"].num_rows == expected > 100


def test_an_unknown_field_layout_gives_no_requests_rather_than_wrong_ones(capture: Path) -> None:
    for path in (capture / "tracefs" / "formats").glob("block.*"):
        path.write_text(path.read_text().replace("dev_t dev;", "struct device dev[2];"))
    assert parse(capture, FACTS).tables["block_io"].num_rows == 0


def test_a_share_of_the_time_is_told(capture: Path) -> None:
    begin, end = struct.unpack("<QQ", (capture / "tracefs" / "windows.bin").read_bytes()[-16:])
    length = end - begin
    parsed = parse(capture, RunFacts(begin, begin + 4 * length, 100))
    assert any("captured 25% of the time" in note for note in parsed.notes)
    assert not any("of the time" in note for note in parse(capture, RunFacts(begin, end, 100)).notes)


def test_a_device_that_is_not_here_is_a_reason(tmp_path: Path) -> None:
    collector = Block(Context(str(tmp_path), options={"devices": ["nothere"]}))
    with pytest.raises(OSError, match="nothere"):
        collector.start()
    assert collector.stop().records == 0


def test_a_back_end_that_does_not_exist_is_a_reason(tmp_path: Path) -> None:
    found = Block(Context(str(tmp_path), options={"backend": "magic"})).probe()
    assert not found.available
    assert "magic" in found.reason
    assert "blktrace" in found.remedy


def test_a_kernel_without_tracing_is_a_reason(tmp_path: Path) -> None:
    roots = Roots(str(tmp_path), str(tmp_path), str(tmp_path))
    found = Block(Context(str(tmp_path), roots=roots)).probe()
    assert not found.available
    assert found.reason
    assert found.remedy
