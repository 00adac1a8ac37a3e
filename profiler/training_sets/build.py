"""From a folder of runs to one training set: a Parquet file that also says how it was made."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from edgeprof import __version__
from edgeprof.profiler.dataset import Entry, list_runs, named
from edgeprof.profiler.errors import NoRuns
from edgeprof.profiler.files import replacing
from edgeprof.profiler.remote_data.address import RemoteError
from edgeprof.profiler.remote_data.runs import Tell, no_word, on_runs
from edgeprof.profiler.remote_data.tasks import HERE, Done, Where
from edgeprof.profiler.training_sets import deadlines as limits
from edgeprof.profiler.training_sets.about import refuse_foreign
from edgeprof.profiler.training_sets.deadlines import Deadlines, Group, Training
from edgeprof.profiler.training_sets.errors import NothingToLearn, Unusable
from edgeprof.profiler.training_sets.groups import HELD_OUT, TIME_CUTS, split_by_workload
from edgeprof.profiler.training_sets.latency import DROPPED, RunExamples, examples_of
from edgeprof.profiler.training_sets.schema import COLUMNS, NAME, SPLITS, VERSION, schema

MOMENT = "the request's insertion into the scheduler where that and its length then were captured, else its issue"


@dataclass(frozen=True)
class Skipped:
    """A run that gave nothing, and why."""

    run: str
    reason: str


@dataclass(frozen=True)
class Built:
    """What was written: examples, the runs they are of, and the runs that gave none."""

    path: Path
    rows: int
    runs: int
    skipped: tuple[Skipped, ...]


def build(folder: Path, target: Path, deadlines: Deadlines, where: Where = HERE, tell: Tell = no_word) -> Built:
    """Make the training set *request latency* of all runs of a folder.

    Args:
        folder: of runs.
        target: the file to write; a training set that is there is replaced.
        deadlines: what the label ``missed`` is told by.
        where: where the runs are read, one task a run; the file's bytes are the same.
        tell: told how many runs are done.

    Raises:
        NoRuns: the folder holds none.
        DaskError: the scheduler cannot be used.
        NothingToLearn: none of them gives an example.
        CannotWrite: the file cannot be written.
        EdgeprofError: it is there and no training set.
    """
    refuse_foreign(target)
    entries = list_runs(folder)
    if not entries:
        raise NoRuns(named(folder))
    gathered = _Gathered([], [], [], set(), [])
    with replacing(target) as path, TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as scratch:
        rows = Path(scratch) / "rows.parquet"
        _gather(gathered, on_runs(_examples, entries, where, tell), rows, deadlines.quantile is not None)
        if not gathered.rows:
            raise NothingToLearn(named(folder), [item.reason for item in gathered.skipped])
        _finish(rows, path, gathered, _about(gathered, deadlines))
    return Built(target, sum(gathered.rows), len(gathered.rows), tuple(gathered.skipped))


@dataclass
class _Gathered:
    """What the first pass over the runs learnt; the examples themselves lie in a file, a run a row group."""

    rows: list[int]
    runs: list[dict[str, Any]]
    skipped: list[Skipped]
    groups: set[Group]
    training: list[Training]


def _gather(
    gathered: _Gathered,
    results: Iterable[tuple[Entry, Done[RunExamples | Skipped]]],
    path: Path,
    with_latencies: bool,
) -> None:
    writer: pq.ParquetWriter | None = None
    try:
        for entry, done in results:
            examples = done.result
            if not isinstance(examples, RunExamples):
                gathered.skipped.append(examples or Skipped(entry.id, str(done.problem)))
                continue
            table = examples.table
            writer = writer or pq.ParquetWriter(path, table.schema, compression="zstd", compression_level=1)
            writer.write_table(table, row_group_size=max(1, table.num_rows))
            _note(gathered, examples)
            if with_latencies:
                gathered.training += limits.training_latencies(table, examples.about["workload"])
    finally:
        if writer is not None:
            writer.close()


def _examples(entry: Entry) -> RunExamples | Skipped:
    if entry.run is None:
        return Skipped(entry.id, entry.problem or "it cannot be read")
    try:
        examples = examples_of(entry.run, entry.id)
    except (Unusable, RemoteError) as error:
        return Skipped(entry.id, str(error))
    if examples.table.num_rows == 0:
        most = max(examples.dropped, key=lambda name: examples.dropped[name], default=None)
        why = f": of most, {DROPPED[most]}" if most else ""
        return Skipped(entry.id, f"none of its {sum(examples.dropped.values())} requests is an example{why}")
    return examples


def _note(gathered: _Gathered, examples: RunExamples) -> None:
    table, about = examples.table, examples.about
    cuts = list(examples.cuts or ())
    gathered.rows.append(table.num_rows)
    gathered.runs.append({**about, "rows": table.num_rows, "dropped": examples.dropped, "split_time_ns": cuts})
    operations = table["op"].combine_chunks()
    used = [str(operations.dictionary[code]) for code in np.unique(operations.indices.to_numpy()).tolist()]
    gathered.groups |= {(about["machine"], device, op) for device in about["devices"] for op in used}


def _about(gathered: _Gathered, deadlines: Deadlines) -> dict[str, Any]:
    workloads = split_by_workload(run["workload"] for run in gathered.runs)
    if deadlines.quantile is None:
        told = limits.fixed(deadlines, gathered.groups)
    else:
        told = limits.by_quantile(deadlines.quantile, gathered.training, workloads)
    return {
        "name": NAME,
        "version": VERSION,
        "edgeprof": __version__,
        "moment": MOMENT,
        "deadlines": {"by": "seconds" if deadlines.quantile is None else "quantile", "quantile": deadlines.quantile}
        | {"of": told},
        "splits": {
            "time": {"train": TIME_CUTS[0], "validation": TIME_CUTS[1] - TIME_CUTS[0], "test": 1 - TIME_CUTS[1]},
            "workload": {name: SPLITS[part] for name, part in workloads.items()},
            "workload_held_out": HELD_OUT,
        },
        "runs": gathered.runs,
        "skipped": [{"run": item.run, "reason": item.reason} for item in gathered.skipped],
    }


def _finish(rows: Path, target: Path, gathered: _Gathered, about: dict[str, Any]) -> None:
    """Give the examples of each run the columns that only all runs together could tell."""
    final = schema(json.dumps(about, ensure_ascii=True, allow_nan=False).encode())
    seconds = {(item["machine"], item["device"], item["op"]): item["seconds"] for item in about["deadlines"]["of"]}
    with pq.ParquetFile(rows) as source, pq.ParquetWriter(target, final, compression="zstd") as writer:
        for number, run in enumerate(gathered.runs):
            table = source.read_row_group(number)
            deadline, missed = limits.labelled(table, seconds)
            part = pa.array([about["splits"]["workload"][run["workload"]]]).dictionary_encode()
            split = pa.DictionaryArray.from_arrays(pa.array(np.zeros(table.num_rows, np.int32)), part.dictionary)
            made = {"deadline": deadline, "missed": missed, "split_workload": split}
            arrays = [made[column.name] if column.name in made else table[column.name] for column in COLUMNS]
            writer.write_table(pa.Table.from_arrays(arrays, schema=final), row_group_size=max(1, table.num_rows))
