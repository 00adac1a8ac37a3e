"""On another kernel, with version 2 cgroups alone, a run and fio agree on all bytes and on how long requests took.

See `tests.guest.record_runs` for the device and for why its latencies can be compared.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest

from edgeprof.profiler.ingest import ingest
from edgeprof.profiler.run import Run
from tests.guest.machine import NoGuest
from tests.guest.record_runs import (
    BLOCK_BYTES,
    COLLECTORS,
    CPU_SHARE,
    LATENCY,
    MEMORY_LIMIT,
    PERF,
    SMALL_LIMIT,
    TOTAL_BYTES,
    record,
)

pytestmark = [pytest.mark.guest, pytest.mark.timeout(240)]

BACKENDS = ("tracefs", "blktrace")
BYTES, LATENCIES = 0.01, 0.10
"""How far two accounts of one thing may differ."""


@pytest.fixture(scope="module")
def guest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files that the guest left."""
    folder = tmp_path_factory.mktemp("guest")
    try:
        files = record()
    except NoGuest as reason:
        pytest.skip(str(reason))
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


@pytest.fixture(scope="module")
def runs(guest: Path) -> dict[str, Run]:
    """The ingested runs by name."""
    paths = [path for folder in ("disk", "user", "box") for path in (guest / folder / "runs").iterdir()]
    return {path.name: ingest(run) for path in paths for run in path.iterdir()}


def fio_says(guest: Path, name: str) -> dict[str, Any]:
    """What fio reports of its job of reads, and of the one of writes."""
    reads, writes = json.loads((guest / f"{name}.json").read_text())["jobs"]
    return {"read": reads["read"], "write": writes["write"]}


def requests_of(run: Run, op: str) -> pd.DataFrame:
    """The requests that are the run's own."""
    table = run.table("block_io")
    own: pd.DataFrame = table[(table["owner"] == "run") & (table["op"] == op)]
    return own


def seconds(requests: pd.DataFrame) -> npt.NDArray[np.float64]:
    """How long each request took, from its allocation to its completion."""
    return (requests["completed_ns"] - requests["queued_ns"]).to_numpy(np.float64) / 1e9


def moved(run: Run, op: str) -> int:
    """Bytes that the run's cgroup was charged at the end."""
    table = run.table("cgroup_io")
    return int(table.groupby("device", observed=True)[f"{op}_bytes"].last().sum())


@pytest.mark.parametrize("name", BACKENDS)
def test_every_collector_ran_on_this_kernel(runs: dict[str, Run], guest: Path, name: str) -> None:
    manifest = runs[name].manifest
    assert (guest / f"{name}.code").read_text().strip() == "0"
    assert manifest["host"]["kernel"].startswith("6.1.0")
    assert manifest["cgroup"]["mode"] == "v2"
    assert manifest["cgroup"]["reason"] == ""
    collectors = {item["name"]: item for item in manifest["collectors"]}
    assert {key: item["available"] for key, item in collectors.items()} == dict.fromkeys(COLLECTORS, True)
    assert collectors["block"]["details"]["backend"] == name
    assert {item["lost"] for item in collectors.values()} == {0}


@pytest.mark.parametrize("op", ["read", "write"])
@pytest.mark.parametrize("name", BACKENDS)
def test_fio_its_requests_and_its_cgroup_count_the_same_bytes(
    runs: dict[str, Run], guest: Path, name: str, op: str
) -> None:
    run, fio = runs[name], fio_says(guest, name)[op]
    requests = requests_of(run, op)
    assert fio["io_bytes"] == TOTAL_BYTES
    assert requests["bytes"].sum() == pytest.approx(fio["io_bytes"], rel=BYTES)
    assert moved(run, op) == pytest.approx(fio["io_bytes"], rel=BYTES)
    assert len(requests) == pytest.approx(fio["total_ios"], rel=BYTES)
    assert set(requests["bytes"]) == {BLOCK_BYTES}
    assert set(requests["device"]) == {"nullb0"}
    assert set(requests["comm"]) == {"fio"}
    metrics = run.metrics
    for metric in (f"block_{op}_bytes", f"storage_{op}_bytes"):
        assert metrics[metric]["value"] == pytest.approx(fio["io_bytes"], rel=BYTES), metric


