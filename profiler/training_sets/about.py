"""What a training set's file says of its own making, whatever kind of set it is."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from edgeprof.profiler.errors import EdgeprofError
from edgeprof.profiler.training_sets.errors import NotATrainingSet
from edgeprof.profiler.training_sets.schema import METADATA


def read_made(path: Path, name: str | None = None, newest: int | None = None) -> dict[str, Any]:
    """How a training set was made: at least its ``name`` and ``version``.

    Args:
        path: the file.
        name: the kind it must be of; None: any.
        newest: the newest version of that kind that the caller knows.

    Raises:
        NotATrainingSet: the file is none, of another kind, or damaged.
        EdgeprofError: it cannot be read, or is of a newer edgeprof.
    """
    try:
        metadata = pq.read_schema(path).metadata or {}
    except OSError as error:
        if error.errno is None:  # Parquet's own complaint about its bytes
            raise NotATrainingSet(path, "it is no Parquet file, or damaged") from None
        raise EdgeprofError(f"cannot read {path}: {os.strerror(error.errno)}") from None
    except (ValueError, pa.ArrowException):
        raise NotATrainingSet(path, "it is no Parquet file, or damaged") from None
    try:
        made = json.loads(metadata.get(METADATA, b""))
    except (ValueError, RecursionError):
        made = None
    if not isinstance(made, dict) or not isinstance(made.get("name"), str) or not isinstance(made.get("version"), int):
        raise NotATrainingSet(path, "it does not say how it was made")
    if name is not None and made["name"] != name:
        raise NotATrainingSet(path, f"it is one of {made['name']}, not of {name}", name)
    if newest is not None and made["version"] > newest:
        raise EdgeprofError(
            f"{path} has version {made['version']} of the training set {made['name']}, and this edgeprof reads up to"
            f" {newest}; upgrade it"
        )
    return made


def refuse_foreign(target: Path) -> None:
    """Raises EdgeprofError where a file that is no training set is in the place of one to be written."""
    if not target.exists():
        return
    try:
        read_made(target)
    except NotATrainingSet:
        raise EdgeprofError(f"{target} is there and is no training set: name another file") from None
