"""Training and judging a model of read-ahead: what kml-readahead and `edgeprof tune` choose by.

There are few workloads, so each is judged by a model that has learned nothing of it: all of its windows are held out
in turn (and all of each machine's, in a second round).  The model that is kept is then made the same way of everything.
What counts is not the error of an output but where acting on it ends: how fast a workload becomes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeprof.kmodule.library import FloatArray, to_float
from edgeprof.kmodule.model import Model
from edgeprof.kmodule.readahead import CHOICES_KIB, FEATURES, VERSION
from edgeprof.kmodule.training import card as cards
from edgeprof.kmodule.training import metrics
from edgeprof.kmodule.training.candidates import Candidate, Fit, best, candidates, judged
from edgeprof.kmodule.training.errors import NoTrainer, TooFewExamples, WrongModel
from edgeprof.kmodule.training.examples import Codes, Mask
from edgeprof.kmodule.training.metrics import Draws, Score
from edgeprof.kmodule.training.readahead_examples import ReadAheadExamples
from edgeprof.kmodule.training.readahead_walk import CALM, Answer, begins, walk
from edgeprof.profiler.training_sets.readahead_choices import DEFAULT_KIB

KIND = "readahead"
NAME = "kml-readahead"
"""Of the predictor that takes the model."""
LEAST_WORKLOADS = 3
INSTRUCTIONS = 5000
"""That an inference may take by default: it is made a few times a second, not with each request."""
INNER_FOLDS = 3
"""Groups of workloads by which candidates are compared, within what is learned from."""
MODEL = "model"
Told = Callable[[str], None]


def train(
    examples: ReadAheadExamples, seed: int = 0, budget: int = INSTRUCTIONS, told: Told = lambda _: None
) -> tuple[Candidate, dict[str, Any]]:
    """Choose a kind of model, fit it to everything, and judge the procedure by what was held out; model and card.

    Raises:
        NoTrainer: scikit-learn is missing.
        TooFewExamples: there are fewer than `LEAST_WORKLOADS` workloads.
        TooSmall: no candidate keeps to the budget.
    """
    try:
        from threadpoolctl import threadpool_limits
    except ImportError:
        raise NoTrainer from None
    if len(examples.workloads) < LEAST_WORKLOADS:
        raise TooFewExamples(
            f"{len(examples.workloads)} workloads are in the training set, and {LEAST_WORKLOADS} are the least: one is"
            " held out, and what is left is parted again"
        )
    with threadpool_limits(1):  # sums in one order: the same model from the same seed
        found = _candidates(examples, seed)
        for item in found:
            told(f"{item.name}: costs {100 * item.error:.1f} % of throughput, {item.instructions} instructions")
        chosen = best(found, budget)
        kinds = [item.name for item in found if item.fits(budget)]
        judgement = {
            "workload": _held_out(examples, examples.workload, seed, kinds, told),
            "machine": _held_out(examples, examples.machine, seed, kinds, told),
        }
    card = cards.describe(KIND, chosen) | {
        "target": "log2 of the KiB of read-ahead that would be best",
        "features_version": VERSION,
        "data": _data(examples),
        "training": {
            "seed": seed,
            "instructions_budget": budget,
            "rows": len(examples),
            "candidates": [
                {"what": item.name, "lost_throughput": item.error, "instructions": item.instructions} for item in found
            ],
        },
        "metrics": judgement,
    }
    return chosen, card


def evaluate(model: Model, card: Mapping[str, Any], examples: ReadAheadExamples) -> dict[str, Any]:
    """What acting on a model leads to: for workloads and machines that it learned from, and for others.

    Raises:
        WrongModel: the model has other inputs or outputs.
    """
    names = tuple(feature.name for feature in model.features)
    if names != FEATURES or model.outputs != 1 or card.get("kind") != KIND:
        raise WrongModel(f"the model {model.name!r} is not one of read-ahead: its inputs are {', '.join(names)}")
    data = card["data"]
    seen = np.array(
        [
            (cell["workload"], cell["machine"]) in {(a, b) for a, b in data["learned"]}
            for cell in examples.about["cells"]
        ],
        np.bool_,
    )
    answers = dict.fromkeys(range(len(seen)), _answer_of(model))
    fixed = dict.fromkeys(range(len(seen)), int(data["best_fixed_kib"]))
    return {
        part: _judgement(examples, np.flatnonzero(cells).tolist(), answers, fixed)
        for part, cells in (("new", ~seen), ("learned", seen))
    }


def _candidates(examples: ReadAheadExamples, seed: int) -> list[Candidate]:
    """All kinds of models, fitted to everything, each with its loss where a group of workloads was held out."""
    inputs, targets = to_float(examples.inputs), examples.target
    everything = np.ones(len(examples), np.bool_)
    found = []
    for title, fit in candidates(NAME, examples.names):
        model, real = fit(inputs, targets, seed)
        item = judged(title, model, real(inputs), inputs, targets)
        found.append(replace(item, error=_loss(fit, examples, everything, seed)))
    return found


def _best_fit(examples: ReadAheadExamples, rows: Mask, seed: int, kinds: Sequence[str]) -> Model:
    """The kind of model with the least loss among these rows' workloads, fitted to these rows."""
    fits = [fit for title, fit in candidates(NAME, examples.names) if title in kinds]
    losses = [_loss(fit, examples, rows, seed) for fit in fits]
    model, _ = fits[int(np.argmin(losses))](to_float(examples.inputs[rows]), examples.target[rows], seed)
    return model


