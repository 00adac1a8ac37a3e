"""How soon a latency model is of use again when the workload of a disk changes, and what that takes.

    python benchmarks/kml_latency_runs.py FOLDER --disk sdcard
    python benchmarks/kml_switch.py FOLDER [--json FILE]

A model has learned one workload; requests of that workload come, and then those of another one on the same disk.  They
are real requests, captured in guests: each is predicted when it arrives, and may be learned when it completes, by the
kernel's own code in fixed point.  The model is of use again when its error has come down, and stays, by 80 % of the way
to that of a model that has learned the new workload before.  Where the change costs the model less than a quarter,
there is nothing to regain, and the pair of workloads is left out.  Rates of learning are chosen on every second pair;
what is reported is the others.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import statistics
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path

import numpy as np
from common import progress, spread, table

from edgeprof.kmodule.abi import ONE, Loss
from edgeprof.kmodule.library import FixedArray, FloatArray, to_fixed, to_float
from edgeprof.kmodule.model import Model, Trainer, Training
from edgeprof.kmodule.stream import Action, Adapter, Drift, Sampler, uncertainty
from edgeprof.kmodule.training.candidates import candidates
from edgeprof.kmodule.training.latency_examples import LatencyExamples, read
from edgeprof.kmodule.training.source import latency_set

NETWORK = "network 17-8-1"
HEAD = 2
"""Its last layer: what few-shot learning changes."""
RECENT = 32
"""Requests over which the present error is the mean."""
REGAINED = 0.8
"""Of the way from the error without learning to that of a model of the new workload."""
LEAST_COST = 1.25
FEW = 128
"""Samples that few-shot learning takes after a change was seen."""
SHARE, EXPLORE = 0.25, 0.05
"""Of the samples to collect where they are chosen: those whose prediction lies nearest to `SLOW`."""
SLOW = 13.0
"""log2(1 + µs): 8 ms."""
STAYS = 32
"""Requests in a row over which the present error must be at the goal."""
RATES = (0.0001, 0.0003, 0.001, 0.003, 0.01)
QUANTILE = 0.95


@dataclass(frozen=True)
class Way:
    """How a model follows: what learns, and from which samples.

    Attributes:
        first_layer: that learns; None: nothing does.
        waits: learn only after a change was seen, and only `FEW` samples.
        chooses: collect only samples that the model is unsure of.
    """

    name: str
    first_layer: int | None
    waits: bool = False
    chooses: bool = False


WAYS = (
    Way("it stays as it is", None),
    Way("all of it learns, every sample", 0),
    Way("all of it learns, active sampling", 0, chooses=True),
    Way("few-shot: the head learns after a change", HEAD, waits=True),
    Way("few-shot, active sampling", HEAD, waits=True, chooses=True),
)


@dataclass(frozen=True)
class Stream:
    """Requests in the order of their arrival: inputs and target in Q16.16, times in ns."""

    inputs: FixedArray
    target: FixedArray
    arrived: np.ndarray
    completed: np.ndarray


@dataclass(frozen=True)
class Change:
    """From one workload to another.

    Attributes:
        model: has learned the old one.
        reference: error of a model that has learned the new one, over the new stream.
        frozen: error of ``model`` there, if it learns nothing.
    """

    name: str
    model: Model
    old: Stream
    new: Stream
    reference: float
    frozen: float

    @property
    def goal(self) -> float:
        return self.frozen - REGAINED * (self.frozen - self.reference)


@dataclass(frozen=True)
class Followed:
    """What came of a change: error over the second half of the new stream; when the benefit was back (None: never)."""

    error: float
    learned: int
    requests: int | None = None
    seconds: float | None = None
    samples: int | None = None


def stream_of(examples: LatencyExamples, run: str) -> Stream | None:
    """A run's requests; None: there is no such run."""
    if run not in examples.runs:
        return None
    rows = np.flatnonzero(examples.run == examples.runs.index(run))
    rows = rows[np.argsort(examples.arrived[rows], kind="stable")]
    return Stream(
        np.ascontiguousarray(examples.inputs[rows]),
        np.ascontiguousarray(to_fixed(examples.target[rows]).reshape(-1, 1)),
        examples.arrived[rows],
        examples.completed[rows],
    )


def learned(parts: Sequence[Stream], names: Sequence[str]) -> Model:
    """A network that has learned these requests, as `edgeprof kml train` makes it."""
    fit = dict(candidates("switch", names))[NETWORK]
    inputs, targets = (np.concatenate([getattr(part, name) for part in parts]) for name in ("inputs", "target"))
    model, _ = fit(to_float(inputs), to_float(targets)[:, 0], 0)
    return model


def errors(model: Model, stream: Stream) -> FloatArray:
    """Of each prediction, log2; the model learns nothing."""
    found: FloatArray = np.abs(model.infer(stream.inputs).astype(np.int64) - stream.target)[:, 0] / ONE
    return found


