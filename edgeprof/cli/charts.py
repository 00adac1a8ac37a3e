"""Small charts of a run in the terminal: what changed over time, and how long requests took."""

from __future__ import annotations

import sys
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from edgeprof.cli.encoding import is_utf8
from edgeprof.cli.output import heading, print_line
from edgeprof.profiler.units import counted, human

if TYPE_CHECKING:
    from rich.console import Console

    from edgeprof.dashboards.report.data import RunData
    from edgeprof.dashboards.report.downsample import Floats, Ints
    from edgeprof.dashboards.report.figures.series import Series
    from edgeprof.profiler.run import Run

LONGEST, SHORTEST = 72, 16
"""Columns of a line over time."""
_BARS, _FEWEST = 40, 8
"""Cells of a bar, at most and at least."""
_MOST_CLASSES = 14
_DECADE = (1.0, 2.0, 5.0)
"""Borders of the classes of latency in each decade."""


class Marks(NamedTuple):
    """What charts are drawn with: levels of a line from nothing to all, and parts of a bar's last cell."""

    levels: str
    parts: str
    to: str


UNICODE = Marks("▁▂▃▄▅▆▇█", "▏▎▍▌▋▊▉█", "…")
ASCII = Marks("_.-:=+*#", "#", "to")


def wanted(charts: bool | None) -> bool:
    """Whether charts are drawn: as the user says, else on a terminal only, so that what pipes get stays the same."""
    return sys.stdout.isatty() if charts is None else charts


def print_charts(run: Run, console: Console) -> None:
    """Print the charts that a run has data for; nothing where it has none."""
    from edgeprof.dashboards.report.data import RunData

    marks = UNICODE if is_utf8(console.encoding) else ASCII
    data = RunData(run)
    charts = {"Over time": _over_time(data, marks, console.width), **_latencies(data, marks, console)}
    for title, lines in charts.items():
        if lines:
            heading(title, console)
        for text in lines:
            print_line(text, console)


def _over_time(data: RunData, marks: Marks, width: int) -> list[str]:
    found = [(name, series) for name, series in _series(data) if not series.empty()]
    wall = data.wall_time
    if not found or wall <= 0:
        return []
    named = max(len(name) for name, _ in found)
    rows = []
    ranges = [_range(series, marks) for _, series in found]
    columns = min(LONGEST, width - named - max(map(len, ranges)) - 6)
    if columns < SHORTEST:
        return []
    for (name, series), told in zip(found, ranges, strict=True):
        rows.append(f"  {name:<{named}}  {sparkline(highest(series, wall, columns), marks.levels)}  {told}")
    rows.append(f"  {'':<{named}}  each column: the highest of {human(wall / columns, 's')}")
    return rows


def _range(series: Series, marks: Marks) -> str:
    import numpy as np

    least, most = float(np.nanmin(series.values)), float(np.nanmax(series.values))
    return f"{human(least, series.unit)} {marks.to} {human(most, series.unit)}"


def _series(data: RunData) -> list[tuple[str, Series]]:
    """What is drawn, from the same accounts as the report's timeline."""
    import numpy as np

    from edgeprof.dashboards.report.figures.series import Series
    from edgeprof.dashboards.report.figures.timeline import memory, power, pressure, traffic
    from edgeprof.dashboards.report.figures.timeline.row import Row

    found: list[tuple[str, Series]] = []
    kinds = memory.cgroup_kinds(data) or memory.process_kinds(data)
    if kinds:
        total = np.sum([np.nan_to_num(kind.values) for kind in kinds], axis=0)
        known = np.any([np.isfinite(kind.values) for kind in kinds], axis=0)
        found.append(("memory", Series("memory", kinds[0].time[known], total[known], "bytes", "")))
    for name, row in (("read", traffic.read_row(data)), ("written", traffic.write_row(data))):
        own = [part for part in row.series if part.name == "this run"] if isinstance(row, Row) else []
        found += [(name, part) for part in own]
    waits = pressure.pressure(data, "cgroup") or pressure.pressure(data, "system")
    found += [(f"{part.name.partition(',')[0]} pressure", part) for part in waits if part.name.endswith("some")]
    start, end = data.number("steps", "start_ns"), data.number("steps", "end_ns")
    found.append(("step time", Series("step time", end, end - start, "s", "")))
    rails = power.power_row(data)
    if isinstance(rails, Row):
        found += [(f"power {rails.series[0].name}", rails.series[0])]
    return found


