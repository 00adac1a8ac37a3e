"""The loops: training with checkpoints and validation, and inference in three of MLPerf's scenarios.

What is recorded, and when, is docs/workloads.md's subject; in short: a *step* begins when the program asks for its
batch, or when the request arrives, and only steps of the measured part are recorded.
"""

from __future__ import annotations

import json
import math
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import edgeprof
from edgeprof.workloads.arrivals import serve
from edgeprof.workloads.backends.base import samples_in
from edgeprof.workloads.errors import UnusableData, WrongSpec
from edgeprof.workloads.gate import ready_and_wait
from edgeprof.workloads.interrupt import check

if TYPE_CHECKING:
    from edgeprof.workloads.backends.base import Backend
    from edgeprof.workloads.catalog import Workload
    from edgeprof.workloads.data.describe import DataSet
    from edgeprof.workloads.spec import WorkloadSpec


@dataclass
class Outcome:
    """What a workload did in its measured part.

    Attributes:
        workload: its name.
        framework: its name.
        version: of the framework.
        lifecycle: train or infer.
        scenario: of inference; None: training.
        parameters: of the model; None where the framework cannot tell.
        batch: samples of a step.
        steps: recorded.
        samples: of them.
        epochs: passes over the data set that were completed.
        seconds: time from the first step's beginning to the last one's end, validations left out.
        throughput: samples a second of that time.
        loss_first: loss of the first step; None: inference.
        loss_last: loss of the last step.
        checkpoints: written.
        latency_max: longest time from a request's arrival to its answer, s; only of the scenario multi.
        deadline: of a request, s; only of the scenario multi.
        deadline_misses: answers that came too late, and requests left unanswered at the end; likewise.
    """

    workload: str
    framework: str
    version: str
    lifecycle: str
    scenario: str | None
    parameters: int | None
    batch: int
    steps: int = 0
    samples: int = 0
    epochs: int = 0
    seconds: float = 0.0
    throughput: float | None = None
    loss_first: float | None = None
    loss_last: float | None = None
    checkpoints: int = 0
    latency_max: float | None = None
    deadline: float | None = None
    deadline_misses: int | None = None

    def to_json(self) -> str:
        """One line of JSON; a loss that has overflowed is null, which JSON can hold."""
        told = asdict(self)
        lost = [name for name, value in told.items() if isinstance(value, float) and not math.isfinite(value)]
        return json.dumps({**told, **dict.fromkeys(lost)})