def follow(change: Change, way: Way, rate: float) -> Followed:
    """Play both streams: predict at each arrival, learn at each completion."""
    model = change.model.copy()
    trainer = Trainer(model, Training(Loss.MSE, rate=rate, first_layer=way.first_layer or 0))
    level = float(errors(model, change.old).mean())
    adapter = Adapter(trainer, Drift(tolerance=level**2, threshold=40 * level**2 + 20, warm_up=50), FEW)
    sampler = Sampler(SHARE, EXPLORE, 1) if way.chooses else None
    if way.waits:
        adapter.feed(change.old.inputs, change.old.target)  # it knows how large errors are
    new, order = change.new, np.argsort(change.new.completed, kind="stable")
    recent: deque[float] = deque(maxlen=RECENT)
    given, done, samples = np.zeros(len(new.target)), 0, 0
    began: tuple[int, float, int] | None = None
    back: tuple[int, float, int] | None = None
    for number in range(len(new.target)):
        while done < len(order) and new.completed[order[done]] <= new.arrived[number]:
            samples += _learn(way, trainer, adapter, sampler, new, int(order[done]), given)
            done += 1
        said = int(model.infer(new.inputs[number : number + 1])[0, 0])
        given[number] = said / ONE
        recent.append(abs(said - int(new.target[number, 0])) / ONE)
        if len(recent) < RECENT or statistics.fmean(recent) > change.goal:
            began = None
        elif began is None:
            began = number + 1, float(new.arrived[number] - new.arrived[0]) / 1e9, samples
        if back is None and began is not None and number + 1 - began[0] >= STAYS:
            back = began
    half = np.abs(given - new.target[:, 0] / ONE)[len(given) // 2 :]
    return Followed(float(half.mean()), samples, *(back or (None, None, None)))


def _learn(
    way: Way, trainer: Trainer, adapter: Adapter, sampler: Sampler | None, new: Stream, row: int, given: FloatArray
) -> int:
    """Learn a request that has completed, if this way does; how many samples that were."""
    if way.first_layer is None:
        return 0
    if sampler is not None and not sampler.keep(uncertainty(1 / (1 + 2 ** min(SLOW - given[row], 60.0)))):
        return 0
    inputs, target = new.inputs[row : row + 1], new.target[row : row + 1]
    if way.waits:
        return int(adapter.feed(inputs, target)[0][0] in (Action.LEARNED, Action.SETTLED))
    trainer.learn(inputs, target)
    return 1


def changes(examples: LatencyExamples) -> tuple[list[Change], int]:
    """Pairs of workloads on a disk whose change costs the model something; and how many cost nothing."""
    found: list[Change] = []
    free = 0
    names = {tuple(run.split(".")[:2]) for run in examples.runs}
    for disk in sorted({disk for disk, _ in names}):
        workloads = sorted(workload for place, workload in names if place == disk)
        before, after = {}, {}
        for workload in workloads:
            parts = [stream_of(examples, f"{disk}.{workload}.{order}.100") for order in ("mq-deadline", "none")]
            stream = stream_of(examples, f"{disk}.{workload}.mq-deadline.101")
            if stream is not None and None not in parts:
                progress(f"{disk}, {workload}: learning")
                before[workload] = learned([part for part in parts if part is not None], examples.names)
                after[workload] = stream
        for old, new in permutations(before, 2):
            reference = float(errors(before[new], after[new]).mean())
            frozen = float(errors(before[old], after[new]).mean())
            if frozen < LEAST_COST * reference:
                free += 1
                continue
            found.append(Change(f"{disk}: {old} to {new}", before[old], after[old], after[new], reference, frozen))
    return found, free


def best_rate(pairs: Sequence[Change], way: Way) -> float:
    """The rate whose errors are least on the pairs that are not reported."""

    def cost(rate: float) -> float:
        return statistics.fmean(follow(pair, way, rate).error / pair.frozen for pair in pairs)

    return RATES[0] if way.first_layer is None else min(RATES, key=cost)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--json", type=Path, help="write all figures there")
    options = parser.parse_args()
    with latency_set(options.folder, QUANTILE) as path:
        examples = read(path)
    found, free = changes(examples)
    chosen, reported = found[::2], found[1::2]
    rows, figures = [], {}
    for way in WAYS:
        rate = best_rate(chosen, way)
        seen = [follow(pair, way, rate) for pair in reported]
        figures[way.name] = {
            "rate": rate,
            "pairs": {p.name: dataclasses.asdict(s) for p, s in zip(reported, seen, strict=True)},
        }
        back = [item for item in seen if item.requests is not None]
        rows.append(
            [
                way.name,
                f"{len(back)} of {len(seen)}",
                spread([float(item.requests or 0) for item in back], 0),
                spread([item.seconds or 0.0 for item in back], 2),
                spread([float(item.samples or 0) for item in back], 0),
                spread([item.error / pair.frozen for item, pair in zip(seen, reported, strict=True)]),
            ]
        )
        progress(f"{way.name}: rate {rate}")
    head = [
        "what learns",
        "benefit back",
        "after requests",
        "seconds",
        "samples learned",
        "error left, of that without",
    ]
    own = spread([pair.reference / pair.frozen for pair in reported])
    print(table(head, rows))
    print(
        f"\n{len(reported)} changes of workload, {len(chosen)} others to choose rates by, {free} that cost nothing."
        f"  A model of the new workload has {own} of the error without learning."
    )
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
