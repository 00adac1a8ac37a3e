"""One captured run, as later steps see it: manifest, tables, metrics."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeprof.profiler.errors import DamagedManifest, NewerSchema, NoSuchTable, NotARun

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
    def tables(self) -> list[str]:
        """Names of the tables that ingest has made."""
        return sorted(item.stem for item in (self.path / "tables").glob("*.parquet"))

    def has(self, name: str) -> bool:
        """Whether a table is there."""
        return (self.path / "tables" / f"{name}.parquet").is_file()

    def arrow(self, name: str, columns: list[str] | None = None) -> pa.Table:
        """A table as Arrow.  Raises NoSuchTable."""
        if not self.has(name):
            raise NoSuchTable(name, self.tables)
        return read_parquet(self.path / "tables" / f"{name}.parquet", columns)

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
        rows = read_parquet(path).to_pylist()
        return {
            row["name"]: {"value": row["value"], "unit": row["unit"], "reason": row["reason"]}
            for row in rows
            if row["phase"] is None
        }


def read_parquet(path: Path, columns: list[str] | None = None) -> pa.Table:
    """One Parquet file as Arrow; unlike ``pyarrow.parquet.read_table`` this does not load pandas, which takes 0.2 s."""
    from pyarrow.parquet import ParquetFile

    with ParquetFile(path) as file:
        return file.read(columns)


def load_manifest(path: Path) -> dict[str, Any]:
    """Read ``manifest.json`` of a capture directory and check its shape.

    Raises:
        NotARun: there is none.
        DamagedManifest: it is not JSON, or not an edgeprof manifest.
        NewerSchema: it was written by a newer edgeprof.
    """
    file = path / "manifest.json"
    try:
        content = json.loads(file.read_bytes())
    except FileNotFoundError:
        raise NotARun(path) from None
    except (OSError, ValueError, RecursionError) as error:
        raise DamagedManifest(file, str(error)) from None
    if not isinstance(content, dict) or not isinstance(content.get("schema"), int):
        raise DamagedManifest(file, "no schema version in it")
    if content["schema"] > SCHEMA_VERSION:
        raise NewerSchema(path, content["schema"], SCHEMA_VERSION)
    for key, kind in (("run", dict), ("factors", dict), ("collectors", list), ("overhead", dict)):
        if not isinstance(content.get(key), kind):
            raise DamagedManifest(file, f"no {key!r} in it")
    return content


def open_run(path: str | Path) -> Run:
    """Open a captured run by the path of its capture directory.

    Raises:
        NotARun, DamagedManifest, NewerSchema: see `load_manifest`.
    """
    run = Run(Path(path))
    run.manifest  # noqa: B018  (checks it now, not at first use)
    return run
