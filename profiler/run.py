"""One captured run, as later steps see it: manifest, tables, metrics."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeprof.profiler.errors import DamagedManifest, NewerSchema, NoSuchTable, NotARun
from edgeprof.profiler.remote_data.marker import RUN_MARKER

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

SCHEMA_VERSION = 1
RUNS_FOLDER = "edgeprof-runs"


@dataclass(frozen=True)
class Run:
    """A capture directory that has a manifest.

    Raises (on opening, see `open_run`):
        NotARun, DamagedManifest, NewerSchema
    """

    path: Path

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """The manifest as written by the agent, completed by ingest."""
        return load_manifest(self.path)

    @property
    def guest(self) -> Run | None:
        """What the agent inside captured, where the workload ran in a virtual machine and its capture is ingested."""
        path = self.path / "guest"
        return type(self)(path) if (path / "manifest.json").is_file() else None

    @property
    def inside(self) -> Run:
        """The capture that the workload's own figures are in: the guest's where there is one, else this."""
        return self.guest or self

    @property
    def tables(self) -> list[str]:
        """Names of the tables that ingest has made."""
        return sorted({item.stem for item in (self.path / "tables").glob("*.parquet")} | self._elsewhere)

    def has(self, name: str) -> bool:
        """Whether a table is there."""
        return (self.path / "tables" / f"{name}.parquet").is_file() or name in self._elsewhere

    @cached_property
    def _elsewhere(self) -> frozenset[str]:
        """Tables that a mirrored run has at its address; none of a local run."""
        if not any((folder / RUN_MARKER).is_file() for folder in (self.path, self.path.parent)):
            return frozenset()
        from edgeprof.profiler.remote_data.mirror import tables_at

        return frozenset(tables_at(self.path))

    def table_file(self, name: str) -> Path:
        """The Parquet file of a table, fetched first where the run is at an address.

        Raises:
            NoSuchTable: the run has no such table.
            RemoteError: it cannot be fetched.
        """
        if not self.has(name):
            raise NoSuchTable(name, self.tables)
        if name not in self._elsewhere:
            return self.path / "tables" / f"{name}.parquet"
        from edgeprof.profiler.remote_data.mirror import fetched_table

        return fetched_table(self.path, name)

    def arrow(self, name: str, columns: list[str] | None = None) -> pa.Table:
        """A table as Arrow.  Raises NoSuchTable."""
        return read_parquet(self.table_file(name), columns)

    def table(self, name: str) -> pd.DataFrame:
        """A table as a pandas DataFrame.  Raises NoSuchTable."""
        frame: pd.DataFrame = self.arrow(name).to_pandas()
        return frame

    @cached_property
    def metrics(self) -> dict[str, dict[str, Any]]:
        """Metric name -> {"value", "unit", "reason"} over the whole run; empty before ingest."""
        path = self.path / "metrics.parquet"
        if not path.is_file():
            return {}
        table = read_parquet(path, ["name", "phase", "value", "unit", "reason"])
        columns = (table.column(name).to_pylist() for name in ("name", "phase", "value", "unit", "reason"))
        return {
            name: {"value": value, "unit": unit, "reason": reason}
            for name, phase, value, unit, reason in zip(*columns, strict=True)
            if phase is None
        }


def local_run(path: str | Path) -> Path:
    """The capture directory that a path, or a run's own fsspec address, names; see `remote_data.mirror.local_run`."""
    if isinstance(path, Path) or "://" not in path:
        return Path(path)
    from edgeprof.profiler.remote_data.mirror import local_run as mirrored

    return mirrored(path)


def read_parquet(path: Path, columns: list[str] | None = None) -> pa.Table:
    """One Parquet file as Arrow; unlike ``pyarrow.parquet.read_table`` this does not load pandas, which takes 0.2 s."""
    from pyarrow.parquet import ParquetFile

    with ParquetFile(path) as file:
        return file.read(columns)


