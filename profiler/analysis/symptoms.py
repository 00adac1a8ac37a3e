"""What the verdict looks at, drawn from metrics and tables; None where it was not captured."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from edgeprof.profiler.analysis.data import NS, RunData, equals, floats, growth, has_column, times
from edgeprof.profiler.analysis.io import page_bytes
from edgeprof.profiler.analysis.processes import process_keys
from edgeprof.profiler.analysis.steps import step_table
from edgeprof.profiler.analysis.timeline import main_phases, named, overlap


@dataclass(frozen=True)
class Symptoms:
    """Figures for the verdict's rules.

    Attributes:
        metrics: metric of the whole run -> its row.
        phase_shares: phase -> its share of the run's time.
        computing: share of the step time in forward, backward and optimizer; of the run where there are no steps.
        seconds: length of the run.
        steps: number of steps.
        interrupted: the run's end was not captured.
        cpu_busy: CPU time / (time x CPUs that the run may use).
        gpu_busy: mean utilisation, 0 to 1.
        loaders_busy: CPU use of a process other than the main one while steps ran, in CPUs.
        loaders_blocked: share of these processes' samples in state D (of the main process's if it loads by itself).
        refault_share: bytes that came back into the page cache / bytes read from storage.
        swap_rate: bytes a second read from swap, on the whole machine.
        dirty_peak, dirty_limit: bytes of dirty and written-back pages at most, and the kernel's limit.
        memory_limit: of the run's cgroup, bytes.
        whose_psi: whether pressure is the run's own or the whole machine's.
    """

    metrics: Mapping[str, Mapping[str, Any]]
    phase_shares: Mapping[str, float] = field(default_factory=dict)
    computing: float | None = None
    seconds: float | None = None
    steps: int | None = None
    interrupted: bool = False
    cpu_busy: float | None = None
    gpu_busy: float | None = None
    loaders_busy: float | None = None
    loaders_blocked: float | None = None
    refault_share: float | None = None
    swap_rate: float | None = None
    dirty_peak: float | None = None
    dirty_limit: float | None = None
    memory_limit: float | None = None
    whose_psi: str = "whole machine"

    def value(self, name: str) -> float | None:
        """A metric's value."""
        row = self.metrics.get(name)
        value: float | None = row["value"] if row else None
        return value

    def reason(self, name: str) -> str:
        """Why a metric has no value."""
        row = self.metrics.get(name)
        return str((row or {}).get("reason") or "it was not computed")

    def share_of_run(self, name: str) -> float | None:
        """A metric in seconds as share of the run."""
        value = self.value(name)
        return value / self.seconds if value is not None and self.seconds else None

    def fault_time(self) -> float | None:
        """Share of the run that major faults took, at the median read latency each."""
        faults, latency = self.value("major_faults"), self.value("block_read_latency_p50")
        if faults is None or latency is None or not self.seconds:
            return None
        return faults * latency / self.seconds

    @classmethod
    def of(cls, metrics: Iterable[Mapping[str, Any]], data: RunData) -> Symptoms:
        """Draw the figures from metric rows and tables."""
        rows = list(metrics)
        whole = {str(row["name"]): row for row in rows if row["phase"] is None}
        seconds = data.seconds
        read = (whole.get("storage_read_bytes") or {}).get("value")
        cpu = (whole.get("cpu_time") or {}).get("value")
        steps = (whole.get("steps") or {}).get("value")
        psi_how = str((whole.get("psi_io_some") or {}).get("how") or (whole.get("psi_memory_some") or {}).get("how"))
        busy, blocked = _loaders(data)
        dirty_peak, dirty_limit = _dirty(data)
        refaulted = _refaulted(data)
        return cls(
            metrics=whole,
            phase_shares=_phase_shares(rows, seconds),
            computing=_computing(data, _phase_shares(rows, seconds)),
            seconds=seconds,
            steps=int(steps) if steps is not None else None,
            interrupted=data.run.get("status") == "interrupted",
            cpu_busy=cpu / (seconds * _cpus(data)) if cpu is not None and seconds and _cpus(data) else None,
            gpu_busy=_gpu_busy(data),
            loaders_busy=busy,
            loaders_blocked=blocked,
            refault_share=refaulted / read if refaulted is not None and read else None,
            swap_rate=_swap_rate(data),
            dirty_peak=dirty_peak,
            dirty_limit=dirty_limit,
            memory_limit=_memory_limit(data),
            whose_psi="the run's own" if "run's cgroup" in psi_how else "whole machine",
        )


def _phase_shares(rows: Iterable[Mapping[str, Any]], seconds: float | None) -> dict[str, float]:
    if not seconds:
        return {}
    return {
        str(row["phase"]): row["value"] / seconds
        for row in rows
        if row["phase"] is not None and row["name"] == "wall_time" and row["value"] is not None
    }


