"""A real arm64 board from the desk: added, checked, profiled; then the same in the clothes of recorded Jetsons."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from edgeprof.profiler.board.clock import BoardClock, Reading
from edgeprof.profiler.guest.errors import NoGuest
from edgeprof.profiler.run import Run, open_run
from tests.board_trees import BOARDS
from tests.guest.arm64_board import Board, booted
from tests.guest.arm64_root import NAME, missing
from tests.guest.jetson_clothes import PLACE, dressed
from tests.helpers import Places
from tests.nvpmodel_stand_in import make

pytestmark = [pytest.mark.guest, pytest.mark.root, pytest.mark.timeout(600)]

MIB = 1 << 20
BLOCK_BYTES, REQUESTS = 4096, 512
ALLOCATED = 200 * MIB
RSS_ERROR = 1 * MIB
"""The kernel counts resident pages per thread, and adds them up each 64 faults (SPLIT_RSS_COUNTING)."""

FIO = (
    "fio --name=random --filename=/dev/vdb --direct=1 --ioengine=psync --rw=randrw --rwmixread=60 --randrepeat=1"
    f" --bs={BLOCK_BYTES} --size={REQUESTS * BLOCK_BYTES} --output-format=json --output=/root/fio.json"
)
MEMORY = f"""
import json, time
held = bytearray(b"x") * {ALLOCATED}
time.sleep(1.5)
def status(pid):
    lines = dict(line.split(":", 1) for line in open(f"/proc/{{pid}}/status"))
    return {{name: int(lines[name].split()[0]) * 1024 for name in ("VmHWM", "VmRSS")}}
