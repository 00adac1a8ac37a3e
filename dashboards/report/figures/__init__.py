"""The figures of the report, in its order; to add one, write its module and name it here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from edgeprof.dashboards.report.data import RunData
from edgeprof.dashboards.report.figures import (
    guest,
    latency,
    offsets,
    owners,
    phase_memory,
    roles,
    sizes,
    steps,
    timeline,
)
from edgeprof.dashboards.report.figures.base import Entry


@dataclass(frozen=True)
class Section:
    """Figures under one heading.

    Attributes:
        key: the heading's address in the page.
        concerns: whether a run is of the kind that the section is about; where it is not, the section is left out.
    """

    key: str
    title: str
    entries: Sequence[Entry]
    concerns: Callable[[RunData], bool] = lambda data: True


SECTIONS: Sequence[Section] = (
    Section("roles", "Roles", (Entry(roles.KEY, roles.TITLE, roles.build),), roles.concerns),
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
    Section("guest", "Virtual machine", (Entry(guest.KEY, guest.TITLE, guest.build),), guest.concerns),
)
