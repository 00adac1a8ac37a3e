"""/proc as real kernels wrote it, and as damage leaves it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeprof.collectors.base import Context, FrameWriter, Roots
from edgeprof.collectors.frames import FrameFile, Series
from edgeprof.collectors.parsing import RunFacts
from edgeprof.collectors.procfs import parse as procfs
from edgeprof.collectors.procfs.capture import ROLLUP, Procfs
from edgeprof.collectors.procfs.parse import cpu_table, disk_table, process_table, system_table
from edgeprof.collectors.procfs.readings import read_process
from edgeprof.collectors.text import MOST

FACTS = RunFacts(start_ns=0, end_ns=None, main_pid=0)

# Linux 6.18, x86-64.
STAT = (
    b"13733 (cat) R 13730 13730 9567 0 -1 4194304 98 0 2 0 7 3 0 0 20 0 1 0 548610 3133440 362 18446744073709551615 "
    b"94710365339648 94710365359529 140736041820576 0 0 0 0 0 0 0 0 0 17 0 0 0 0 0 0 94710365375536 94710365377152 "
    b"94711289196544 140736041822687 140736041822759 140736041822759 140736041824235 0\n"
)
IO = b"rchar: 7276\nwchar: 300\nsyscr: 12\nsyscw: 1\nread_bytes: 16384\nwrite_bytes: 4096\ncancelled_write_bytes: 0\n"
ROLLUP_TEXT = b"""5583fabc3000-7fff2dc77000 ---p 00000000 00:00 0                          [rollup]
Rss:                1748 kB
Pss:                 361 kB
Pss_Dirty:           116 kB
Pss_Anon:            116 kB
Pss_File:            245 kB
Pss_Shmem:             0 kB
Swap:                  8 kB
SwapPss:               0 kB
"""
SYSTEM_STAT = b"""cpu  295471 48922 107323 623841 9563 0 3863 1962 0 0
cpu0 129647 24324 49955 335546 3622 0 983 990 0 0
cpu1 165824 24597 57368 288294 5940 0 2879 971 0 0
intr 8197904 0 0 12 0
ctxt 15483625
btime 1795262390
processes 26043
procs_running 2
procs_blocked 1
softirq 5160873 0 1014531
"""
DISKSTATS = b"""   7       0 loop0 350753 1 2835968 16957 14 0 48 4 0 4388 16965 3 0 6144 0 11 3
   7       4 loop4 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0
