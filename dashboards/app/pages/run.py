"""One run."""

from __future__ import annotations

from typing import Any

from edgeprof.dashboards.app import parts
from edgeprof.dashboards.app.cut import Cut
from edgeprof.dashboards.app.page import Context, Figure, Page
from edgeprof.dashboards.app.view import View
from edgeprof.dashboards.report.figures import steps, timeline
from edgeprof.dashboards.report.figures.base import Outcome


def _timeline(context: Context, view: View) -> Outcome:
    return timeline.build(context.data(view.get("run"), Cut.of(view)))


def _steps(context: Context, view: View) -> Outcome:
    return steps.build(context.data(view.get("run"), Cut.of(view)))


FIGURES = (Figure("timeline", "Timeline", _timeline, time=True), Figure("steps", "Steps", _steps))


def layout(context: Context, view: View) -> Any:
    """The page for a view."""
    return [parts.figure(figure) for figure in FIGURES]


PAGE = Page("/run", "Run", layout, FIGURES, of_run=True)
