"""Exports step times and wall times as a pyperf benchmark suite, for ``pyperf stats``, ``hist`` and ``compare_to``.

Each process is one pyperf run: a step time has one value a step, a wall time one value.  pyperf's own mean is over all
values of all processes, so its significance takes the steps of one process for independent: for a decision use
``edgeprof compare``, which does not.

Format: pyperf's JSON, version 1.0 (https://pyperf.readthedocs.io/en/latest/api.html#json).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeprof.profiler.dataset import metrics_of
from edgeprof.profiler.errors import EdgeprofError, NotIngested
from edgeprof.profiler.files import replacing
from edgeprof.profiler.run import Run, open_run

if TYPE_CHECKING:
    from edgeprof.profiler.statistics.study import Study

_NAMES = ("step_time", "wall_time")
_HOST = {"hostname": "hostname", "cpus": "cpu_count", "cpu_model": "cpu_model_name", "kernel": "kernel"}
"""Host facts, and pyperf's names for them."""


class NothingTimed(EdgeprofError):
    """No step and no end was recorded."""

    def __init__(self, path: Path | str) -> None:
        super().__init__(f"{path} has no step times and no wall time that pyperf could take; export a run that ended")


def write(run: Run, path: Path) -> Path:
    """Write one run: its step times, and its wall time.

    Raises:
        NotIngested: the run has no metrics.
        NothingTimed, CannotWrite, DamagedMetrics
        EdgeprofError: pyperf is not installed.
    """
    if not metrics_of(run.inside):
        raise NotIngested(run.path)
    return _write({name: [run.inside] for name in _NAMES}, path, run.path)


def write_study(study: Study, path: Path) -> Path:
    """Write a matrix: for each cell, the step times of its repeats and their wall times, named by its levels.

    Raises:
        NothingTimed, CannotWrite, DamagedMetrics
        EdgeprofError: pyperf is not installed.
    """
    found: dict[str, list[Run]] = {}
    for cell in study.cells:
        if cell.failed or cell.run_path is None:
            continue
        levels = " ".join(f"{axis}={level}" for axis, level in cell.levels.items())
        for name in _NAMES:
            found.setdefault(f"{name} {levels}", []).append(open_run(cell.run_path).inside)
    return _write(found, path, study.name)


def _write(found: Mapping[str, Sequence[Run]], path: Path, what: Path | str) -> Path:
    try:
        import pyperf
    except ImportError:
        raise EdgeprofError("this format needs pyperf: pip install 'edgeprof[matrix]'") from None
    benchmarks = []
    for name, runs in found.items():
        timed = [(_metadata(name, run), _values(name.partition(" ")[0], run)) for run in runs]
        parts = [pyperf.Run(values, metadata=facts, collect_metadata=False) for facts, values in timed if values]
        if parts:
            benchmarks.append(pyperf.Benchmark(parts))
    if not benchmarks:
        raise NothingTimed(what)
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        pyperf.BenchmarkSuite(benchmarks).dump(file)
    return path


def _values(name: str, run: Run) -> list[float]:
    """Seconds; only what is above 0, as pyperf demands."""
    if name == "wall_time":
        wall = (metrics_of(run).get(name) or {}).get("value")
        return [wall] if wall is not None and wall > 0 else []
    if not run.has("steps"):
        return []
    steps = run.arrow("steps", ["start_ns", "end_ns"]).to_pylist()
    times = [(step["end_ns"] - step["start_ns"]) / 1e9 for step in steps if None not in step.values()]
    return [time for time in times if time > 0]


def _metadata(name: str, run: Run) -> dict[str, Any]:
    info, host = run.manifest["run"], run.manifest.get("host") or {}
    facts: dict[str, Any] = {
        "name": _text(name),
        "unit": "second",
        "loops": 1,
        "date": _date(info.get("started")),
        "duration": info.get("wall_time"),
        "edgeprof_run": _text(str(info.get("id") or run.path.name)),
        "edgeprof_version": _text(str(run.manifest.get("edgeprof") or "")),
        "mem_max_rss": (metrics_of(run).get("rss_peak") or {}).get("value"),
    }
    facts.update(
        {key: _text(value) if isinstance(value := host.get(fact), str) else value for fact, key in _HOST.items()}
    )
    if facts["mem_max_rss"] is not None:
        facts["mem_max_rss"] = int(facts["mem_max_rss"])
    return {key: value for key, value in facts.items() if value not in (None, "", 0)}


def _date(started: str | None) -> str | None:
    """``2026-01-31T12:00:00Z`` as pyperf writes it."""
    return started.replace("T", " ").rstrip("Z") if started else None


def _text(text: str) -> str:
    """One line without control characters."""
    return "".join(char if char.isprintable() else " " for char in text).strip()
