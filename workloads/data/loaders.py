"""Batches of a data set, read as the users of each framework read them; one epoch a call."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from edgeprof.workloads.data.describe import DataSet, check_files
from edgeprof.workloads.data.formats import BY_INDEX, shards_of
from edgeprof.workloads.data.parts import buffer_of, is_random, order_of, part_of_samples, part_of_shards
from edgeprof.workloads.data.reading import Indexed, View, read_shards
from edgeprof.workloads.data.sample import TOKENS, Decoded
from edgeprof.workloads.errors import MissingFramework
from edgeprof.workloads.spec import WorkloadSpec

if TYPE_CHECKING:
    import torch

Size = tuple[int, int]


def torch_batches(
    spec: WorkloadSpec,
    dataset: DataSet,
    batch: int,
    epoch: int,
    training: bool,
    size: Size | None = None,
    length: int = TOKENS,
) -> Iterator[dict[str, torch.Tensor]]:
    """Batches through PyTorch's DataLoader, with ``spec.workers`` processes and ``spec.prefetch`` batches of each.

    Formats that are read by index have a map-style data set; tar shards go through the webdataset library; TFRecord
    and Parquet through an iterable data set whose workers share the shards.

    Args:
        size: height and width that images are resized to (Pillow, bilinear); None: as stored.
        length: words of a text.

    Yields:
        Tensors by name, with a leading axis of ``batch`` (images uint8 [B, H, W, 3]); the last incomplete batch is
        dropped.

    Raises:
        DataError: the data set cannot be read, or does not make one batch.
    """
    from edgeprof.workloads.data.torch_loader import batches

    check_files(dataset)
    return batches(spec, dataset, batch, epoch, training, View(size, length))


def tf_batches(
    spec: WorkloadSpec,
    dataset: DataSet,
    batch: int,
    epoch: int,
    training: bool,
    size: Size | None = None,
    length: int = TOKENS,
) -> Iterator[dict[str, Any]]:
    """Batches of tf.Tensor through tf.data, with ``spec.workers`` parallel calls; the rest as `torch_batches`.

    TFRecord and image folders are read and decoded by TensorFlow, the other formats' bytes come from Python.
    """
    try:
        from edgeprof.workloads.data.tf_loader import batches
    except ImportError as error:
        if error.name != "tensorflow":
            raise
        raise MissingFramework("TensorFlow", "tensorflow") from None

    check_files(dataset)
    return batches(spec, dataset, batch, epoch, training, View(size, length))


def numpy_batches(
    spec: WorkloadSpec,
    dataset: DataSet,
    batch: int,
    epoch: int,
    training: bool,
    size: Size | None = None,
    length: int = TOKENS,
) -> Iterator[Decoded]:
    """Batches as NumPy arrays, read in this process without look-ahead: plain Python; the rest as `torch_batches`."""
    check_files(dataset)
    return _stacked(_samples(spec, dataset, batch, epoch, training, View(size, length)), batch)


def _stacked(samples: Iterator[Decoded], batch: int) -> Iterator[Decoded]:
    import numpy as np

    held: list[Decoded] = []
    for sample in samples:
        held.append(sample)
        if len(held) == batch:
            yield {name: np.stack([one[name] for one in held]) for name in sample}
            held = []


def _samples(
    spec: WorkloadSpec, dataset: DataSet, batch: int, epoch: int, training: bool, view: View
) -> Iterator[Decoded]:
    import numpy as np

    if dataset.format in BY_INDEX:
        order = order_of(spec, part_of_samples(spec, dataset, batch, training), epoch, training)
        samples = Indexed(dataset, order, view)
        try:
            for place in range(len(samples)):
                yield samples[place]
        finally:
            samples.close()
    else:
        shards = part_of_shards(spec, dataset, batch, training, shards_of(dataset))
        rng = np.random.default_rng((spec.seed, epoch)) if is_random(spec, training) else None
        yield from read_shards(dataset, shards, view, rng, buffer_of(dataset))