import os
print(json.dumps({{"pid": os.getpid(), "own": status("self"), "shell": status(os.getppid())}}))
"""
WORKLOAD = f"{FIO} && python3 memory.py; echo complaint >&2; exit 7"


@pytest.fixture(scope="module")
def board() -> Iterator[Board]:
    """The board, booted once for all tests."""
    if reason := missing():
        pytest.skip(reason)
    try:
        with booted() as found:
            yield found
    except NoGuest as reason:
        pytest.skip(str(reason))


class Desk:
    """edgeprof at the desk, with places and an address book of its own."""

    def __init__(self, places: Places, board: Board) -> None:
        self.places = places
        self.variables = {"EDGEPROF_SSH": str(board.ssh), "EDGEPROF_BOARDS": str(places.base / "boards.json")}

    def edgeprof(self, *words: str, code: int = 0, **variables: str) -> str:
        """Call it, and return what it prints."""
        environment = self.places.environment(**self.variables, **variables)
        done = self.places.edgeprof(*words, env=environment, timeout=300)
        assert done.returncode == code, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return done.stdout

    def run(self, *words: str, code: int = 0) -> Run:
        """``edgeprof run --board``; the run that came of it."""
        before = set(self.places.directories())
        self.edgeprof("run", "--board", "arm", "--no-report", *words, code=code)
        (path,) = set(self.places.directories()) - before
        return open_run(path)


@pytest.fixture(scope="module")
def desk(board: Board, tmp_path_factory: pytest.TempPathFactory) -> Desk:
    """A desk that knows the board as ``arm``."""
    found = Desk(Places(tmp_path_factory.mktemp("desk")), board)
    found.edgeprof("board", "add", "arm", NAME)
    return found


@pytest.fixture(scope="module")
def run(desk: Desk) -> Run:
    """The run of `WORKLOAD`."""
    folder = desk.places.base / "program"
    folder.mkdir()
    (folder / "memory.py").write_text(MEMORY)
    # On a desk that is busy the board is slow, too, and 1 % of its processor too little to capture every request.
    return desk.run("--budget", "50%,16MB/s", "--sync", str(folder), "--", "sh", "-c", WORKLOAD, code=7)


def test_the_address_book_knows_what_it_is(desk: Desk, board: Board) -> None:
    (found,) = json.loads(desk.edgeprof("board", "list", "--json"))["boards"]
    assert (found["name"], found["address"]) == ("arm", NAME)
    assert found["seen"]["machine"] == "aarch64"
    assert found["seen"]["kernel"] == board.output("uname -r").strip()
    assert found["seen"]["system"] == "Debian GNU/Linux 12 (bookworm)"


def test_the_workloads_words_and_code_come_back(run: Run, board: Board) -> None:
    remote = run.manifest["remote"]
    assert (run.manifest["run"]["status"], run.manifest["run"]["exit_code"]) == ("finished", 7)
    assert (remote["board"], remote["address"], remote["state"]) == ("arm", NAME, "ended")
    assert (run.path / "workload.stderr").read_text() == "complaint\n"
    assert board.output("ls -A /root/.edgeprof/jobs").split() == []


def test_requests_are_those_that_fio_counted(run: Run, board: Board) -> None:
    (job,) = json.loads(board.output("cat /root/fio.json"))["jobs"]
    table = run.table("block_io")
    mine = table[(table["device"] == "vdb") & (table["comm"] == "fio")]
    for op in ("read", "write"):
        assert job[op]["total_ios"] > REQUESTS / 4
        requests = mine[mine["op"] == op]
        assert len(requests) == job[op]["total_ios"]
        assert requests["bytes"].sum() == job[op]["io_bytes"]
    assert set(mine["bytes"]) == {BLOCK_BYTES}
    assert set(mine["owner"]) == {"run"}
    assert (mine["error"] == 0).all()
    assert mine["sector"].nunique() == REQUESTS, "random places, each once"
    assert (mine["completed_ns"] > mine["issued_ns"]).all()


def test_memory_is_what_proc_says_inside(run: Run) -> None:
    inside = json.loads((run.path / "workload.stdout").read_text())
    table = run.table("process")
    python = table[table["pid"] == inside["pid"]]
    assert inside["own"]["VmHWM"] > ALLOCATED
    assert python["rss"].max() == pytest.approx(inside["own"]["VmHWM"], abs=RSS_ERROR)
    together = inside["own"]["VmRSS"] + inside["shell"]["VmRSS"]
    assert run.metrics["rss_peak"]["value"] == pytest.approx(together, abs=RSS_ERROR)


def test_host_facts_are_the_boards(run: Run, board: Board) -> None:
    host = run.manifest["host"]
    assert (host["machine"], host["hostname"], host["cpus"]) == ("aarch64", NAME, 1)
    assert host["page_bytes"] == int(board.output("getconf PAGE_SIZE"))
    total = re.search(r"MemTotal: +(\d+) kB", board.output("cat /proc/meminfo"))
    assert total is not None and host["memory_bytes"] == int(total[1]) * 1024
    assert host["python"] == board.output("python3 -c 'import platform; print(platform.python_version())'").strip()
    assert run.manifest["cgroup"]["mode"] == "v2"


def test_clock_of_the_board_is_within_the_stated_error(run: Run, board: Board) -> None:
    facts = run.manifest["remote"]["clock"]
    assert facts["reason"] is None, facts
    readings = {name: Reading(**facts[name]) for name in ("before", "after")}
    clock = BoardClock(**{**facts, **readings})
    assert clock.drift_ppm is not None and clock.drift_error_ppm is not None
    # QEMU's counter follows the desk's CLOCK_MONOTONIC; the board's kernel rounds its rate by less than 1 ppm.
    assert abs(clock.drift_ppm) <= clock.drift_error_ppm + 1
    # A look at the board's uptime (in steps of 10 ms) lies between two looks at the desk's clock.
    before = time.monotonic_ns()
    uptime = round(float(board.output("cat /proc/uptime").split()[0]) * 1e9)
    after = time.monotonic_ns()
    error = clock.error_at(after)
    assert before - error <= clock.to_desk(uptime) + 10_000_000
    assert clock.to_desk(uptime) <= after + error
    # The board sets its clock of the day by QEMU's, which tells whole seconds of the desk's.
    assert abs(clock.realtime_offset_ns) < 2_500_000_000 + clock.error_ns
    manifest = run.manifest["run"]
    span = (clock.to_desk(manifest["end_ns"]) - clock.to_desk(manifest["start_ns"])) / 1e9
    assert readings["before"].desk_ns < clock.to_desk(manifest["start_ns"])
    assert clock.to_desk(manifest["end_ns"]) < readings["after"].desk_ns
    assert span == pytest.approx(manifest["wall_time"], rel=0.01)


def test_overhead_of_the_agent_is_in_the_manifest(run: Run) -> None:
    overhead = run.manifest["overhead"]
    assert 0 < overhead["peak_rss_bytes"] <= 40e6
    assert overhead["cpu_share"] > 0
    assert run.metrics["wall_time"]["value"] > 0


def test_it_is_profiled_by_an_ordinary_user_too(desk: Desk, board: Board) -> None:
    desk.edgeprof("board", "add", "--no-check", "user", f"{NAME}-user")
    before = set(desk.places.directories())
    desk.edgeprof("run", "--board", "user", "--no-report", "--", "sh", "-c", "id -un; sleep 0.5")
    (path,) = set(desk.places.directories()) - before
    assert (path / "workload.stdout").read_text() == "board\n"
    run = open_run(path)
    block = next(item for item in run.manifest["collectors"] if item["name"] == "block")
    assert not block["available"] and "root" in block["reason"] + str(block.get("remedy")), block
    assert run.metrics["rss_peak"]["value"] > 0


# -- in a Jetson's clothes ---------------------------------------------------------------------------------------------

ORIN = {
    "firmware/devicetree/base/model": "NVIDIA Orin NX Developer Kit\0",
    "firmware/devicetree/base/compatible": "nvidia,p3768-0000+p3767-0000\0nvidia,p3767-0000\0nvidia,tegra234\0",
}
NANO = {
    "firmware/devicetree/base/model": "NVIDIA Jetson Nano Developer Kit\0",
    "firmware/devicetree/base/compatible": "nvidia,p3450-0000\0nvidia,tegra210\0",
}
RELEASES = {
    5: "# R35 (release), REVISION: 4.1, GCID: 33958178, BOARD: t186ref, EABI: aarch64\n",
    4: "# R32 (release), REVISION: 7.1, GCID: 29818004, BOARD: t210ref, EABI: aarch64\n",
}
COLLECTORS = "procfs,self,power,thermal,clocks"


def tool(folder: Path) -> dict[str, str]:
    """The stand-in of nvpmodel, as files of the board; 15W (2) is set."""
    here = make(folder / "nvpmodel")
    text = Path(here.program).read_text().replace(str(here.folder), f"{PLACE}/nvpmodel")
    return {
        "/usr/sbin/nvpmodel": text,
        "/etc/nvpmodel.conf": Path(here.etc, "nvpmodel.conf").read_text(),
        **{f"{PLACE}/nvpmodel/{name}": (here.folder / name).read_text() for name in ("mode", "reboot", "calls")},
    }


def rails_of(run: Run) -> dict[tuple[str, bool], float]:
    """Rail and whether it is a total -> W; each must have had one value throughout, as recordings have."""
    table = run.table("power").dropna(subset=["power"])
    found = table.groupby(["rail", "total"], observed=True)["power"]
    assert (found.nunique() == 1).all()
    assert (found.size() >= 3).all()
    return {key: round(value, 6) for key, value in found.first().items()}


def zones_of(run: Run) -> dict[str, float | None]:
    """Zone -> °C, None where it is not known."""
    return last_of(run.table("thermal"), "zone", "temperature")


def last_of(table: pd.DataFrame, key: str, column: str) -> dict[str, Any]:
    """The last value of each key's."""
    last = table.sort_values("time_ns").groupby(key, observed=True)[column].last()
    return {str(name): None if pd.isna(value) else value for name, value in last.items()}


