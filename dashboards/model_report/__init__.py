"""The HTML report of a trained model; `build` writes it."""

from __future__ import annotations

from edgeprof.dashboards.model_report.render import build

__all__ = ["build"]
