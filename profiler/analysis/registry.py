"""The fixed list of metrics: name, unit and the pure function that computes each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from edgeprof.profiler.analysis import block, cpu, energy, io, memory, overhead, pressure, serving, steps, time
from edgeprof.profiler.analysis.data import RunData, Value


@dataclass(frozen=True)
class Metric:
    """A metric of the whole run; its definition is the function's docstring.

    Attributes:
        better: whether a run is better where it is ``lower`` or ``higher``; None: neither, it describes the run.
    """

    name: str
    unit: str
    compute: Callable[[RunData], Value]
    better: Literal["lower", "higher"] | None = None

    @property
    def definition(self) -> str:
        """The first sentence of the function's docstring."""
        return (self.compute.__doc__ or "").strip().split("\n\n")[0].replace("\n    ", " ")


METRICS: tuple[Metric, ...] = (
    Metric("wall_time", "s", time.wall_time, "lower"),
    Metric("throughput", "samples/s", steps.throughput, "higher"),
    Metric("steps", "count", steps.steps),
    Metric("step_time_p50", "s", steps.step_time_p50, "lower"),
    Metric("step_time_p90", "s", steps.step_time_p90, "lower"),
    Metric("step_time_p99", "s", steps.step_time_p99, "lower"),
    Metric("step_time_max", "s", steps.step_time_max, "lower"),
    Metric("tail_ratio", "ratio", steps.tail_ratio, "lower"),
    Metric("deadline_misses", "count", serving.deadline_misses, "lower"),
    Metric("deadline_miss_share", "share", serving.deadline_miss_share, "lower"),
    Metric("first_inference_time", "s", serving.first_inference_time, "lower"),
    Metric("data_stall", "share", steps.data_stall, "lower"),
    Metric("phase_coverage", "share", time.phase_coverage),
    Metric("app_read_bytes", "bytes", io.app_read_bytes),
    Metric("storage_read_bytes", "bytes", io.storage_read_bytes, "lower"),
    Metric("storage_write_bytes", "bytes", io.storage_write_bytes, "lower"),
    Metric("block_read_bytes", "bytes", block.block_read_bytes, "lower"),
    Metric("block_write_bytes", "bytes", block.block_write_bytes, "lower"),
    Metric("block_requests", "count", block.block_requests, "lower"),
    Metric("block_read_latency_p50", "s", block.block_read_latency_p50, "lower"),
    Metric("block_read_latency_p99", "s", block.block_read_latency_p99, "lower"),
    Metric("block_write_latency_p50", "s", block.block_write_latency_p50, "lower"),
    Metric("block_write_latency_p99", "s", block.block_write_latency_p99, "lower"),
    Metric("block_queue_time_p50", "s", block.block_queue_time_p50, "lower"),
    Metric("block_queue_time_p99", "s", block.block_queue_time_p99, "lower"),
    Metric("block_sequential_share", "share", block.block_sequential_share, "higher"),
    Metric("page_cache_hit_ratio", "share", io.page_cache_hit_ratio, "higher"),
    Metric("read_amplification", "ratio", io.read_amplification, "lower"),
    Metric("rss_peak", "bytes", memory.rss_peak, "lower"),
    Metric("pss_peak", "bytes", memory.pss_peak, "lower"),
    Metric("cgroup_memory_peak", "bytes", memory.cgroup_memory_peak, "lower"),
    Metric("minor_faults", "count", memory.minor_faults, "lower"),
    Metric("major_faults", "count", memory.major_faults, "lower"),
    Metric("psi_memory_some", "share", pressure.psi_memory_some, "lower"),
    Metric("psi_io_some", "share", pressure.psi_io_some, "lower"),
    Metric("cpu_time", "s", cpu.cpu_time, "lower"),
    Metric("io_wait", "s", cpu.io_wait, "lower"),
    Metric("context_switches", "count", cpu.context_switches, "lower"),
    Metric("energy", "J", energy.energy, "lower"),
    Metric("energy_net", "J", energy.energy_net, "lower"),
    Metric("idle_power", "W", energy.idle_power),
    Metric("energy_per_sample", "J/sample", energy.energy_per_sample, "lower"),
    Metric("throttled_time", "s", energy.throttled_time, "lower"),
    Metric("overhead_cpu", "s", overhead.overhead_cpu, "lower"),
    Metric("overhead_cpu_share", "share", overhead.overhead_cpu_share, "lower"),
    Metric("overhead_bytes", "bytes", overhead.overhead_bytes, "lower"),
    Metric("lost_records", "count", overhead.lost_records, "lower"),
)
"""Names are fixed: scripts and CI rely on them."""
