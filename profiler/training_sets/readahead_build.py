"""From a folder of runs at several read-ahead sizes to one training set, whose labels only all of them can tell."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from edgeprof import __version__
from edgeprof.profiler.dataset import Entry, list_runs, named
from edgeprof.profiler.errors import EdgeprofError, NoRuns
from edgeprof.profiler.files import replacing
from edgeprof.profiler.remote_data.runs import Tell, no_word, on_runs
from edgeprof.profiler.remote_data.tasks import HERE, Where
from edgeprof.profiler.training_sets.about import refuse_foreign
from edgeprof.profiler.training_sets.build import Built, Skipped
from edgeprof.profiler.training_sets.errors import NothingToLearn, Unusable
from edgeprof.profiler.training_sets.groups import split_by_workload
from edgeprof.profiler.training_sets.readahead import WINDOW_SECONDS, RunWindows, windows_of_run
from edgeprof.profiler.training_sets.readahead_choices import DEFAULT_KIB, Choice, choose
from edgeprof.profiler.training_sets.readahead_schema import NAME, VERSION, schema
from edgeprof.profiler.training_sets.readahead_windows import Measure
from edgeprof.profiler.training_sets.schema import SPLITS

Cell = tuple[str, str, str]


def build(
    folder: Path,
    target: Path,
    measure: Measure,
    window_seconds: float = WINDOW_SECONDS,
    where: Where = HERE,
    tell: Tell = no_word,
) -> Built:
    """Make the training set *read-ahead* of all runs of a folder.

    Args:
        folder: of runs.
        target: the file to write; a training set that is there is replaced.
        measure: gives the features of windows; workers get a copy of it.
        window_seconds: how long a window is.
        where: where the runs are read, one task a run; the file's bytes are the same.
        tell: told how many runs are done.

    Raises:
        NoRuns: the folder holds none.
        DaskError: the scheduler cannot be used.
        NothingToLearn: no workload was run at two read-ahead sizes so that they can be compared.
        CannotWrite: the file cannot be written.
        EdgeprofError: it is there and no training set.
    """
    refuse_foreign(target)
    entries = list_runs(folder)
    if not entries:
        raise NoRuns(named(folder))
    skipped: list[Skipped] = []
    found: list[RunWindows] = []
    for entry, done in on_runs(partial(_windows, measure, window_seconds), entries, where, tell):
        if isinstance(done.result, RunWindows):
            found.append(done.result)
        else:
            skipped.append(done.result or Skipped(entry.id, str(done.problem)))
    choices = _choices(found)
    compared = [item for item in found if item.cell in choices]
    skipped += [
        Skipped(item.about["run"], f"no run of the same workload had another read-ahead than {item.kib} KiB")
        for item in found
        if item.cell not in choices
    ]
    if not any(item.rows for item in compared):
        skipped += [Skipped(item.about["run"], item.about["no_windows"]) for item in compared]
        raise NothingToLearn(named(folder), [item.reason for item in skipped], "window of read-ahead", "deep")
    workloads = split_by_workload(item.about["workload"] for item in compared)
    about = _about(compared, choices, workloads, skipped, measure, window_seconds)
    table = _table(compared, choices, workloads, measure, about)
    with replacing(target) as path:
        pq.write_table(table, path, compression="zstd")
    return Built(target, table.num_rows, len(compared), tuple(skipped))


def _windows(measure: Measure, window_seconds: float, entry: Entry) -> RunWindows | Skipped:
    if entry.run is None:
        return Skipped(entry.id, entry.problem or "it cannot be read")
    try:
        if entry.state != "finished":
            raise Unusable(f"it is {entry.state}, so its throughput is of a part only")
        if entry.run.manifest["run"].get("exit_code"):
            raise Unusable("its workload failed")
        return windows_of_run(entry.run.inside, entry.id, measure, window_seconds)
    except EdgeprofError as error:
        return Skipped(entry.id, str(error))


def _choices(found: Sequence[RunWindows]) -> dict[Cell, Choice]:
    """The choice of each cell that was run at two sizes or more."""
    throughputs: dict[Cell, dict[int, list[float]]] = {}
    for item in found:
        throughputs.setdefault(item.cell, {}).setdefault(item.kib, []).append(item.throughput)
    return {cell: choose(settings) for cell, settings in sorted(throughputs.items()) if len(settings) > 1}


def _about(
    found: Sequence[RunWindows],
    choices: Mapping[Cell, Choice],
    workloads: Mapping[str, int],
    skipped: Sequence[Skipped],
    measure: Measure,
    window_seconds: float,
) -> dict[str, Any]:
    cells = [
        dict(zip(("workload", "machine", "situation"), cell, strict=True)) | asdict(choice)
        for cell, choice in choices.items()
    ]
    return {
        "name": NAME,
        "version": VERSION,
        "edgeprof": __version__,
        "features": {"names": list(measure.names), "version": measure.version},
        "window_seconds": window_seconds,
        "default_kib": DEFAULT_KIB,
        "cells": cells,
        "splits": {"workload": {name: SPLITS[part] for name, part in workloads.items()}},
        "runs": [{**item.about, "rows": item.rows} for item in found],
        "skipped": [asdict(item) for item in skipped],
    }


def _table(
    found: Sequence[RunWindows],
    choices: Mapping[Cell, Choice],
    workloads: Mapping[str, int],
    measure: Measure,
    about: dict[str, Any],
) -> pa.Table:
    labels = {
        "best_kib": [choices[item.cell].at(item.kib) for item in found for _ in range(item.rows)],
        "split_workload": [SPLITS[workloads[item.cell[0]]] for item in found for _ in range(item.rows)],
    }
    final = schema(measure.names, json.dumps(about, ensure_ascii=True, allow_nan=False).encode())
    arrays = []
    for field in final:
        values = labels.get(field.name)
        if values is None:
            values = [value for item in found if item.rows for value in item.columns[field.name]]
        arrays.append(pa.array(values, field.type))
    return pa.Table.from_arrays(arrays, schema=final)
