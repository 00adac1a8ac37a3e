"""A run in a real virtual machine: what comes out of it, and how its requests lie beside the host's."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from edgeprof.dashboards.report.data import RunData
from edgeprof.dashboards.report.figures import guest as figure
from edgeprof.dashboards.report.figures.base import Picture
from edgeprof.profiler.guest.attempt import Job
from edgeprof.profiler.guest.errors import NoGuest
from edgeprof.profiler.guest.tools import find_tool
from edgeprof.profiler.isolation.vm_requests import both_sides, lined_up, offsets_in_image
from edgeprof.profiler.run import Run, open_run
from tests.guest.machine import CACHE, debian_kernel
from tests.helpers import Places, alive, cgroups_left, children_of, lines_of, wait_until

pytestmark = [pytest.mark.guest, pytest.mark.root, pytest.mark.timeout(280)]

READS = 300
BLOCK_BYTES = 4096
DATA_BYTES = 8 << 20
PYTHON = (sys.executable, "-I", "-S", "-c")

READER = f"""
import mmap, os, random, sys
disk = os.open(os.environ["EDGEPROF_DATA"] + "/one.bin", os.O_RDONLY | os.O_DIRECT)
page = mmap.mmap(-1, {BLOCK_BYTES})
for place in random.Random(3).sample(range({DATA_BYTES // BLOCK_BYTES}), {READS}):
    os.preadv(disk, [page], place * {BLOCK_BYTES})
print("seen:", *sorted(os.listdir(os.environ["EDGEPROF_DATA"])), os.getcwd(), flush=True)
print("complaint", file=sys.stderr)
sys.exit(7)
"""
"""Reads known places of a file that lies in one piece on the data's disk, past the guest's page cache."""

LOOKER = """
import os, pathlib
data = pathlib.Path(os.environ["EDGEPROF_DATA"])
print("bytes:", sum(path.stat().st_size for path in data.iterdir()))
queue = pathlib.Path("/sys/block/vda/queue")
print("queue:", (queue / "scheduler").read_text().strip(), (queue / "read_ahead_kb").read_text().strip())
print("mounts:", *(line.split()[2] for line in open("/proc/mounts") if line.startswith("/dev/vda ")))
(data / "result").write_text("mine")
"""


@pytest.fixture(scope="module", autouse=True)
def kernel() -> None:
    """The distribution's kernel is there, or all is skipped."""
    try:
        debian_kernel()
    except NoGuest as reason:
        pytest.skip(str(reason))


def machine(places: Places, *words: str, **options: object) -> subprocess.CompletedProcess[str]:
    """``edgeprof run`` in a virtual machine of software emulation."""
    environment = places.environment(EDGEPROF_GUEST_CACHE=str(CACHE), EDGEPROF_DATA_CACHE=str(places.base / "cache"))
    command = ("run", "--isolation", "vm", "--vm-accel", "tcg", "--vm-memory", "768M", "--collect", "procfs,block")
    return places.edgeprof(*command, *words, **{"env": environment, "timeout": 200, **options})


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small data set."""
    folder = tmp_path_factory.mktemp("vm-data")
    (folder / "one.bin").write_bytes(os.urandom(DATA_BYTES))
    return folder


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Places:
    return Places(tmp_path_factory.mktemp("vm"))


@pytest.fixture(scope="module")
def done(places: Places, data: Path) -> subprocess.CompletedProcess[str]:
    """The run of `READER`."""
    return machine(places, "--data", str(data), "--factor", "unit.kind=cpu", "--", *PYTHON, READER)


@pytest.fixture(scope="module")
def run(places: Places, done: subprocess.CompletedProcess[str]) -> Run:
    return open_run(places.only())


def test_the_workloads_words_and_code_come_out(places: Places, done: subprocess.CompletedProcess[str]) -> None:
    assert done.returncode == 7, done.stderr
    assert done.stdout == f"seen: one.bin {places.base}\n"
    assert "complaint\n" in done.stderr
    assert "software emulation (TCG)" in done.stderr


def test_the_run_says_what_surrounded_it(run: Run) -> None:
    facts, factors = run.manifest["setup"]["isolation"], run.manifest["factors"]
    assert (facts["status"], facts["exit_code"], facts["share"], facts["direct"]) == ("finished", 7, "disk", True)
    assert factors["isolation"] == "vm"
    assert factors["vm"] == {
        "kernel": facts["guest"]["kernel"],
        "accelerator": "tcg",
        "share": "disk",
        "memory": 768 << 20,
        "cpus": 1,
    }
    assert run.manifest["run"]["exit_code"] == 7
    assert facts["data"]["residency_before"]["share"] < 0.01
    assert (run.path / "vm" / "console.log").read_text()
    assert set(run.table("process")["comm"]) >= {"qemu-system-x86"}


def test_the_agent_inside_captured_the_workload(run: Run) -> None:
    guest = run.guest
    assert guest is not None
    assert (guest.manifest["run"]["status"], guest.manifest["run"]["exit_code"]) == ("finished", 7)
    assert guest.manifest["host"]["kernel"] == run.manifest["setup"]["isolation"]["kernel"]
    assert guest.manifest["factors"]["unit"]["kind"] == "cpu"
    assert guest.manifest["cgroup"]["mode"] == "v2"
    assert {item["name"]: item["mode"] for item in guest.manifest["collectors"]}["block"] == "full"
    table = guest.table("block_io")
    assert (table[table["owner"] == "run"]["op"] == "read").sum() >= READS
    assert guest.metrics["block_read_bytes"]["value"] >= READS * BLOCK_BYTES
    assert (guest.path / "report.html").is_file()


def test_requests_of_guest_and_host_line_up_within_the_clocks_error(run: Run) -> None:
    sides = both_sides(run)
    image = json.loads((run.path / "vm" / "result.json").read_text())["image"]
    direct = sides.guest.offset[(sides.guest.bytes == BLOCK_BYTES) & (sides.guest.op == 0)]
    places = BLOCK_BYTES * np.array(random.Random(3).sample(range(DATA_BYTES // BLOCK_BYTES), READS), np.int64)
    wanted = Counter((places - places[0] + direct[-READS]).tolist())
    assert not wanted - Counter(direct.tolist()), "the guest's capture lacks some of the reads"
    assert not wanted - Counter(sides.host.offset.tolist()), "the host's capture lacks some, or their places are wrong"
    assert len(image["extents"]) >= 1
    assert offsets_in_image(np.array([image["extents"][0][1] * 512]), np.array(image["extents"])).tolist() == [0]
    assert 0 < sides.error_ns < 20_000_000
    together = lined_up(sides)
    assert len(together) >= READS
    assert together.mean() >= 0.99


def test_a_clock_that_is_wrong_by_more_than_it_says_does_not_line_up(run: Run) -> None:
    sides = both_sides(run)
    longest = int((sides.guest.completed - sides.guest.issued).max())
    sides.guest.issued[:] += 3 * sides.error_ns + longest
    sides.guest.completed[:] += 3 * sides.error_ns + longest
    assert lined_up(sides).mean() < 0.5


def test_the_report_shows_both(run: Run) -> None:
    outcome = figure.build(RunData(run))
    assert isinstance(outcome, Picture)
    assert sum(len(trace.x) for trace in outcome.figure.data) >= 2 * READS
    assert 'id="figure-guest"' in (run.path / "report.html").read_text()


def test_nothing_is_left_behind(places: Places, run: Run) -> None:
    assert [path.name for path in places.runs.iterdir()] == [run.path.name]
    assert places.journals() == []
    assert cgroups_left(places) == []


@pytest.mark.skipif(find_tool("mkfs.xfs") is None, reason="no mkfs.xfs here: apt-get install xfsprogs")
def test_a_guest_is_handed_the_file_system_that_was_made(tmp_path: Path, data: Path) -> None:
    places = Places(tmp_path)
    storage = ("--file-system", "xfs", "--scheduler", "mq-deadline", "--read-ahead", "64K", "--cache", "warm")
    done = machine(places, "--data", str(data), *storage, "--no-report", "--", *PYTHON, LOOKER)
    assert done.stdout.splitlines() == [f"bytes: {DATA_BYTES}", "queue: [mq-deadline] none 64", "mounts: xfs"], (
        done.stderr
    )
    run = open_run(places.only())
    isolation, factors = run.manifest["setup"]["isolation"], run.manifest["factors"]
    assert isolation["data"]["residency_before"]["share"] == 1.0
    assert isolation["data"]["residency_after"]["files"] == 2
    assert (factors["storage"]["file_system"], factors["storage"]["cache"]) == ("xfs", "warm")
    assert places.journals() == []
    assert str(tmp_path) not in Path("/proc/mounts").read_text()


def test_signals_reach_the_workload_and_the_guest_ends_with_edgeprof(tmp_path: Path, data: Path) -> None:
    places = Places(tmp_path)
    environment = places.environment(EDGEPROF_GUEST_CACHE=str(CACHE))
    words = ("run", "--isolation", "vm", "--vm-accel", "tcg", "--vm-share", "virtiofs", "--collect", "procfs")
    script = "trap 'echo caught' TERM; cat $EDGEPROF_DATA/one.bin | wc -c; while :; do sleep 0.1; done"
    command = ("sh", "-c", script)
    out = tmp_path / "out"
    with out.open("w") as file:
        process = places.start(*words, "--data", str(data), "--", *command, env=environment, stdout=file, stderr=file)
    try:
        wait_until(lambda: str(DATA_BYTES) in lines_of(out), "the workload's output", 120)
        process.send_signal(signal.SIGTERM)
        wait_until(lambda: "caught" in lines_of(out), "the workload's answer to the signal", 60)
        (supervisor,) = [pid for pid in children_of(process.pid) if children_of(pid)]
        tree = [supervisor, *children_of(supervisor)]
        assert len(tree) == 4  # with QEMU and two virtiofsd
        assert len(list(places.runs.glob(".edgeprof-vm-*"))) == 1
    finally:
        process.kill()
        process.wait()
    wait_until(lambda: not any(map(alive, tree)), "the end of QEMU and its helpers")
    cleaned = places.edgeprof("clean")
    assert cleaned.returncode == 0, cleaned.stderr
    assert list(places.runs.glob(".edgeprof-vm-*")) == []
    assert places.journals() == []


@pytest.mark.parametrize(
    ("words", "reason", "printed"),
    [
        (("--vm-kernel", "{zeros}"), "it ended by itself|it ended before it was up", "kernel"),
        (("--vm-timeout", "1"), "it was not up within 1 s", ""),
    ],
    ids=["no kernel", "time limit"],
)
def test_a_guest_that_does_not_boot_is_one_sentence_and_its_console_is_kept(
    words: tuple[str, ...], reason: str, printed: str, tmp_path: Path
) -> None:
    places = Places(tmp_path)
    (tmp_path / "zeros").write_bytes(bytes(1 << 20))
    given = [word.replace("{zeros}", str(tmp_path / "zeros")) for word in words]
    done = machine(places, *given, "--", "true")
    assert done.returncode == 121, done.stderr
    console = places.only() / "vm" / "console.log"
    last = done.stderr.splitlines()[-1]
    sentence = rf"edgeprof: the virtual machine did not come up: ({reason}); its console log is {console}"
    assert re.fullmatch(sentence, last), done.stderr
    assert printed in console.read_text(errors="replace")
    assert printed in done.stderr
    assert "Traceback" not in done.stderr
    assert list(places.runs.glob(".edgeprof-vm-*")) == []
    assert places.journals() == []


def test_a_kernel_that_panics_is_booted_once_more_and_talks_then(tmp_path: Path) -> None:
    (tmp_path / "initramfs").write_bytes(b"")
    (tmp_path / "place").mkdir()
    image = str(debian_kernel().image)
    job = Job(str(tmp_path), image, "virtiofs", "tcg", memory=256, cpus=1, timeout=60)
    job.write(tmp_path / "job.json")
    words = [sys.executable, "-m", "edgeprof.profiler.guest.supervise", str(tmp_path / "job.json")]
    done = subprocess.run(words, capture_output=True, text=True, timeout=90, check=False)
    assert (done.returncode, done.stderr) == (121, "")
    result = json.loads((tmp_path / "result.json").read_text())
    assert (result["status"], result["attempts"], result["exit_code"]) == ("boot", 2, None)
    console = (tmp_path / "console.log").read_text()
    assert console.count("Kernel panic") == 2
    assert "Linux version" in console.partition("Kernel panic")[2]


def test_what_cannot_be_had_is_said_before_anything_is_done(tmp_path: Path) -> None:
    places = Places(tmp_path)
    done = machine(places, "--vm-kernel", str(tmp_path / "none"), "--", "true")
    assert done.returncode == 121
    assert "there is no kernel image" in done.stderr.splitlines()[-1]
    assert places.directories() == []
