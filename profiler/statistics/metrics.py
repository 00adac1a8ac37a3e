"""Which metrics are compared by default, and what the registry knows of each."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Better = Literal["lower", "higher"]

MATTER = (
    "throughput",
    "step_time_p50",
    "step_time_p99",
    "deadline_miss_share",
    "first_inference_time",
    "wall_time",
    "data_stall",
    "storage_read_bytes",
    "storage_write_bytes",
    "page_cache_hit_ratio",
    "read_amplification",
    "block_read_latency_p99",
    "cgroup_memory_peak",
    "rss_peak",
    "major_faults",
    "psi_io_some",
    "psi_memory_some",
    "cpu_time",
    "energy_per_sample",
)
"""Those that people decide by, in the order in which a study's answer looks for its first one.

Each further one makes the correction for many questions stricter, so the rest is compared only where it is asked for.
"""


@dataclass(frozen=True)
class Known:
    """What is known of a metric; an empty unit and no direction where the registry does not know it."""

    name: str
    unit: str = ""
    better: Better | None = None


def known(names: Iterable[str]) -> dict[str, Known]:
    """The metrics of these names, those that matter first."""
    from edgeprof.profiler.analysis.registry import METRICS

    registry = {metric.name: Known(metric.name, metric.unit, metric.better) for metric in METRICS}
    wanted = dict.fromkeys(names)
    order = [*(name for name in MATTER if name in wanted), *(name for name in wanted if name not in MATTER)]
    return {name: registry.get(name, Known(name)) for name in order}
