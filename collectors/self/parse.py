"""Turns the frames of /proc/self of edgeprof into the table self."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from edgeprof.collectors import schema
from edgeprof.collectors.frames import read_frames
from edgeprof.collectors.parsing import Parsed, RunFacts
from edgeprof.collectors.procfs.readings import PAGE_BYTES, read_process


def parse(raw: Path, facts: RunFacts) -> Parsed:
    """Table self from ``raw/self/samples.frames``."""
    try:
        frames = read_frames(raw / "self" / "samples.frames")
    except FileNotFoundError:
        return Parsed({})
    page_bytes = int(facts.host.get("page_bytes") or PAGE_BYTES)
    rows: dict[int, dict[str, object]] = {}
    for file, series in frames.series.items():
        for time_ns, payload in zip(series.times, series.payloads, strict=True):
            rows.setdefault(time_ns, {}).update(read_process(file, payload, page_bytes))
    times = sorted(rows)
    columns = {
        item.name: pa.array([rows[time_ns].get(item.name) for time_ns in times], item.type)
        for item in schema.SCHEMAS["self"]
        if item.name != "time_ns"
    }
    notes = [f"self: {frames.damage}"] if frames.damage else []
    return Parsed({"self": schema.table("self", {"time_ns": times, **columns})}, notes)