def _loss(fit: Fit, examples: ReadAheadExamples, rows: Mask, seed: int) -> float:
    """Share of throughput that one answer costs on average, where a group of workloads was held out."""
    names = np.unique(examples.workload[rows])
    lost = []
    for fold in range(min(INNER_FOLDS, len(names))):
        out = np.isin(examples.workload, names[fold::INNER_FOLDS])
        learned, judged_by = rows & ~out, rows & out
        model, _ = fit(to_float(examples.inputs[learned]), examples.target[learned], seed)
        reached = examples.relative[examples.cell[judged_by], _nearest(_answer_of(model)(examples.inputs[judged_by]))]
        lost.append(1 - reached[~np.isnan(reached)])
    return float(np.concatenate(lost).mean())


def _nearest(outputs: FloatArray) -> npt.NDArray[np.int64]:
    """Index of the choice that is nearest to each output."""
    steps = np.round(outputs).astype(np.int64) - CHOICES_KIB[0].bit_length() + 1
    nearest: npt.NDArray[np.int64] = np.clip(steps, 0, len(CHOICES_KIB) - 1)
    return nearest


def _held_out(examples: ReadAheadExamples, group: Codes, seed: int, kinds: Sequence[str], told: Told) -> dict[str, Any]:
    """Judge the whole procedure, group by group, by models that saw nothing of it."""
    names = np.unique(group).tolist()
    if len(names) < 2:
        return {"reason": "there is only one, so none can be held out"}
    answers: dict[int, Answer] = {}
    fixed: dict[int, int] = {}
    for number, name in enumerate(names, start=1):
        learned = group != name
        if len(np.unique(examples.workload[learned])) < 2:
            return {"reason": "without one of them too little is left to learn from"}
        answer = _answer_of(_best_fit(examples, learned, seed, kinds))
        kib = best_fixed(examples, np.unique(examples.cell[learned]).tolist())
        for cell in np.unique(examples.cell[~learned]).tolist():
            answers[cell], fixed[cell] = answer, kib
        told(f"held out {number} of {len(names)}")
    return _judgement(examples, sorted(answers), answers, fixed)


def _answer_of(model: Model) -> Answer:
    return lambda inputs: to_float(model.infer(inputs))[:, 0]


def best_fixed(examples: ReadAheadExamples, cells: Sequence[int]) -> int:
    """The one setting that is best for all of some cells: of the largest mean relative throughput."""
    means = [
        (float(np.nanmean(column)), kib)
        for kib, column in zip(CHOICES_KIB, examples.relative[cells].T, strict=True)
        if not np.isnan(column).any()
    ]
    return max(means)[1] if means else DEFAULT_KIB


