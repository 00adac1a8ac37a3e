"""Exposes the figures of runs to Prometheus, Grafana and what else reads OpenMetrics: as a file, and to be scraped.

Each metric of docs/metrics.md is a gauge, ``edgeprof_<metric>_<unit>``.  A series is what is run where: `LABELS`.  Its
value is that of its newest run, whose id stands in ``edgeprof_run_info``; so there are as many series as workloads and
machines, however many runs there are.  A metric that could not be computed has no sample, and
``edgeprof_run_metrics_missing`` counts those.

Format: "OpenMetrics 1.0", https://prometheus.io/docs/specs/om/open_metrics_spec/
"""

from __future__ import annotations

import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeprof.dashboards.files import replacing
from edgeprof.dashboards.report.text import clean
from edgeprof.profiler.analysis.compare import flatten
from edgeprof.profiler.analysis.registry import METRICS
from edgeprof.profiler.dataset import Entry, entry_of, metrics_of, run_directories
from edgeprof.profiler.errors import EdgeprofError, NoRuns, NotIngested
from edgeprof.profiler.run import Run

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry
    from prometheus_client.metrics_core import GaugeMetricFamily

_FACTORS = {
    "board": "board",
    "model": "model",
    "lifecycle": "lifecycle",
    "framework": "framework.name",
    "isolation": "isolation",
    "unit": "unit.kind",
    "precision": "unit.precision",
    "format": "storage.format",
    "device": "storage.device",
}
LABELS = ("name", "matrix", "host", *_FACTORS)
"""What tells series apart; a run of a matrix is named by its cell, so that the cell's repeats are one series."""
INFO = ("run", "state", "bound_by", "kernel", "edgeprof")
"""What else ``edgeprof_run_info`` says of the newest run."""

_UNITS = {
    "s": "seconds",
    "bytes": "bytes",
    "share": "ratio",
    "ratio": "ratio",
    "J": "joules",
    "J/sample": "joules",
    "samples/s": "samples_per_second",
    "count": "",
}
"""Units of metrics, and the suffixes that Prometheus' naming rules ask for."""
_LONGEST = 200
"""Characters of a label's value."""
READING = 5.0
"""Seconds that one scrape reads runs that are new; a scrape is given 10 s as a rule, and the next one reads on."""


@dataclass(frozen=True)
class Snapshot:
    """The figures of one run.

    Attributes:
        labels, info: values of `LABELS` and `INFO`.
        at: end of its capture, seconds since the epoch; None where no clock was recorded.
        values: of each metric of the registry, in its order; None where it could not be computed.
    """

    labels: tuple[str, ...]
    info: tuple[str, ...]
    at: float | None
    exit_code: int | None
    values: tuple[float | None, ...]


def snapshot(entry: Entry) -> tuple[str, Snapshot | None]:
    """The state of a run and its figures; no figures where there are none to read."""
    if entry.run is None:
        return entry.state, None
    run = entry.run.inside
    try:
        metrics = metrics_of(run)
        return (entry.state, _snapshot(entry, run, metrics)) if metrics else ("not ingested", None)
    except EdgeprofError:  # its metrics, or the guest's manifest
        return "damaged", None


def _snapshot(entry: Entry, run: Run, metrics: Mapping[str, Mapping[str, Any]]) -> Snapshot:
    manifest = run.manifest
    factors = flatten(manifest["factors"])
    host, info = manifest.get("host") or {}, manifest["run"]
    texts = {label: factors.get(name) for label, name in _FACTORS.items()}
    texts["board"] = texts["board"] or host.get("board")
    texts["host"] = host.get("hostname")
    texts["matrix"] = factors.get("matrix.name")
    texts["name"] = factors.get("matrix.cell") or info.get("name")
    verdict = (manifest.get("verdict") or {}).get("bound_by")
    about = (entry.id, entry.state, verdict, host.get("kernel"), manifest.get("edgeprof"))
    ends = [clock["realtime_ns"] / 1e9 for clock in manifest.get("clocks") or ()]
    values = ((metrics.get(metric.name) or {}).get("value") for metric in METRICS)
    return Snapshot(
        tuple(_label(texts[name]) for name in LABELS),
        tuple(map(_label, about)),
        max(ends, default=None),
        info.get("exit_code"),
        tuple(value if value is not None and math.isfinite(value) else None for value in values),
    )


def _label(value: object) -> str:
    return "" if value is None else clean(value)[:_LONGEST]


def newest(snapshots: Iterable[Snapshot]) -> list[Snapshot]:
    """The newest snapshot of each series."""
    found: dict[tuple[str, ...], Snapshot] = {}
    for item in sorted(snapshots, key=_time):
        found[item.labels] = item
    return list(found.values())


def _time(item: Snapshot) -> float:
    return -math.inf if item.at is None else item.at


