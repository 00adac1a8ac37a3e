"""Groups of runs to compare: named run by run, as folders, as matrices, or by a factor."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from edgeprof.profiler.analysis.compare import flatten
from edgeprof.profiler.conditions import marks_of
from edgeprof.profiler.dataset import Entry, entry_of, find_path, list_runs, metrics_of
from edgeprof.profiler.errors import EdgeprofError
from edgeprof.profiler.matrix.folder import is_matrix
from edgeprof.profiler.run import open_run

Levels = tuple[tuple[str, str], ...]
"""A cell of a matrix: axis and level, in the order of the axes."""

PATTERN = frozenset("*?[")
MARKED_SHOWN = 5
"""Marked runs of a group that are told one by one."""


@dataclass(frozen=True)
class Process:
    """One run of a group; ``cell`` is that of its matrix, empty where it is of none."""

    id: str
    path: Path
    metrics: Mapping[str, float | None]
    cell: Levels = ()


@dataclass(frozen=True)
class Group:
    """Runs that are repeats of the same thing, or a matrix of such.

    Attributes:
        left_out: run and the reason, of those that have no figures to compare.
    """

    name: str
    processes: Sequence[Process]
    left_out: Sequence[tuple[str, str]] = ()
    matrix: bool = False
    axes: Mapping[str, Sequence[str]] = field(default_factory=dict)


def is_group(text: str) -> bool:
    """Whether ``text`` is a folder that holds runs or a matrix, rather than a run."""
    path = Path(text)
    return path.is_dir() and (is_matrix(path) or (not _is_run(path) and bool(list_runs(path))))


def _is_run(path: Path) -> bool:
    return any((path / name).exists() for name in ("manifest.json", "manifest.partial.json", "raw"))


def group_of(name: str, texts: Sequence[str], folder: Path) -> Group:
    """The runs that ``texts`` name.

    Args:
        texts: each a run (as `find_path` takes it), a folder of runs, a matrix's folder (alone), or a pattern with
            ``*``, ``?`` or ``[...]`` for ids in ``folder``.

    Raises:
        EdgeprofError: nothing is there, none of it ended well, or a run is named twice.
    """
    if len(texts) == 1 and is_matrix(Path(texts[0])):
        return matrix_group(name, Path(texts[0]))
    entries = [entry for text in texts for entry in _entries(text, folder)]
    return group_entries(name, entries)


def _entries(text: str, folder: Path) -> list[Entry]:
    path = Path(text)
    if path.is_dir() and not _is_run(path) and (os.sep in text or not (folder / text).is_dir()):
        if is_matrix(path):
            raise EdgeprofError(f"{text} is a matrix; name it alone, it is compared cell by cell")
        found = list_runs(path)
        if not found:
            raise EdgeprofError(f"there are no runs in {text}; name a folder that holds some, or runs one by one")
        return found
    if PATTERN & set(text):
        found = [entry for entry in list_runs(folder) if fnmatchcase(entry.id, text) or fnmatchcase(_name(entry), text)]
        if not found:
            raise EdgeprofError(f"no run in {folder} is called like {text!r}; `edgeprof runs` lists those there are")
        return found
    return [entry_of(find_path(text, folder))]


def _name(entry: Entry) -> str:
    return str(entry.info.get("name") or "")


def groups_by(factor: str, folder: Path) -> list[Group]:
    """The runs of a folder in a group for each value of a factor, in the order of their first run.

    Raises:
        EdgeprofError: no run has the factor, or all have the same value.
    """
    found: dict[str, list[Entry]] = {}
    others: dict[str, None] = {}
    for entry in list_runs(folder):
        factors = _factors(entry)
        others.update(dict.fromkeys(factors))
        value = next((factors[name] for name in factors if name.replace(".", "_") == factor.replace(".", "_")), None)
        if value is not None:
            found.setdefault(str(value), []).append(entry)
    if not found:
        known = ", ".join(others) or "none"
        raise EdgeprofError(f"no run in {folder} has a factor {factor!r}; they have: {known}")
    if len(found) == 1:
        raise EdgeprofError(f"all runs in {folder} have {factor} {next(iter(found))}, so there is nothing to compare")
    return [group_entries(value, entries) for value, entries in found.items()]


def _factors(entry: Entry) -> dict[str, Any]:
    if entry.run is None:
        return {}
    return {name: value for name, value in flatten(entry.run.manifest["factors"]).items() if value is not None}


def group_entries(name: str, entries: Sequence[Entry]) -> Group:
    """Runs as a group; those without figures are left out, with the reason.

    Raises:
        EdgeprofError: none has figures, or one is named twice.
    """
    ids = [entry.path.resolve() for entry in entries]
    twice = next((path for path in ids if ids.count(path) > 1), None)
    if twice is not None:
        raise EdgeprofError(f"{twice.name} is twice in {name}; a run counts once, so name it once")
    processes, left_out = [], []
    for entry in entries:
        try:
            values = _figures(entry)
        except EdgeprofError as error:
            left_out.append((entry.id, str(error)))
        else:
            processes.append(Process(entry.id, entry.path, values))
    return _filled(Group(name, processes, left_out))


def _figures(entry: Entry) -> dict[str, float | None]:
    """A run's metrics.  Raises EdgeprofError where they are not those of its command, run to the end."""
    metrics = metrics_of(entry.run.inside) if entry.run is not None else {}
    if not metrics:
        raise EdgeprofError(entry.problem or "it has no metrics")
    info = entry.info
    if info.get("status") not in (None, "finished"):
        raise EdgeprofError(f"it was {info['status']}")
    if info.get("signal") is not None:
        raise EdgeprofError(f"its command was ended by signal {info['signal']}")
    if info.get("exit_code"):
        raise EdgeprofError(f"its command ended with exit code {info['exit_code']}")
    return {name: item["value"] for name, item in metrics.items()}


