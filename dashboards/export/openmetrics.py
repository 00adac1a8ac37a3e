"""Exposes the figures of runs to Prometheus, Grafana and what else reads OpenMetrics: as a file, and to be scraped.

Each metric of docs/metrics.md is a gauge, ``edgeprof_<metric>_<unit>``.  A series is what is run where: `LABELS`.  Its
value is that of its newest run, whose id stands in ``edgeprof_run_info``; so there are as many series as workloads and
machines, however many runs there are, up to `MOST_SERIES`.  A metric that could not be computed has no sample, and
``edgeprof_run_metrics_missing`` counts those.

Format: "OpenMetrics 1.0", https://prometheus.io/docs/specs/om/open_metrics_spec/
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgeprof.dashboards.app.rows import read_row, table_of
from edgeprof.profiler.analysis.registry import METRICS
from edgeprof.profiler.dataset import metrics_of, run_directories
from edgeprof.profiler.errors import EdgeprofError, NoRuns, NotIngested
from edgeprof.profiler.files import replacing
from edgeprof.profiler.run import Run

if TYPE_CHECKING:
    import pyarrow as pa
    from prometheus_client import CollectorRegistry
    from prometheus_client.metrics_core import GaugeMetricFamily

MOST_SERIES = 500
"""Of the newest runs; a scrape of so many takes a second or two, and Prometheus waits for ten."""

Row = Mapping[str, Any]
"""A run's values by the names of the index's columns (dashboards/app/rows.py)."""

_LABELS: Mapping[str, Sequence[str]] = {
    "name": ("matrix_cell", "name"),
    "matrix": ("matrix_name",),
    "host": ("host_hostname",),
    "board": ("board", "host_board"),
    "model": ("model",),
    "lifecycle": ("lifecycle",),
    "framework": ("framework_name",),
    "isolation": ("isolation",),
    "unit": ("unit_kind",),
    "precision": ("unit_precision",),
    "format": ("storage_format",),
    "device": ("storage_device",),
}
"""Label -> columns; the first that has a value is taken."""
_INFO: Mapping[str, Sequence[str]] = {
    "run": ("id",),
    "state": ("state",),
    "bound_by": ("bound_by",),
    "kernel": ("host_kernel",),
}
LABELS, INFO = tuple(_LABELS), tuple(_INFO)
"""What tells series apart, and what else ``edgeprof_run_info`` says of the newest run.

A run of a matrix is named by its cell, so that the cell's repeats are one series.
"""
_HEADS = {"started", "state", *(name for names in _LABELS.values() for name in names)}
_NAMES = tuple(metric.name for metric in METRICS)
_OF_MANIFEST = ("wall_time", "overhead_cpu_share")
"""Metrics that a run's manifest tells, too."""

_UNITS = {
    "s": "seconds",
    "bytes": "bytes",
    "share": "ratio",
    "ratio": "ratio",
    "J": "joules",
    "W": "watts",
    "J/sample": "joules",
    "samples/s": "samples_per_second",
    "count": "",
}
"""Units of metrics, and the suffixes that Prometheus' naming rules ask for."""