class Families:
    """A collector for prometheus_client: snapshots, and how many runs there are by state.

    Args:
        history: give each sample the time at which its run ended.
    """

    def __init__(self, snapshots: Sequence[Snapshot], states: Mapping[str, int], history: bool = False) -> None:
        self._snapshots = sorted(snapshots, key=lambda item: (item.labels, _time(item)))
        self._states = states
        self._history = history

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """All metric families."""
        if self._states:
            yield self._runs()
        yield self._family("run_info", "What the newest run is; 1.", "", lambda item: 1.0, INFO)
        yield self._family("run_end_timestamp", "When the newest run ended.", "seconds", lambda item: item.at)
        yield self._family("run_exit_code", "Exit code of the newest run.", "", lambda item: item.exit_code)
        yield self._family(
            "run_metrics_missing", "Metrics of the newest run that have no value.", "", lambda i: i.values.count(None)
        )
        for index, metric in enumerate(METRICS):
            yield self._family(metric.name, metric.definition.replace("``", ""), _UNITS[metric.unit], partial(_value, index))

    def _runs(self) -> GaugeMetricFamily:
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
        value: Callable[[Snapshot], float | None],
        more: Sequence[str] = (),
    ) -> GaugeMetricFamily:
        from prometheus_client.metrics_core import GaugeMetricFamily

        family = GaugeMetricFamily(f"edgeprof_{name}", text, labels=(*LABELS, *more), unit=unit)
        for item in self._snapshots:
            found = value(item)
            if found is not None:
                labels = (*item.labels, *item.info) if more else item.labels
                family.add_metric(labels, float(found), item.at if self._history else None)
        return family


def _value(index: int, item: Snapshot) -> float | None:
    return item.values[index]


def _registry(families: Families) -> CollectorRegistry:
    try:
        from prometheus_client import CollectorRegistry
    except ImportError:
        raise EdgeprofError("this format needs prometheus-client: pip install 'edgeprof[dashboard]'") from None
    registry = CollectorRegistry()
    registry.register(families)
    return registry


class Fleet:
    """The runs of a folder as they are scraped time and again: only what changed is read again.

    Args:
        paths: gives the capture directories there are, oldest first.
    """

    def __init__(
        self,
        paths: Callable[[], Sequence[Path]],
        reading: float = READING,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._paths = paths
        self._reading = reading
        self._clock = clock
        self._known: dict[Path, tuple[_Stamp, str, Snapshot | None]] = {}
        self._lock = threading.Lock()

    def families(self) -> Families:
        """What is known now; new runs are read newest first, for a few seconds at most."""
        with self._lock:
            paths = self._paths()
            until = self._clock() + self._reading
            known, unread = {}, 0
            for path in reversed(paths):
                stamp = _stamp(path)
                found = self._known.get(path)
                if found is None or found[0] != stamp:
                    if self._clock() >= until:
                        unread += 1
                        continue
                    found = (stamp, *snapshot(entry_of(path)))
                known[path] = found
            self._known = known
        states = Counter(state for _, state, _ in known.values())
        if unread:
            states["not read yet"] = unread
        return Families(newest(item for _, _, item in known.values() if item), states)

    def scrape(self, accept: str = "") -> tuple[str, bytes]:
        """The answer to a GET of ``/metrics``: its content type, as the request's ``Accept`` asks, and its body.

        Raises:
            EdgeprofError: prometheus-client is not installed.
        """
        registry = _registry(self.families())
        from prometheus_client.exposition import choose_encoder

        encode, content_type = choose_encoder(accept)
        return content_type, encode(registry)


_Stamp = tuple[tuple[int, int] | None, ...]


def _stamp(path: Path) -> _Stamp:
    """Changes when what is known of a run does."""
    return tuple(_state(path / part / name) for part in ("", "guest") for name in ("manifest.json", "metrics.parquet"))


def _state(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size


def write(run: Run, path: Path) -> Path:
    """Write the figures of one run.

    Raises:
        NotIngested: the run has no metrics.
        DamagedMetrics, CannotWrite
        EdgeprofError: prometheus-client is not installed.
    """
    metrics = metrics_of(run.inside)
    if not metrics:
        raise NotIngested(run.path)
    return _write(Families([_snapshot(entry_of(run.path), run.inside, metrics)], {}), path)


def write_folder(folder: Path, path: Path, history: bool = False) -> Path:
    """Write the figures of a folder of runs: those of each series' newest run.

    Args:
        history: instead, those of all runs, each at the time at which it ended, for
            ``promtool tsdb create-blocks-from openmetrics``; runs without a clock are left out.

    Raises:
        NoRuns: no run of the folder has metrics.
        CannotWrite
        EdgeprofError: prometheus-client is not installed.
    """
    read = [snapshot(entry_of(directory)) for directory in run_directories(folder)]
    found = [item for _, item in read if item is not None and (not history or item.at is not None)]
    if not found:
        raise NoRuns(folder)
    if history:
        once = {(item.labels, item.at): item for item in found}  # two points of a series cannot have one time
        return _write(Families(list(once.values()), {}, history=True), path)
    return _write(Families(newest(found), Counter(state for state, _ in read)), path)


def _write(families: Families, path: Path) -> Path:
    registry = _registry(families)
    from prometheus_client.openmetrics.exposition import generate_latest

    with replacing(path) as temporary:
        temporary.write_bytes(generate_latest(registry))
    return path