def _judgement(
    examples: ReadAheadExamples, cells: Sequence[int], answers: Mapping[int, Answer], fixed: Mapping[int, int]
) -> dict[str, Any]:
    """Of each cell, where the model leads from each setting, and what always the same setting gives."""
    if not cells:
        return {"reason": "the training set has no such workload"}
    cells = [cell for cell in cells if DEFAULT_KIB in begins(examples, cell)]
    if not cells:
        return {"reason": "no such workload was run at the default read-ahead, too"}
    rows = [_cell(examples, cell, answers[cell], fixed[cell]) for cell in cells]
    draws = Draws(np.array([examples.workloads.index(row["workload"]) for row in rows], np.int32))
    scores = {
        name: asdict(_mean(draws, [row[name] for row in rows]))
        for name in (MODEL, "model_all_along", "model_from_anywhere", "default", "best_fixed")
    }
    speed_up = [row[MODEL] / row["default"] for row in rows]
    said = [(_said(examples, cell, answers[cell])) for cell in cells]
    action = [(right, cell) for cell, part in zip(cells, said, strict=True) for right in part[0]]
    off = [(error, cell) for cell, part in zip(cells, said, strict=True) for error in part[1]]
    return {
        "workloads": len({row["workload"] for row in rows}),
        "relative_throughput": {**scores, "oracle": asdict(Score(1.0))},
        "speed_up": {
            "mean": asdict(_mean(draws, speed_up)),
            "least": min(speed_up),
            "most": max(speed_up),
            "worse_than_0.98": sum(value < 0.98 for value in speed_up),
        },
        "action_accuracy": asdict(_by_cell(examples, action)),
        "mae_steps": asdict(_by_cell(examples, off)),
        "cells": rows,
    }


def _cell(examples: ReadAheadExamples, cell: int, answer: Answer, fixed: int) -> dict[str, Any]:
    about = examples.about["cells"][cell]
    from_default = walk(examples, cell, answer, DEFAULT_KIB)
    anywhere = [walk(examples, cell, answer, kib).relative for kib in begins(examples, cell)]
    relative = dict(zip(CHOICES_KIB, examples.relative[cell].tolist(), strict=True))
    return {
        **{key: about[key] for key in ("workload", "machine", "situation", "best_kib")},
        "settles_at_kib": from_default.kib[-1],
        "changes": from_default.changes,
        MODEL: from_default.relative,
        "model_all_along": from_default.all_along,
        "model_from_anywhere": float(np.mean(anywhere)),
        "default": relative[DEFAULT_KIB],
        "best_fixed": relative[fixed] if not np.isnan(relative[fixed]) else relative[DEFAULT_KIB],
    }


def _said(examples: ReadAheadExamples, cell: int, answer: Answer) -> tuple[list[bool], list[float]]:
    """Of each window of a cell: whether the model's answer is tied with the best, and by how much it is off."""
    rows = np.flatnonzero(examples.cell == cell)
    outputs = answer(examples.inputs[rows])
    return examples.tied[cell, _nearest(outputs)].tolist(), np.abs(outputs - examples.target[rows]).tolist()


def _mean(draws: Draws, values: Sequence[float]) -> Score:
    return metrics.one(draws, metrics.mean_of(draws, np.asarray(values, float)))


def _by_cell(examples: ReadAheadExamples, rows: Sequence[tuple[float, int]]) -> Score:
    """The mean over windows, with an interval over workloads."""
    code = {cell["workload"]: number for number, cell in enumerate(examples.about["cells"])}
    draws = Draws(np.array([code[examples.about["cells"][cell]["workload"]] for _, cell in rows], np.int32))
    return _mean(draws, [float(value) for value, _ in rows])


def _data(examples: ReadAheadExamples) -> dict[str, Any]:
    """Where the examples come from; enough to keep them out of any later test."""
    about = examples.about
    cells = about["cells"]
    return {
        "edgeprof": about.get("edgeprof"),
        "training_set_version": about["version"],
        "window_seconds": about["window_seconds"],
        "runs": len(about["runs"]),
        "kernels": sorted({run["kernel"] for run in about["runs"] if run.get("kernel")}),
        "machines": sorted({cell["machine"] for cell in cells}),
        "learned": sorted({(cell["workload"], cell["machine"]) for cell in cells}),
        "best_fixed_kib": best_fixed(examples, list(range(len(cells)))),
        "calm_windows": CALM,
    }
