"""Containers without an engine: ids inside and outside, requests that a limit held back, cgroup files, mounts, undo."""

from __future__ import annotations

import json
import os
import struct
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingUnixStreamServer
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pytest

from edgeprof.collectors.block.owner import of_held_back
from edgeprof.collectors.frames import FrameFile, Series
from edgeprof.collectors.phases import namespaces, parse
from edgeprof.collectors.phases.recorder import STEP
from edgeprof.collectors.procfs.parse import process_table
from edgeprof.collectors.procfs.readings import USER_HZ, inner_pid
from edgeprof.collectors.tracefs.tasks import OWNERS
from edgeprof.profiler.agent.engine import LABEL, Engine, EngineError, socket_of
from edgeprof.profiler.agent.journal import UndoJournal, read_journal
from edgeprof.profiler.agent.undo import clean, undo
from edgeprof.profiler.isolation import container_cgroup
from edgeprof.profiler.isolation.container_client import Config, Report
from edgeprof.profiler.isolation.container_mounts import Mounts, package_folders
from edgeprof.profiler.isolation.container_streams import Streams
from tests.unit.test_block_parse import DISK, requests_of

# -- ids ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (b"Name:\tx\nNSpid:\t4711\t6\nNSpgid:\t4711\t1\n", 6),
        (b"NSpid:\t4711\t60\t7\n", 7),  # a container in a container
        (b"NSpid:\t4711\n", None),
        (b"Name:\tNSpid:\nPid:\t4711\n", None),  # before Linux 4.1
        (b"NSpid:\t4711\tx\n", None),
        (b"NSpid:\t1\t99999999999\n", None),
        (b"", None),
    ],
)
def test_the_id_inside_is_the_last_of_the_kernels_list(text: bytes, found: int | None) -> None:
    assert inner_pid(text) == found


def test_the_process_table_has_the_id_inside() -> None:
    names = {"process/50/io": b"rchar: 1\n", "process/50/status": b"NSpid:\t50\t6\n", "process/60/io": b"rchar: 1\n"}
    series = {name: Series(name, [0], [payload]) for name, payload in names.items()}
    rows = process_table(FrameFile(series, None), 4096).to_pylist()
    assert [(row["pid"], row["inner_pid"], row["rchar"]) for row in rows] == [(50, 6, 1), (60, None, 1)]


def test_processes_and_main_threads_get_the_ids_of_the_host() -> None:
    block = np.zeros(4, parse._RECORD)
    block["kind"], block["tid"] = STEP, [6, 8, 7, 9]
    records, damaged = parse.join([block[:2], block[2:3], block[3:]])
    assert damaged == 0
    processes = [parse.Process(6, 1, 0, 0, 1000), parse.Process(7, 6, 0, 0, 2000), parse.Process(9, 6, 0, 0, 3000)]
    sampled = pa.table(
        {
            "inner_pid": pa.array([6, 7, 9, None], pa.int32()),
            "start_time": [1000 / USER_HZ, 2000 / USER_HZ, 1.0, 3000 / USER_HZ],
            "pid": pa.array([500, 501, 502, 9], pa.int32()),
        }
    )
    moved, same, unknown = namespaces.on_host(processes, records, sampled)
    assert [item.pid for item in moved] == [500, 501, 9]  # the last one's start is another's
    assert same.tid.tolist() == [500, 8, 501, 9]
    assert unknown == 1
    for table in (None, sampled.slice(3)):
        assert namespaces.on_host(processes, records, table) == (processes, records, 0)


def test_what_a_limit_held_back_is_the_runs() -> None:
    asked = [
        ("R", 5, "kworker/1:1"),
        ("WS", 5, "kworker/u8:2"),
        ("W", 5, "kworker/u8:2"),
        ("R", 6, "jbd2/x"),
        ("R", 7, "x"),
    ]
    requests = requests_of([(index, "G", what, index * 8, 8, *who) for index, (what, *who) in enumerate(asked)])
    kernel, other, run = (np.int32(OWNERS.index(name)) for name in ("kernel", "other", "run"))
    before = np.array([kernel, kernel, kernel, kernel, other], np.int32)
    both = of_held_back(before, requests, DISK, {"read", "write"})
    assert both.tolist() == [run, run, kernel, kernel, other]
    assert of_held_back(before, requests, DISK, {"read"}).tolist() == [run, kernel, kernel, kernel, other]
    assert of_held_back(before, requests, DISK + 1, {"read"}).tolist() == before.tolist()


