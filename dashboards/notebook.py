"""Runs as a notebook shows them: a small card, the report's figures, and a folder of runs as a table."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, overload

from edgeprof.profiler.dataset import Entry, find_path, list_runs, metrics_of
from edgeprof.profiler.errors import EdgeprofError
from edgeprof.profiler.run import Run, open_run
from edgeprof.profiler.units import counted, human

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go
    from markupsafe import Markup

    from edgeprof.dashboards.report.data import RunData
    from edgeprof.dashboards.report.figures.base import Entry as FigureEntry

_TILES, _LONGEST_COMMAND = 9, 200
_MOST_RUNS = 20
_COLUMNS = ("wall_time", "throughput", "step_time_p99", "data_stall", "storage_read_bytes", "cgroup_memory_peak")
"""Metrics in the table of runs."""


class NoSuchFigure(EdgeprofError):
    """A name that no figure has."""

    def __init__(self, name: str, present: Sequence[str]) -> None:
        super().__init__(f"there is no figure {name!r}; there are: {', '.join(present)}")


class NothingToPlot(EdgeprofError):
    """A figure for which the run has nothing to show."""

    def __init__(self, title: str, reason: str, remedy: str) -> None:
        super().__init__(f"{title} has nothing to show: {reason}{f'; {remedy}' if remedy else ''}")


class NotebookRun(Run):
    """A run that a notebook shows as a card, and that draws the report's figures."""

    @classmethod
    def open(cls, path: str | Path) -> NotebookRun:
        """Open a capture directory, or a run's address.  Raises NotARun, DamagedManifest, NewerSchema, RemoteError."""
        found = open_run(path).path
        return cls(found)

    @property
    def figures(self) -> list[str]:
        """Names that `plot` takes."""
        from edgeprof.dashboards.report.data import RunData

        return list(_figures(RunData(self)))

    def plot(self, name: str, dark: bool = False) -> go.Figure:
        """A figure of the report, as a plotly figure of its own; ``run.inside.plot`` draws what a guest captured.

        Args:
            name: one of `figures`.
            dark: in the colours for a dark page.

        Raises:
            NoSuchFigure
            NothingToPlot: the run has not what the figure shows; says why, and how to get it.
        """
        from edgeprof.dashboards.report.build import draw
        from edgeprof.dashboards.report.data import RunData
        from edgeprof.dashboards.report.figures.base import Absent

        data = RunData(self)
        entries = _figures(data)
        if name not in entries:
            raise NoSuchFigure(name, list(entries))
        found = draw(entries[name], data)
        if isinstance(found, Absent):
            raise NothingToPlot(found.title, found.reason, found.remedy)
        return _themed(found.figure, dark)

    def __repr__(self) -> str:
        return f"<run {self.path.name!r}>"

    def _repr_html_(self) -> str:
        try:
            return str(_card(self.inside))
        except (EdgeprofError, OSError, ValueError, KeyError) as error:  # pyarrow's errors are OSErrors and ValueErrors
            from markupsafe import escape

            from edgeprof.dashboards.report.text import clean

            return str(escape(clean(f"{self.path.name} cannot be read: {error}")))


def _figures(data: RunData) -> dict[str, FigureEntry]:
    from edgeprof.dashboards.report.figures import SECTIONS

    return {entry.key: entry for section in SECTIONS if section.concerns(data) for entry in section.entries}


def _themed(figure: go.Figure, dark: bool) -> go.Figure:
    """A figure of the report, which is drawn in the light colours, made ready for a page."""
    from edgeprof.dashboards.report import theme

    if dark:
        from plotly.io import from_json

        partners = theme.dark_partners()
        light = re.compile("|".join(map(re.escape, partners)))
        figure = from_json(light.sub(lambda found: partners[found[0]], figure.to_json()), skip_invalid=True)
    figure.update_layout(template=theme.template(dark))
    return figure.update_layout(paper_bgcolor=theme.DARK_BACKGROUND if dark else theme.LIGHT_BACKGROUND)