COMPUTING = ("forward", "backward", "optimizer")
"""Phases in which a program computes."""


def _computing(data: RunData, phase_shares: Mapping[str, float]) -> float | None:
    phases, steps = main_phases(data), step_table(data)
    if phases is None or steps is None:
        known = [phase_shares[name] for name in COMPUTING if name in phase_shares]
        return sum(known) if known else None
    begin, end = times(steps, "start_ns"), times(steps, "end_ns")
    spans = [named(phases, name) for name in COMPUTING]
    starts, ends = (np.concatenate(side) for side in zip(*spans, strict=True))
    inside = overlap(starts, ends, begin, end)
    total = float((end - begin).sum())
    return float(inside.sum()) / total if total > 0 else None


def _cpus(data: RunData) -> float:
    """CPUs that the run may use: those allowed to it, or its cgroup's limit."""
    host, spec = data.manifest.get("host") or {}, data.manifest.get("spec") or {}
    known = [value for value in (host.get("cpus_allowed") or host.get("cpus"), spec.get("cpus")) if value]
    return float(min(known, default=0))


def _gpu_busy(data: RunData) -> float | None:
    table = data.table("gpu")
    if table is not None:
        rows = table.filter(pa.array(equals(table, "metric", "utilization")))
        if rows.num_rows and has_column(rows, "value"):
            scale = 1.0 if "share" in {str(unit) for unit in rows["unit"].to_pylist()} else 100.0
            return float(np.nanmean(floats(rows, "value"))) / scale
    table = data.table("clocks")
    if table is not None:
        rows = table.filter(pa.array(equals(table, "domain", "gpu")))
        if rows.num_rows and has_column(rows, "load"):
            return float(np.nanmean(floats(rows, "load")))
    return None


def _loaders(data: RunData) -> tuple[float | None, float | None]:
    """CPU use and share of samples in state D of the processes that load input while steps run."""
    table, steps = data.table("process"), step_table(data)
    main = data.run.get("pid")
    if steps is not None:
        main = steps["pid"][0].as_py()
    if table is None or main is None:
        return None, None
    if steps is not None:
        begin, end = int(times(steps, "start_ns").min()), int(times(steps, "end_ns").max())
        at = times(table)
        table = table.filter(pa.array((at >= begin) & (at <= end)))
    workers = table.filter(pc.not_equal(table["pid"], main))
    watched = workers if workers.num_rows else table
    if not watched.num_rows:
        return None, None
    blocked = float(equals(watched, "state", "D").mean()) if has_column(watched, "state") else None
    return (_mean_use(workers) if workers.num_rows else None), blocked


def _mean_use(table: pa.Table) -> float | None:
    """CPU time / time observed, over processes seen at least twice and long enough to matter."""
    keys, at = process_keys(table), times(table)
    used = floats(table, "utime") + floats(table, "stime")
    cpu = observed = 0.0
    for key in np.unique(keys):
        chosen = (keys == key) & ~np.isnan(used)
        if chosen.sum() >= 2:
            cpu += float(used[chosen].max() - used[chosen].min())
            observed += float(at[chosen].max() - at[chosen].min()) * NS
    return cpu / observed if observed > 0 else None


def _refaulted(data: RunData) -> float | None:
    """Bytes of file pages that came back soon after they were evicted (workingset_refault_file)."""
    for name, column in (
        ("cgroup", "stat_total_workingset_refault_file"),
        ("cgroup", "stat_workingset_refault_file"),
        ("cgroup", "stat_workingset_refault"),
        ("system", "vmstat_workingset_refault_file"),
    ):
        table = data.table(name)
        if table is not None and has_column(table, column):
            grown = growth(table, column)
            if grown is not None:
                return grown[0] * page_bytes(data)
    return None


def _swap_rate(data: RunData) -> float | None:
    table = data.table("system")
    if table is None or not has_column(table, "vmstat_pswpin"):
        return None
    grown = growth(table, "vmstat_pswpin")
    return grown[0] * page_bytes(data) / grown[1] if grown is not None and grown[1] > 0 else None


def _dirty(data: RunData) -> tuple[float | None, float | None]:
    table = data.table("system")
    if table is None or not has_column(table, "vmstat_nr_dirty"):
        return None, None
    pages = floats(table, "vmstat_nr_dirty")
    if has_column(table, "vmstat_nr_writeback"):
        pages = pages + floats(table, "vmstat_nr_writeback")
    limit = None
    if has_column(table, "vmstat_nr_dirty_threshold"):
        limit = float(np.nanmin(floats(table, "vmstat_nr_dirty_threshold"))) * page_bytes(data)
    return float(np.nanmax(pages)) * page_bytes(data), limit


def _memory_limit(data: RunData) -> float | None:
    limit = (data.manifest.get("spec") or {}).get("memory_limit")
    return float(limit) if limit else None
