"""The HTML page of a comparison of runs or groups of runs; `build` writes it."""

from __future__ import annotations

from edgeprof.dashboards.compare_report.render import build

__all__ = ["build"]