"""
OLD_DISKSTATS = b" 179       0 mmcblk0 12834 5120 1083562 45120 8123 9121 512344 90210 1 60120 135330\n"
"""Linux 4.9, as on JetPack 4: no discard and no flush fields."""


def frames(**series: list[bytes]) -> FrameFile:
    """Frames of sources by name (``__`` for a slash), a second apart."""
    made = {}
    for name, payloads in series.items():
        source = name.replace("__", "/")
        made[source] = Series(source, [second * 10**9 for second in range(len(payloads))], payloads)
    return FrameFile(made, None)


def process(**files: bytes) -> dict[str, object]:
    """The one row that the files of one process at one time give."""
    given_files = {f"process__13733__{name}": [payload] for name, payload in files.items()}
    rows = process_table(frames(**given_files), 4096).to_pylist()
    assert len(rows) == 1
    row: dict[str, object] = rows[0]
    return row


def test_a_process_is_put_together_from_its_files() -> None:
    row = process(
        stat=STAT, io=IO, statm=b"765 408 380 5 0 123 0\n", schedstat=b"1125258 83284 4\n", smaps_rollup=ROLLUP_TEXT
    )
    assert row == {
        "time_ns": 0,
        "pid": 13733,
        "ppid": 13730,
        "comm": "cat",
        "state": "R",
        "start_time": 5486.10,
        "utime": 0.07,
        "stime": 0.03,
        "minflt": 98,
        "majflt": 2,
        "num_threads": 1,
        "vsize": 3133440,
        "rss": 362 * 4096,
        "shared": 380 * 4096,
        "rchar": 7276,
        "wchar": 300,
        "syscr": 12,
        "syscw": 1,
        "read_bytes": 16384,
        "write_bytes": 4096,
        "cancelled_write_bytes": 0,
        "run_delay": 83284e-9,
        "pss": 361 * 1024,
        "pss_anon": 116 * 1024,
        "pss_file": 245 * 1024,
        "swap": 8 * 1024,
        "role": None,
        "inner_pid": None,
    }


def test_what_a_file_did_not_tell_is_null() -> None:
    row = process(io=IO)
    assert row["rchar"] == 7276
    assert [name for name, value in row.items() if value is None and name in ("comm", "rss", "pss", "utime")] == [
        "comm",
        "utime",
        "rss",
        "pss",
    ]


@pytest.mark.parametrize("comm", [b"a) R 1 (b", b"((", b")", b"two words", b"new\nline", b"", b"\xff\xfe"])
def test_a_command_may_hold_anything(comm: bytes) -> None:
    row = read_process("stat", STAT.replace(b"(cat)", b"(" + comm + b")"), 4096)
    assert row["comm"] == comm.decode("utf-8", "replace")
    assert (row["ppid"], row["state"]) == (13730, "R")


def test_a_zombie_has_no_memory_rather_than_none_of_it() -> None:
    dead = STAT.replace(b") R ", b") Z ").replace(b" 3133440 362 ", b" 0 0 ")
    row = process(stat=dead, statm=b"0 0 0 0 0 0 0\n")
    assert (row["state"], row["rss"], row["vsize"], row["shared"]) == ("Z", None, None, None)
    assert row["utime"] == 0.07


def test_the_held_child_is_not_yet_the_workload() -> None:
    files = frames(process__13733__stat=[STAT, STAT], process__13733__statm=[b"765 408 380 5 0 123 0"] * 2)
    before, after = process_table(files, 4096, held=(13733, 10**9)).to_pylist()
    assert (before["comm"], before["rss"], before["vsize"], before["shared"]) == (None, None, None, None)
    assert (before["utime"], before["minflt"]) == (0.07, 98)
    assert (after["comm"], after["rss"]) == ("cat", 362 * 4096)


def test_damaged_numbers_do_not_cost_the_table() -> None:
    fields = STAT.split()
    for position in range(3, len(fields)):
        for text in (b"9" * 20, b"-9223372036854775808", b"x", b""):
            damaged = b" ".join([*fields[:position], text, *fields[position + 1 :]])
            process_table(frames(process__13733__stat=[damaged]), 4096)
    huge = process(stat=STAT.replace(b" 362 ", b" 9223372036854775807 "))
    assert huge["rss"] == MOST
    assert process(stat=STAT.replace(b" 13730 13730 ", b" 99999999999 13730 "))["ppid"] is None


def test_the_system_in_one_row_a_sample() -> None:
    files = frames(
        system__stat=[SYSTEM_STAT],
        system__meminfo=[b"MemTotal:       24684264 kB\nActive(anon):     531404 kB\nHugePages_Total:       3\n"],
        system__vmstat=[b"nr_free_pages 5640011\npgfault 33\n"],
        system__pressure__io=[
            b"some avg10=0.36 avg60=0.48 avg300=0.88 total=125580893\nfull avg10=0.01 avg60=0.28 total=581\n"
        ],
        system__pressure__memory=[b"some avg10=0.00 avg60=0.00 avg300=0.00 total=7\n"],
        system__loadavg=[b"2.06 1.65 1.90 2/97 13738\n"],
    )
    table = system_table(files)
    (row,) = table.to_pylist()
    assert row["cpu_user"] == 2954.71
    assert row["cpu_iowait"] == 95.63
    assert (row["ctxt"], row["processes"], row["procs_blocked"]) == (15483625, 26043, 1)
    assert (row["meminfo_MemTotal"], row["meminfo_Active_anon"]) == (24684264 * 1024, 531404 * 1024)
    assert row["meminfo_HugePages_Total"] == 3
    assert (row["vmstat_nr_free_pages"], row["vmstat_pgfault"]) == (5640011, 33)
    assert (row["psi_io_some_total"], row["psi_io_full_total"]) == (125.580893, 0.000581)
    assert (row["psi_memory_some_total"], row.get("psi_memory_full_total")) == (7e-6, None)
    assert (row["loadavg_1"], row["loadavg_5"], row["loadavg_15"]) == (2.06, 1.65, 1.90)
    units = {field.name: field.metadata[b"unit"].decode() for field in table.schema}
    assert units["cpu_user"] == units["psi_io_some_total"] == "s"
    assert units["meminfo_MemTotal"] == "bytes"
    assert units["meminfo_HugePages_Total"] == units["vmstat_pgfault"] == units["ctxt"] == "count"


def test_each_processor_has_a_row() -> None:
    rows = cpu_table(frames(system__stat=[SYSTEM_STAT, b"cpu0 1 2 3\ncpux 1 2 3 4 5 6 7 8 9 10\n"])).to_pylist()
    assert [(row["cpu"], row["user"], row["iowait"]) for row in rows] == [(0, 1296.47, 36.22), (1, 1658.24, 59.40)]


@pytest.mark.parametrize(
    ("payload", "device", "reads", "read_bytes", "io_time"),
    [(DISKSTATS, "loop0", 350753, 2835968 * 512, 4.388), (OLD_DISKSTATS, "mmcblk0", 12834, 1083562 * 512, 60.120)],
)
def test_disks_of_old_and_new_kernels(payload: bytes, device: str, reads: int, read_bytes: int, io_time: float) -> None:
    (row,) = disk_table(Series("system/diskstats", [5], [payload])).to_pylist()
    assert (row["device"], row["reads"], row["read_bytes"]) == (device, reads, read_bytes)
    assert row["io_time"] == pytest.approx(io_time)


def test_a_damaged_disk_counter_does_not_wrap_around() -> None:
    payload = DISKSTATS.replace(b" 2835968 ", b" 18446744073709551615 ")
    (row,) = disk_table(Series("system/diskstats", [5], [payload])).to_pylist()
    assert row["read_bytes"] > 9 * 10**18


def test_nothing_captured_is_nothing_parsed(tmp_path: Path) -> None:
    assert procfs.parse(tmp_path, FACTS).tables == {}
    (tmp_path / "procfs").mkdir()
    (tmp_path / "procfs/samples.frames").touch()
    parsed = procfs.parse(tmp_path, FACTS)
    assert {name: table.num_rows for name, table in parsed.tables.items()} == dict.fromkeys(parsed.tables, 0)
    assert parsed.notes == []


SOURCES = (
    *("system/stat", "system/meminfo", "system/vmstat", "system/diskstats", "system/loadavg", "system/pressure/io"),
    *(f"process/7/{name}" for name in ("stat", "io", "statm", "schedstat", "smaps_rollup")),
    *("process/x/stat", "process/99999999999/stat", "process/7", "other"),
)
PIECES = st.sampled_from(
    [
        STAT,
        IO,
        ROLLUP_TEXT,
        SYSTEM_STAT,
        DISKSTATS,
        b"9" * 30,
        b"-1",
        b" ",
        b"\n",
        b"(",
        b")",
        b"total=",
        b"cpu",
        b"nan",
    ]
)


@settings(deadline=None, max_examples=200)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(SOURCES), st.one_of(st.binary(max_size=80), st.lists(PIECES, max_size=6).map(b"".join))
        ),
        max_size=8,
    )
)
def test_no_payload_raises(samples: list[tuple[str, bytes]]) -> None:
    series: dict[str, Series] = {}
    for time_ns, (name, payload) in enumerate(samples):
        item = series.setdefault(name, Series(name))
        item.times.append(time_ns)
        item.payloads.append(payload)
    made = FrameFile(series, None)
    for table in (system_table(made), cpu_table(made), process_table(made, 4096)):
        table.validate(full=True)
    disk_table(made.get("system/diskstats")).validate(full=True)


# -- the capture half, on this machine -----------------------------------------------------------------------


def capture(tmp_path: Path, pids: list[int], roots: Roots = Roots()) -> tuple[Procfs, Path]:
    raw = tmp_path / "raw/procfs"
    raw.mkdir(parents=True)
    return Procfs(Context(str(raw), roots=roots, pids=lambda: pids)), tmp_path / "raw"


def test_this_process_is_captured_and_parsed(tmp_path: Path) -> None:
    collector, raw = capture(tmp_path, [os.getpid()])
    assert collector.probe().available
    collector.start()
    collector.sample(10**9)
    collector.last(2 * 10**9)
    status = collector.stop()
    tables = procfs.parse(raw, FACTS).tables
    rows = tables["process"].to_pylist()
    assert [(row["time_ns"], row["pid"], row["ppid"]) for row in rows] == [
        (10**9, os.getpid(), os.getppid()),
        (2 * 10**9, os.getpid(), os.getppid()),
    ]
    assert rows[0]["rss"] > 1 << 20
    assert rows[0]["rss"] >= rows[0]["shared"] > 0
    assert rows[0]["pss"] > 0
    assert rows[1]["rchar"] >= rows[0]["rchar"] > 0
    assert tables["system"].num_rows == 2
    assert tables["cpu"].num_rows == 2 * os.cpu_count()  # type: ignore[operator]
    assert (status.lost, status.mode) == (0, "full")
    assert not [note for note in status.notes if "PID" in note]


def test_processes_that_are_gone_are_no_refusals(tmp_path: Path) -> None:
    child = os.posix_spawn("/bin/true", ["true"], {})
    os.waitpid(child, 0)
    pids = [child]
    collector, _ = capture(tmp_path, pids)
    collector.start()
    collector.sample(10**9)
    pids.clear()
    collector.sample(2 * 10**9)
    assert [note for note in collector.stop().notes if "PID" in note] == []


def test_a_recorded_tree_with_less_in_it(tmp_path: Path) -> None:
    proc = tmp_path / "proc"
    (proc / "13733").mkdir(parents=True)
    (proc / "stat").write_bytes(SYSTEM_STAT)
    (proc / "13733/stat").write_bytes(STAT)
    collector, raw = capture(tmp_path, [13733], Roots(proc=str(proc)))
    assert collector.probe().available
    collector.start()
    collector.sample(10**9)
    status = collector.stop()
    assert "/proc/meminfo: No such file or directory" in status.notes
    assert "/proc/PID/io of the run's processes: No such file or directory" in status.notes
    assert f"/proc/PID/{ROLLUP} of the run's processes: No such file or directory" in status.notes
    tables = procfs.parse(raw, FACTS).tables
    (row,) = tables["process"].to_pylist()
    assert (row["comm"], row["rchar"], row["pss"]) == ("cat", None, None)
    assert "meminfo_MemTotal" not in tables["system"].column_names


def test_no_proc_is_a_reason(tmp_path: Path) -> None:
    collector, _ = capture(tmp_path, [], Roots(proc=str(tmp_path / "none")))
    probe = collector.probe()
    assert (probe.available, probe.remedy) == (False, "mount procfs there")
    assert "none/stat cannot be read" in probe.reason
    assert collector.stop().records == 0


def test_only_so_many_processes_are_sampled_one_by_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgeprof.collectors.procfs.capture.MAX_PROCESSES", 1)
    collector, raw = capture(tmp_path, [os.getpid(), os.getppid()])
    collector.start()
    collector.sample(10**9)
    assert "only 1 processes at a time are sampled one by one" in collector.stop().notes
    assert procfs.parse(raw, FACTS).tables["process"].num_rows == 1


def test_a_cut_capture_says_where(tmp_path: Path) -> None:
    raw = tmp_path / "procfs"
    raw.mkdir()
    writer = FrameWriter(str(raw / "samples.frames"))
    writer.frame(1, writer.source("system/stat"), SYSTEM_STAT)
    writer.close()
    path = raw / "samples.frames"
    path.write_bytes(path.read_bytes() + b"tail")
    assert procfs.parse(tmp_path, FACTS).notes == [
        f"procfs: cut inside a frame header at byte {path.stat().st_size - 4}"
    ]