def matrix_group(name: str, folder: Path, within: Path | None = None) -> Group:
    """The runs of a matrix, compared cell by cell; one that a link leads out of ``within`` is left out unread.

    Raises:
        EdgeprofError: none has figures, or the matrix cannot be read.
    """
    from edgeprof.profiler.matrix.results import study

    found = study(folder, within)
    processes, left_out = [], []
    for run in found.cells:
        identity = f"{run.cell_id}, repeat {run.repeat}"
        if run.failed or run.run_path is None:
            left_out.append((identity, run.failed or "its capture directory is gone"))
        else:
            cell = tuple((axis, run.levels.get(axis, "")) for axis in found.axes)
            processes.append(Process(run.run_path.name, run.run_path, run.metrics, cell))
    return _filled(Group(name, processes, left_out, matrix=True, axes=found.axes))


def _filled(group: Group) -> Group:
    if group.processes:
        return group
    why = f": {group.left_out[0][0]}: {group.left_out[0][1]}" if group.left_out else ""
    raise EdgeprofError(f"no run of {group.name} has figures to compare{why}")


def refuse_shared(groups: Iterable[Group]) -> None:
    """Raise EdgeprofError where two groups share a run: it would be compared with itself."""
    seen: dict[Path, str] = {}
    for group in groups:
        for process in group.processes:
            other = seen.setdefault(process.path.resolve(), group.name)
            if other != group.name:
                raise EdgeprofError(f"{process.id} is in {other} and in {group.name}; a run belongs to one group")


def marked(group: Group) -> list[str]:
    """A sentence where runs of a group are marked: their figures may not be comparable."""
    found = [(process.id, marks_of(open_run(process.path))) for process in group.processes]
    doubtful = [(run, marks) for run, marks in found if marks]
    if not doubtful:
        return []
    shown = "; ".join(f"{run}: {', '.join(marks)}" for run, marks in doubtful[:MARKED_SHOWN])
    more = f"; and {len(doubtful) - MARKED_SHOWN} more" if len(doubtful) > MARKED_SHOWN else ""
    which = f"{len(doubtful)} of {len(found)} runs of {group.name}"
    return [f"{which} are marked, so the figures may not be comparable: {shown}{more}"]


def facts(group: Group) -> tuple[dict[str, Any], dict[str, Any]]:
    """Factors and host facts of a group, flat; of those that differ within it, the sorted texts of all."""
    manifests = [open_run(process.path).manifest for process in group.processes]
    return (
        _merged([manifest.get("factors") or {} for manifest in manifests]),
        _merged([manifest.get("host") or {} for manifest in manifests]),
    )


def _merged(trees: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    flats = [flatten(tree) for tree in trees]
    names = dict.fromkeys(name for flat in flats for name in flat)
    merged = {}
    for name in names:
        values = [flat.get(name) for flat in flats]
        merged[name] = values[0] if all(value == values[0] for value in values) else sorted({str(v) for v in values})
    return merged