def is_parquet(path: Any) -> bool:
    """Whether a path, or an open file, is of a whole Parquet file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        pq.read_metadata(path)
    except (OSError, pa.ArrowException):
        return False
    return True


def read_json(file: Path) -> Any:
    """What a JSON file holds, in texts that can be written anywhere: half of a surrogate pair becomes ``?``.

    Raises:
        OSError, ValueError, RecursionError
    """
    data = file.read_bytes()
    content = json.loads(data)
    if b"\\ud" in data.lower():
        content = json.loads(json.dumps(content, ensure_ascii=False).encode("utf-8", "replace"))
    return content


def load_manifest(path: Path) -> dict[str, Any]:
    """Read ``manifest.json`` of a capture directory and check its shape.

    Raises:
        NotARun: there is none.
        DamagedManifest: it is not JSON, or not an edgeprof manifest.
        NewerSchema: it was written by a newer edgeprof.
    """
    file = path / "manifest.json"
    try:
        content = read_json(file)
    except FileNotFoundError:
        raise NotARun(path) from None
    except (OSError, ValueError, RecursionError) as error:
        raise DamagedManifest(file, str(error)) from None
    if not isinstance(content, dict) or not isinstance(content.get("schema"), int):
        raise DamagedManifest(file, "no schema version in it")
    if content["schema"] > SCHEMA_VERSION:
        raise NewerSchema(path, content["schema"], SCHEMA_VERSION)
    problem = wrong_part(content)
    if problem is not None:
        raise DamagedManifest(file, problem)
    return content


_PARTS: dict[str, type] = {"run": dict, "factors": dict, "collectors": list, "overhead": dict}
"""Parts that every manifest has."""
_OPTIONAL: dict[str, type] = {
    "spec": dict,
    "host": dict,
    "clocks": list,
    "cgroup": dict,
    "processes": dict,
    "notes": list,
    "ingest": dict,
    "verdict": dict,
    "setup": dict,
    "roles": dict,
    "steady": dict,
    "power_mode": dict,
    "idle_power": dict,
    "firmware": dict,
    "marks": list,
}
_RUN_TEXTS = ("id", "name", "cwd", "started", "ended", "status")
_RUN_NUMBERS = ("start_ns", "end_ns", "pid", "exit_code", "signal")
_CLOCKS = ("monotonic_ns", "boottime_ns", "realtime_ns", "error_ns")


def wrong_part(content: dict[str, Any]) -> str | None:
    """What in a manifest has not the shape that its readers rely on; None when all is well."""
    for key, kind in (*_PARTS.items(), *_OPTIONAL.items()):
        if key in _PARTS and key not in content:
            return f"no {key!r} in it"
        if content.get(key) is None and key in _OPTIONAL:
            continue
        if not isinstance(content[key], kind):
            return f"{key!r} is not a {'list' if kind is list else 'set of fields'}"
    run: dict[str, Any] = content["run"]
    for key in _RUN_TEXTS:
        if not isinstance(run.get(key), str | None):
            return f"{key!r} of the run is no text"
    for key in _RUN_NUMBERS:
        if not _is_count(run.get(key)):
            return f"{key!r} of the run is no whole number"
    wall = run.get("wall_time")
    if isinstance(wall, bool) or not isinstance(wall, int | float | None):
        return "'wall_time' of the run is no number"
    return _wrong_list(content)


def _wrong_list(content: dict[str, Any]) -> str | None:
    command = content["run"].get("command")
    if not isinstance(command, list | None) or not all(isinstance(word, str) for word in command or ()):
        return "'command' of the run is no list of words"
    for item in content["collectors"]:
        if not isinstance(item, dict) or not isinstance(item.get("name"), str):
            return "an entry of 'collectors' has no name"
        if not _is_count(item.get("lost")):
            return f"'lost' of the collector {item['name']} is no whole number"
    for item in content.get("clocks") or ():
        if not isinstance(item, dict) or not all(isinstance(item.get(key), int) for key in _CLOCKS):
            return "an entry of 'clocks' is not whole"
    for key in ("notes", "marks"):
        if not all(isinstance(note, str) for note in content.get(key) or ()):
            return f"{key!r} holds something that is no text"
    processes = content.get("processes") or {}
    helpers = processes.get("helpers")
    if not _is_count(processes.get("agent")) or not isinstance(helpers, list | None):
        return "'processes' does not name edgeprof's own"
    if not all(isinstance(pid, int) for pid in helpers or ()):
        return "'processes' does not name edgeprof's own"
    return None


def _is_count(value: Any) -> bool:
    return value is None or (isinstance(value, int) and not isinstance(value, bool) and abs(value) < 1 << 63)


def open_run(path: str | Path) -> Run:
    """Open a captured run by the path of its capture directory, or by its fsspec address.

    Raises:
        NotARun, DamagedManifest, NewerSchema: see `load_manifest`.
        RemoteError: the address cannot be read.
    """
    run = Run(local_run(path))
    run.manifest  # noqa: B018  (checks it now, not at first use)
    return run
