"""Training and judging a model of request latency: what mq-kmlib predicts by."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeprof.kmodule.latency import FEATURES, VERSION
from edgeprof.kmodule.library import FloatArray
from edgeprof.kmodule.model import Model
from edgeprof.kmodule.training import card as cards
from edgeprof.kmodule.training import latency_baselines as baselines
from edgeprof.kmodule.training import metrics
from edgeprof.kmodule.training.candidates import INSTRUCTIONS, TRAIN_ROWS, VALIDATION_ROWS, Candidate, search
from edgeprof.kmodule.training.errors import WrongModel
from edgeprof.kmodule.training.examples import Mask
from edgeprof.kmodule.training.latency_baselines import Prediction
from edgeprof.kmodule.training.latency_examples import LatencyExamples
from edgeprof.kmodule.training.metrics import Draws, Score, Sums

KIND = "latency"
MODEL = "model"
Told = Callable[[str], None]


def train(
    examples: LatencyExamples, seed: int = 0, budget: int = INSTRUCTIONS, told: Told = lambda _: None
) -> tuple[Candidate, dict[str, Any]]:
    """Choose a model among the candidates, and judge it; the model, and its card.

    Raises:
        NoTrainer, TooFewExamples, TooSmall, CannotCount: see `edgeprof.kmodule.training.candidates.search`.
    """
    chosen, candidates = search(KIND, examples, seed, budget, lambda given, rows: _error(examples, given, rows), told)
    card = cards.describe(KIND, chosen)
    card |= {
        "target": "log2(1 + µs) from the request's arrival to its completion",
        "features_version": VERSION,
        "data": _data(examples),
        "training": {
            "seed": seed,
            "instructions_budget": budget,
            "chosen_by": "1 - ROC-AUC of misses over the validation; without deadlines the mean absolute error",
            "rows": min(TRAIN_ROWS, int(examples.parts["train"].sum())),
            "validation_rows": min(VALIDATION_ROWS, int(examples.parts["validation"].sum())),
            "candidates": [
                {
                    "what": item.name,
                    "validation_error": item.error,
                    "validation_mae": item.quantised.after,
                    "instructions": item.instructions,
                    "memory_bytes": item.model.size,
                    "fits": item.fits(budget),
                }
                for item in candidates
            ],
        },
        "baselines": baselines.fit(examples, examples.parts["train"]),
    }
    card["metrics"] = evaluate(chosen.model, card, examples)
    return chosen, card


def _error(examples: LatencyExamples, given: FloatArray, rows: npt.NDArray[np.intp]) -> float:
    """What the scheduler would do worse by: misses that are ranked below requests that make it."""
    held = examples.held[rows]
    missed = examples.missed[rows][held]
    if missed.all() or not missed.any():
        return float(np.abs(given - examples.target[rows]).mean())
    score = (given - examples.deadline[rows])[held]
    return 1 - (metrics.area_score(Draws(examples.run[rows][held]), missed, score).value or 0.0)


def evaluate(model: Model, card: Mapping[str, Any], examples: LatencyExamples) -> dict[str, Any]:
    """What the model, and each baseline, says of requests that nothing was learned of: part -> figures.

    Raises:
        WrongModel: the model has other inputs or outputs.
    """
    names = tuple(feature.name for feature in model.features)
    if names != FEATURES or model.outputs != 1 or card.get("kind") != KIND:
        raise WrongModel(f"the model {model.name!r} is not one of request latency: its inputs are {', '.join(names)}")
    tested = judged_parts(card, examples)
    said = said_of(model, card, examples, np.logical_or.reduce(list(tested.values())))
    return {part: _part(examples, rows, said) for part, rows in tested.items()}


def judged_parts(card: Mapping[str, Any], examples: LatencyExamples) -> dict[str, Mask]:
    """Requests of which nothing was learned, by part, whatever training set they are in."""
    learned = card["data"]["workloads"]
    new = ~np.isin(examples.workload, [name for name, part in learned.items() if part != "test"])
    return {"time": _of_trained(card, examples) & (examples.arrived >= _time_of(card, examples, 1)), "workload": new}


def _learned(card: Mapping[str, Any], examples: LatencyExamples) -> Mask:
    """Requests that the model learned from, or that lie between some that it did."""
    return _of_trained(card, examples) & (examples.completed < _time_of(card, examples, 0))


def _of_trained(card: Mapping[str, Any], examples: LatencyExamples) -> Mask:
    trained = [name for name, part in card["data"]["workloads"].items() if part == "train"]
    return np.isin(examples.workload, trained)


def _time_of(card: Mapping[str, Any], examples: LatencyExamples, cut: int) -> npt.NDArray[np.int64]:
    """When the validation (0) or the test (1) of each request's run begins; 0 of a run that was not learned from."""
    runs = card["data"]["runs"]
    times = [runs[name]["split_time_ns"][cut] if name in runs else 0 for name in examples.runs]
    return np.array(times, np.int64)[examples.run]


