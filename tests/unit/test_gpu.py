"""gpu: each NVML call is tried by itself, and what a GPU does not say is absent with its reason.

No test machine has an NVIDIA GPU, so these run against tests/data/gpu/fake_nvml.c, a fake library with made-up
figures; that structures and names are NVIDIA's is checked against NVIDIA's own Python binding.
"""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgeprof.collectors.base import Context, FrameWriter
from edgeprof.collectors.gpu import capture, parse
from edgeprof.collectors.parsing import Parsed, RunFacts

SOURCE = Path(__file__).parents[1] / "data/gpu/fake_nvml.c"


@pytest.fixture(scope="session")
def libraries(tmp_path_factory: pytest.TempPathFactory) -> Any:
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler to build the fake NVML with: apt-get install gcc")
    folder = tmp_path_factory.mktemp("nvml")

    def build(*flags: str) -> str:
        path = folder / f"libfake{''.join(flags)}.so"
        if not path.exists():
            subprocess.run([compiler, "-shared", "-fPIC", "-Wall", "-Werror", *flags, "-o", path, SOURCE], check=True)
        return str(path)

    return build


def capture_run(tmp_path: Path, library: str, samples: int = 3) -> tuple[Parsed, Any]:
    folder = tmp_path / "gpu"
    folder.mkdir()
    collector = capture.COLLECTOR(Context(str(folder), options={"nvml": library}))
    assert collector.probe().available
    collector.start()
    for number in range(samples):
        collector.sample(10**15 + number)
    collector.last(10**16)
    status = collector.stop()
    return parse.parse(tmp_path, RunFacts(0, None, 1, run_pids=frozenset({os.getpid()}))), status


def values(parsed: Parsed, metric: str) -> list[Any]:
    return [row["value"] for row in parsed.tables["gpu"].to_pylist() if row["metric"] == metric]


def test_figures_come_in_the_units_of_the_table(tmp_path: Path, libraries: Any) -> None:
    parsed, _ = capture_run(tmp_path, libraries())
    first = {row["metric"]: (row["value"], row["unit"]) for row in parsed.tables["gpu"].to_pylist()}
    assert first["utilization"] == (pytest.approx(0.87), "share")
    assert first["memory_utilization"] == (pytest.approx(0.41), "share")
    assert first["memory_total"] == (8 << 30, "bytes")
    assert first["memory_used"] == (3 << 30, "bytes")
    assert first["power"] == (pytest.approx(123.456), "W")
    assert first["sm_clock"] == (1.41e9, "Hz")
    assert first["memory_clock"] == (1.215e9, "Hz")
    assert first["throttle_reasons"] == (0x24, "bits")
    assert {row["device"] for row in parsed.tables["gpu"].to_pylist()} == {"0: Fake GPU"}


def test_what_is_not_supported_has_no_rows_and_a_reason_never_0(tmp_path: Path, libraries: Any) -> None:
    parsed, status = capture_run(tmp_path, libraries())
    assert values(parsed, "energy") == []
    first, second = status.details["devices"]
    assert first["not_supported"] == {"energy": "Not Supported"}
    assert set(second["not_supported"]) == {name for name, *_ in capture.CALLS} | {"processes"}
    assert any("Fake GPU does not give energy (Not Supported)" in note for note in parsed.notes)


def test_a_call_that_fails_only_now_is_null_now(tmp_path: Path, libraries: Any) -> None:
    parsed, status = capture_run(tmp_path, libraries(), samples=3)
    # The probe took the first of three good answers; then come the start, three samples and the last one.
    assert values(parsed, "temperature") == [61.0, 61.0, None, None, None]
    assert len(values(parsed, "power")) == 5
    assert status.records == 5 * (2 + 1)  # two devices, one with a process list


def test_memory_of_processes_is_told_apart_and_summed_for_the_run(tmp_path: Path, libraries: Any) -> None:
    parsed, _ = capture_run(tmp_path, libraries())
    assert set(values(parsed, f"process_memory:{os.getpid()}")) == {2.0 * (1 << 30)}
    assert set(values(parsed, "run_memory")) == {2.0 * (1 << 30)}
    assert values(parsed, "process_memory:1") == []  # NVML said that it does not know