def _texts(row: Row, columns: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    found = ((row.get(name) for name in names if row.get(name) is not None) for names in columns.values())
    return tuple(str(next(values, "")) for values in found)


def _number(row: Row, name: str) -> float | None:
    value = row.get(name)
    return value if isinstance(value, float) else None


def _measured(row: Row) -> bool:
    return any(_number(row, name) is not None for name in _NAMES if name not in _OF_MANIFEST)


def _missing(row: Row) -> float:
    return float(sum(_number(row, name) is None for name in _NAMES))


def _ended(row: Row) -> float | None:
    """Seconds since the epoch; None for a run that was interrupted."""
    try:
        return datetime.fromisoformat(str(row.get("ended")).replace("Z", "+00:00")).timestamp()
    except ValueError:
        return None


class Families:
    """A collector for prometheus_client.

    Args:
        rows: runs that have metrics.
        states: how many runs there are, by state.
        history: give each sample the time at which its run ended.
        left_out: how many series there are beside those of ``rows``.
    """

    def __init__(
        self, rows: Iterable[Row], states: Mapping[str, int], history: bool = False, left_out: int = 0
    ) -> None:
        series = ((_texts(row, _LABELS), _ended(row), row) for row in rows)
        self._runs = sorted(series, key=lambda item: (item[0], item[1] or 0.0))
        self._states = states
        self._history = history
        self._left_out = left_out

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """All metric families."""
        from prometheus_client.metrics_core import GaugeMetricFamily

        if self._states:
            yield self._by_state()
            yield GaugeMetricFamily("edgeprof_series_left_out", "Series beyond the newest.", value=self._left_out)
        yield self._family("run_info", "What the newest run is; 1.", "", lambda row: 1.0, _INFO)
        yield self._family("run_end_timestamp", "When the newest run ended.", "seconds", _ended)
        yield self._family("run_exit_code", "Exit code of the newest run.", "", lambda row: _number(row, "exit_code"))
        yield self._family("run_metrics_missing", "Metrics of the newest run that have no value.", "", _missing)
        for metric in METRICS:
            text = metric.definition.replace("``", "")
            yield self._family(metric.name, text, _UNITS[metric.unit], partial(_number, name=metric.name))

    def _by_state(self) -> GaugeMetricFamily:
        from prometheus_client.metrics_core import GaugeMetricFamily

        family = GaugeMetricFamily("edgeprof_runs", "Runs in the folder, by state.", labels=["state"])
        for state, count in sorted(self._states.items()):
            family.add_metric([state], count)
        return family

    def _family(
        self,
        name: str,
        text: str,
        unit: str,
        value: Callable[[Row], float | None],
        more: Mapping[str, Sequence[str]] | None = None,
    ) -> GaugeMetricFamily:
        from prometheus_client.metrics_core import GaugeMetricFamily

        family = GaugeMetricFamily(f"edgeprof_{name}", text, labels=(*LABELS, *(more or ())), unit=unit)
        for labels, ended, row in self._runs:
            found = value(row)
            if found is not None:
                family.add_metric((*labels, *_texts(row, more or {})), found, ended if self._history else None)
        return family


def families(table: pa.Table) -> Families:
    """What is exposed of an index's table: each series' newest run that has metrics, and the runs by state."""
    heads = table.select([name for name in table.column_names if name in _HEADS]).to_pylist()
    measured = _measured_rows(table)
    newest: dict[tuple[str, ...], int] = {}
    for row in sorted(measured.nonzero()[0].tolist(), key=lambda row: str(heads[row]["started"])):
        labels = _texts(heads[row], _LABELS)
        newest.pop(labels, None)  # so that the order stays that of the newest runs
        newest[labels] = row
    shown = table.take(np.array(list(newest.values())[-MOST_SERIES:], np.int64)).to_pylist()
    states = Counter(_state(head["state"], known) for head, known in zip(heads, measured.tolist(), strict=True))
    return Families(shown, states, left_out=len(newest) - len(shown))


def _measured_rows(table: pa.Table) -> NDArray[np.bool_]:
    """Which rows have a metric."""
    known = np.zeros(len(table), np.bool_)
    for name in set(_NAMES).difference(_OF_MANIFEST).intersection(table.column_names):
        known |= table.column(name).is_valid().to_numpy()
    return known


def _state(state: str, measured: bool) -> str:
    """The state of a run; one that was captured and has no metrics is told apart."""
    return "without metrics" if not measured and state in ("finished", "interrupted") else state


def scrape(table: pa.Table, accept: str = "") -> tuple[str, bytes]:
    """The answer to a GET of ``/metrics``: its content type, as the request's ``Accept`` asks, and its body.

    Args:
        table: of the index of runs (`edgeprof.dashboards.app.index.Snapshot`).

    Raises:
        EdgeprofError: prometheus-client is not installed.
    """
    registry = _registry(families(table))
    from prometheus_client.exposition import choose_encoder

    encode, content_type = choose_encoder(accept)
    return content_type, encode(registry)


def write(run: Run, path: Path) -> Path:
    """Write the figures of one run.

    Raises:
        NotIngested: the run has no metrics.
        DamagedMetrics, CannotWrite
        EdgeprofError: prometheus-client is not installed.
    """
    if not metrics_of(run.inside):
        raise NotIngested(run.path)
    return _write(Families([read_row(run.path.name, run.path).values], {}), path)


def write_folder(folder: Path, path: Path, history: bool = False) -> Path:
    """Write the figures of a folder of runs: those of each series' newest run.

    Args:
        history: instead, those of all runs, each at the time at which it ended, for
            ``promtool tsdb create-blocks-from openmetrics``; runs that did not end are left out.

    Raises:
        NoRuns: no run of the folder has metrics.
        CannotWrite
        EdgeprofError: prometheus-client is not installed.
    """
    rows = [read_row(directory.name, directory) for directory in run_directories(folder)]
    measured = [row.values for row in rows if _measured(row.values) and not (history and _ended(row.values) is None)]
    if not measured:
        raise NoRuns(folder)
    if not history:
        return _write(families(table_of(rows)), path)
    once = {(_texts(row, _LABELS), _ended(row)): row for row in measured}  # a series has one point at a time
    return _write(Families(once.values(), {}, history=True), path)


def _registry(families: Families) -> CollectorRegistry:
    try:
        from prometheus_client import CollectorRegistry
    except ImportError:
        raise EdgeprofError("this format needs prometheus-client: pip install 'edgeprof[dashboard]'") from None
    registry = CollectorRegistry()
    registry.register(families)
    return registry


def _write(families: Families, path: Path) -> Path:
    registry = _registry(families)
    from prometheus_client.openmetrics import exposition

    write_text: Callable[[CollectorRegistry], bytes] = exposition.generate_latest
    with replacing(path) as temporary:
        temporary.write_bytes(write_text(registry))
    return path
