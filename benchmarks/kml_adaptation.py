"""How many samples a model needs to follow a change: with and without few-shot learning, with and without sampling.

    python benchmarks/kml_adaptation.py [--seeds 20] [--json FILE]

The stream is made up.  A request's latency is a sum of five components, and a model predicts from five features
whether it will be slow, that is in the slower half.  The components are the same on all devices, their weights are
random: a model's first layers learn from eight devices, its head from one more, and then the device is another.
All learning is the kernel's own code in fixed point.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from edgeprof.kmodule.abi import ONE, LayerType, Loss, Schedule
from edgeprof.kmodule.library import FixedArray, FloatArray, to_fixed
from edgeprof.kmodule.model import Model, Trainer, Training
from edgeprof.kmodule.network import fit, shapes
from edgeprof.kmodule.stream import Action, Adapter, Drift, Sampler, uncertainty

HEAD = 4
"""The layer from which few-shot learning goes: what lies before keeps what it learned of all devices."""
FLEET = 8
SIZES = [round(8 * 2 ** (step / 2)) for step in range(19)]
"""Of the sets of samples that few-shot learning is tried with: 8 to 4,096."""
PASSES = 10
"""How often such a set is learned."""
MOST = SIZES[-1]
"""Samples after which a model is given up."""
LOOK = 16
"""Samples of a stream between two looks at the accuracy."""
STAYS = 3
"""Looks at which the accuracy must be at the goal."""
SHARE, EXPLORE = 0.3, 0.03
"""Of the samples to collect: those that the model is unsure of, and those that are taken blindly."""
STREAM_RATE = 0.3
FEW_SHOT_GOAL, ACTIVE_GOAL = 0.92, 0.93
FIRST_SEED = 2000
"""Of those that are counted: none of them was looked at while the stream and the goals were chosen."""


@dataclass(frozen=True)
class Way:
    """A way to learn the new device.

    Attributes:
        from_old: start from the old device's model; else from random weights.
        first_layer: the first that learns.
        rate: of learning: the best of 0.03, 0.1, 0.3 and 1 for this way, on seeds 1001 to 1006, which are not counted.
    """

    name: str
    from_old: bool
    first_layer: int
    rate: float


NEW_MODEL = Way("a new model", False, 0, 0.03)
ALL_LAYERS = Way("all layers of the old model", True, 0, 0.03)
FEW_SHOT = Way("few-shot: the head of the old model", True, HEAD, 0.3)
WAYS = (NEW_MODEL, ALL_LAYERS, FEW_SHOT)


@dataclass(frozen=True)
class Requests:
    """Features ``[n, 5]`` and targets ``[n, 1]`` in the kernel's numbers: 1 for a slow request."""

    inputs: FixedArray
    targets: FixedArray

    def first(self, count: int) -> Requests:
        return Requests(self.inputs[:count], self.targets[:count])


def components(count: int, random: np.random.Generator) -> tuple[FixedArray, FloatArray]:
    """Random requests: their features, and the components of their latencies, each with mean 0 and deviation 1."""
    write = random.integers(0, 2, count)
    size, depth, distance, load = random.normal(0, 1, (4, count))
    parts = np.column_stack(
        [
            np.maximum(0, depth + size / 2),  # queues cost nothing until they are deep
            write * np.maximum(0, load),  # background work gets in the way of writes
            (1 - write) * np.abs(distance),  # of reads: writes are buffered
            size,
            write,
        ]
    )
    features = to_fixed(np.column_stack([2 * write - 1, size, depth, distance, load]))
    return features, (parts - parts.mean(axis=0)) / parts.std(axis=0)


def device(random: np.random.Generator) -> FloatArray:
    """A device: the weight of each component."""
    weights = random.gamma(2.0, 1.0, 5)
    return weights / np.linalg.norm(weights)


def requests(weights: FloatArray, count: int, random: np.random.Generator) -> Requests:
    """Requests to a device, half of them slow; a tenth of the latency's deviation is noise."""
    inputs, parts = components(count, random)
    latency = parts @ weights + random.normal(0, 0.1, count)
    slow = latency > np.median(latency)
    return Requests(inputs, (slow * ONE).astype(np.int32).reshape(-1, 1))


