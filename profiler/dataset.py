"""A folder of runs: listing them, finding one by a few characters."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeprof.profiler.errors import AmbiguousRun, DamagedMetrics, EdgeprofError, NewerSchema, NoRuns, NoSuchRun
from edgeprof.profiler.remote_data.marker import FOLDER_MARKER, RUN_MARKER
from edgeprof.profiler.run import RUNS_FOLDER, Run, local_run, open_run, read_json, read_parquet

PARTIAL_MANIFEST = "manifest.partial.json"
"""What an interrupted run has in place of its manifest, until it is ingested."""

LAST = "last"
"""Names the newest run of a folder."""


@dataclass(frozen=True)
class Entry:
    """One run of a folder, readable or not.

    Attributes:
        path: its capture directory.
        state: ``finished`` or ``interrupted`` as the manifest says; ``not ingested``, ``newer`` (made by a
            newer edgeprof) or ``damaged``.
        run: the opened run; None where its manifest cannot be read.
        info: the manifest's ``run`` part as far as it can be read.
        problem: a sentence on why it cannot be read in full.
    """

    path: Path
    state: str
    run: Run | None
    info: dict[str, Any]
    problem: str | None = None

    @property
    def id(self) -> str:
        """The run's id, which is also its directory's name."""
        return self.path.name

    @property
    def short_id(self) -> str:
        """The part of the id that differs between runs of the same second and name."""
        return self.path.name.rsplit("-", 1)[-1]


def runs_folder(text: str | Path | None = None) -> Path:
    """The folder of runs: the one given, else ``$EDGEPROF_RUNS``, else ``edgeprof-runs`` here.

    Of an fsspec address (``s3://bucket/runs``) it is the local mirror, brought up to date.

    Raises:
        RemoteError: the address cannot be read.
    """
    chosen = text or os.environ.get("EDGEPROF_RUNS") or RUNS_FOLDER
    if isinstance(chosen, Path) or "://" not in chosen:
        return Path(chosen)
    from edgeprof.profiler.remote_data.mirror import local_folder

    return local_folder(chosen)


def named(path: Path) -> str:
    """How to call a folder or a run in words: one that is at an address by that, others by their path."""
    if not any((path / name).is_file() for name in (RUN_MARKER, FOLDER_MARKER)):
        return str(path)
    from edgeprof.profiler.remote_data import mirror

    return mirror.named(path)


def list_runs(folder: Path) -> list[Entry]:
    """All runs of a folder, oldest first; damaged, interrupted and newer ones are among them.

    Raises:
        EdgeprofError: the folder cannot be read.  A folder that does not exist has no runs.
    """
    return [entry_of(path) for path in run_directories(folder)]


def run_directories(folder: Path) -> list[Path]:
    """Capture directories of a folder, oldest first; see `list_runs`."""
    try:
        inside = sorted(folder.iterdir())
    except FileNotFoundError:
        return []
    except OSError as error:
        raise EdgeprofError(f"cannot list the runs in {folder}: {error.strerror}; name another with --folder") from None
    return [path for path in inside if path.is_dir() and looks_like_a_run(path)]


def looks_like_a_run(path: Path) -> bool:
    """Whether a directory holds a capture, whole or not."""
    return any((path / name).exists() for name in ("manifest.json", PARTIAL_MANIFEST, "raw", RUN_MARKER))


def entry_of(path: Path) -> Entry:
    """The entry of one capture directory; what is wrong with it stands in ``problem``."""
    if (path / RUN_MARKER).is_file():
        from edgeprof.profiler.remote_data.mirror import problem_of

        problem = problem_of(path)
        if problem is not None:
            state = "damaged" if (path / "manifest.json").exists() else "being pushed"
            return Entry(path, state, None, _info(path / "manifest.json"), problem)
    if not (path / "manifest.json").exists():
        problem = f"it was interrupted or is still being captured; `edgeprof ingest {path}` reads what there is"
        return Entry(path, "not ingested", None, _info(path / PARTIAL_MANIFEST), problem)
    try:
        run = open_run(path)
    except NewerSchema as error:
        return Entry(path, "newer", None, _info(path / "manifest.json"), str(error))
    except EdgeprofError as error:
        return Entry(path, "damaged", None, _info(path / "manifest.json"), str(error))
    info = run.manifest["run"]
    untold = None if run.tables else f"it has no tables yet; make them with `edgeprof ingest {path}`"
    return Entry(path, str(info.get("status") or "finished"), run, info, untold)


def _info(manifest: Path) -> dict[str, Any]:
    """What a manifest that cannot be relied on says about its run."""
    try:
        content = read_json(manifest)
    except (OSError, ValueError, RecursionError):
        return {}
    info = content.get("run") if isinstance(content, dict) else None
    return info if isinstance(info, dict) else {}


def find_path(text: str, folder: Path) -> Path:
    """The capture directory that ``text`` names.

    Args:
        text: a path or an address; or, looked up in ``folder``: ``last``, an id, the beginning of an id, or
            the beginning of an id's last part.

    Raises:
        NoSuchRun, AmbiguousRun, NoRuns (for ``last``).
    """
    path = local_run(text)
    if path.is_dir() and (looks_like_a_run(path) or os.sep in text):
        return path
    names = [item.name for item in run_directories(folder)]
    if text == LAST:
        if not names:
            raise NoRuns(named(folder))
        return folder / names[-1]
    if text in names:
        return folder / text
    found = (
        [name for name in names if name.startswith(text) or name.rsplit("-", 1)[-1].startswith(text)] if text else []
    )
    if len(found) > 1:
        raise AmbiguousRun(text, found)
    if not found:
        raise NoSuchRun(text, named(folder))
    return folder / found[0]


def find_run(text: str, folder: Path) -> Run:
    """The run that ``text`` names; see `find_path`.

    Raises:
        NoSuchRun, AmbiguousRun, NoRuns; NotARun, DamagedManifest, NewerSchema; RemoteError.
    """
    path = find_path(text, folder)
    if (path / RUN_MARKER).is_file():
        from edgeprof.profiler.remote_data.mirror import refuse_problem

        refuse_problem(path)
    return open_run(path)


_VALUES = (float, int, type(None))
"""What a metric's value may be."""


def metrics_of(run: Run) -> dict[str, dict[str, Any]]:
    """As `Run.metrics`.  Raises DamagedMetrics."""
    try:
        metrics = run.metrics
    except (OSError, ValueError, KeyError, TypeError):  # pyarrow's errors are OSErrors and ValueErrors
        raise DamagedMetrics(run.path) from None
    if not all(type(name) is str and type(item["value"]) in _VALUES for name, item in metrics.items()):
        raise DamagedMetrics(run.path)
    return metrics


def phases_of(run: Run) -> list[dict[str, Any]]:
    """Each phase's ``name`` and ``metrics`` (name -> value, unit, reason), as written.  Raises DamagedMetrics."""
    path = run.path / "metrics.parquet"
    if not path.is_file():
        return []
    phases: dict[str, dict[str, Any]] = {}
    try:
        for row in read_parquet(path).to_pylist():
            if row["phase"] is not None:
                entry = {"value": row["value"], "unit": row["unit"], "reason": row["reason"]}
                phases.setdefault(row["phase"], {})[row["name"]] = entry
    except (OSError, ValueError, KeyError):
        raise DamagedMetrics(run.path) from None
    return [{"name": name, "metrics": metrics} for name, metrics in phases.items()]