@pytest.mark.parametrize("op", ["read", "write"])
@pytest.mark.parametrize("name", BACKENDS)
def test_requests_take_as_long_as_fio_waits_for_them(runs: dict[str, Run], guest: Path, name: str, op: str) -> None:
    took = seconds(requests_of(runs[name], op))
    waited = {key: value / 1e9 for key, value in fio_says(guest, name)[op]["clat_ns"]["percentile"].items()}
    for percent in (50, 90, 99):
        found = np.percentile(took, percent, method="higher")
        assert found == pytest.approx(waited[f"{percent}.000000"], rel=LATENCIES), percent
    assert took.min() >= LATENCY
    assert np.percentile(took, 90) > 2 * np.percentile(took, 50), "no request had to wait for the device's rate"
    metrics = runs[name].metrics
    for percent in (50, 99):
        metric = f"block_{op}_latency_p{percent}"
        assert metrics[metric]["value"] == pytest.approx(waited[f"{percent}.000000"], rel=LATENCIES), metric


@pytest.mark.parametrize("op", ["read", "write"])
def test_both_back_ends_saw_the_same_requests(runs: dict[str, Run], op: str) -> None:
    one, other = (requests_of(runs[name], op) for name in BACKENDS)
    assert one["bytes"].sum() == pytest.approx(other["bytes"].sum(), rel=BYTES)
    assert sorted(one["sector"]) == sorted(other["sector"])


@pytest.mark.parametrize("name", BACKENDS)
def test_the_profilers_own_writes_are_not_the_runs(runs: dict[str, Run], name: str) -> None:
    table = runs[name].table("block_io")
    capture = table[table["device"] == "vdb"]  # where the guest keeps captures and journals
    assert (capture["owner"] == "profiler").any()
    assert set(capture["owner"]) <= {"profiler", "kernel"}


@pytest.mark.parametrize("name", BACKENDS)
def test_the_cgroups_memory_pressure_and_limits_are_captured(runs: dict[str, Run], name: str) -> None:
    table = runs[name].table("cgroup")
    assert 0 < table["memory_current"].max() <= table["memory_peak"].max() < MEMORY_LIMIT
    assert 0 < table["stat_anon"].max() < MEMORY_LIMIT
    assert set(table["memory_limit"].dropna()) == {MEMORY_LIMIT}
    assert table["cpu_usage"].is_monotonic_increasing
    assert table["cpu_usage"].iloc[-1] > 0
    for resource in ("cpu", "memory", "io"):
        for kind in ("some", "full"):
            assert table[f"psi_{resource}_{kind}_total"].notna().any(), (resource, kind)
    waited = float(seconds(requests_of(runs[name], "read")).sum() + seconds(requests_of(runs[name], "write")).sum())
    assert 0.5 * waited < table["psi_io_some_total"].max() <= runs[name].manifest["run"]["wall_time"]


@pytest.mark.skipif(not PERF, reason="no perf here: apt-get install linux-perf")
@pytest.mark.parametrize("name", BACKENDS)
def test_perf_counts_software_events_and_says_what_the_processor_lacks(runs: dict[str, Run], name: str) -> None:
    table = runs[name].table("counters")
    counted = table.groupby("event", observed=True)["value"].sum(min_count=1)
    assert counted["task-clock"] > 0
    assert counted["page-faults"] > 0
    absent = table[table["event"] == "cycles"]
    assert absent["value"].isna().all()
    assert absent["reason"].notna().all()


