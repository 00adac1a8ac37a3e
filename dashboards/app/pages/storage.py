"""Storage: what a run asked of the devices, how they answered, and what the page cache kept."""

from __future__ import annotations

from typing import Any

from edgeprof.dashboards.app import parts
from edgeprof.dashboards.app.cut import CutData
from edgeprof.dashboards.app.figures import cached_files, queue_depth, request_times, rereads
from edgeprof.dashboards.app.page import Context, Page
from edgeprof.dashboards.app.run_parts import choices, figure, metric_tiles, rows_over_time
from edgeprof.dashboards.app.view import View
from edgeprof.dashboards.report.figures import latency, offsets, owners, sizes
from edgeprof.dashboards.report.figures.timeline import phases, pressure, traffic
from edgeprof.dashboards.report.text import clean
from edgeprof.profiler.units import count, human

_KEY_FIGURES = {
    "storage_read_bytes": "Read from storage",
    "storage_write_bytes": "Written to storage",
    "block_requests": "Requests",
    "block_read_latency_p50": "Read latency, median",
    "block_read_latency_p99": "Read latency, p99",
    "block_write_latency_p99": "Write latency, p99",
    "block_sequential_share": "Sequential requests",
    "page_cache_hit_ratio": "Page cache hits",
    "read_amplification": "Read amplification",
    "psi_io_some": "Waiting for I/O (PSI)",
}
OVER_TIME = (
    rows_over_time("storage-time", "Traffic", (phases.row, traffic.read_row, traffic.write_row, pressure.row)),
    figure(offsets.KEY, offsets.TITLE, offsets.build, time=True, table="block_io"),
    figure(request_times.KEY, request_times.TITLE, request_times.build, time=True, table="block_io"),
    figure(queue_depth.KEY, queue_depth.TITLE, queue_depth.build, time=True),
)
REQUESTS = (
    figure(latency.KEY, latency.TITLE, latency.build),
    figure(sizes.KEY, sizes.TITLE, sizes.build),
    figure(owners.KEY, owners.TITLE, owners.build),
)
CACHE = (
    figure(rereads.KEY, rereads.TITLE, rereads.build, time=True),
    figure(cached_files.TIME_KEY, cached_files.TIME_TITLE, cached_files.over_time, time=True),
    figure(cached_files.FILES_KEY, cached_files.FILES_TITLE, cached_files.files),
)
FIGURES = (*OVER_TIME, *REQUESTS, *CACHE)


def layout(context: Context, view: View) -> Any:
    """The page for a view."""
    data = context.data(view.get("run"))
    return [
        *metric_tiles(data, _KEY_FIGURES),
        choices(context, view, files=True),
        parts.section("over-time", "Over time", *map(parts.figure, OVER_TIME)),
        parts.section("requests", "Requests", *map(parts.figure, REQUESTS)),
        parts.section("cache", "Page cache and working set", *_residency(data), *map(parts.figure, CACHE)),
    ]


def _residency(data: CutData) -> list[Any]:
    """How much of the data set was in memory before and after the run, where it was looked up."""
    setup = data.manifest.get("setup")
    storage = setup.get("storage") if isinstance(setup, dict) else None
    rows = []
    for when in ("before", "after"):
        found = storage.get(f"residency_{when}") if isinstance(storage, dict) else None
        if isinstance(found, dict):
            share, held = (
                item if isinstance(item, int | float) else None for item in (found.get("share"), found.get("bytes"))
            )
            total, number = found.get("total"), found.get("files")
            rows.append(
                [
                    f"{when} the run",
                    human(share, "share"),
                    human(held, "bytes"),
                    human(total if isinstance(total, int) else None, "bytes"),
                    count(number) if isinstance(number, int) else "not known",
                    clean(found.get("how") or found.get("reason") or ""),
                ]
            )
    if not rows:
        return []
    heads = ("Data set in the page cache", "Share", "Bytes", "Of", "Files", "How it was looked up")
    return [parts.table(heads, rows, "Data set in the page cache before and after the run", numbers=(1, 2, 3, 4))]


PAGE = Page("/storage", "Storage", layout, FIGURES, of_run=True)
