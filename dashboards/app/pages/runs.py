"""The runs of the folder."""

from __future__ import annotations

from typing import Any

from edgeprof.dashboards.app import parts
from edgeprof.dashboards.app.page import Context, Page
from edgeprof.dashboards.app.view import View, link


def layout(context: Context, view: View) -> Any:
    """The page for a view."""
    rows = [[parts.anchor(entry.id, link("/run", run=entry.id)), entry.state] for entry in context.index.entries()]
    return parts.table(["run", "state"], rows, "Runs")


PAGE = Page("/", "Runs", layout)