def test_a_thermal_slowdown_counts_as_throttling_and_a_power_cap_does_not(tmp_path: Path, libraries: Any) -> None:
    parsed, _ = capture_run(tmp_path, libraries())
    assert {(row["zone"], row["throttling"]) for row in parsed.tables["thermal"].to_pylist()} == {("GPU 0", 1)}
    assert parse._slowdown(np.array([1, 2]), "GPU 0", np.array([4.0, np.nan]))["throttling"].to_pylist() == [0, None]


def test_an_older_library_is_used_as_far_as_it_goes(tmp_path: Path, libraries: Any) -> None:
    parsed, status = capture_run(tmp_path, libraries("-DOLD"))
    assert values(parsed, "run_memory")
    assert status.details["devices"][0]["not_supported"] == {"energy": "this NVML has no such function"}


def test_no_library_no_driver_and_a_board_without_figures_are_three_different_reasons(
    tmp_path: Path, libraries: Any
) -> None:
    def reason(library: str) -> str:
        probe = capture.Gpu(Context(str(tmp_path), options={"nvml": library})).probe()
        assert not probe.available
        return probe.reason

    assert reason("/nowhere/libnvidia-ml.so.1") == "no NVIDIA management library here (libnvidia-ml.so.1)"
    assert reason(libraries("-DNO_DRIVER")) == "NVML does not start: Driver Not Loaded"
    assert reason(libraries("-DONLY_BOARD")) == "NVML is here but supports no figure of Fake board"


def test_structures_are_those_of_nvidias_own_binding() -> None:
    nvml = pytest.importorskip("pynvml", reason="nvidia-ml-py is missing: pip install nvidia-ml-py")
    sizes = {name: size for name, _, _, size in capture.CALLS}
    assert sizes["utilization"] == ctypes.sizeof(nvml.c_nvmlUtilization_t)
    assert sizes["memory"] == ctypes.sizeof(nvml.c_nvmlMemory_t)
    assert [field for field, _ in nvml.c_nvmlMemory_t._fields_] == ["total", "free", "used"]
    process = nvml.c_nvmlProcessInfo_v2_t
    assert capture.PROCESS_BYTES == parse.PROCESS.itemsize == ctypes.sizeof(process)
    assert parse.PROCESS.fields is not None
    assert parse.PROCESS.fields["pid"][1] == process.pid.offset
    assert parse.PROCESS.fields["memory"][1] == process.usedGpuMemory.offset
    assert nvml.nvmlClocksThrottleReasonSwThermalSlowdown | nvml.nvmlClocksThrottleReasonHwThermalSlowdown == (
        parse.THERMAL_BITS
    )
    arguments = {name: arguments for name, _, arguments, _ in capture.CALLS}
    assert arguments["temperature"] == (nvml.NVML_TEMPERATURE_GPU,)
    assert arguments["sm_clock"] == (nvml.NVML_CLOCK_SM,)
    assert arguments["memory_clock"] == (nvml.NVML_CLOCK_MEM,)
    binding = Path(nvml.__file__).read_text()
    assert all(f'"{function}"' in binding for _, function, _, _ in capture.CALLS)


def test_results_are_as_long_as_their_layout() -> None:
    for name, _, _, size in capture.CALLS:
        assert sum(np.dtype(part.kind).itemsize for part in parse.LAYOUTS[name]) == size


def test_no_capture_is_an_empty_table(tmp_path: Path) -> None:
    assert parse.parse(tmp_path, RunFacts(0, None, 1)).tables["gpu"].num_rows == 0


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(st.binary(max_size=200), st.binary(max_size=100))
def test_damaged_frames_and_facts_never_break_the_parser(tmp_path: Path, payload: bytes, facts: bytes) -> None:
    folder = tmp_path / "gpu"
    folder.mkdir(exist_ok=True)
    for item in folder.iterdir():
        item.unlink()
    writer = FrameWriter(str(folder / "gpu.frames"))
    for source in ("device:0", "processes:0"):
        writer.frame(1, writer.source(source), payload)
    writer.close()
    good = json.dumps([{"index": 0, "name": "x", "calls": ["power"], "not_supported": {"energy": 1}}, 7, {}]).encode()
    for content in (good, facts):
        (folder / "gpu.json").write_bytes(content)
        assert parse.parse(tmp_path, RunFacts(0, None, 1)).tables["gpu"].num_rows <= 200