def check_energy(run: Run, watts: float) -> None:
    """The power is constant, so the energy is that times the part of the run that lies between its samples."""
    table, facts = run.table("power"), run.manifest["run"]
    seconds = (min(facts["end_ns"], table["time_ns"].max()) - max(facts["start_ns"], table["time_ns"].min())) / 1e9
    assert seconds > 0.5 * facts["wall_time"]
    assert run.metrics["energy"]["value"] == pytest.approx(watts * seconds, rel=0.02), run.metrics["energy"]


def test_a_recorded_orin_nx_of_jetpack_5(desk: Desk, board: Board, tmp_path: Path) -> None:
    files = {**tool(tmp_path), "/etc/nv_tegra_release": RELEASES[5]}
    with dressed(board, "orin-nx-jetpack5", ORIN, files):
        (check,) = json.loads(desk.edgeprof("board", "check", "arm", "--json"))["boards"]
        run = desk.run("--collect", COLLECTORS, "--power-mode", "25W", "--", "sleep", "3")
        assert board.output(f"cat {PLACE}/nvpmodel/mode").strip() == "2"
        assert board.output(f"grep -e -m {PLACE}/nvpmodel/calls").split("\n")[:2] == ["-m 3", "-m 2"]

    assert rails_of(run) == {
        ("VDD_IN", True): pytest.approx(4.960 * 1.024),
        ("VDD_CPU_GPU_CV", False): pytest.approx(4.960 * 0.152),
        ("VDD_SOC", False): pytest.approx(4.960 * 0.288),
    }
    check_energy(run, 4.960 * 1.024)  # VDD_IN alone: it contains the others
    assert zones_of(run) == {
        "CPU-therm": 52.5, "GPU-therm": 51.0, "CV1-therm": None, "cpu-throttle-alert": None,
        "devfreq-17000000.gpu": None,
    }  # fmt: skip
    assert last_of(run.table("clocks"), "domain", "load")["gpu"] == pytest.approx(0.437)
    assert last_of(run.table("clocks"), "domain", "frequency")["gpu"] == 306e6
    mode = run.manifest["power_mode"]
    assert [(mode[at]["name"], mode[at]["number"]) for at in ("before", "start", "end")] == [
        ("15W", 2), ("25W", 3), ("25W", 3)
    ]  # fmt: skip
    assert mode["restored"]
    assert run.manifest["factors"]["unit"]["power_mode"] == "25W"
    assert run.manifest["host"]["board"] == "NVIDIA Orin NX Developer Kit"
    assert run.manifest["host"]["board_release"] == RELEASES[5].strip()
    identity = check["examination"]["board"]
    assert (identity["kind"], identity["soc"], identity["jetpack"]) == ("jetson", "tegra234", 5)
    assert any("throttled" in note for note in run.manifest["marks"]) or run.metrics["throttled_time"]["value"] > 0


