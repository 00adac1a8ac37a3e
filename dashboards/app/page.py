"""What a page of the application is, what it is given, and what its figures are."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeprof.dashboards.app.cut import Cut, CutData
from edgeprof.dashboards.app.index import RunIndex
from edgeprof.dashboards.app.links import check_parts
from edgeprof.dashboards.app.view import View
from edgeprof.dashboards.report.figures.base import Absent, Outcome
from edgeprof.profiler.errors import EdgeprofError, NoSuchRun
from edgeprof.profiler.run import Run, open_run

if TYPE_CHECKING:
    import pyarrow as pa
    from dash import Dash

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Context:
    """What pages are given.

    Attributes:
        folder: the folder served; nothing outside it is.
        index: what is known of its runs.
        loopback: whether only this machine can reach the application.
    """

    folder: Path
    index: RunIndex
    loopback: bool = True

    def path(self, run: str) -> Path:
        """The capture directory of a run's id (its path below the folder).

        Raises:
            NoSuchRun: there is none, or the id leads out of the folder.
            LeadsOut: parts of it do.
        """
        root = self.folder.resolve()
        try:
            path = (root / run).resolve()
            if path != root and path.is_relative_to(root) and path.is_dir():
                check_parts(path, root)
                return path
        except (OSError, ValueError, RuntimeError):  # a NUL byte, a name too long, a loop of links
            pass
        raise NoSuchRun(run[:200], self.folder)

    def run(self, run: str) -> Run:
        """A run by its id.

        Raises:
            NoSuchRun, LeadsOut, NotARun, DamagedManifest, NewerSchema.
        """
        return open_run(self.path(run))

    def data(self, run: str, cut: Cut | None = None) -> CutData:
        """A run's tables, cut.  Raises as `run`."""
        return CutData(self.run(run), cut or Cut())

    def draw(self, figure: Figure, view: View) -> Outcome:
        """One figure; what goes wrong in it becomes an empty state that says so."""
        try:
            return figure.build(self, view)
        except EdgeprofError as error:
            return Absent(figure.key, figure.title, str(error), failed=True)
        except Exception as error:  # the other figures still tell about the run
            _log.debug("the figure %s failed", figure.key, exc_info=True)
            reason = f"it could not be drawn from what was captured ({type(error).__name__}: {error})"
            return Absent(figure.key, figure.title, reason, "make the tables again with `edgeprof ingest`", failed=True)


@dataclass(frozen=True)
class Figure:
    """A figure of a page.

    Attributes:
        key: its name in addresses (``/csv/KEY``); unique in the application.
        build: draws it for a view.
        time: whether its x axis is the run's time, so that zooming it moves the window ``t`` of the whole page.
        rows: the rows behind it for the CSV; without it the CSV holds the picture's own table.
    """

    key: str
    title: str
    build: Callable[[Context, View], Outcome]
    time: bool = False
    rows: Callable[[Context, View], pa.Table] | None = None


@dataclass(frozen=True)
class Page:
    """A page of the application.

    Attributes:
        path: its address, ``/run``.
        title: its name in the menu and in the window's title.
        layout: a Dash component, or a list of them, for a view; an EdgeprofError becomes a notice.
        figures: all that `parts.figure` is called with on this page.
        register: adds the page's own callbacks, called once.
        of_run: whether it shows the one run of the parameter ``run``; it then stands in that run's menu, below the
            run's name, instead of the application's.
    """

    path: str
    title: str
    layout: Callable[[Context, View], Any]
    figures: Sequence[Figure] = field(default=())
    register: Callable[[Dash, Context], None] | None = None
    of_run: bool = False
