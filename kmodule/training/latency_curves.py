"""What the figures of a model of latency are drawn from: rates, and predicted beside true latencies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeprof.kmodule.library import FloatArray
from edgeprof.kmodule.model import Model
from edgeprof.kmodule.training.examples import Mask
from edgeprof.kmodule.training.latency import judged_parts, said_of
from edgeprof.kmodule.training.latency_examples import LatencyExamples

POINTS = 200
GROUPS = 20
CELLS = 60


def curves(model: Model, card: Mapping[str, Any], examples: LatencyExamples) -> dict[str, Any]:
    """Of each part that was judged: ``roc`` by predictor, ``calibration``, ``density``; plain numbers."""
    tested = judged_parts(card, examples)
    said = said_of(model, card, examples, np.logical_or.reduce(list(tested.values())))
    found = {}
    for part, rows in tested.items():
        held = rows & examples.held
        if not held.any():
            continue
        latency = next(iter(said.values())).latency
        found[part] = {
            "roc": {name: _roc(examples.missed[held], item.score[held]) for name, item in said.items()},
            "calibration": _calibration(examples, held, said),
            "density": _density(latency[rows], examples.target[rows]),
        }
    return found


def _roc(positive: Mask, score: FloatArray) -> dict[str, list[float]]:
    """Rates of false and of true alarms, from the highest score down."""
    order = np.argsort(-score, kind="stable")
    last = np.flatnonzero(np.diff(score[order], append=-np.inf))  # equal scores are one step
    hits, alarms = np.cumsum(positive[order])[last], last + 1
    false = np.concatenate([[0.0], (alarms - hits) / max(1, int((~positive).sum()))])
    true = np.concatenate([[0.0], hits / max(1, int(positive.sum()))])
    kept = np.unique(np.linspace(0, len(false) - 1, POINTS).astype(int))
    return {"false": _short(false[kept]), "true": _short(true[kept])}


def _calibration(examples: LatencyExamples, held: Mask, said: Mapping[str, Any]) -> dict[str, list[float]]:
    """Requests in groups by how far the prediction lies from the deadline (log2): the share that missed it."""
    margin, missed = next(iter(said.values())).score[held], examples.missed[held]
    edges = np.unique(np.quantile(margin, np.linspace(0, 1, GROUPS + 1)))
    group = np.clip(np.searchsorted(edges, margin, side="right") - 1, 0, max(0, len(edges) - 2))
    count = np.bincount(group)
    kept = count > 0
    return {
        "margin": _short(np.bincount(group, margin)[kept] / count[kept]),
        "missed": _short(np.bincount(group, missed)[kept] / count[kept]),
        "requests": [int(value) for value in count[kept]],
    }


def _density(given: FloatArray, target: FloatArray) -> dict[str, Any]:
    low, high = (float(bound) for bound in np.quantile(np.concatenate([given, target]), [0.0005, 0.9995]))
    counts, edges, _ = np.histogram2d(given, target, bins=CELLS, range=[[low, high + 1e-9]] * 2)
    return {"edges": _short(edges), "counts": counts.astype(int).tolist()}


def _short(values: npt.ArrayLike) -> list[float]:
    return [round(float(value), 5) for value in np.asarray(values)]
