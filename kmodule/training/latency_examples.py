"""Examples of request latency as a model sees them: a training set's columns, put as core/latency.c puts them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from edgeprof.kmodule.latency import FEATURES
from edgeprof.kmodule.library import FloatArray, to_fixed
from edgeprof.kmodule.training.errors import TooFewExamples
from edgeprof.kmodule.training.examples import Codes, Examples, Mask
from edgeprof.profiler.training_sets.card import read_about
from edgeprof.profiler.training_sets.errors import NotATrainingSet

UNKNOWN = -1.0
LEARNED = ("read", "write")
"""Operations that are learned: a flush has no size or place, and others are too rare to be learned."""

Int64 = npt.NDArray[np.int64]

_IN_UNITS = {
    **dict.fromkeys(("bytes", "written_100ms", "ahead"), 1 / 1024),
    "since_write": 1e6,
    **{f"{op}_latency_{back}": 1e6 for op in LEARNED for back in (1, 2, 3)},
}
"""From the column's unit to the feature's: KiB, µs."""


@dataclass(frozen=True)
class LatencyExamples(Examples):
    """Requests of a training set, reads and writes, in the order of its rows: by run, and in each by time.

    ``target`` is log2(1 + µs).

    Attributes:
        about: how the set was made (its data card).
        workload: the name of each request's.
        device: a number for each machine and device.
        device_class: of each request's device.
        write: whether it is one.
        bytes, arrived, completed: as they are, the times in ns.
        deadline: log2(1 + µs); NaN where there is none.
        missed: the latency was longer than that.
    """

    about: Mapping[str, Any]
    workload: npt.NDArray[np.str_]
    device: Codes
    device_class: npt.NDArray[np.str_]
    write: Mask
    bytes: Int64
    arrived: Int64
    completed: Int64
    deadline: FloatArray
    missed: Mask

    @property
    def others(self) -> Mask:
        """Requests that came while others were there: only then does it matter which goes first."""
        return np.asarray(self.inputs[:, self.names.index("queue")] > 0)

    @property
    def held(self) -> Mask:
        """Requests that have a deadline."""
        return ~np.isnan(self.deadline)


def read(path: Path) -> LatencyExamples:
    """The examples of a training set, in the parts that its own splits make.

    Raises:
        NotATrainingSet, EdgeprofError: it is none, or cannot be read.
        TooFewExamples: it has no reads and writes.
    """
    about = read_about(path)
    try:
        table = pq.read_table(path)
        missing = [name for name in FEATURES if name not in (*table.column_names, "write")]
        if missing:
            raise NotATrainingSet(path, f"an older edgeprof made it, without the column {missing[0]!r}")
        operations = _texts(table["op"])
        table = table.filter(pa.array(np.isin(operations, LEARNED)))
        return _examples(table, about)
    except (OSError, KeyError, ValueError, pa.ArrowException):
        raise NotATrainingSet(path, "its columns are damaged") from None


def _examples(table: pa.Table, about: Mapping[str, Any]) -> LatencyExamples:
    if table.num_rows == 0:
        raise TooFewExamples("the training set has no reads and no writes")
    write = _texts(table["op"]) == "write"
    latency, time, length = (_real(table, name) for name in ("latency", "time_ns", "bytes"))
    if not all(np.isfinite(values).all() and (values >= 0).all() for values in (latency, time, length)):
        raise ValueError("a request without a time, a length or a latency")
    arrived = time.astype(np.int64)
    deadline = np.log2(1 + 1e6 * _real(table, "deadline"))
    runs, run = np.unique(_texts(table["run_id"]), return_inverse=True)
    places = np.char.add(np.char.add(_texts(table["machine"]), " "), _texts(table["device"]))
    return LatencyExamples(
        names=FEATURES,
        inputs=to_fixed(_features(table, write)),
        target=np.log2(1 + 1e6 * latency),
        run=run.astype(np.int32),
        runs=tuple(map(str, runs)),
        parts=_parts(table),
        about=about,
        workload=_texts(table["workload"]),
        device=np.unique(places, return_inverse=True)[1].astype(np.int32),
        device_class=_texts(table["device_class"]),
        write=write,
        bytes=length.astype(np.int64),
        arrived=arrived,
        completed=arrived + np.rint(latency * 1e9).astype(np.int64),
        deadline=deadline,
        missed=latency > _real(table, "deadline"),
    )


def _features(table: pa.Table, write: Mask) -> FloatArray:
    columns = []
    for name in FEATURES:
        if name == "write":
            columns.append(write.astype(float))
        elif name == "synchronous":
            columns.append(_real(table, name))
        else:
            values = np.abs(_real(table, name)) * _IN_UNITS.get(name, 1.0)
            columns.append(np.where(np.isnan(values), UNKNOWN, np.log2(1 + values)))
    return np.stack(columns, axis=1)


def _parts(table: pa.Table) -> dict[str, Mask]:
    """Learned is what is training by time and by workload: so one model can be judged by both tests."""
    time, workload = _texts(table["split_time"]), _texts(table["split_workload"])
    return {
        "train": (time == "train") & (workload == "train"),
        "validation": ((time == "validation") & (workload == "train")) | (workload == "validation"),
        "time": (time == "test") & (workload == "train"),
        "workload": workload == "test",
    }


def _real(table: pa.Table, name: str) -> FloatArray:
    """A column as real numbers, NaN where it is null."""
    values: FloatArray = pc.fill_null(table[name].cast(pa.float64()), np.nan).to_numpy()
    return values


def _texts(column: pa.ChunkedArray) -> npt.NDArray[np.str_]:
    encoded = column.cast(pa.string()).combine_chunks().dictionary_encode()
    words = np.array([*map(str, encoded.dictionary.to_pylist()), ""])
    codes = pc.fill_null(encoded.indices, -1).to_numpy(zero_copy_only=False)
    return np.asarray(words[codes])
