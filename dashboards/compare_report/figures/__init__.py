"""The figures of a comparison, in its order; to add one, write its module and name it here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from edgeprof.dashboards.compare_report.figures import differences, latency, over_time, phases, steps, values
from edgeprof.dashboards.compare_report.sides import Sides
from edgeprof.dashboards.report.figures.base import Absent, Outcome


@dataclass(frozen=True)
class Entry:
    """One figure: its key, its title, and the function that draws it."""

    key: str
    title: str
    build: Callable[[Sides], Outcome]

    def draw(self, sides: Sides) -> Outcome:
        """The figure; tables with content that no collector writes make an empty state, not a failed page."""
        try:
            return self.build(sides)
        except Exception as error:  # the other figures still tell about the runs
            reason = f"it could not be drawn from these runs' tables ({type(error).__name__}: {error})"
            return Absent(self.key, self.title, reason, "make the tables again with `edgeprof ingest`", failed=True)


@dataclass(frozen=True)
class Section:
    """Figures under one heading."""

    key: str
    title: str
    entries: Sequence[Entry]


SECTIONS: Sequence[Section] = (
    Section(
        "metrics",
        "What differs",
        (
            Entry(differences.KEY, differences.TITLE, differences.build),
            Entry(values.KEY, values.TITLE, values.build),
        ),
    ),
    Section("over-time", "Over time", (Entry(over_time.KEY, over_time.TITLE, over_time.build),)),
    Section(
        "program",
        "The program",
        (Entry(steps.KEY, steps.TITLE, steps.build), Entry(phases.KEY, phases.TITLE, phases.build)),
    ),
    Section("storage", "Storage", (Entry(latency.KEY, latency.TITLE, latency.build),)),
)