def said_of(model: Model, card: Mapping[str, Any], examples: LatencyExamples, rows: Mask) -> dict[str, Prediction]:
    """What the model, which is the first, and each baseline say; the model of these rows only.

    Baselines are those of the card unless the set has requests that were learned from: with other deadlines, other
    shares of them are missed.
    """
    known = _learned(card, examples)
    fitted = baselines.fit(examples, known) if known.any() else card["baselines"]
    return {
        MODEL: baselines.of_latency(_given(model, examples, rows), examples),
        **baselines.predictions(fitted, examples),
    }


def _data(examples: LatencyExamples) -> dict[str, Any]:
    """Where the examples come from; enough to keep them out of any later test."""
    about = examples.about
    return {
        "edgeprof": about.get("edgeprof"),
        "training_set_version": about["version"],
        "rows": {part: int(rows.sum()) for part, rows in examples.parts.items()},
        "device_classes": sorted(set(np.unique(examples.device_class).tolist())),
        "deadlines": about["deadlines"],
        "workloads": dict(about["splits"]["workload"]),
        "runs": {
            run["run"]: {"machine": run.get("machine"), "split_time_ns": run.get("split_time_ns") or [0, 0]}
            for run in about["runs"]
        },
    }


def _given(model: Model, examples: LatencyExamples, rows: Mask) -> FloatArray:
    """The model's output of some requests, as the kernel computes it; 0 of the others."""
    given = np.zeros(len(examples))
    given[rows] = model.infer(examples.inputs[rows])[:, 0] / 65536
    return given


def _part(examples: LatencyExamples, rows: Mask, said: Mapping[str, Prediction]) -> dict[str, Any]:
    if not rows.any():
        return {"requests": 0, "reason": "the training set has no such requests"}
    draws, held = Draws(examples.run[rows]), examples.held & rows
    held_draws = Draws(examples.run[held])
    scores = {name: _scores(examples, rows, draws, held, held_draws, item) for name, item in said.items()}
    best = max((name for name in scores if name != MODEL), key=lambda name: scores[name]["accuracy"].value or 0.0)
    return {
        "requests": int(rows.sum()),
        "runs": len(draws.names),
        "with_deadline": int(held.sum()),
        "missed": int((examples.missed & held).sum()),
        "with_a_choice": int((examples.others & held).sum()),
        "scores": {name: _plain(item) for name, item in scores.items()},
        "best_baseline": best,
        "accuracy_gain": asdict(
            metrics.difference(
                held_draws,
                _accuracy(examples, held, held_draws, said[MODEL]),
                _accuracy(examples, held, held_draws, said[best]),
            )
        ),
    }


def _scores(
    examples: LatencyExamples, rows: Mask, draws: Draws, held: Mask, held_draws: Draws, said: Prediction
) -> dict[str, Score]:
    target, given = examples.target[rows], said.latency[rows]
    error_us = np.abs(2.0**given - 2.0**target)
    right = (said.claimed == examples.missed)[held].astype(float)
    return {
        **metrics.regression(draws, target, given),
        "mae_us": metrics.one(draws, metrics.mean_of(draws, error_us)),
        **metrics.classification(held_draws, examples.missed[held], said.claimed[held], said.score[held]),
        "action": metrics.one(held_draws, metrics.mean_of(held_draws, right, examples.others[held])),
    }


def _accuracy(examples: LatencyExamples, held: Mask, draws: Draws, said: Prediction) -> Sums:
    return metrics.mean_of(draws, said.claimed[held] == examples.missed[held])


def _plain(scores: Mapping[str, Score]) -> dict[str, dict[str, Any]]:
    return {name: asdict(score) for name, score in scores.items()}
