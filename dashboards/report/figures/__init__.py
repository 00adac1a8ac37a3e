"""The figures of the report, in its order; to add one, write its module and name it here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgeprof.dashboards.report.figures import latency, offsets, owners, phase_memory, sizes, steps, timeline
from edgeprof.dashboards.report.figures.base import Entry


@dataclass(frozen=True)
class Section:
    """Figures under one heading; ``key`` is the heading's address in the page."""

    key: str
    title: str
    entries: Sequence[Entry]


SECTIONS: Sequence[Section] = (
    Section("over-time", "Over time", (Entry("timeline", "Timeline", timeline.build),)),
    Section(
        "program",
        "The program",
        (
            Entry(steps.KEY, steps.TITLE, steps.build),
            Entry(phase_memory.KEY, phase_memory.TITLE, phase_memory.build),
        ),
    ),
    Section(
        "storage",
        "Storage",
        (
            Entry(latency.KEY, latency.TITLE, latency.build),
            Entry(sizes.KEY, sizes.TITLE, sizes.build),
            Entry(offsets.KEY, offsets.TITLE, offsets.build),
            Entry(owners.KEY, owners.TITLE, owners.build),
        ),
    ),
)
