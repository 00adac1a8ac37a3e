"""Metrics of pressure stall information: the share of time in which tasks waited for memory or I/O.

Source: Documentation/accounting/psi.rst of the Linux kernel ("some": at least one task waits).
"""

from __future__ import annotations

from edgeprof.profiler.analysis.data import RunData, Value, growth, has_column, missing


def psi_share(data: RunData, resource: str, kind: str = "some") -> Value:
    """Stalled time / sampled time, of the run's cgroup where it has PSI, else of the whole machine."""
    column = f"psi_{resource}_{kind}_total"
    for table_name, whose in (
        ("cgroup", "of the run's cgroup"),
        ("system", "of the whole machine, other programs included"),
    ):
        table = data.table(table_name)
        if table is None or not has_column(table, column):
            continue
        grown = growth(table, column)
        if grown is not None and grown[1] > 0:
            stalled, span = grown
            return Value(min(stalled / span, 1.0), f"{stalled:.6g} s of {span:.6g} s sampled, {whose}")
    if data.table("system") is None and data.table("cgroup") is None:
        return missing(data.why_absent("system"))
    return missing(
        "the kernel gives no pressure stall information (CONFIG_PSI, or psi=1 at boot), or the run was too short"
    )


def psi_memory_some(data: RunData) -> Value:
    """Share of time in which at least one task waited for memory (reclaim, refaults, swap)."""
    return psi_share(data, "memory")


def psi_io_some(data: RunData) -> Value:
    """Share of time in which at least one task waited for I/O."""
    return psi_share(data, "io")