# -- cgroups and mounts ------------------------------------------------------------------------------------------


def test_device_limits_are_read_as_either_kernel_writes_them(tmp_path: Path) -> None:
    one, two = tmp_path / "v1", tmp_path / "v2"
    one.mkdir(), two.mkdir()
    (one / "blkio.throttle.read_bps_device").write_text("7:0 8000000\n8:0 1\n")
    (one / "blkio.throttle.write_bps_device").write_text("")
    (two / "io.max").write_text(
        "8:0 rbps=1 wbps=1 riops=max wiops=max\n7:0 rbps=8000000 wbps=max riops=max wiops=max\n"
    )
    assert container_cgroup.device_limits({"blkio": str(one)}, "7:0") == {"read": 8_000_000}
    assert container_cgroup.device_limits({"unified": str(two)}, "7:0") == {"read": 8_000_000}
    assert container_cgroup.device_limits({"unified": str(two)}, "8:0") == {"read": 1, "write": 1}
    assert container_cgroup.device_limits({"memory": str(one)}, "7:0") == {}


def test_a_process_elsewhere_has_no_place_in_the_runs_cgroup() -> None:
    assert container_cgroup.paths_of(os.getpid(), {"unified": "/sys/fs/cgroup/edgeprof-none"}) == {}
    assert container_cgroup.paths_of(1 << 22, {"unified": "/sys/fs/cgroup/edgeprof-none"}) == {}


def test_mounts_are_there_once_and_writable_where_that_was_asked_for(tmp_path: Path) -> None:
    mounts = Mounts()
    (tmp_path / "a").mkdir()
    mounts.add("/")
    mounts.add(tmp_path / "none")
    mounts.add(tmp_path)
    mounts.add_missing(tmp_path / "a")
    mounts.add(f"{tmp_path}/", writable=True)
    mounts.add(tmp_path)
    assert [(item["Target"], item["ReadOnly"]) for item in mounts.body()] == [(str(tmp_path), False)]
    assert mounts.covers(tmp_path / "a") and not mounts.covers(f"{tmp_path}b")
    mounts.add(tmp_path / "a")
    mounts.volume("its-name", tmp_path / "a")
    assert mounts.body()[1:] == [
        {"Type": "volume", "Source": "its-name", "Target": str(tmp_path / "a"), "ReadOnly": True}
    ]


def test_all_folders_of_the_package_are_found() -> None:
    assert all((Path(folder).is_dir() and not Path(folder).is_symlink()) for folder in package_folders())
    assert {Path(folder).name for folder in package_folders()} >= {"edgeprof", "collectors", "profiler", "workloads"}


def test_a_report_is_read_as_it_was_written() -> None:
    descriptor = os.memfd_create("test")
    assert Report.read(descriptor) == Report()
    Report(error="x" * 1000).write(descriptor)
    short = Report(pid=5, limits={"read": 1}, notes=["n"])
    short.write(descriptor)
    assert Report.read(descriptor) == short
    os.close(descriptor)
    assert Config("s", "n", {}, True, [], [], True, "", {}).below


def test_output_is_taken_apart_wherever_it_is_cut(capfd: pytest.CaptureFixture[str]) -> None:
    parts = [(1, b"one\n"), (2, b"problem\n"), (1, b""), (1, b"two" * 50000 + b"\n")]
    data = b"".join(struct.pack(">BxxxI", stream, len(text)) + text for stream, text in parts)
    for size in (1, 7, 65536):
        streams = Streams("/nowhere", "none")
        for at in range(0, len(data) if size > 1 else 40, size):
            streams._take(data[at : at + size])
        if size == 1:
            continue
        out, err = capfd.readouterr()
        assert out.endswith("one\n" + "two" * 50000 + "\n")
        assert err.endswith("problem\n")


# -- the engine's socket, and undoing ------------------------------------------------------------------------------


