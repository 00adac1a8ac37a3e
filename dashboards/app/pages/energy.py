"""One run's energy."""

from __future__ import annotations

from typing import Any

from edgeprof.dashboards.app import parts
from edgeprof.dashboards.app.page import Context, Page
from edgeprof.dashboards.app.view import View


def layout(context: Context, view: View) -> Any:
    """The page for a view."""
    return parts.notice("This page is being built.")


PAGE = Page("/energy", "Energy", layout, of_run=True)
