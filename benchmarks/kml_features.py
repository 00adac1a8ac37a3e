"""What each kind of feature is worth to a model of request latency: the same network, learned without it.

    python benchmarks/kml_latency_runs.py FOLDER
    python benchmarks/kml_features.py FOLDER

A kind is taken away by giving all requests 0 for it, in learning and in judging.  Judged are later requests of the
workloads that were learned, and workloads that were not.  Each network is learned from several seeds; figures are
medians, with the least and the greatest behind them.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from common import progress, spread, table
from sklearn.metrics import roc_auc_score

from edgeprof.kmodule.library import FloatArray, to_fixed, to_float
from edgeprof.kmodule.training.candidates import candidates
from edgeprof.kmodule.training.latency_examples import LatencyExamples, read
from edgeprof.kmodule.training.source import latency_set

NETWORK = "network 17-8-1"
QUANTILE = 0.9
"""A request misses where it took longer than nine in ten of its kind."""
SEEDS = range(3)
JUDGED = {"time": "later requests", "workload": "other workloads"}
KINDS: Mapping[str, Sequence[str]] = {
    "nothing": (),
    "operation, and whether somebody waits": ("write", "synchronous"),
    "size": ("bytes",),
    "distance from the last request": ("sector_distance",),
    "requests there now": ("queue",),
    "bytes before it": ("ahead",),
    "requests there at the last arrivals": ("queue_1", "queue_2", "queue_3"),
    "latencies of the last reads": ("read_latency_1", "read_latency_2", "read_latency_3"),
    "latencies of the last writes": ("write_latency_1", "write_latency_2", "write_latency_3"),
    "last write, and bytes written lately": ("since_write", "written_100ms"),
}


def without(examples: LatencyExamples, names: Sequence[str]) -> FloatArray:
    """The inputs, with 0 in place of these features."""
    inputs = to_float(examples.inputs)
    inputs[:, [examples.names.index(name) for name in names]] = 0
    return inputs


def errors(examples: LatencyExamples, inputs: FloatArray, seed: int) -> dict[str, tuple[float, float]]:
    """Of a network learned from ``inputs``, by what is judged: mean absolute error (log2), and ROC-AUC of misses."""
    train = examples.parts["train"]
    fit = dict(candidates("features", examples.names))[NETWORK]
    model, _ = fit(inputs[train], examples.target[train], seed)
    found = {}
    for part in JUDGED:
        rows = examples.parts[part]
        said = to_float(model.infer(to_fixed(inputs[rows])))[:, 0]
        beyond = said - examples.deadline[rows]
        known = examples.held[rows]
        area = float(roc_auc_score(examples.missed[rows][known], beyond[known]))
        found[part] = (float(np.abs(said - examples.target[rows]).mean()), area)
    return found


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    options = parser.parse_args()
    with latency_set(options.folder, QUANTILE) as path:
        examples = read(path)
    rows = []
    for kind, names in KINDS.items():
        inputs = without(examples, names)
        seen = [errors(examples, inputs, seed) for seed in SEEDS]
        figures = [spread([item[part][at] for item in seen], 3) for part in JUDGED for at in (0, 1)]
        progress(f"without {kind}: {', '.join(figures)}")
        rows.append([kind, *figures])
    head = [f"{words}: {what}" for words in JUDGED.values() for what in ("error, log2", "ROC-AUC")]
    print(table(["without", *head], rows))


if __name__ == "__main__":
    main()
