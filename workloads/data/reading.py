"""Decoded samples, by index or shard by shard; what the loaders of all frameworks but TensorFlow's own share."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from edgeprof.workloads.data.describe import DataSet
from edgeprof.workloads.data.formats import Shard, Store, open_store, read_shard
from edgeprof.workloads.data.sample import Decoded, Sample, decode


class View(NamedTuple):
    """How a model wants its samples: images of a size (None: as stored), texts of a number of words."""

    size: tuple[int, int] | None
    length: int


class Indexed:
    """Map-style: decoded samples by their place in ``order``.

    The store is opened in the process that reads: a handle of LMDB or HDF5 must not cross a fork.
    """

    def __init__(self, dataset: DataSet, order: Sequence[int], view: View) -> None:
        self._dataset, self._order, self._view = dataset, order, view
        self._opened: tuple[int, Store] | None = None

    def __len__(self) -> int:
        return len(self._order)

    def __getitem__(self, place: int) -> Decoded:
        if self._opened is None or self._opened[0] != os.getpid():
            self._opened = (os.getpid(), open_store(self._dataset))
        index = self._order[place]
        sample = self._opened[1][index]
        return decode(sample, self._dataset.kind, self._view.size, self._view.length, name_of(self._dataset, index))

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_opened": None}

    def close(self) -> None:
        """Let go of the files."""
        if self._opened is not None and self._opened[0] == os.getpid():
            self._opened[1].close()
        self._opened = None


def read_shards(
    dataset: DataSet, shards: Sequence[Shard], view: View, rng: np.random.Generator | None, buffer: int
) -> Iterator[Decoded]:
    """Decoded samples of shards in stored order, or drawn from a buffer where ``rng`` is given."""
    if rng is not None:
        shards = [shards[index] for index in rng.permutation(len(shards))]
    samples = ((shard, sample) for shard in shards for sample in read_shard(dataset, shard))
    for shard, sample in samples if rng is None else _shuffled(samples, rng, buffer):
        where = f"a sample of {dataset.path / shard.file}"
        yield decode(sample, dataset.kind, view.size, view.length, where)


def name_of(dataset: DataSet, index: int) -> str:
    """A sample, for an error."""
    if dataset.format == "folder" and dataset.kind != "trajectories":
        return str(dataset.path / dataset.files[index])
    return f"sample {index} of {dataset.path}"


def _shuffled(
    samples: Iterator[tuple[Shard, Sample]], rng: np.random.Generator, size: int
) -> Iterator[tuple[Shard, Sample]]:
    """Hold ``size`` samples back and give out a random one of them for each that comes."""
    held: list[tuple[Shard, Sample]] = []
    for sample in samples:
        if len(held) < size:
            held.append(sample)
            continue
        place = int(rng.integers(size))
        held[place], sample = sample, held[place]
        yield sample
    for place in rng.permutation(len(held)):
        yield held[place]
