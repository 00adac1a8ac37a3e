"""Metrics equal what one computes by hand from `tests.tiny_run`, and are null with a reason where they cannot be."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeprof.collectors import schema
from edgeprof.collectors.power.rails import Amount, chosen_rails
from edgeprof.profiler.analysis import compute_from, write_metrics
from edgeprof.profiler.analysis.data import RunData
from edgeprof.profiler.analysis.processes import counter_sum, level_sum
from edgeprof.profiler.analysis.registry import METRICS
from edgeprof.profiler.run import open_run
from tests import tiny_run
from tests.source_tree import ROOT
from tests.tiny_run import MB, at

NAMES = [
    "wall_time",
    "throughput",
    "steps",
    "step_time_p50",
    "step_time_p90",
    "step_time_p99",
    "step_time_max",
    "tail_ratio",
    "deadline_misses",
    "deadline_miss_share",
    "first_inference_time",
    "data_stall",
    "phase_coverage",
    "app_read_bytes",
    "storage_read_bytes",
    "storage_write_bytes",
    "block_read_bytes",
    "block_write_bytes",
    "block_requests",
    "block_read_latency_p50",
    "block_read_latency_p99",
    "block_write_latency_p50",
    "block_write_latency_p99",
    "block_queue_time_p50",
    "block_queue_time_p99",
    "block_sequential_share",
    "page_cache_hit_ratio",
    "read_amplification",
    "rss_peak",
    "pss_peak",
    "cgroup_memory_peak",
    "minor_faults",
    "major_faults",
    "psi_memory_some",
    "psi_io_some",
    "cpu_time",
    "io_wait",
    "context_switches",
    "energy",
    "energy_net",
    "idle_power",
    "energy_per_sample",
    "throttled_time",
    "overhead_cpu",
    "overhead_cpu_share",
    "overhead_bytes",
    "lost_records",
]
"""The fixed list: scripts and CI rely on these names."""


def metrics(data: RunData) -> dict[str, dict[str, Any]]:
    """Rows of the whole run by name."""
    return {row["name"]: row for row in compute_from(data).to_pylist() if row["phase"] is None}


def of_phase(data: RunData, phase: str) -> dict[str, dict[str, Any]]:
    """Rows of one phase by name."""
    return {row["name"]: row for row in compute_from(data).to_pylist() if row["phase"] == phase}


def value(name: str, data: RunData) -> float | None:
    """One metric."""
    number: float | None = metrics(data)[name]["value"]
    return number


EXPECTED = {
    "wall_time": 10.0,
    "throughput": 32 / 8,
    "steps": 4.0,
    "step_time_p50": 2.0,
    "step_time_p90": 2.7,  # 1, 2, 2, 3: 0.7 of the way from the third to the fourth
    "step_time_p99": 2.97,
    "step_time_max": 3.0,
    "tail_ratio": 2.97 / 2,
    "deadline_misses": None,  # it serves no requests
    "deadline_miss_share": None,
    "first_inference_time": None,
    "data_stall": 2 / 8,
    "phase_coverage": 8 / 10,
    "app_read_bytes": 8000 + 3000,
    "storage_read_bytes": 8192.0,
    "storage_write_bytes": 4096.0,
    "block_read_bytes": 4096 + 8192 + 4096 + 4096 + 4096,
    "block_write_bytes": 4096.0,
    "block_requests": 7.0,
    "block_read_latency_p50": 0.2,  # 0.2, 0.2, 0.2, 0.3, 0.6
    "block_read_latency_p99": 0.588,
    "block_write_latency_p50": 0.4,
    "block_write_latency_p99": 0.4,
    "block_queue_time_p50": 0.1,  # 0, 0.1 five times, 0.2
    "block_queue_time_p99": 0.194,
    "block_sequential_share": 1 / 7,
    "page_cache_hit_ratio": 1 - 8192 / 11000,
    "read_amplification": 8192 / 11000,
    "rss_peak": 450 * MB,
    "pss_peak": 300 * MB,
    "cgroup_memory_peak": 900 * MB,
    "minor_faults": 190.0,
    "major_faults": 10.0,
    "psi_memory_some": 0.02,
    "psi_io_some": 0.25,
    "cpu_time": 6.0,
    "io_wait": 2.5,
    "context_switches": 30.0,
    "energy": 50.0,
    "energy_net": None,  # the idle machine was not measured
    "idle_power": None,
    "energy_per_sample": 50 / 32,
    "throttled_time": 2.0,
    "overhead_cpu": 0.08,
    "overhead_cpu_share": 0.005,
    "overhead_bytes": 4000.0,
    "lost_records": 0.0,
}


def test_every_metric_of_the_tiny_run_is_as_computed_by_hand() -> None:
    found = metrics(tiny_run.data())
    assert {name: row["value"] for name, row in found.items()} == pytest.approx(EXPECTED)
    assert all(row["reason"] is None and row["how"] for row in found.values() if row["value"] is not None)
    assert all(row["reason"] for row in found.values() if row["value"] is None)


def test_names_are_the_fixed_list_in_registry_and_table() -> None:
    assert [metric.name for metric in METRICS] == NAMES
    assert list(metrics(tiny_run.data())) == NAMES
    assert set(EXPECTED) == set(NAMES)


def test_the_page_documents_each_metric_with_its_unit() -> None:
    page = (ROOT / "docs/metrics.md").read_text()
    whole, by_phase = page.split("## The verdict")[0].split("## By phase")
    rows = re.findall(r"^\| `(\w+)` \| ([^|]+) \|", whole, re.MULTILINE)
    assert rows == [(metric.name, metric.unit) for metric in METRICS]
    phase_rows = dict(re.findall(r"^\| `(\w+)` \| ([^|]+) \|", by_phase, re.MULTILINE))
    found = of_phase(tiny_run.data(), "load")
    assert phase_rows == {name: row["unit"] for name, row in found.items()}


def test_each_metric_is_defined_in_one_sentence() -> None:
    assert all(metric.definition.endswith(".") and len(metric.definition) > 15 for metric in METRICS)


def test_without_any_table_all_that_was_measured_is_null_with_a_reason() -> None:
    found = metrics(RunData(tiny_run.manifest(), lambda _: None))
    from_manifest = {"wall_time", "overhead_cpu", "overhead_cpu_share", "overhead_bytes", "lost_records"}
    assert {name for name, row in found.items() if row["value"] is not None} == from_manifest
    assert all(row["reason"] for name, row in found.items() if name not in from_manifest)


def test_an_empty_manifest_gives_only_reasons() -> None:
    found = metrics(RunData({}, lambda _: None))
    assert all(row["value"] is None and row["reason"] for row in found.values())


def test_the_reason_is_the_collectors_own() -> None:
    absent = {"name": "block", "available": False, "reason": "tracefs is not mounted", "lost": None}
    found = metrics(tiny_run.data(without=("block_io",), collectors=[absent]))
    assert found["block_read_bytes"]["reason"] == "tracefs is not mounted"
    assert found["block_read_latency_p99"]["reason"] == "tracefs is not mounted"
    assert found["energy"]["value"] == 50.0


def test_an_interrupted_run_is_measured_up_to_its_last_sample() -> None:
    found = metrics(tiny_run.data(run={"wall_time": None, "end_ns": None, "status": "interrupted"}))
    assert found["wall_time"]["value"] is None
    assert "interrupted" in found["wall_time"]["reason"]
    assert found["phase_coverage"]["value"] == pytest.approx(0.8)


def test_unexpected_columns_cost_one_metric_not_all() -> None:
    broken = pa.table({"time_ns": at(0, 10), "event": ["context-switches", "x"], "value": ["many", "few"]})
    found = metrics(tiny_run.data(tables={"counters": broken}))
    assert found["context_switches"]["value"] is None
    assert "shape" in found["context_switches"]["reason"]
    assert found["energy"]["value"] == 50.0


class TestAccounts:
    def test_processes_stand_in_for_a_cgroup(self) -> None:
        data = tiny_run.data(without=("cgroup", "cgroup_io", "counters"), cgroup={"mode": "none"})
        assert value("cpu_time", data) == pytest.approx((4.0 + 0.6 - 0.5 - 0.1) + (1.0 + 0.25))
        assert value("minor_faults", data) == 100 + 20
        assert value("major_faults", data) == 4 + 2
        assert value("storage_read_bytes", data) == 6144 + 2048
        assert value("storage_write_bytes", data) == 8192 - 4096
        assert value("context_switches", data) is None

    def test_what_the_kernel_gave_at_the_end_covers_short_lived_processes(self) -> None:
        rusage = {"utime": 7.0, "stime": 1.0, "minor_faults": 5000, "major_faults": 3}
        rusage |= {"voluntary_context_switches": 40, "involuntary_context_switches": 2}
        data = tiny_run.data(without=("cgroup", "counters"), run={"rusage": rusage})
        assert value("cpu_time", data) == 8.0
        assert value("minor_faults", data) == 5000
        assert value("major_faults", data) == 6  # the processes' own sum is larger, and both are lower bounds
        assert value("context_switches", data) == 42

    def test_io_of_a_child_that_was_waited_for_is_in_its_parents_figure(self) -> None:
        processes = tiny_run.process().set_column(2, "ppid", pa.array([1, 1, tiny_run.MAIN, 1], pa.int32()))
        data = tiny_run.data(tables={"process": processes}, without=("cgroup_io",))
        assert value("app_read_bytes", data) == 8000
        assert value("storage_read_bytes", data) == 6144

    def test_io_of_a_child_that_outlives_the_last_sample_of_its_parent_is_added(self) -> None:
        processes = tiny_run.process().slice(0, 3)
        processes = processes.set_column(2, "ppid", pa.array([1, 1, tiny_run.MAIN], pa.int32()))
        assert value("app_read_bytes", tiny_run.data(tables={"process": processes})) == 4000 + 3000

    def test_cgroup_v1_that_counts_nothing_is_not_believed(self) -> None:
        silent = tiny_run.cgroup_io().slice(0, 1).set_column(2, "read_bytes", pa.array([0], pa.int64()))
        data = tiny_run.data(tables={"cgroup_io": silent}, cgroup={"mode": "hybrid"})
        assert value("storage_read_bytes", data) == 6144 + 2048

    def test_cgroup_v1_counts_where_it_saw_more(self) -> None:
        data = tiny_run.data(cgroup={"mode": "v1"}, without=())
        found = metrics(data)["storage_read_bytes"]
        assert found["value"] == 8192
        assert "processes" in found["how"]

    def test_a_loop_device_and_the_disk_below_count_once(self) -> None:
        columns = {"time_ns": at(10, 10), "device": ["7:0", "259:0"], "read_bytes": [8192, 9000]}
        data = tiny_run.data(tables={"cgroup_io": schema.table("cgroup_io", columns)})
        assert value("storage_read_bytes", data) == 9000

    def test_two_disks_are_added(self) -> None:
        columns = {"time_ns": at(10, 10), "device": ["8:0", "259:0"], "read_bytes": [8192, 9000]}
        data = tiny_run.data(tables={"cgroup_io": schema.table("cgroup_io", columns)})
        assert value("storage_read_bytes", data) == 17192

    def test_pressure_of_the_runs_own_cgroup_goes_first(self) -> None:
        own = tiny_run.cgroup().append_column("psi_io_some_total", pa.array([0.0, 0.5, 1.0]))
        found = metrics(tiny_run.data(tables={"cgroup": own}))["psi_io_some"]
        assert found["value"] == pytest.approx(0.1)
        assert "cgroup" in found["how"]

    def test_a_kernel_without_a_memory_peak_gives_the_largest_sample(self) -> None:
        data = tiny_run.data(tables={"cgroup": tiny_run.cgroup().drop_columns(["memory_peak"])})
        assert value("cgroup_memory_peak", data) == 800 * MB


class TestBlock:
    def test_sampled_capture_keeps_percentiles_and_gives_no_counts(self) -> None:
        sampled = [{"name": "block", "available": True, "mode": "sampled", "lost": 0}]
        found = metrics(tiny_run.data(collectors=sampled))
        for name in ("block_read_bytes", "block_write_bytes", "block_requests"):
            assert found[name]["value"] is None
            assert "sampled" in found[name]["reason"]
        assert found["block_read_latency_p50"]["value"] == pytest.approx(0.2)
        assert "windows" in found["block_read_latency_p50"]["how"]

    def test_capturing_no_request_is_zero_and_not_missing(self) -> None:
        data = tiny_run.data(tables={"block_io": schema.empty("block_io")})
        assert value("block_read_bytes", data) == 0.0
        assert value("block_read_latency_p50", data) is None

    def test_a_run_that_made_no_request_is_zero_although_others_made_some(self) -> None:
        others = tiny_run.block_io().slice(4, 2)
        assert value("block_requests", tiny_run.data(tables={"block_io": others})) == 0.0

    def test_lost_records_are_said(self) -> None:
        collectors = [{"name": "block", "available": True, "mode": "full", "lost": 12}]
        found = metrics(tiny_run.data(collectors=collectors))
        assert "12 records were lost" in found["block_read_bytes"]["how"]
        assert found["lost_records"]["value"] == 12

    def test_order_of_issue_decides_what_is_sequential(self) -> None:
        columns = {
            "queued_ns": at(1, 2, 3),
            "issued_ns": at(5, 4, 6),  # the scheduler swaps the first two
            "dev": [1, 1, 1],
            "sector": [8, 0, 16],
            "bytes": [4096, 4096, 4096],
            "op": ["read"] * 3,
            "owner": ["run"] * 3,
        }
        data = tiny_run.data(tables={"block_io": schema.table("block_io", columns)})
        assert value("block_sequential_share", data) == pytest.approx(2 / 3)


class TestPageCache:
    def test_more_from_storage_than_asked_for_hides_the_hits(self) -> None:
        columns = {"time_ns": at(10), "device": ["259:0"], "read_bytes": [50_000], "write_bytes": [0]}
        found = metrics(tiny_run.data(tables={"cgroup_io": schema.table("cgroup_io", columns)}))
        assert found["page_cache_hit_ratio"]["value"] is None
        assert "memory-mapped" in found["page_cache_hit_ratio"]["reason"]
        assert found["read_amplification"]["value"] == pytest.approx(50_000 / 11_000)

    def test_direct_io_does_not_count_as_missed(self) -> None:
        events = {
            "time_ns": at(1, 2, 3),
            "event": ["add", "delete", "add"],
            "pages": [1, 9, 5],
            "owner": ["run", "run", "other"],
        }
        data = tiny_run.data(tables={"page_cache": schema.table("page_cache", events)})
        assert value("page_cache_hit_ratio", data) == pytest.approx(1 - 4096 / 11_000)


class TestSteps:
    def test_steps_without_samples_give_no_throughput(self) -> None:
        bare = tiny_run.steps().set_column(4, "samples", pa.array([None] * 4, pa.float64()))
        found = metrics(tiny_run.data(tables={"steps": bare}))
        assert found["throughput"]["value"] is None
        assert found["energy_per_sample"]["value"] is None
        assert found["steps"]["value"] == 4

    def test_no_phase_load_is_not_a_stall_of_zero(self) -> None:
        forward_only = tiny_run.phases().slice(4, 4)
        found = metrics(tiny_run.data(tables={"phases": forward_only}))["data_stall"]
        assert found["value"] is None
        assert "'load'" in found["reason"]

    def test_a_load_that_reaches_over_the_end_of_a_step_counts_in_both(self) -> None:
        over = tiny_run.phases().slice(0, 1).set_column(0, "start_ns", pa.array(at(1.5), pa.int64()))
        over = over.set_column(1, "end_ns", pa.array(at(2.25), pa.int64()))
        assert value("data_stall", tiny_run.data(tables={"phases": over})) == pytest.approx(0.75 / 8)

    def test_the_workers_own_load_is_no_stall(self) -> None:
        worker_only = tiny_run.phases().slice(8, 1)
        assert value("data_stall", tiny_run.data(tables={"phases": worker_only})) is None


class TestPhases:
    def test_of_the_tiny_run(self) -> None:
        load = of_phase(tiny_run.data(), "load")
        assert load["wall_time"]["value"] == pytest.approx(2.0)
        assert load["phase_count"]["value"] == 4
        assert load["block_read_bytes"]["value"] == 4096 + 8192 + 4096
        assert load["block_requests"]["value"] == 3
        forward = of_phase(tiny_run.data(), "forward")
        assert forward["wall_time"]["value"] == pytest.approx(6.0)
        assert forward["block_write_bytes"]["value"] == 4096
        assert forward["rss_peak"]["value"] == 450 * MB  # the sample at 5 s
        assert forward["rss_mean"]["value"] == 450 * MB

    def test_counters_are_not_spread_over_phases_shorter_than_the_samples_are_apart(self) -> None:
        found = of_phase(tiny_run.data(), "load")["cpu_time"]
        assert found["value"] is None
        assert "shorter than the samples are apart" in found["reason"]

    def test_counters_are_divided_at_the_borders_of_long_phases(self) -> None:
        columns = {
            "start_ns": at(0, 6, 7),
            "end_ns": at(6, 10, 8),
            "name": ["train", "save", "flush"],
            "pid": [tiny_run.MAIN] * 3,
            "tid": [tiny_run.MAIN] * 3,
            "depth": [0, 0, 1],
            "main": [True] * 3,
            "cut": [False] * 3,
        }
        seconds = list(range(11))
        usage = [0.0, 1, 2, 3, 4, 5, 6, 6, 6, 8, 10]
        group = schema.table("cgroup", {"time_ns": at(*seconds), "cpu_usage": usage})
        data = tiny_run.data(tables={"phases": schema.table("phases", columns), "cgroup": group}, without=("process",))
        assert of_phase(data, "train")["cpu_time"]["value"] == pytest.approx(6.0)
        assert of_phase(data, "save")["cpu_time"]["value"] == pytest.approx(4.0)
        assert of_phase(data, "save")["wall_time"]["value"] == pytest.approx(3.0)  # flush lies within
        assert of_phase(data, "flush")["cpu_time"]["value"] == pytest.approx(0.0)

    def test_a_phase_of_workers_only_is_no_phase_of_the_run(self) -> None:
        data = tiny_run.data(tables={"phases": tiny_run.phases().slice(8, 1)})
        assert of_phase(data, "load") == {}


class TestEnergy:
    def test_a_counter_is_read_at_the_runs_borders(self) -> None:
        columns = {
            "time_ns": at(-5, 5, 15),
            "rail": ["package-0"] * 3,
            "source": ["rapl"] * 3,
            "energy": [0.0, 100.0, 300.0],
            "total": [False] * 3,
        }
        data = tiny_run.data(tables={"power": schema.table("power", columns)})
        assert value("energy", data) == pytest.approx(50 + 100)

    def test_rails_that_contain_others_are_not_added_to_them(self) -> None:
        rails = [Amount("ina3221", "VDD_IN", True, 50, 10), Amount("ina3221", "VDD_CPU", False, 20, 10)]
        assert [rail.name for rail in chosen_rails(rails)] == ["VDD_IN"]

    def test_packages_are_added_with_their_memory(self) -> None:
        rails = [
            Amount("rapl", "package-0", True, 60, 10),
            Amount("rapl", "package-0/core", False, 50, 10),
            Amount("rapl", "package-0/dram", False, 5, 10),
            Amount("rapl", "package-1", True, 40, 10),
        ]
        assert sum(rail.joules for rail in chosen_rails(rails)) == 105

    def test_the_outermost_of_several_totals_counts(self) -> None:
        rails = [Amount("rapl", "package-0", True, 60, 10), Amount("rapl", "psys", True, 90, 10)]
        assert [rail.name for rail in chosen_rails(rails)] == ["psys"]

    def test_two_sources_of_one_rail_count_once(self) -> None:
        rails = [Amount("tegrastats", "VDD_IN", True, 49, 10), Amount("ina3221", "VDD_IN", True, 50, 10)]
        assert [rail.source for rail in chosen_rails(rails)] == ["ina3221"]

    def test_rails_without_a_total_are_added(self) -> None:
        rails = [Amount("hwmon", "vdd_gpu", False, 30, 10), Amount("hwmon", "vdd_soc", False, 20, 10)]
        assert sum(rail.joules for rail in chosen_rails(rails)) == 50

    def test_a_fan_does_not_throttle(self) -> None:
        fan = tiny_run.thermal().slice(4, 2)
        found = metrics(tiny_run.data(tables={"thermal": fan}))["throttled_time"]
        assert found["value"] is None
        assert "no cooling device" in found["reason"]


def test_a_pid_used_again_counts_as_another_process() -> None:
    columns = {"time_ns": at(1, 2, 3), "pid": [5, 5, 5], "start_time": [1.0, None, 2.5], "minflt": [10, 30, 7]}
    table = schema.table("process", columns)
    assert counter_sum(table, "minflt", None).values.tolist() == [10, 30, 37]


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 8), st.integers(1, 3), st.one_of(st.none(), st.integers(0, 50))),
        min_size=1,
        max_size=40,
        unique_by=lambda row: row[:2],
    )
)
def test_the_sum_over_processes_equals_a_plain_loop(rows: list[tuple[int, int, int | None]]) -> None:
    columns = {"time_ns": [row[0] for row in rows], "pid": [row[1] for row in rows], "rss": [row[2] for row in rows]}
    columns["rss"] = pa.array(columns["rss"], pa.int64())
    series = level_sum(schema.table("process", columns), "rss")
    ticks = sorted({row[0] for row in rows})
    expected = {}
    for tick in ticks:
        total = 0
        for pid in {row[1] for row in rows}:
            mine = [row for row in rows if row[1] == pid]
            alive = max(row[0] for row in mine) >= tick
            past = [row for row in sorted(mine, key=lambda row: row[0]) if row[0] <= tick and row[2] is not None]
            total += past[-1][2] or 0 if alive and past else 0
        expected[tick] = total
    for tick, found in zip(series.times.tolist(), series.values.tolist(), strict=True):
        assert found == expected[tick]


def test_metrics_are_written_whole(tmp_path: Path) -> None:
    folder = tiny_run.write(tmp_path / "run", metrics=False)
    written = write_metrics(open_run(folder))
    assert pq.read_table(folder / "metrics.parquet").equals(written)
    assert open_run(folder).metrics["throughput"] == {"value": 4.0, "unit": "samples/s", "reason": None}
    assert sorted(item.name for item in folder.iterdir()) == ["manifest.json", "metrics.parquet", "tables"]


def test_a_million_requests_take_no_loop_in_python() -> None:
    count = 200_000
    rng = np.random.default_rng(1)
    queued = np.sort(rng.integers(0, 10_000_000_000, count)) + tiny_run.START_NS
    columns = {
        "queued_ns": queued,
        "issued_ns": queued + 1000,
        "completed_ns": queued + 3000,
        "dev": np.full(count, 1),
        "sector": np.arange(count) * 8,
        "bytes": np.full(count, 4096),
        "op": pa.DictionaryArray.from_arrays(pa.array(np.zeros(count), pa.int32()), pa.array(["read"])),
        "owner": pa.DictionaryArray.from_arrays(pa.array(np.zeros(count), pa.int32()), pa.array(["run"])),
    }
    data = tiny_run.data(tables={"block_io": schema.table("block_io", columns)})
    assert value("block_sequential_share", data) == pytest.approx((count - 1) / count)
    assert value("block_read_latency_p99", data) == pytest.approx(3e-6)


class TestRequests:
    @staticmethod
    def marks(*rows: tuple[str, float, int]) -> pa.Table:
        """Marks: name, value, process."""
        names, values, pids = zip(*rows, strict=True)
        return schema.table("marks", {"time_ns": at(*([1] * len(rows))), "name": names, "value": values, "pid": pids})

    def test_steps_beyond_the_deadline_are_missed(self) -> None:
        data = tiny_run.data(tables={"marks": self.marks(("deadline", 2.0, tiny_run.MAIN))})
        assert value("deadline_misses", data) == 1  # 1, 2, 2 and 3 s
        assert value("deadline_miss_share", data) == 1 / 4

    def test_unanswered_requests_are_missed(self) -> None:
        marks = self.marks(("deadline", 1.5, tiny_run.MAIN), ("unanswered", 6, tiny_run.MAIN), ("loss", 9, 1))
        found = metrics(tiny_run.data(tables={"marks": marks}))
        assert found["deadline_misses"]["value"] == 3 + 6
        assert found["deadline_misses"]["how"] == "3 late of 4 answered, 6 not answered"
        assert found["deadline_miss_share"]["value"] == 9 / 10

    def test_each_process_has_a_deadline_of_its_own(self) -> None:
        columns = {"step": [0, 0, 0], "start_ns": at(1, 1, 1), "end_ns": at(2, 3, 9), "pid": [1, 2, 3]}
        data = tiny_run.data(
            tables={
                "steps": schema.table("steps", {**columns, "samples": [1.0] * 3}),
                "marks": self.marks(("deadline", 0.5, 1), ("deadline", 5.0, 2)),
            }
        )
        assert value("deadline_misses", data) == 1
        assert value("deadline_miss_share", data) == 1 / 2  # process 3 has none

    def test_a_process_that_answered_nothing_has_no_share(self) -> None:
        found = metrics(tiny_run.data(tables={"marks": self.marks(("deadline", 2.0, tiny_run.WORKER))}))
        assert found["deadline_misses"]["value"] is None
        assert found["deadline_misses"]["reason"]

    @staticmethod
    def first(*rows: tuple[float, float, str]) -> pa.Table:
        """Phases of the main process."""
        starts, ends, names = zip(*rows, strict=True)
        columns = {"start_ns": at(*starts), "end_ns": at(*ends), "name": names, "main": [True] * len(rows)}
        return schema.table("phases", {**columns, "pid": [tiny_run.MAIN] * len(rows), "depth": [0] * len(rows)})

    def test_the_first_answer_counts_from_the_start_of_the_process(self) -> None:
        rows = [(0.25, 0.5, "startup"), (0.5, 3.0, "first-inference"), (0.5, 1.0, "import")]
        data = tiny_run.data(tables={"phases": self.first(*rows)})
        assert value("first_inference_time", data) == pytest.approx(2.75)

    def test_without_a_startup_it_counts_from_the_exec(self) -> None:
        data = tiny_run.data(tables={"phases": self.first((0.5, 3.0, "first-inference"))})
        assert value("first_inference_time", data) == pytest.approx(3.0)

    def test_validation_between_steps_is_not_in_the_throughput(self) -> None:
        rows = [(0.0, 0.5, "validate"), (4.0, 5.0, "validate"), (8.5, 9.5, "validate")]
        found = metrics(tiny_run.data(tables={"phases": self.first(*rows)}))["throughput"]
        assert found["value"] == pytest.approx(32 / (8 - 1 - 0.5))
        assert "1.5 s of validation left out" in found["how"]
