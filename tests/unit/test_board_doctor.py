"""Which board it is, and what can be read there: recorded trees of boards, and this machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rich.console import Console

from edgeprof.cli.doctor import print_examination
from edgeprof.collectors.base import Roots
from edgeprof.profiler.agent.board import Board, identify, jetson_release, revision_facts
from edgeprof.profiler.agent.doctor import Examination, examine
from edgeprof.profiler.agent.doctor_sensors import Sensor, sensors
from edgeprof.profiler.agent.host import host_facts
from edgeprof.profiler.agent.power_mode import Tools
from tests.board_trees import BOARDS, plant
from tests.source_tree import ROOT

NO_TOOLS = Tools("/nowhere/nvpmodel")
R35 = "# R35 (release), REVISION: 4.1, GCID: 33958178, BOARD: t186ref\n"
ORIN = "nvidia,p3767-0000+p3768-0000\0nvidia,p3767-0000\0nvidia,tegra234\0"
NAMES = {
    "orin-nx-jetpack5": ("NVIDIA Orin NX Developer Kit\0", ORIN, R35),
    "agx-orin-jetpack6": (
        "NVIDIA Jetson AGX Orin Developer Kit\0",
        "nvidia,p3737-0000+p3701-0000\0nvidia,p3701-0000\0nvidia,tegra234\0",
        "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic\n",
    ),
    "nano-jetpack4": (
        "NVIDIA Jetson Nano Developer Kit\0",
        "nvidia,jetson-nano\0nvidia,tegra210\0",
        "# R32 (release), REVISION: 7.1, GCID: 29818004, BOARD: t210ref\n",
    ),
    "raspberry-pi": ("Raspberry Pi 5 Model B Rev 1.0\0", "raspberrypi,5-model-b\0brcm,bcm2712\0", ""),
}
"""Model, compatible names and /etc/nv_tegra_release that a board of each tree would have."""


def board(name: str, folder: Path) -> Roots:
    """The tree of a board, with what names it."""
    roots = plant(name, folder)
    roots = roots._replace(etc=str(folder / "etc"), dev=str(folder / "dev"))
    if name in NAMES:
        model, compatible, release = NAMES[name]
        write(folder / "proc/device-tree/model", model)
        write(folder / "proc/device-tree/compatible", compatible)
        if release:
            write(folder / "etc/nv_tegra_release", release)
    return roots


def write(path: Path, text: str | bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode() if isinstance(text, str) else text)


def by_name(found: list[Sensor]) -> dict[str, Sensor]:
    return {sensor.name: sensor for sensor in found}


class TestIdentity:
    @pytest.mark.parametrize(
        ("tree", "kind", "soc", "system"),
        [
            ("orin-nx-jetpack5", "jetson", "tegra234", "JetPack 5 (Jetson Linux 35.4.1)"),
            ("agx-orin-jetpack6", "jetson", "tegra234", "JetPack 6 (Jetson Linux 36.4.3)"),
            ("nano-jetpack4", "jetson", "tegra210", "JetPack 4 (Jetson Linux 32.7.1)"),
            ("raspberry-pi", "raspberry-pi", "bcm2712", None),
            ("virtual-machine", None, None, None),
        ],
    )
    def test_of_recorded_boards(
        self, tmp_path: Path, tree: str, kind: str | None, soc: str | None, system: str | None
    ) -> None:
        found = identify(board(tree, tmp_path))
        assert (found.kind, found.soc, found.system()) == (kind, soc, system)
        assert found.model == (NAMES[tree][0].rstrip("\0") if tree in NAMES else None)

    @pytest.mark.parametrize(
        ("line", "release"),
        [
            ("# R38 (release), REVISION: 2.0, GCID: 41844464, BOARD: generic", ("38.2.0", 7)),
            ("# R39 (release), REVISION: 2.1, GCID: 46758480, BOARD: generic", ("39.2.1", 7)),
            ("# R41 (release), REVISION: 1.0, GCID: 1", ("41.1.0", None)),
            ("# R36 (release)", (None, None)),
            ("R36.4.3", (None, None)),
            ("", (None, None)),
            (None, (None, None)),
        ],
    )
    def test_of_a_jetson_release(self, line: str | None, release: tuple[str | None, int | None]) -> None:
        assert jetson_release(line) == release

    def test_a_release_nobody_knows_yet_is_said_to_be_unknown(self) -> None:
        assert Board("jetson", l4t="41.1.0").system() == "JetPack not known (Jetson Linux 41.1.0)"
        assert "cannot be read" in (Board("jetson").system() or "")

    def test_in_a_container_that_hides_the_device_tree(self, tmp_path: Path) -> None:
        roots = Roots(*(str(tmp_path / name) for name in ("proc", "sys", "dev", "etc")))
        write(tmp_path / "sys/devices/soc0/family", "Tegra\n")
        write(tmp_path / "sys/devices/soc0/soc_id", "35\n")
        write(tmp_path / "sys/devices/soc0/machine", "NVIDIA Jetson AGX Orin Developer Kit\n")
        found = identify(roots)
        assert (found.kind, found.soc) == ("jetson", "tegra23")
        assert found.model == "NVIDIA Jetson AGX Orin Developer Kit"

    def test_of_a_raspberry_pi_by_its_revision(self, tmp_path: Path) -> None:
        roots = board("raspberry-pi", tmp_path)
        assert identify(roots).revision is None
        write(
            tmp_path / "proc/cpuinfo", "processor\t: 0\nRevision\t: c03114\nModel\t\t: Raspberry Pi 4 Model B Rev 1.4\n"
        )
        assert identify(roots).revision == "c03114"
        write(tmp_path / "proc/device-tree/system/linux,revision", bytes.fromhex("00d04170"))
        found = identify(roots)
        assert found.revision == "d04170"
        assert found.revision_facts == {"memory_bytes": 8 << 30, "processor": "BCM2712", "board_revision": "1.0"}

    def test_of_an_old_revision_code_nothing_is_guessed(self) -> None:
        assert revision_facts(0x000E) is None

    def test_of_a_pc_by_its_dmi_without_its_makers_placeholders(self, tmp_path: Path) -> None:
        roots = Roots(*(str(tmp_path / name) for name in ("proc", "sys", "dev", "etc")))
        write(tmp_path / "sys/class/dmi/id/sys_vendor", "LENOVO\n")
        write(tmp_path / "sys/class/dmi/id/product_name", "To Be Filled By O.E.M.\n")
        assert identify(roots).product == "LENOVO"
        write(tmp_path / "sys/class/dmi/id/product_name", "20XW004AGE\n")
        assert (identify(roots).kind, identify(roots).name()) == ("pc", "LENOVO 20XW004AGE")

    def test_is_in_the_manifests_host_facts(self, tmp_path: Path) -> None:
        facts = host_facts(board("orin-nx-jetpack5", tmp_path), {})
        assert facts["board"] == "NVIDIA Orin NX Developer Kit"
        assert facts["board_release"] == R35.strip()
        assert (facts["board_identity"]["l4t"], facts["board_identity"]["jetpack"]) == ("35.4.1", 5)
        json.dumps(facts)

    @settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=50)
    @given(st.binary(max_size=80), st.binary(max_size=80), st.binary(max_size=80))
    def test_no_bytes_raise(self, tmp_path: Path, tree: bytes, release: bytes, revision: bytes) -> None:
        roots = board("raspberry-pi", tmp_path / os.urandom(8).hex())
        base = Path(roots.proc)
        write(base / "device-tree/compatible", tree)
        write(base / "device-tree/system/linux,revision", revision)
        write(base / "cpuinfo", b"Revision : " + revision)
        write(Path(roots.etc) / "nv_tegra_release", release)
        json.dumps(identify(roots).to_dict())


class TestSensors:
    def test_of_an_orin_nx(self, tmp_path: Path) -> None:
        roots = board("orin-nx-jetpack5", tmp_path)
        found = by_name(sensors(roots, identify(roots), []))
        rails = {name: sensor.value for name, sensor in found.items() if sensor.kind == "rail"}
        assert rails == pytest.approx({"VDD_IN": 5.07904, "VDD_CPU_GPU_CV": 0.75392, "VDD_SOC": 1.42848})
        assert found["CPU-therm"][2:5] == (True, 52.5, "°C")
        assert found["GPU load"][2:5] == (True, pytest.approx(0.437), "share")
        assert found["GPU clock"].value == 306e6
        assert found["memory controller (EMC) clock"].value == 2133e6
        assert found["cpu0 clock"].value == 1420800e3
        assert found["4 of 4 cooling devices"].readable

    def test_that_are_off_have_no_value_but_a_reason(self, tmp_path: Path) -> None:
        roots = board("orin-nx-jetpack5", tmp_path)
        found = by_name(sensors(roots, identify(roots), []))
        for name, reason in (("CV0-therm", "fails"), ("CV1-therm", "its sensor is off"), ("cpu4 clock", "fails")):
            assert not found[name].readable
            assert found[name].value is None
            assert reason in found[name].reason
        assert found["DLA clock"].reason == "no such device here"

    def test_of_an_engine_without_a_figure(self, tmp_path: Path) -> None:
        roots = board("agx-orin-jetpack6", tmp_path)
        write(Path(roots.sys) / "bus/platform/devices/15880000.nvdla0/power/runtime_status", "suspended\n")
        write(Path(roots.sys) / "class/devfreq/154c0000.nvenc/cur_freq", "435200000\n")
        found = by_name(sensors(roots, identify(roots), []))
        assert found["DLA clock"].reason == "no devfreq device of it on this release (suspended now)"
        assert "tegrastats" in found["DLA clock"].remedy
        assert found["NVENC clock (154c0000.nvenc)"].value == 435.2e6
        assert not found["GPU load"].readable
        assert "debugfs is not mounted" in found["memory controller (EMC) clock"].reason

    def test_of_two_monitors_leave_out_what_is_not_connected(self, tmp_path: Path) -> None:
        roots = board("agx-orin-jetpack6", tmp_path)
        write(Path(roots.sys) / "bus/i2c/drivers/ina3221/1-0041/hwmon/hwmon2/in3_label", "VDD_OFF\n")
        found = [sensor for sensor in sensors(roots, identify(roots), []) if sensor.kind == "rail"]
        assert "NC" not in by_name(found)
        assert [sensor.name for sensor in found if not sensor.readable] == ["VDD_OFF"]
        assert by_name(found)["VDDQ_VDD2_1V8AO"].value == pytest.approx(0.81152)

    def test_of_a_nano_with_the_older_driver(self, tmp_path: Path) -> None:
        roots = board("nano-jetpack4", tmp_path)
        found = by_name(sensors(roots, identify(roots), []))
        assert found["POM_5V_IN"].value == pytest.approx(4.25)
        assert found["GPU load"].value == pytest.approx(0.99)

    def test_of_a_raspberry_pi(self, tmp_path: Path) -> None:
        roots = board("raspberry-pi", tmp_path)
        found = by_name(sensors(roots, identify(roots), []))
        assert found["get_throttled"].readable
        assert "pmic_read_adc" in found["supply"].remedy
        (Path(roots.sys) / "devices/platform/soc/soc:firmware/get_throttled").unlink()
        assert "vcgencmd get_throttled" in by_name(sensors(roots, identify(roots), []))["get_throttled"].remedy

    def test_of_a_laptop(self, tmp_path: Path) -> None:
        roots = board("laptop-x86", tmp_path)
        found = by_name(sensors(roots, identify(roots), []))
        assert (found["package-0"].value, found["package-0"].unit) == (pytest.approx(262143), "J")
        assert found["PPT"].value == pytest.approx(9.054)
        assert not [sensor for sensor in found.values() if sensor.kind == "engine"]

    def test_a_machine_without_any_has_none(self, tmp_path: Path) -> None:
        roots = board("virtual-machine", tmp_path)
        assert sensors(roots, identify(roots), []) == []

    def test_what_other_probes_found_is_told(self, tmp_path: Path) -> None:
        roots = Roots(*(str(tmp_path / name) for name in ("proc", "sys", "dev", "etc")))
        write(tmp_path / "etc/nv_tegra_release", "# R38 (release), REVISION: 2.0, GCID: 1\n")
        device = {"name": "NVIDIA Thor", "calls": ["utilization"], "not_supported": {"sm_clock": "Not Supported"}}
        probes: list[dict[str, Any]] = [
            {"name": "gpu", "details": {"devices": [device]}},
            {"name": "power", "details": {"tegrastats": "/usr/bin/tegrastats"}},
        ]
        found = by_name(sensors(roots, identify(roots), probes))
        assert found["GPU load"].path == "NVML: NVIDIA Thor"
        assert not found["GPU clock"].readable
        assert found["tegrastats"].readable

    @pytest.mark.parametrize("mode", ["root alone", "a group"])
    def test_that_only_others_may_read_say_who(self, request: pytest.FixtureRequest, mode: str) -> None:
        """Tried by an ordinary user in a process of its own: root may read anything."""
        if os.geteuid() != 0:
            pytest.skip("only root can become another user: run the tests as root")
        open_folder = tempfile.TemporaryDirectory(prefix="edgeprof-doctor-")  # pytest's own is closed to other users
        request.addfinalizer(open_folder.cleanup)
        Path(open_folder.name).chmod(0o755)
        roots = board("orin-nx-jetpack5", Path(open_folder.name))
        debug = Path(roots.sys) / "kernel/debug"
        debug.chmod(0o700)
        current = Path(roots.sys) / "devices/i2c1/1-0040/hwmon/hwmon3/curr1_input"
        os.chown(current, 0, 44 if mode == "a group" else 0)  # 44 is `video` in Debian and Ubuntu
        current.chmod(0o640 if mode == "a group" else 0o600)
        code = (
            "import grp, json, os, sys\n"
            "from edgeprof.collectors.base import Roots\n"
            "from edgeprof.profiler.agent.board import identify\n"
            "from edgeprof.profiler.agent.doctor_sensors import sensors\n"
            "os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
            "roots = Roots(*sys.argv[1:])\n"
            "print(json.dumps([sensor._asdict() for sensor in sensors(roots, identify(roots), [])]))"
        )
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        done = subprocess.run([sys.executable, "-c", code, *roots], capture_output=True, text=True, env=environment)
        assert done.returncode == 0, done.stderr
        found = {item["name"]: item for item in json.loads(done.stdout)}
        assert found["memory controller (EMC) clock"]["reason"] == "it is in debugfs, which only root may read"
        assert found["VDD_IN"]["readable"] is False
        if mode == "a group":
            assert "usermod -aG video" in found["VDD_IN"]["remedy"]
        else:
            assert found["VDD_IN"]["reason"] == "only root may read it"
        assert found["VDD_SOC"]["readable"] is True


class TestExamination:
    @pytest.fixture(params=sorted(path.stem for path in BOARDS.glob("*.tree")))
    def examined(self, request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Examination]:
        return request.param, examine(str(tmp_path), board(request.param, tmp_path), NO_TOOLS)

    def test_fits_a_terminal_of_80_columns(self, examined: tuple[str, Examination]) -> None:
        tree, found = examined
        console = Console(width=80, record=True, file=open(os.devnull, "w"), markup=False, highlight=False)  # noqa: SIM115, PTH123
        print_examination(found.to_dict(), console)
        text = console.export_text()
        assert max(map(len, text.splitlines())) <= 80
        name = NAMES[tree][0].rstrip("\0") if tree in NAMES else "not known"
        assert name in text
        for sensor in found.sensors:
            assert sensor.name.split()[0] in text

    def test_every_absence_has_a_reason(self, examined: tuple[str, Examination]) -> None:
        found = json.loads(json.dumps(examined[1].to_dict()))
        assert all(item["readable"] or (item["reason"] and item["value"] is None) for item in found["sensors"])
        assert all(item["available"] or item["reason"] for item in found["collectors"])

    def test_names_the_power_mode(self, tmp_path: Path) -> None:
        tool = tmp_path / "nvpmodel"
        tool.write_text("#!/bin/sh\necho 'NV Power Mode: MODE_15W'; echo 2\n")
        tool.chmod(0o755)
        write(tmp_path / "etc/nvpmodel.conf", "< POWER_MODEL ID=0 NAME=MAXN >\n< POWER_MODEL ID=2 NAME=MODE_15W >\n")
        roots = board("orin-nx-jetpack5", tmp_path)
        found = examine(str(tmp_path), roots, Tools(str(tool))).board
        assert (found["power_mode"]["name"], found["power_mode"]["number"]) == ("MODE_15W", 2)
        assert found["power_modes"] == ["MAXN (0)", "MODE_15W (2)"]
        assert examine(str(tmp_path), roots, NO_TOOLS).board["power_mode"]["name"] == "schedutil"

    def test_says_how_a_raspberry_pi_accounts_memory(self, tmp_path: Path) -> None:
        roots = board("raspberry-pi", tmp_path)
        group = tmp_path / "cgroup"
        write(group / "cgroup.controllers", "cpuset cpu io pids\n")
        write(group / "cgroup.procs", "")
        write(tmp_path / "proc/self/mountinfo", f"25 1 0:22 / {group} rw,relatime - cgroup2 cgroup2 rw\n")
        write(tmp_path / "proc/self/cgroup", "0::/\n")
        fact = next(item for item in examine(str(tmp_path), roots, NO_TOOLS).machine if item.name == "cgroups")
        assert fact.good is False
        assert "cmdline.txt" in fact.remedy

    def test_of_this_machine(self, tmp_path: Path) -> None:
        found = examine(str(tmp_path)).to_dict()
        json.dumps(found, allow_nan=False)
        zones = [item for item in found["sensors"] if item["kind"] == "zone"]
        assert len(zones) == len(list(Path("/sys/class/thermal").glob("thermal_zone*")))
        assert found["board"]["system"]

    @pytest.mark.parametrize("odd", [None, 7, [], {}, "x" * 10_000, 10**400, float("nan")])
    def test_of_a_board_that_sends_another_type_is_printed_all_the_same(self, tmp_path: Path, odd: object) -> None:
        found = json.loads(json.dumps(examine(str(tmp_path), board("raspberry-pi", tmp_path), NO_TOOLS).to_dict()))
        for name in found["board"]:
            found["board"][name] = odd
        for sensor in found["sensors"]:
            sensor["value"] = sensor["unit"] = odd
        with open(os.devnull, "w") as nowhere:  # noqa: PTH123
            console = Console(width=80, record=True, file=nowhere)
            print_examination(found, console)
            print_examination({**found, "board": {"power_mode": {"name": odd, "number": odd}}}, console)
        assert "cpu-thermal" in console.export_text()