def test_a_recorded_nano_of_jetpack_4(desk: Desk, board: Board, tmp_path: Path) -> None:
    files = {**tool(tmp_path), "/etc/nv_tegra_release": RELEASES[4]}
    with dressed(board, "nano-jetpack4", NANO, files):
        run = desk.run("--collect", COLLECTORS, "--", "sleep", "2")
    assert rails_of(run) == {("POM_5V_IN", True): 4.25, ("POM_5V_GPU", False): 0.48, ("POM_5V_CPU", False): 1.52}
    check_energy(run, 4.25)
    assert zones_of(run)["CPU-therm"] == 46.5
    assert last_of(run.table("clocks"), "domain", "load")["gpu"] == pytest.approx(0.99)
    assert run.manifest["power_mode"]["start"]["name"] == "15W"


def test_a_recorded_agx_orin_of_jetpack_6_has_no_total(desk: Desk, board: Board) -> None:
    with dressed(board, "agx-orin-jetpack6", ORIN):
        run = desk.run("--collect", COLLECTORS, "--", "sleep", "2")
    rails = {
        "VDD_GPU_SOC": 19.120 * 0.168, "VDD_CPU_CV": 19.120 * 0.040, "VIN_SYS_5V0": 5.056 * 0.776,
        "VDDQ_VDD2_1V8AO": 5.072 * 0.160,
    }  # fmt: skip
    assert rails_of(run) == {(name, False): pytest.approx(watts) for name, watts in rails.items()}
    check_energy(run, sum(rails.values()))


def test_recorded_lines_of_tegrastats(desk: Desk, board: Board) -> None:
    lines = (BOARDS.parent / "tegrastats.txt").read_text().splitlines()
    line = lines[lines.index("# Jetson Xavier NX, JetPack 5, two cores off, powers with unit") + 1]
    program = f"#!/bin/sh\nwhile echo '{line}'; do sleep 0.5; done\n"
    with dressed(board, files={"/usr/bin/tegrastats": program}):
        run = desk.run("--collect", COLLECTORS, "--", "sleep", "4")
    assert rails_of(run) == {("VDD_IN", True): 5.079, ("VDD_CPU_GPU_CV", False): 0.696, ("VDD_SOC", False): 1.104}
    check_energy(run, 5.079)
    assert set(run.table("power")["source"]) == {"tegrastats"}
    assert zones_of(run) == {"AUX": 39.0, "CPU": 39.5, "AO": 37.5, "GPU": 37.5, "PMIC": 50.0}
    clocks = run.table("clocks")
    assert last_of(clocks, "domain", "frequency")["gpu"] == 510e6
    assert last_of(clocks, "domain", "load")["gpu"] == 0
    assert last_of(clocks, "domain", "frequency")["cpu1"] == 1906e6
    assert last_of(clocks, "domain", "frequency")["cpu4"] is None, "it is off"


def test_the_clothes_are_off_again(board: Board) -> None:
    assert board.run(f"test -e {PLACE} -o -e /etc/nv_tegra_release -o -e /usr/sbin/nvpmodel").returncode == 1
    assert board.output("grep -c jetson /proc/mounts || true").strip() == "0"
    assert board.output("ls /root/.edgeprof/jobs /sys/kernel/tracing/instances").split() == [
        "/root/.edgeprof/jobs:", "/sys/kernel/tracing/instances:"
    ]  # fmt: skip
