"""One row of the timeline: its lines, its axis and its words."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from edgeprof.dashboards.report.figures.base import Absent
from edgeprof.dashboards.report.figures.series import Series

if TYPE_CHECKING:
    from edgeprof.dashboards.report.data import RunData


@dataclass(frozen=True)
class Row:
    """A row that can be drawn.

    Attributes:
        draw: (y axis id, legend id) -> traces.
        axis: plotly settings of the y axis.
        weight: height relative to the other rows.
        series: what the data table under the timeline lists.
    """

    title: str
    draw: Callable[[str, str], list[Any]]
    axis: dict[str, Any]
    caption: str
    limits: Sequence[str] = ()
    series: Sequence[Series] = ()
    weight: float = 1.0
    extra: dict[str, Any] = field(default_factory=dict)


RowBuilder = Callable[["RunData"], Row | Absent | None]
"""None: the row has no place in this run's report (a sensor that few machines have)."""