def test_a_run_gets_no_more_memory_than_its_limit(runs: dict[str, Run], guest: Path) -> None:
    run = runs["greedy"]
    table = run.table("cgroup")
    assert (run.manifest["run"]["status"], run.manifest["run"]["signal"]) == ("finished", 9)
    assert (guest / "greedy.code").read_text().strip() == "137"
    assert set(table["memory_limit"].dropna()) == {SMALL_LIMIT}
    assert 0.5 * SMALL_LIMIT < table["memory_peak"].max() <= SMALL_LIMIT
    assert table["events_oom_kill"].max() == 1


def test_a_run_gets_no_more_cpu_time_than_its_limit(runs: dict[str, Run]) -> None:
    run = runs["slowed"]
    table = run.table("cgroup")
    assert set(table["cpu_limit"].dropna()) == {CPU_SHARE}
    assert table["cpu_nr_throttled"].max() > 0
    period = 0.1
    assert table["cpu_usage"].max() <= CPU_SHARE * (run.manifest["run"]["wall_time"] + 2 * period)


@pytest.mark.parametrize("name", ["delegated", "boxed"])
def test_a_run_has_a_cgroup_below_one_that_edgeprof_is_alone_in(runs: dict[str, Run], guest: Path, name: str) -> None:
    run = runs[name]
    assert (guest / f"{name}.code").read_text().strip() == "0"
    assert run.manifest["run"]["user"] == (1000 if name == "delegated" else 0)
    assert (run.manifest["cgroup"]["mode"], run.manifest["cgroup"]["reason"]) == ("v2", "")
    assert run.manifest["notes"] == []
    assert set(run.table("cgroup")["memory_limit"].dropna()) == {MEMORY_LIMIT}
    assert moved(run, "read") == moved(run, "write") == TOTAL_BYTES


def test_a_run_without_controllers_says_why_and_goes_on_unless_a_limit_needs_them(
    runs: dict[str, Run], guest: Path
) -> None:
    assert (guest / "crowded.code").read_text().strip() == "0"
    cgroup = runs["crowded"].manifest["cgroup"]
    assert (cgroup["mode"], list(cgroup["paths"])) == ("v2", ["unified"])
    assert "cannot be switched on in /sys/fs/cgroup: other processes are in it" in cgroup["reason"]
    assert runs["crowded"].table("cgroup")["memory_current"].isna().all()
    assert (guest / "limited.code").read_text().strip() == "121"
    assert "cannot limit memory: controllers cpu, io, memory, pids cannot be" in (guest / "limited.err").read_text()
    assert "limited" not in runs


def test_a_run_keeps_its_controllers_when_one_that_began_earlier_ends(runs: dict[str, Run]) -> None:
    assert moved(runs["second"], "read") == moved(runs["second"], "write") == TOTAL_BYTES


@pytest.mark.parametrize("name", [*BACKENDS, "slowed", "second", "delegated", "boxed", "crowded", "limited"])
def test_a_run_leaves_the_machine_as_it_was(guest: Path, name: str) -> None:
    assert picture(guest / "after" / name) == picture(guest / "before" / name)


def test_the_next_run_undoes_what_a_killed_one_left(guest: Path) -> None:
    left = picture(guest / "before" / "greedy")
    assert all(left[name] for name in ("controllers", "cgroups", "journals", "instances")), left
    assert ":1\n" in left["disks"], "the killed run's blktrace did not leave the kernel tracing"
    assert picture(guest / "after" / "greedy") == picture(guest / "before" / "killed")


def test_a_killed_run_is_an_interrupted_one(runs: dict[str, Run]) -> None:
    manifest = runs["killed"].manifest
    assert manifest["run"]["status"] == "interrupted"
    assert manifest["cgroup"]["mode"] == "v2"
    assert runs["killed"].table("cgroup")["time_ns"].size > 0


def picture(folder: Path) -> dict[str, str]:
    """What `tests.guest.record_runs` noted of the guest at one moment."""
    return {path.name: path.read_text() for path in folder.iterdir()}
