"""Several workloads at once: how each kept its deadlines, what it waited for, and who used that meanwhile."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from edgeprof.dashboards.report.figures.base import SECONDS, Absent, DataTable, Outcome, Picture, bars_in_parts
from edgeprof.dashboards.report.text import clean, label, sentences
from edgeprof.dashboards.report.theme import CYCLE, GREY, INK
from edgeprof.profiler.analysis.delays import ITSELF, OTHERS
from edgeprof.profiler.units import human

if TYPE_CHECKING:
    from edgeprof.dashboards.report.data import RunData

KEY, TITLE = "role-delays", "Who delayed whom"
MOST = 12
"""Bars that are drawn: the longest waits."""
_RESOURCES = {"cpu": "processor", "storage": "storage"}
_COLUMNS: Sequence[tuple[str, str, str]] = (
    ("Steps", "steps", "count"),
    ("Samples a second", "samples_per_second", "samples/s"),
    ("Median", "latency_p50", "s"),
    ("p99", "latency_p99", "s"),
    ("p99 / median", "tail_ratio", "ratio"),
    ("Worst", "latency_max", "s"),
    ("Deadline", "deadline", "s"),
    ("Missed", "misses", "count"),
    ("Share missed", "miss_share", "share"),
    ("CPU time", "cpu_time", "s"),
    ("Peak memory", "rss_peak", "bytes"),
    ("Read", "block_read_bytes", "bytes"),
    ("Written", "block_write_bytes", "bytes"),
    ("Waited for CPU", "wait_cpu", "s"),
    ("for storage", "wait_io", "s"),
    ("for memory", "wait_memory", "s"),
)


def concerns(data: RunData) -> bool:
    """Whether the run has roles."""
    return bool(data.manifest.get("roles"))


def build(data: RunData) -> Outcome:
    """A bar for each role and resource that it waited for, in parts by who used it."""
    account: Mapping[str, Any] = data.manifest["roles"]
    table = _table(account)
    delays = account.get("delays") or []
    told = sentences(account.get("sentences"))
    if not delays:
        reason = "no role waited long enough for a processor or the storage, or the kernel keeps no pressure figures"
        return Absent(KEY, TITLE, "; ".join([reason, *told]), "use a kernel with CONFIG_PSI and cgroup version 2")
    return Picture(
        key=KEY,
        title=TITLE,
        figure=_figure(delays),
        caption=" ".join(f"{sentence.rstrip('.')}." for sentence in told),
        label="Bars of waiting time by role and resource, in parts by the role that used the resource meanwhile.",
        limits=[
            "A role's waiting is the kernel's figure (PSI of its cgroup) over its late requests, or over all of them "
            "where none was late; it is laid upon the others by what they used of the resource in that time: "
            "coincidence, not proof."
        ],
        table=table,
    )


def _figure(delays: Sequence[Mapping[str, Any]]) -> Any:
    total: dict[str, float] = {}
    parts: dict[str, dict[str, float]] = {}
    for item in delays:
        bar = f"{label(item['victim'])}, {_RESOURCES.get(item['resource'], label(item['resource']))}"
        total[bar] = total.get(bar, 0.0) + float(item["seconds"])
        parts.setdefault(label(item["culprit"]), {})[bar] = float(item["seconds"])
    bars = sorted(total, key=lambda name: -total[name])[:MOST][::-1]
    own = {OTHERS: GREY, ITSELF: INK}
    hues = itertools.cycle(colour for colour in CYCLE if colour != GREY)
    culprits = (
        (culprit, [values.get(bar, 0.0) for bar in bars], own.get(culprit) or next(hues))
        for culprit, values in sorted(parts.items(), key=lambda item: item[0] in own)
    )
    return bars_in_parts(bars, culprits, "time waited", SECONDS, left=140)


def _table(account: Mapping[str, Any]) -> DataTable:
    rows = []
    for item in account.get("figures") or ():
        cells = [human(item.get(key), unit) for _, key, unit in _COLUMNS]
        rows.append([clean(item["role"]), *cells])
    return DataTable(("Role", *(heading for heading, _, _ in _COLUMNS)), rows)