class Lifecycle:
    """One workload from its first import to its end.

    Args:
        spec: what to do.
        entry: the workload.
        dataset: what to do it on.
        backend: not yet prepared.
    """

    def __init__(self, spec: WorkloadSpec, entry: Workload, dataset: DataSet, backend: Backend) -> None:
        self.spec, self.dataset, self.backend = spec, dataset, backend
        self.batch = samples_in(spec, entry)
        if dataset.samples < self.batch:
            raise UnusableData(
                f"the data set {dataset.path} has {dataset.samples} samples, fewer than one batch of {self.batch}; "
                "make it larger, or choose a smaller --batch"
            )
        self.steps = spec.steps
        self.epochs = spec.epochs or (0 if spec.steps or spec.seconds else 1)
        self.outcome = Outcome(
            workload=spec.workload,
            framework=spec.framework,
            version="",
            lifecycle=spec.lifecycle,
            scenario=spec.scenario if spec.lifecycle == "infer" else None,
            parameters=None,
            batch=self.batch,
        )
        self._begun = self._now = 0.0
        self._excluded = self._pending = 0.0  # seconds of validations: before the latest step, and since it

    def run(self) -> Outcome:
        """Do it all.

        Raises:
            WorkloadError, WrongSpec: it cannot be done; the sentence says why.
        """
        try:
            if self.spec.lifecycle == "train":
                self._train()
            else:
                self._infer()
        finally:
            self.backend.close()
        return self.outcome

    def _train(self) -> None:
        with ExitStack() as stack:
            checkpoint = stack.enter_context(_checkpoint_file(self.spec.checkpoint))
            self.backend.prepare()
            if self.spec.warmup:
                with edgeprof.phase("warm-up"):
                    batch = self._first_batch()
                    for _ in range(self.spec.warmup):
                        self.backend.train_step(batch)
            with self._measured():
                for epoch in self._epochs():
                    for start, batch in self._batches(epoch, training=True):
                        self._learned(self.backend.train_step(batch))
                        self._step(start)
                        if self.spec.checkpoint_every and self.outcome.steps % self.spec.checkpoint_every == 0:
                            self._save(checkpoint)
                    if self.spec.validate and self.outcome.epochs > epoch:
                        self._validate(epoch)
            if not (self.spec.checkpoint_every and self.outcome.steps % self.spec.checkpoint_every == 0):
                self._save(checkpoint)

    def _infer(self) -> None:
        with edgeprof.phase("first-inference"):
            self.backend.prepare()
            batch = self._first_batch()
            self.backend.infer(batch)
        if self.spec.warmup:
            with edgeprof.phase("warm-up"):
                for _ in range(self.spec.warmup):
                    self.backend.infer(batch)
        if self.spec.scenario == "multi":
            self._serve()
            return
        with self._measured():
            for epoch in self._epochs():
                for start, batch in self._batches(epoch, training=False):
                    with edgeprof.phase("infer"):
                        self.backend.infer(batch)
                    self._step(start)

    def _serve(self) -> None:
        """Requests that arrive at a fixed rate."""
        stream = self._endless()

        def answer(number: int) -> None:
            check()
            batch = next(stream)
            with edgeprof.phase("infer"):
                self.backend.infer(batch)

        limits = (self.steps, self.epochs * (self.dataset.samples // self.batch))
        requests = min((limit for limit in limits if limit), default=0)
        outcome, spec = self.outcome, self.spec
        with self._measured():
            served = serve(answer, spec.arrival, spec.deadline, spec.seconds, requests, samples=self.batch)
            outcome.steps, outcome.samples = served.answered, served.answered * self.batch
            outcome.seconds = served.seconds
        outcome.latency_max = served.worst
        outcome.deadline = spec.deadline or 1 / spec.arrival
        outcome.deadline_misses = served.late + served.unanswered

    @contextmanager
    def _measured(self) -> Iterator[None]:
        """The measured part; it begins when the others of a scenario are ready, too."""
        self.outcome.version, self.outcome.parameters = self.backend.version, self.backend.parameters
        ready_and_wait()
        edgeprof.mark("measured", 1)
        self._begun = self._now = time.monotonic()
        yield
        edgeprof.mark("measured", 0)
        outcome = self.outcome
        outcome.seconds = outcome.seconds or self._now - self._begun - self._excluded
        outcome.throughput = outcome.samples / outcome.seconds if outcome.seconds > 0 else None

    def _over(self) -> bool:
        """Whether steps or seconds are used up.  Raises KeyboardInterrupt where one was lost."""
        check()
        if self.steps and self.outcome.steps >= self.steps:
            return True
        return bool(self.spec.seconds) and time.monotonic() - self._begun >= self.spec.seconds

    def _epochs(self) -> Iterator[int]:
        """Numbers of epochs until a limit is reached."""
        while not self._over() and (not self.epochs or self.outcome.epochs < self.epochs):
            yield self.outcome.epochs

    def _batches(self, epoch: int, training: bool) -> Iterator[tuple[int, Any]]:
        """The moment at which each batch was asked for (CLOCK_MONOTONIC ns), and the batch; ends at a limit.

        An epoch that was read to its end is counted.
        """
        with _closing(self.backend.batches(epoch, training)) as batches:
            found = False
            while not self._over():
                start = time.monotonic_ns()
                with edgeprof.phase("load"):
                    batch = next(batches, None)
                if batch is None:
                    if not found:
                        raise self._empty()
                    self.outcome.epochs += 1
                    return
                found = True
                yield start, batch

    def _endless(self) -> Iterator[Any]:
        """Batches of one epoch after the other."""
        while True:
            with _closing(self.backend.batches(self.outcome.epochs, False)) as batches:
                found = False
                while True:
                    with edgeprof.phase("load"):
                        batch = next(batches, None)
                    if batch is None:
                        break
                    found = True
                    yield batch
                if not found:
                    raise self._empty()
                self.outcome.epochs += 1

    def _first_batch(self) -> Any:
        """A batch to warm up with: reading one touches least of the data set."""
        with edgeprof.phase("load"), _closing(self.backend.batches(0, self.spec.lifecycle == "train")) as batches:
            batch = next(batches, None)
        if batch is None:
            raise self._empty()
        return batch

    def _empty(self) -> UnusableData:
        return UnusableData(
            f"the loader gave no batch of {self.batch} samples from {self.dataset.path}; make it larger"
        )

    def _learned(self, loss: float) -> None:
        if self.outcome.loss_first is None:
            self.outcome.loss_first = loss
        self.outcome.loss_last = loss

    def _step(self, start: int) -> None:
        edgeprof.step(samples=self.batch, start_ns=start)
        self._now = time.monotonic()
        self._excluded, self._pending = self._excluded + self._pending, 0.0
        self.outcome.steps += 1
        self.outcome.samples += self.batch

    def _validate(self, epoch: int) -> None:
        begun = time.monotonic()
        with edgeprof.phase("validate"), _closing(self.backend.batches(epoch, False)) as batches:
            while True:
                with edgeprof.phase("load"):
                    batch = next(batches, None)
                if batch is None:
                    break
                self.backend.infer(batch)
        self._pending += time.monotonic() - begun

    def _save(self, path: Path) -> None:
        with edgeprof.phase("checkpoint"):
            self.backend.save(path)
        self.outcome.checkpoints += 1


@contextmanager
def _closing(batches: Iterator[Any]) -> Iterator[Iterator[Any]]:
    """The iterator, whose loader processes are gone afterwards."""
    iterator = iter(batches)
    try:
        yield iterator
    finally:
        close = getattr(iterator, "close", None)
        if close is not None:
            close()


@contextmanager
def _checkpoint_file(chosen: str) -> Iterator[Path]:
    """The checkpoint's file; one that nobody asked for is removed at the end."""
    if chosen:
        path = Path(chosen)
        if not path.parent.is_dir():
            raise WrongSpec(f"the checkpoint's folder {path.parent} is not there; make it, or choose another")
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="edgeprof-checkpoint-") as folder:
        yield Path(folder, "checkpoint")
