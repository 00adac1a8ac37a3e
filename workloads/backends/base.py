"""What every framework behind the workloads can do; the loops in `edgeprof.workloads.lifecycle` know nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from edgeprof.workloads.catalog import Workload
    from edgeprof.workloads.data.describe import DataSet
    from edgeprof.workloads.spec import WorkloadSpec


class Backend(Protocol):
    """One model in one framework, for one spec and one data set.

    Nothing heavy happens before `prepare`: a class is called with ``(spec, entry, dataset)`` and keeps them.

    Attributes:
        version: of the framework; known after `prepare`.
        parameters: numbers that training learns, of the whole model; None where the framework cannot tell.
    """

    version: str
    parameters: int | None

    def prepare(self) -> None:
        """Import, build or convert, load and compile, in the phases ``import``, ``build`` and ``compile``.

        Raises:
            MissingFramework: a library is not installed.
            WrongSpec: the framework cannot do what the spec asks; the sentence says what it can.
        """

    def batches(self, epoch: int, training: bool) -> Iterator[Any]:
        """One pass over the data set in the framework's own type; the last incomplete batch is left out.

        Raises:
            UnusableData: a sample cannot be read; the sentence names its file.
        """

    def train_step(self, batch: Any) -> float:
        """Learn from a batch and return its loss.

        In the phases ``forward``, ``backward`` and ``optimizer`` where the framework can tell them apart, else in
        ``train``.
        """

    def infer(self, batch: Any) -> None:
        """Answer a batch, without learning; returns when the answer is there, in the host's memory."""

    def save(self, path: Path) -> None:
        """Write a checkpoint (weights and the optimizer's state) to the file, and wait until it is on the storage."""

    def close(self) -> None:
        """Give back what `prepare` took (loader processes, sessions)."""


class BackendClass(Protocol):
    """A class that makes a `Backend`."""

    def __call__(self, spec: WorkloadSpec, entry: Workload, dataset: DataSet) -> Backend: ...


def samples_in(spec: WorkloadSpec, entry: Workload) -> int:
    """Samples of one step: what the spec says; else 1 in the scenarios single and multi, else the workload's own."""
    if spec.batch:
        return spec.batch
    if spec.lifecycle == "infer" and spec.scenario != "offline":
        return 1
    return entry.batch if spec.size == "base" else min(entry.batch, 4)


def one_pass(
    loader: Callable[..., Iterator[Any]],
    spec: WorkloadSpec,
    entry: Workload,
    dataset: DataSet,
    epoch: int,
    training: bool,
) -> Iterator[Any]:
    """An epoch through one of `edgeprof.workloads.data.loaders`, in the sizes that the model takes."""
    size, length = entry.image_of(spec.size), entry.length_of(spec.size)
    return loader(spec, dataset, samples_in(spec, entry), epoch, training, size=size, length=length)