def highest(series: Series, wall: float, columns: int) -> Floats:
    """The highest value in each of ``columns`` equal parts of the run; NaN where there is none.

    A part without a sample has the next one's value, unless samples are usually closer to each other.
    """
    import numpy as np

    known = np.isfinite(series.values) & np.isfinite(series.time)
    place = np.clip(series.time[known] / wall * columns, 0, columns - 1).astype(np.int64)
    found = np.full(columns, -np.inf)
    np.maximum.at(found, place, series.values[known])
    filled = np.flatnonzero(np.isfinite(found))
    usual = int(np.ceil(np.median(np.diff(filled)))) if len(filled) > 1 else 1
    behind = np.searchsorted(filled, np.arange(columns))
    next_filled = filled[np.minimum(behind, len(filled) - 1)]
    near = (behind < len(filled)) & (next_filled - np.arange(columns) < usual + 1)
    return np.where(near, found[next_filled], np.nan)


def sparkline(values: Floats, levels: str) -> str:
    """A character a value, by its height above zero; a space where nothing is known."""
    import numpy as np

    most = float(np.nanmax(values, initial=0.0))
    scaled = np.nan_to_num(values) / most if most > 0 else np.zeros(len(values))
    places = np.clip(np.ceil(scaled * len(levels)) - 1, 0, len(levels) - 1).astype(int)
    return "".join(levels[at] if known else " " for at, known in zip(places, np.isfinite(values), strict=True))


def _latencies(data: RunData, marks: Marks, console: Console) -> dict[str, list[str]]:
    """How many requests of the run took how long, reads and writes apart."""
    if not data.has("block_io"):
        return {}
    from edgeprof.dashboards.report.figures.requests import latency, of_run, positive

    found = {}
    for operation in ("read", "write"):
        values = positive(latency(data)[of_run(data, operation).mask])
        title = f"Latency of {counted(len(values), operation)}"
        found[title] = histogram(values, marks, console.width)
    return found


def histogram(values: Floats, marks: Marks, width: int) -> list[str]:
    """A line a class of time (1, 2, 5, 10, ... µs), with a bar as long as its share of the largest.

    Nothing where ``width`` columns have no room for it.
    """
    import numpy as np

    edges = np.array([step * 10.0**decade for decade in range(-9, 5) for step in _DECADE])
    counts = np.histogram(values, edges)[0]
    filled = np.flatnonzero(counts)
    if not len(filled):
        return []
    first, last = int(filled[0]), int(filled[-1])
    if last - first >= _MOST_CLASSES:
        first, last = _densest(counts, _MOST_CLASSES)
    times = [human(float(edge), "s") for edge in edges[first : last + 2]]
    names = [f"{begin} {marks.to} {end}" for begin, end in pairwise(times)]
    named = max(map(len, names))
    most = int(counts[first : last + 1].max())
    cells = min(_BARS, width - named - len(human(most, "count")) - 6)
    if cells < _FEWEST:
        return []
    shown = [int(count) for count in counts[first : last + 1]]
    rows = [
        f"  {name:>{named}}  {bar(count / most, marks.parts, cells):<{cells}}  {human(count, 'count')}"
        for name, count in zip(names, shown, strict=True)
    ]
    left = len(values) - sum(shown)
    return rows + ([f"  {human(left, 'count')} others took shorter or longer"] if left else [])


def _densest(counts: Ints, classes: int) -> tuple[int, int]:
    """The classes next to each other that hold most."""
    import numpy as np

    sums = np.convolve(counts, np.ones(classes, np.int64), "valid")
    first = int(np.argmax(sums))
    return first, first + classes - 1


def bar(share: float, parts: str, cells: int) -> str:
    """A bar of up to so many cells; what is above 0 is never nothing."""
    full, rest = divmod(round(share * cells * len(parts)), len(parts))
    if share > 0 and not full and not rest:
        rest = 1
    return parts[-1] * full + (parts[rest - 1] if rest else "")
