"""What a run's conditions say of its figures: the idle machine's power by rail, and the marks of a doubtful run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeprof.profiler.agent import marks as told
from edgeprof.profiler.agent.idle import FOLDER
from edgeprof.profiler.units import human

if TYPE_CHECKING:
    from edgeprof.profiler.run import Run

MOST_MARKS = 32


def idle_account(raw: Path, part: Mapping[str, Any]) -> dict[str, Any]:
    """The manifest's ``idle_power`` with ``rails``: J and the seconds read, of each rail between its start and end.

    Without a rail, ``rails`` is empty and ``reason`` says why.
    """
    from edgeprof.collectors.parsing import RunFacts
    from edgeprof.collectors.power.parse import parse
    from edgeprof.profiler.analysis.data import RunData
    from edgeprof.profiler.analysis.energy import rails

    account = {**part, "rails": []}
    start, end = part.get("start_ns"), part.get("end_ns")
    if not part.get("available") or not isinstance(start, int) or not isinstance(end, int):
        return {**account, "reason": str(part.get("reason") or "idle power was not measured to its end")}
    try:
        tables = parse(raw / FOLDER, RunFacts(start, end, 0)).tables
        found = rails(RunData({"run": {"start_ns": start, "end_ns": end}}, tables.get))
    except Exception as error:  # a damaged file must not cost the run its other figures
        return {**account, "reason": f"what was read of it is damaged ({type(error).__name__}: {error})"}
    if not found:
        return {**account, "reason": "no power rail was read at least twice while the machine was idle"}
    return {**account, "reason": "", "rails": [rail._asdict() for rail in found]}


def marks(content: Mapping[str, Any], metrics: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Sentences on what makes the run's figures doubtful: from the manifest's facts, and what was captured.

    Args:
        content: the manifest, with the notes of ingest.
        metrics: of the whole run.
    """
    from edgeprof.collectors.thermal.parse import LOW_VOLTAGE

    found = told.marks(content)
    throttled = (metrics.get("throttled_time") or {}).get("value")
    if throttled:
        wall = (metrics.get("wall_time") or {}).get("value")
        of = f" of {human(wall, 's')}" if wall else ""
        found.append(f"a processor was throttled for {human(throttled, 's')}{of}")
    notes = (content.get("ingest") or {}).get("notes") or []
    if LOW_VOLTAGE in notes and not any(told.FLAGS[0] in mark for mark in found):
        found.append(LOW_VOLTAGE.removeprefix("thermal: "))
    return found[:MOST_MARKS]


def marks_of(run: Run) -> list[str]:
    """The marks of an ingested run; of a virtual machine's, also those of its host."""
    inside = run.inside
    parts = [run.manifest] if inside is run else [run.manifest, inside.manifest]
    return list(dict.fromkeys(mark for part in parts for mark in part.get("marks") or ()))


def caution(runs: Iterable[Run]) -> list[str]:
    """A sentence for each run that is marked: its figures may not be comparable with those of others."""
    return [
        f"{run.path.name} is marked, so its figures may not be comparable: {'; '.join(found)}"
        for run in runs
        if (found := marks_of(run))
    ]
