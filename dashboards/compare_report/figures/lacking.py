"""What a figure says of runs that it shows nothing of: what was not captured, and what the window leaves out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from edgeprof.dashboards.report.figures.base import Absent, absent
from edgeprof.dashboards.report.text import clean

if TYPE_CHECKING:
    from edgeprof.dashboards.compare_report.sides import Drawn


def sentences(runs: Sequence[Drawn], table: str, what: str) -> list[str]:
    """A sentence on the runs without any ``what``, and one on those that have some outside of the window."""
    outside = ", ".join(run.id for run in runs if run.outside(table))
    never = ", ".join(run.id for run in runs if not run.outside(table))
    return [
        *([f"No {what} was recorded of {clean(never)}."] if never else []),
        *([f"No {what} of {clean(outside)} lies in the time shown."] if outside else []),
    ]


def absence(runs: Sequence[Drawn], key: str, title: str, table: str, what: str) -> Absent:
    """The empty state where none of the runs has anything to show."""
    if any(run.outside(table) for run in runs):
        return Absent(key, title, f"no {what} of these runs lies in the time shown", "show the whole time")
    return absent(runs[0].data, key, title, table)
