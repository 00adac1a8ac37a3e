"""Examples of read-ahead as a model sees them: a window's features, and log2 of the KiB that would be best."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from edgeprof.kmodule.errors import KmlError
from edgeprof.kmodule.library import FloatArray, to_fixed
from edgeprof.kmodule.readahead import CHOICES_KIB, FEATURES, VERSION
from edgeprof.kmodule.training.examples import Codes, Examples
from edgeprof.profiler.training_sets.errors import NotATrainingSet
from edgeprof.profiler.training_sets.readahead_card import read_about
from edgeprof.profiler.training_sets.readahead_schema import DEVICE, NAME

ROWS_OF_A_KIND = 60
"""Windows of one cell, scope and setting that are kept at most: many small files must not outweigh all else."""


class OtherFeatures(KmlError):
    """A training set whose features are not those of this library."""

    def __init__(self, path: Path) -> None:
        super().__init__(f"{path} was made with other features than this edgeprof has: make it anew from its runs")


@dataclass(frozen=True)
class ReadAheadExamples(Examples):
    """Windows, in the order of the training set.

    Attributes:
        workload, machine: index into ``workloads`` and ``machines``.
        cell: index into the training set's cells.
        device: whether it is a window of the disk, and not of a file.
        current_kib: the read-ahead that was set.
        relative: ``[cells, choices]``, throughput over the best; NaN where that was not run.
        tied: ``[cells, choices]``, whether it cannot be told from the best.
        about: what the training set says of its making.
    """

    workload: Codes
    workloads: tuple[str, ...]
    machine: Codes
    machines: tuple[str, ...]
    cell: Codes
    device: npt.NDArray[np.bool_]
    current_kib: npt.NDArray[np.int64]
    relative: FloatArray
    tied: npt.NDArray[np.bool_]
    about: dict[str, Any]


def read(path: Path, seed: int = 0) -> ReadAheadExamples:
    """The examples of a training set of `edgeprof dataset build readahead`.

    Raises:
        NotATrainingSet: it is none, or damaged.
        OtherFeatures: it was made with other features than this edgeprof's.
    """
    about = read_about(path)
    made = about["features"]
    if tuple(made["names"]) != FEATURES or made["version"] != VERSION:
        raise OtherFeatures(path)
    columns = ("run_id", "workload", "machine", "situation", "scope", "current_kib", "best_kib", *FEATURES)
    try:
        with pq.ParquetFile(path) as file:
            table = file.read(list(columns))
        run, runs = _codes(table["run_id"])
        workload, workloads = _codes(table["workload"])
        machine, machines = _codes(table["machine"])
        cell = _cells(table, about["cells"])
        device = np.array(table["scope"].cast(pa.string()).to_pylist()) == DEVICE
        current, best = (table[name].to_numpy().astype(np.int64) for name in ("current_kib", "best_kib"))
        features = np.stack([table[name].to_numpy() for name in FEATURES], axis=1)
    except (OSError, ValueError, KeyError, pa.ArrowException):
        raise NotATrainingSet(path, "its columns are damaged", NAME) from None
    kept = _balanced(cell * 2 + device, current, seed)
    relative, tied = _settings(about["cells"])
    return ReadAheadExamples(
        names=FEATURES,
        inputs=to_fixed(features[kept]),
        target=np.log2(best[kept]),
        run=run[kept],
        runs=runs,
        parts={"train": np.ones(len(kept), np.bool_)},
        workload=workload[kept],
        workloads=workloads,
        machine=machine[kept],
        machines=machines,
        cell=cell[kept],
        device=device[kept],
        current_kib=current[kept],
        relative=relative,
        tied=tied,
        about=about,
    )


def _codes(column: pa.ChunkedArray) -> tuple[Codes, tuple[str, ...]]:
    encoded = column.cast(pa.string()).combine_chunks().dictionary_encode()
    return encoded.indices.to_numpy().astype(np.int32), tuple(map(str, encoded.dictionary.to_pylist()))


def _cells(table: pa.Table, cells: list[dict[str, Any]]) -> Codes:
    names = ("workload", "machine", "situation")
    keys = zip(*(table[name].cast(pa.string()).to_pylist() for name in names), strict=True)
    number = {tuple(cell[name] for name in names): place for place, cell in enumerate(cells)}
    return np.array([number[key] for key in keys], np.int32)


def _balanced(kind: npt.NDArray[Any], current: npt.NDArray[np.int64], seed: int) -> npt.NDArray[np.int64]:
    """Rows in order, of each kind and setting at most so many, drawn by lot."""
    random = np.random.default_rng(seed)
    drawn = random.permutation(len(kind))
    keys = kind[drawn].astype(np.int64) << 32 | current[drawn]
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    place = np.arange(len(ordered)) - np.searchsorted(ordered, ordered)
    return np.sort(drawn[order[place < ROWS_OF_A_KIND]])


def _settings(cells: list[dict[str, Any]]) -> tuple[FloatArray, npt.NDArray[np.bool_]]:
    relative = np.full((len(cells), len(CHOICES_KIB)), np.nan)
    tied = np.zeros(relative.shape, np.bool_)
    for row, cell in enumerate(cells):
        for item in cell["settings"]:
            if item["kib"] in CHOICES_KIB:
                at = CHOICES_KIB.index(item["kib"])
                relative[row, at], tied[row, at] = item["relative"], item["tied"]
    return relative, tied
