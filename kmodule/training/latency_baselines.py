"""What a model of latency must beat: predictions that take no learning, or hardly any."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from edgeprof.kmodule.library import FloatArray
from edgeprof.kmodule.training.examples import Mask
from edgeprof.kmodule.training.latency_examples import LatencyExamples

FADING = 0.02
"""Weight of the newest completion in the online line."""
OUTLIER = 4.0
"""Latencies beyond so many times their fading mean are cut to that before the online line learns them."""

Fitted = Mapping[str, Mapping[str, float | None]]
"""Group (``all``, ``read``, ``read 3``) -> ``mean`` of log2(1 + µs), and share ``missed`` (None: no deadlines)."""


@dataclass(frozen=True)
class Prediction:
    """Of each request: log2(1 + µs), whether it is claimed to miss its deadline, and how likely that is."""

    latency: FloatArray
    claimed: Mask
    score: FloatArray


def of_latency(latency: FloatArray, examples: LatencyExamples) -> Prediction:
    """From a predicted latency: it is late where that is beyond the deadline."""
    score = np.where(examples.held, latency - examples.deadline, 0.0)
    return Prediction(latency, score > 0, score)


def fit(examples: LatencyExamples, train: Mask) -> dict[str, dict[str, float | None]]:
    """Means of the requests that are training: of all, of each operation, of each operation and size."""
    frame = pd.DataFrame(
        {
            "latency": examples.target[train],
            "missed": np.where(examples.held, examples.missed, np.nan)[train],
            **{name: words[train] for name, words in _groups(examples).items()},
        }
    )
    found: dict[str, dict[str, float | None]] = {}
    for name in ("all", "operation", "operation and size"):
        for group, rows in frame.groupby(name):
            missed = float(rows["missed"].mean())
            found[str(group)] = {"mean": float(rows["latency"].mean()), "missed": None if np.isnan(missed) else missed}
    return found


def predictions(fitted: Fitted, examples: LatencyExamples) -> dict[str, Prediction]:
    """What each baseline says of all requests, by its name."""
    groups = _groups(examples)
    return {
        "majority class": _by_group(fitted, examples, groups["all"], groups["all"]),
        "operation": _by_group(fitted, examples, groups["operation"], groups["all"]),
        "operation and size": _by_group(fitted, examples, groups["operation and size"], groups["operation"]),
        "previous value": of_latency(_previous(fitted, examples), examples),
        "online line": of_latency(_online_line(fitted, examples), examples),
    }


def _groups(examples: LatencyExamples) -> dict[str, npt.NDArray[np.str_]]:
    operation = np.where(examples.write, "write", "read")
    size = np.rint(np.log2(np.maximum(examples.bytes, 512))).astype(int).astype(str)
    return {
        "all": np.full(len(examples), "all"),
        "operation": operation,
        "operation and size": np.char.add(np.char.add(operation, " "), size),
    }


def _by_group(
    fitted: Fitted, examples: LatencyExamples, group: npt.NDArray[np.str_], wider: npt.NDArray[np.str_]
) -> Prediction:
    """The group's mean latency and its share of misses; of a group that was never seen, the wider one's."""
    latency = _looked_up(fitted, group, wider, "mean")
    missed = _looked_up(fitted, group, wider, "missed")
    return Prediction(latency, missed > 0.5, missed)


def _looked_up(fitted: Fitted, group: npt.NDArray[np.str_], wider: npt.NDArray[np.str_], what: str) -> FloatArray:
    known, number = np.unique(np.char.add(np.char.add(group, "|"), wider), return_inverse=True)
    values = []
    for names in known.tolist():
        found: Any = next((fitted[name][what] for name in (*names.split("|"), "all") if name in fitted), None)
        values.append(np.nan if found is None else found)
    result = np.array(values)[number]
    return np.where(np.isnan(result), 0.0, result)


def _previous(fitted: Fitted, examples: LatencyExamples) -> FloatArray:
    """The latency of the device's last request of the same operation that had completed."""
    column = {name: number for number, name in enumerate(examples.names)}
    read, write = (examples.inputs[:, column[f"{op}_latency_1"]] / 65536 for op in ("read", "write"))
    last = np.where(examples.write, write, read)
    return np.where(last < 0, fitted["all"]["mean"] or 0.0, last)


def _online_line(fitted: Fitted, examples: LatencyExamples) -> FloatArray:
    """Base + slope * size, learned of each device's reads and writes as they complete, in microseconds."""
    result = np.full(len(examples), fitted["all"]["mean"] or 0.0)
    key = (examples.run.astype(np.int64) * (int(examples.device.max()) + 1) + examples.device) * 2 + examples.write
    order = np.argsort(key, kind="stable")
    for rows in np.split(order, np.flatnonzero(np.diff(key[order])) + 1):
        result[rows] = _line_of(examples, rows, result[rows])
    return result


def _line_of(examples: LatencyExamples, rows: npt.NDArray[np.intp], before: FloatArray) -> FloatArray:
    """What the line, from completions strictly before, said at each arrival; ``before`` there were any."""
    done = rows[np.argsort(examples.completed[rows], kind="stable")]
    size, taken = examples.bytes[done] / 1024, 2.0 ** examples.target[done] - 1
    usual = _faded(taken)
    taken = np.minimum(taken, OUTLIER * np.concatenate([taken[:1], usual[:-1]]))
    mean_size, mean_taken = _faded(size), _faded(taken)
    spread = _faded(size * size) - mean_size**2
    together = _faded(size * taken) - mean_size * mean_taken
    slope = np.where(spread > 1e-6, np.maximum(together, 0.0) / np.maximum(spread, 1e-6), 0.0)
    base = np.maximum(mean_taken - slope * mean_size, 0.0)
    last = np.searchsorted(examples.completed[done], examples.arrived[rows], side="left") - 1
    line = np.log2(1 + base[last] + slope[last] * examples.bytes[rows] / 1024)
    return np.where(last < 0, before, line)


def _faded(values: FloatArray) -> FloatArray:
    mean: Callable[[], Any] = pd.Series(values).ewm(alpha=FADING).mean
    return np.asarray(mean().to_numpy(), np.float64)