class Handler(BaseHTTPRequestHandler):
    """An engine that knows one container and one volume."""

    state: ClassVar[dict[str, Any]] = {}

    def answer(self) -> None:
        self.state["asked"].append(f"{self.command} {self.path}")
        status, body = self.state["answers"].get(f"{self.command} {self.path.partition('?')[0]}", (404, {}))
        content = json.dumps(body).encode() if body is not None else b"not JSON"
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_DELETE = answer  # noqa: N815  (names that the base class asks for)

    def log_message(self, *words: Any) -> None:
        pass

    def address_string(self) -> str:
        return ""


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[str]:
    """The socket of a stand-in for an engine, whose answers are in `Handler.state`."""
    path = str(tmp_path / "socket")
    labels = {LABEL: "mine"}
    Handler.state = {
        "asked": [],
        "answers": {
            "GET /containers/mine/json": (200, {"Config": {"Labels": labels}, "State": {"Running": True}}),
            "DELETE /containers/mine": (204, None),
            "GET /volumes/mine": (200, {"Labels": labels}),
            "DELETE /volumes/mine": (204, None),
            "GET /containers/theirs/json": (200, {"Config": {"Labels": None}}),
            "GET /refused": (500, {"message": "no such luck"}),
            "GET /broken": (200, None),
        },
    }
    with ThreadingUnixStreamServer(path, Handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield path
        server.shutdown()


def entry(kind: str, socket: str, name: str = "mine", **more: Any) -> dict[str, Any]:
    return {"n": 1, "kind": kind, "socket": socket, "name": name, "label": "mine", **more}


def test_an_engine_answers_refuses_or_is_not_there(engine: str, tmp_path: Path) -> None:
    assert Engine(engine).container("none") is None
    assert Engine(engine).call("GET", "/broken") is None
    with pytest.raises(EngineError, match="no such luck"):
        Engine(engine).call("GET", "/refused")
    with pytest.raises(OSError, match="cannot be reached"):
        Engine(str(tmp_path / "none")).call("GET", "/info")
    assert socket_of("unix:///a/b") == "/a/b"
    for wrong in ("tcp://h:1", "unix://", "ssh://h", "/a/b"):
        with pytest.raises(ValueError, match=wrong):
            socket_of(wrong)


def test_containers_and_volumes_of_ours_are_removed_and_no_others(engine: str) -> None:
    assert undo(entry("container", engine)) == "removed container mine"
    assert undo(entry("volume", engine)) == "removed volume mine"
    assert undo(entry("container", engine, "gone")) == ""
    assert undo(entry("volume", engine, "gone")) == ""
    removed = [line for line in Handler.state["asked"] if line.startswith("DELETE")]
    assert removed == ["DELETE /containers/mine?force=true&v=true", "DELETE /volumes/mine?force=true"]
    with pytest.raises(OSError, match="not the one that edgeprof made"):
        undo(entry("container", engine, "theirs"))
    with pytest.raises(OSError, match="damaged journal entry"):
        undo({"n": 1, "kind": "container"})


def test_clean_leaves_a_running_container_and_its_journal(engine: str, tmp_path: Path) -> None:
    folder = tmp_path / "state"
    folder.mkdir()
    journal = UndoJournal(str(folder), "a", "what")
    journal.record("volume", socket=engine, name="mine", label="mine")
    journal.record("container", socket=engine, name="mine", label="mine")
    journal.close()
    path = folder / "a.journal"
    lines = path.read_text().splitlines()
    owner = {**json.loads(lines[0]), "owner": 1 << 22}
    path.write_text("\n".join([json.dumps(owner), *lines[1:]]) + "\n")
    left = clean(str(folder))
    assert left == ([], [], ["the container mine goes on; `edgeprof clean --kill` ends it"])
    saved = read_journal(str(path))
    assert saved is not None and len(saved.entries) == 2
    done = clean(str(folder), kill=True)
    assert done == (["removed container mine", "removed volume mine"], [], [])
    assert not path.exists()


def test_an_engine_keeps_its_containers_over_a_boot(engine: str, tmp_path: Path) -> None:
    owner = {"owner": 1 << 22, "start_time": 1, "boot_id": "another", "capture": ""}
    mount = {"n": 2, "kind": "mount", "target": str(tmp_path)}
    lines = [owner, entry("volume", engine), mount]
    (tmp_path / "a.journal").write_text("\n".join(map(json.dumps, lines)) + "\n")
    assert clean(str(tmp_path)) == (["removed volume mine"], [], [])
