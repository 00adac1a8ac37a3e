"""The verdict names the bottleneck that the figures show, and nothing that was not captured."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from edgeprof.collectors import schema
from edgeprof.profiler.analysis.data import RunData
from edgeprof.profiler.analysis.judgement import judge, with_roles
from tests import tiny_run
from tests.tiny_run import MAIN, WORKER, at

CPUS = 2


def rows(phases: dict[str, float] | None = None, **values: float | None) -> list[dict[str, Any]]:
    """Metric rows as metrics.parquet has them; ``phases`` are seconds."""
    every = [{"name": name, "value": value, "phase": None} for name, value in values.items()]
    every += [{"name": "wall_time", "value": value, "phase": name} for name, value in (phases or {}).items()]
    return [
        {"unit": "", "how": "", "reason": None if row["value"] is not None else "not there", **row} for row in every
    ]


def bare(**tables: pa.Table) -> RunData:
    """A run of 10 s on 2 CPUs with these tables only."""
    return RunData(tiny_run.manifest(), tables.get)


def loaders(state: str, cpu_seconds: float) -> pa.Table:
    """A worker that used CPU time over 8 s in this state, and its parent."""
    columns = {
        "time_ns": at(1, 1, 9, 9),
        "pid": [MAIN, WORKER] * 2,
        "start_time": [1.0, 2.0] * 2,
        "state": ["S", state] * 2,
        "utime": [0.0, 0.0, 1.0, cpu_seconds],
        "stime": [0.0] * 4,
    }
    return schema.table("process", columns)


def text(verdict: dict[str, Any]) -> str:
    """Evidence and advice in one."""
    return " ".join([*verdict["evidence"], *verdict["advice"]])


def test_nothing_captured_is_unknown_and_says_what_is_needed() -> None:
    verdict = judge(rows(), bare())
    assert (verdict["bound_by"], verdict["confidence"]) == ("unknown", "low")
    assert "--auto" in text(verdict)
    assert all("not known" in sentence for sentence in verdict["evidence"])


def test_waiting_for_slow_storage_is_input_with_advice_on_storage() -> None:
    metrics = rows(data_stall=0.5, steps=100, psi_io_some=0.4, block_read_latency_p50=0.004)
    verdict = judge(metrics, bare(steps=tiny_run.steps(), process=loaders("D", 0.8)))
    assert (verdict["bound_by"], verdict["confidence"]) == ("input", "high")
    assert "50%" in verdict["evidence"][0]
    assert "state D" in text(verdict)
    assert "faster storage" in text(verdict)
    assert "transforms" not in text(verdict)


def test_waiting_for_busy_workers_is_input_with_advice_on_preparing() -> None:
    metrics = rows(data_stall=0.5, steps=100, psi_io_some=0.01)
    verdict = judge(metrics, bare(steps=tiny_run.steps(), process=loaders("R", 7.6)))
    assert verdict["bound_by"] == "input"
    assert "95% of a CPU" in text(verdict)
    assert "transforms" in text(verdict)
    assert "faster storage" not in text(verdict)


def test_a_stall_that_nothing_explains_is_said_to_be_unexplained() -> None:
    verdict = judge(rows(data_stall=0.2, steps=100), bare())
    assert (verdict["bound_by"], verdict["confidence"]) == ("input", "medium")
    assert "Neither storage nor" in text(verdict)


def test_few_steps_lower_the_confidence() -> None:
    assert judge(rows(data_stall=0.5, steps=5), bare())["confidence"] == "medium"


def test_busy_compute_phases_without_a_stall_are_compute() -> None:
    metrics = rows({"forward": 3.0, "backward": 5.0, "load": 0.2}, data_stall=0.02, steps=100, cpu_time=18.0)
    verdict = judge(metrics, bare())
    assert (verdict["bound_by"], verdict["confidence"]) == ("compute", "high")
    assert "80%" in verdict["evidence"][0]


def test_busy_cpus_without_phases_are_compute_only_with_doubt() -> None:
    verdict = judge(rows(cpu_time=19.0, data_stall=None), bare())
    assert (verdict["bound_by"], verdict["confidence"]) == ("compute", "medium")


def test_busy_cpus_do_not_hide_a_stall() -> None:
    verdict = judge(rows(cpu_time=19.0, data_stall=0.4, steps=100), bare())
    assert verdict["bound_by"] == "input"
    assert "95%" in text(verdict)


def test_pressure_and_refaults_are_memory_even_where_the_input_stalls() -> None:
    group = tiny_run.cgroup().append_column("stat_workingset_refault_file", pa.array([0, 0, 1000], pa.int64()))
    metrics = rows(psi_memory_some=0.3, data_stall=0.45, steps=100, storage_read_bytes=1000 * 4096.0 / 0.8)
    verdict = judge(metrics, RunData(tiny_run.manifest(spec={"memory_limit": 512_000_000}), {"cgroup": group}.get))
    assert verdict["bound_by"] == "memory"
    assert "80%" in text(verdict)
    assert "512 MB" in text(verdict)
    assert "Also input" in text(verdict)


def test_refaults_without_pressure_are_no_memory_problem() -> None:
    group = tiny_run.cgroup().append_column("stat_workingset_refault_file", pa.array([0, 0, 1000], pa.int64()))
    verdict = judge(rows(psi_memory_some=0.0, storage_read_bytes=4096.0), bare(cgroup=group))
    assert verdict["bound_by"] == "unknown"


def test_many_slow_major_faults_are_memory() -> None:
    verdict = judge(rows(major_faults=2000, block_read_latency_p50=0.001), bare())
    assert verdict["bound_by"] == "memory"
    assert "20%" in text(verdict)


def test_a_long_checkpoint_is_writeback() -> None:
    metrics = rows({"checkpoint": 4.0}, data_stall=0.01, steps=100, storage_write_bytes=2e9)
    verdict = judge(metrics, bare())
    assert (verdict["bound_by"], verdict["confidence"]) == ("writeback", "high")
    assert "2000.0 MB" in text(verdict)


@pytest.mark.parametrize(("read", "written", "bound_by"), [(2e9, 1e6, "input"), (1e6, 2e9, "writeback")])
def test_io_pressure_without_phases_follows_what_was_moved(read: float, written: float, bound_by: str) -> None:
    verdict = judge(rows(psi_io_some=0.8, storage_read_bytes=read, storage_write_bytes=written), bare())
    assert verdict["bound_by"] == bound_by
    assert verdict["confidence"] != "high"


def test_little_io_pressure_is_no_verdict() -> None:
    verdict = judge(rows(psi_io_some=0.05, psi_memory_some=0.0, storage_read_bytes=1e9), bare())
    assert verdict["bound_by"] == "unknown"
    assert "too little" in text(verdict)


def test_throttling_is_thermal() -> None:
    verdict = judge(rows(throttled_time=6.0), bare())
    assert (verdict["bound_by"], verdict["confidence"]) == ("thermal", "high")
    assert "60%" in verdict["evidence"][0]


def test_the_larger_of_two_bottlenecks_wins_and_the_other_is_named() -> None:
    verdict = judge(rows(throttled_time=2.0, data_stall=0.6, steps=100), bare())
    assert verdict["bound_by"] == "input"
    assert any(sentence.startswith("Also thermal:") for sentence in verdict["evidence"])


def test_rivals_of_nearly_the_same_size_lower_the_confidence() -> None:
    assert judge(rows(throttled_time=5.0, data_stall=0.55, steps=100), bare())["confidence"] == "medium"


def test_of_the_tiny_run() -> None:
    from edgeprof.profiler.analysis import compute_from

    data = tiny_run.data()
    verdict = judge(compute_from(data).to_pylist(), data)
    assert verdict["bound_by"] == "input"
    assert "25%" in verdict["evidence"][0]


def test_a_run_of_roles_is_told_by_what_they_waited_for() -> None:
    unknown = {"bound_by": "unknown", "confidence": "low", "evidence": ["?"], "advice": ["run it with --auto"]}
    told = with_roles(unknown, ["camera missed 2 of 9 deadlines", "map kept all its deadlines"])
    assert told["evidence"] == ["Camera missed 2 of 9 deadlines.", "Map kept all its deadlines."]
    assert len(told["advice"]) == 1
    memory = {"bound_by": "memory", "confidence": "high", "evidence": ["Swapped."], "advice": ["Add memory."]}
    told = with_roles(memory, ["camera missed 2 of 9 deadlines"])
    assert (told["evidence"][-1], told["advice"][-1]) == ("Swapped.", "Add memory.")
    assert with_roles(memory, []) == memory