def _card(run: Run) -> Markup:
    from markupsafe import Markup

    from edgeprof.dashboards.report import account, summary
    from edgeprof.dashboards.report.data import RunData
    from edgeprof.dashboards.report.text import clean

    data = RunData(run)
    verdict = summary.verdict(data)
    command = clean(shlex.join(map(str, run.manifest["run"].get("command") or [])))
    evidence = Markup("").join(Markup("<li>{}</li>").format(line) for line in verdict.evidence)
    tiles = summary.tiles(data)
    measured = [(tile.title, tile.value) for tile in tiles if tile.value is not None][:_TILES]
    return Markup(
        '<div style="max-width:60em"><div><b>{name}</b> {status}</div><code>{command}</code>'
        "<p><b>{headline}</b></p><ul>{evidence}</ul>{tiles}</div>"
    ).format(
        name=clean(run.manifest["run"].get("name") or run.path.name),
        status=account.status(data),
        command=f"{command[:_LONGEST_COMMAND]}…" if len(command) > _LONGEST_COMMAND else command,
        headline=verdict.headline,
        evidence=evidence,
        tiles=_table(("figure", "value"), measured),
    )


class Runs(Sequence[NotebookRun]):
    """The runs of a folder that can be read, oldest first; a notebook shows them as a table.

    ``runs[-1]`` is the newest, ``runs["3f9c"]`` the one whose id, or an id's last part, begins so.

    Attributes:
        problems: id -> why a run of the folder cannot be read.
    """

    def __init__(self, folder: Path) -> None:
        found = list_runs(folder)
        self.folder = folder
        self._entries = [entry for entry in found if entry.run is not None]
        self.problems = {entry.id: str(entry.problem) for entry in found if entry.run is None}

    def __len__(self) -> int:
        return len(self._entries)

    def __repr__(self) -> str:
        return f"<{counted(len(self), 'run')}>"

    @overload
    def __getitem__(self, index: int | str) -> NotebookRun: ...

    @overload
    def __getitem__(self, index: slice) -> list[NotebookRun]: ...

    def __getitem__(self, index: int | str | slice) -> NotebookRun | list[NotebookRun]:
        if isinstance(index, slice):
            return [NotebookRun(entry.path) for entry in self._entries[index]]
        return NotebookRun(self._entries[index].path if isinstance(index, int) else find_path(index, self.folder))

    @cached_property
    def table(self) -> pd.DataFrame:
        """A row a run, indexed by its id: state, command, factors, host facts, and all metrics of the whole run."""
        from edgeprof.dashboards.app.rows import read_row, table_of

        rows = table_of([read_row(entry.id, entry.path) for entry in self._entries])
        frame: pd.DataFrame = rows.drop_columns(["stamp"]).to_pandas().set_index("id")
        return frame

    def _repr_html_(self) -> str:
        from edgeprof.dashboards.report.summary import KEY_METRICS

        titles = dict(KEY_METRICS)
        shown = self._entries[-_MOST_RUNS:]
        caption = f"{len(shown)} of {counted(len(self), 'run')}"
        if self.problems:
            caption += f"; {len(self.problems)} more cannot be read (see .problems)"
        return str(_table(("id", "state", *(titles[name] for name in _COLUMNS)), map(_row, shown), caption))


def _row(entry: Entry) -> list[str]:
    from edgeprof.dashboards.report.text import clean

    assert entry.run is not None
    try:
        metrics = metrics_of(entry.run.inside)
    except EdgeprofError:  # the run itself says so when it is shown
        metrics = {}
    found = (metrics.get(name) or {} for name in _COLUMNS)
    figures = ("" if item.get("value") is None else human(item["value"], item.get("unit")) for item in found)
    return [clean(entry.id), clean(entry.state), *figures]


def _table(headings: Sequence[str], rows: Iterable[Sequence[str]], caption: str = "") -> Markup:
    from markupsafe import Markup

    def line(cell: str, texts: Sequence[str]) -> Markup:
        return Markup("<tr>{}</tr>").format(Markup("").join(Markup(cell).format(text) for text in texts))  # noqa: S704

    return Markup("<table>{}<thead>{}</thead><tbody>{}</tbody></table>").format(
        Markup("<caption>{}</caption>").format(caption) if caption else caption,
        line("<th>{}</th>", headings),
        Markup("").join(line("<td>{}</td>", row) for row in rows),
    )
