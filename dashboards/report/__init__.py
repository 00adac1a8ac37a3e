"""The HTML report of one run; `build_report` writes it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from edgeprof.profiler.run import Run

__all__ = ["build_report"]


def build_report(run: Run) -> Path:
    """As `edgeprof.dashboards.report.build.build_report`, which is loaded only when it is asked for: most of what is
    in this package serves the dashboard, too."""
    from edgeprof.dashboards.report import build

    return build.build_report(run)