def accuracy(model: Model, test: Requests) -> float:
    """The share of requests that are told right; half would be by chance."""
    return float(((model.infer(test.inputs) > ONE // 2) == (test.targets > 0)).mean())


def fresh(seed: int) -> Model:
    """A network that has learned nothing."""
    model = Model.create("slow", 5, shapes("5-16-8-1", LayerType.TANH, LayerType.SIGMOID))
    model.randomise(seed)
    return model


@cache
def first_layers(seed: int) -> Model:
    """A network that predicts the latencies of the fleet's devices."""
    random = np.random.default_rng([seed, 0])
    inputs, parts = components(40_000, random)
    latencies = to_fixed(parts @ np.column_stack([device(random) for _ in range(FLEET)]))
    model = Model.create("fleet", 5, shapes(f"5-16-8-{FLEET}", LayerType.TANH, None))
    model.randomise(seed)
    falling = Training(Loss.MSE, 0.04, momentum=0.5, schedule=Schedule.INVERSE, decay=1.0, decay_every=20_000)
    fit(Trainer(model, falling), inputs, latencies, epochs=4, seed=seed)
    return model


def trained(seed: int, old: Requests) -> Model:
    """The fleet's first layers, and a head that has learned the old device."""
    model = fresh(seed)
    for ours, theirs in zip(model.layers[:HEAD], first_layers(seed).layers, strict=False):
        if ours.weights is not None and ours.bias is not None:
            ours.weights[:], ours.bias[:] = theirs.weights, theirs.bias
    Trainer(model, Training(Loss.LOGISTIC, rate=0.1, first_layer=HEAD)).learn(old.inputs, old.targets)
    return model


@dataclass(frozen=True)
class Change:
    """One seed's streams: the model of the old device, and requests to the new one."""

    model: Model
    old_test: Requests
    test: Requests
    random: np.random.Generator
    new: FloatArray


def change(seed: int) -> Change:
    """The same devices and the same tests for all ways."""
    random = np.random.default_rng([seed, 1])
    old, new = device(random), device(random)
    model = trained(seed, requests(old, 4000, random))
    return Change(model, requests(old, 2000, random), requests(new, 2000, random), random, new)


def few_shot(way: Way, seed: int) -> int | None:
    """Samples of the new device that a way needs: the smallest set with which, and with the next, it is at the goal."""
    at = change(seed)
    samples = requests(at.new, MOST, at.random)
    reached = None
    for size in SIZES:
        model = at.model.copy() if way.from_old else fresh(seed)
        trainer = Trainer(model, Training(Loss.LOGISTIC, rate=way.rate, first_layer=way.first_layer))
        some = samples.first(size)
        fit(trainer, some.inputs, some.targets, PASSES, seed)
        if accuracy(model, at.test) < FEW_SHOT_GOAL:
            reached = None
        elif reached is not None:
            return reached
        else:
            reached = size
    return None


def active(sampled: bool, seed: int) -> int | None:
    """Samples that are collected, labelled and learned, each once, until the old device's model has followed.

    All samples of the stream, or those that the model is unsure of.
    """
    at = change(seed)
    stream = requests(at.new, MOST if not sampled else int(2 * MOST / SHARE), at.random)
    trainer = Trainer(at.model, Training(Loss.LOGISTIC, rate=STREAM_RATE, first_layer=HEAD))
    learned = at_goal = 0
    for index in collected(at.model, stream, Sampler(SHARE, EXPLORE, seed) if sampled else None):
        trainer.learn(stream.inputs[index : index + 1], stream.targets[index : index + 1])
        learned += 1
        if learned % LOOK:
            continue
        at_goal = at_goal + 1 if accuracy(at.model, at.test) >= ACTIVE_GOAL else 0
        if at_goal == STAYS:
            return learned - (STAYS - 1) * LOOK
        if learned >= MOST:
            break
    return None


def collected(model: Model, stream: Requests, sampler: Sampler | None) -> Iterator[int]:
    """The requests that are collected, given what the model, which learns meanwhile, makes of them."""
    for index in range(len(stream.inputs)):
        if sampler is None or sampler.keep(uncertainty(model.infer(stream.inputs[index : index + 1])[0] / ONE)):
            yield index


@dataclass(frozen=True)
class Followed:
    """What the adapter did by itself: requests until it saw the change; accuracy before it, after it, and adapted."""

    seen_after: int | None
    false_alarms: int
    before: float
    changed: float
    adapted: float


def by_itself(seed: int, samples: int = 400) -> Followed:
    """2,000 requests to the old device, then 2,000 to the new one, through the adapter: drift starts the learning."""
    at = change(seed)
    before, changed = accuracy(at.model, at.old_test), accuracy(at.model, at.test)
    trainer = Trainer(at.model, Training(Loss.LOGISTIC, rate=STREAM_RATE, first_layer=HEAD))
    adapter = Adapter(trainer, Drift(tolerance=0.1, threshold=20.0, warm_up=100), samples)
    adapter.feed(at.old_test.inputs, at.old_test.targets)
    false_alarms = adapter.adaptations
    stream = requests(at.new, 2000, at.random)
    actions = [action for action, _ in adapter.feed(stream.inputs, stream.targets)]
    seen = actions.index(Action.DRIFTED) + 1 if Action.DRIFTED in actions else None
    return Followed(seen, false_alarms, before, changed, accuracy(at.model, at.test))


@dataclass(frozen=True)
class Figures:
    """Counts, one a seed (None: not within `MOST`)."""

    few_shot: dict[str, list[int | None]]
    active: dict[str, list[int | None]]
    by_itself: list[Followed]


def measure(seeds: Sequence[int]) -> Figures:
    """All ways on all seeds."""
    return Figures(
        {way.name: [few_shot(way, seed) for seed in seeds] for way in WAYS},
        {
            "every sample": [active(False, seed) for seed in seeds],
            "active: samples that the model is unsure of": [active(True, seed) for seed in seeds],
        },
        [by_itself(seed) for seed in seeds],
    )


def summary(counts: Sequence[int | None]) -> str:
    """Median, least and greatest; those that did not get there count as `MOST`."""
    reached = [MOST if count is None else count for count in counts]
    missed = sum(count is None for count in counts)
    text = f"{statistics.median(reached):.0f} ({min(reached)} to {max(reached)})"
    return text + (f"; {missed} of {len(counts)} not within {MOST}" if missed else "")


def saved(without: Sequence[int | None], with_it: Sequence[int | None]) -> list[float]:
    """How many times as many samples are needed without it, seed by seed."""
    return [(a or MOST) / (b or MOST) for a, b in zip(without, with_it, strict=True)]


def report(figures: Figures) -> str:
    """Markdown."""
    from common import spread, table

    rows = []
    for goal, group in ((FEW_SHOT_GOAL, figures.few_shot), (ACTIVE_GOAL, figures.active)):
        best = list(group.values())[-1]
        for name, counts in group.items():
            rows.append(
                [f"{goal:.1%}", name, summary(counts), spread(saved(counts, best), 1) if counts is not best else "1"]
            )
    text = table(["accuracy", "what learns", "samples needed", "times the last"], rows)
    own = figures.by_itself
    seen = [item.seen_after for item in own if item.seen_after is not None]
    before, changed, adapted = ([getattr(item, name) for item in own] for name in ("before", "changed", "adapted"))
    false_alarms = sum(item.false_alarms for item in own)
    return (
        f"{text}\n\nBy itself: drift was seen in {len(seen)} of {len(own)} streams, after {spread(seen, 0)} requests,"
        f" with {false_alarms} false alarms before; accuracy {spread(before, 3)} on the old device,"
        f" {spread(changed, 3)} when it changed, {spread(adapted, 3)} afterwards."
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--json", type=Path, help="write all counts there")
    options = parser.parse_args()
    figures = measure(range(FIRST_SEED, FIRST_SEED + options.seeds))
    print(report(figures))
    if options.json:
        options.json.write_text(json.dumps(dataclasses.asdict(figures), indent=1) + "\n")


if __name__ == "__main__":
    main()
