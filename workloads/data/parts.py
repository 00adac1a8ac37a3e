"""Which samples are trained with, which validate, and in which order an epoch reads them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgeprof.workloads.data.describe import DataSet
from edgeprof.workloads.data.errors import DataError
from edgeprof.workloads.data.formats import Shard
from edgeprof.workloads.spec import WorkloadSpec

HELD_OUT = 0.1
"""Share of the samples that validate."""
SHUFFLE_BUFFER = 1000
"""Samples among which a reader of shards draws the next; usual in examples of webdataset and tf.data."""
MOST_BUFFERED = 64 << 20
"""Bytes, stored, that such a buffer may hold."""


def part_of_samples(spec: WorkloadSpec, dataset: DataSet, batch: int, training: bool) -> range:
    """The samples to read, by index.

    The last tenth (a batch at least) validates a training that asks for it; an inference, and a data set of less than
    two batches, read everything.

    Raises:
        DataError: they do not make one batch.
    """
    whole = range(dataset.samples)
    if len(whole) < batch:
        raise DataError(
            f"{dataset.path} has {len(whole)} samples, less than one batch of {batch}; ask for a smaller batch or for "
            "more data"
        )
    if not _is_split(spec) or len(whole) < 2 * batch:
        return whole
    held_out = max(round(HELD_OUT * len(whole)), batch)
    return whole[:-held_out] if training else whole[-held_out:]


def part_of_shards(
    spec: WorkloadSpec, dataset: DataSet, batch: int, training: bool, shards: Sequence[Shard]
) -> list[Shard]:
    """The shards to read; the last ones validate.  Raises DataError."""
    wanted = len(part_of_samples(spec, dataset, batch, training=False))
    if wanted == dataset.samples:
        return list(shards)
    behind, cut = 0, len(shards)
    while behind < wanted:
        cut -= 1
        behind += shards[cut].samples
    if dataset.samples - behind < batch:
        return list(shards)
    return list(shards[:cut] if training else shards[cut:])


def order_of(spec: WorkloadSpec, part: Sequence[int], epoch: int, training: bool) -> list[int]:
    """The indices of a part in the order of reading: stored order, or another random one each epoch."""
    if not is_random(spec, training):
        return list(part)
    chosen = np.random.default_rng((spec.seed, epoch)).permutation(len(part))
    return [part[index] for index in chosen.tolist()]


def is_random(spec: WorkloadSpec, training: bool) -> bool:
    """Whether samples are read in random order; those that validate never are."""
    return spec.access == "random" and (training or not _is_split(spec))


def buffer_of(dataset: DataSet) -> int:
    """Samples of a shuffle buffer."""
    each = max(1, dataset.bytes // max(1, dataset.samples))
    return max(2, min(SHUFFLE_BUFFER, MOST_BUFFERED // each))


def _is_split(spec: WorkloadSpec) -> bool:
    return spec.lifecycle == "train" and spec.validate
