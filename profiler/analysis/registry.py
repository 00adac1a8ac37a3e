"""The fixed list of metrics: name, unit and the pure function that computes each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from edgeprof.profiler.analysis import block, cpu, energy, io, memory, overhead, pressure, steps, time
from edgeprof.profiler.analysis.data import RunData, Value


@dataclass(frozen=True)
class Metric:
    """A metric of the whole run; its definition is the function's docstring."""

    name: str
    unit: str
    compute: Callable[[RunData], Value]

    @property
    def definition(self) -> str:
        """The first sentence of the function's docstring."""
        return (self.compute.__doc__ or "").strip().split("\n\n")[0].replace("\n    ", " ")


METRICS: tuple[Metric, ...] = (
    Metric("wall_time", "s", time.wall_time),
    Metric("throughput", "samples/s", steps.throughput),
    Metric("steps", "count", steps.steps),
    Metric("step_time_p50", "s", steps.step_time_p50),
    Metric("step_time_p90", "s", steps.step_time_p90),
    Metric("step_time_p99", "s", steps.step_time_p99),
    Metric("step_time_max", "s", steps.step_time_max),
    Metric("data_stall", "share", steps.data_stall),
    Metric("phase_coverage", "share", time.phase_coverage),
    Metric("app_read_bytes", "bytes", io.app_read_bytes),
    Metric("storage_read_bytes", "bytes", io.storage_read_bytes),
    Metric("storage_write_bytes", "bytes", io.storage_write_bytes),
    Metric("block_read_bytes", "bytes", block.block_read_bytes),
    Metric("block_write_bytes", "bytes", block.block_write_bytes),
    Metric("block_requests", "count", block.block_requests),
    Metric("block_read_latency_p50", "s", block.block_read_latency_p50),
    Metric("block_read_latency_p99", "s", block.block_read_latency_p99),
    Metric("block_write_latency_p50", "s", block.block_write_latency_p50),
    Metric("block_write_latency_p99", "s", block.block_write_latency_p99),
    Metric("block_queue_time_p50", "s", block.block_queue_time_p50),
    Metric("block_queue_time_p99", "s", block.block_queue_time_p99),
    Metric("block_sequential_share", "share", block.block_sequential_share),
    Metric("page_cache_hit_ratio", "share", io.page_cache_hit_ratio),
    Metric("read_amplification", "ratio", io.read_amplification),
    Metric("rss_peak", "bytes", memory.rss_peak),
    Metric("pss_peak", "bytes", memory.pss_peak),
    Metric("cgroup_memory_peak", "bytes", memory.cgroup_memory_peak),
    Metric("minor_faults", "count", memory.minor_faults),
    Metric("major_faults", "count", memory.major_faults),
    Metric("psi_memory_some", "share", pressure.psi_memory_some),
    Metric("psi_io_some", "share", pressure.psi_io_some),
    Metric("cpu_time", "s", cpu.cpu_time),
    Metric("io_wait", "s", cpu.io_wait),
    Metric("context_switches", "count", cpu.context_switches),
    Metric("energy", "J", energy.energy),
    Metric("energy_per_sample", "J/sample", energy.energy_per_sample),
    Metric("throttled_time", "s", energy.throttled_time),
    Metric("overhead_cpu", "s", overhead.overhead_cpu),
    Metric("overhead_cpu_share", "share", overhead.overhead_cpu_share),
    Metric("overhead_bytes", "bytes", overhead.overhead_bytes),
    Metric("lost_records", "count", overhead.lost_records),
)
"""Names are fixed: scripts and CI rely on them."""
