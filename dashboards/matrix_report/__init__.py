"""The HTML report of a study; `build` writes it."""

from __future__ import annotations

from edgeprof.dashboards.matrix_report.render import build

__all__ = ["build"]
