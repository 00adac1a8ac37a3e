"""The HTML report of one run; `build_report` writes it."""

from __future__ import annotations

from edgeprof.dashboards.report.build import build_report

__all__ = ["build_report"]
