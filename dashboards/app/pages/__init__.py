"""The pages of the application, in the order of its menu."""

from __future__ import annotations

from collections.abc import Sequence

from edgeprof.dashboards.app.page import Page
from edgeprof.dashboards.app.pages import boards, compare, energy, kmlib, live, matrix, memory, run, runs, storage

PAGES: Sequence[Page] = (
    runs.PAGE,
    run.PAGE,
    storage.PAGE,
    memory.PAGE,
    energy.PAGE,
    compare.PAGE,
    matrix.PAGE,
    boards.PAGE,
    kmlib.PAGE,
    live.PAGE,
)
