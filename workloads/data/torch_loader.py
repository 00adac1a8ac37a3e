"""Batches through PyTorch's DataLoader."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NoReturn

import numpy as np
import torch
from torch.utils.data import DataLoader, IterableDataset, default_collate, get_worker_info

from edgeprof.workloads.data.describe import DataSet
from edgeprof.workloads.data.errors import DataError
from edgeprof.workloads.data.formats import BY_INDEX, Shard, shards_of
from edgeprof.workloads.data.formats.webdataset import from_members
from edgeprof.workloads.data.parts import buffer_of, is_random, part_of_samples, part_of_shards
from edgeprof.workloads.data.reading import Indexed, View, read_shards
from edgeprof.workloads.data.sample import Decoded, decode
from edgeprof.workloads.spec import WorkloadSpec

Batch = dict[str, torch.Tensor]


class Sharded(IterableDataset[Decoded]):
    """Iterable: every worker reads its share of the shards."""

    def __init__(self, dataset: DataSet, shards: Sequence[Shard], view: View, seed: tuple[int, int] | None) -> None:
        self._dataset, self._shards, self._view, self._seed = dataset, shards, view, seed

    def __iter__(self) -> Iterator[Decoded]:
        worker = get_worker_info()
        number, count = (worker.id, worker.num_workers) if worker else (0, 1)
        rng = None if self._seed is None else np.random.default_rng((*self._seed, number))
        shards = self._shards[number::count]
        return read_shards(self._dataset, shards, self._view, rng, max(2, buffer_of(self._dataset) // count))


def batches(
    spec: WorkloadSpec, dataset: DataSet, batch: int, epoch: int, training: bool, view: View
) -> Iterator[Batch]:
    """See `loaders.torch_batches`."""
    options: dict[str, Any] = {
        "batch_size": batch,
        "drop_last": True,
        "num_workers": spec.workers,
        "prefetch_factor": spec.prefetch if spec.workers else None,
        "generator": torch.Generator().manual_seed(spec.seed * 1_000_003 + epoch),
    }
    shuffle = is_random(spec, training)
    if dataset.format in BY_INDEX:
        part = part_of_samples(spec, dataset, batch, training)
        samples = Indexed(dataset, part, view)
        return _guarded(DataLoader(samples, shuffle=shuffle, **options), samples.close)  # type: ignore[arg-type]
    if dataset.format == "webdataset":
        return _guarded(_webdataset(spec, dataset, batch, epoch, training, view, shuffle))
    shards = part_of_shards(spec, dataset, batch, training, shards_of(dataset))
    seed = (spec.seed, epoch) if shuffle else None
    return _guarded(DataLoader(Sharded(dataset, shards, view, seed), **options))


def _webdataset(
    spec: WorkloadSpec, dataset: DataSet, batch: int, epoch: int, training: bool, view: View, shuffle: bool
) -> Any:
    """The pipeline that the library's documentation shows: shards split by worker, batches made in the workers."""
    import webdataset

    shards = part_of_shards(spec, dataset, batch, training, shards_of(dataset))
    urls = [str((dataset.path / shard.file).resolve()) for shard in shards]
    seed = spec.seed * 1_000_003 + epoch
    pipeline = webdataset.WebDataset(
        urls,
        shardshuffle=len(urls) if shuffle else False,
        empty_check=False,
        nodesplitter=None,
        seed=seed,
        handler=partial(_complain, dataset),
    )
    if shuffle:
        pipeline = pipeline.shuffle(max(2, buffer_of(dataset) // max(1, spec.workers)), seed=seed)
    pipeline = pipeline.map(partial(_from_tar, dataset, view))
    pipeline = pipeline.batched(batch, partial=False, collation_fn=_collate)
    prefetch = spec.prefetch if spec.workers else None
    return webdataset.WebLoader(pipeline, batch_size=None, num_workers=spec.workers, prefetch_factor=prefetch)


def _from_tar(dataset: DataSet, view: View, members: dict[str, Any]) -> Decoded:
    file = str(members.get("__url__", ""))
    sample = from_members(members, dataset, file)
    return decode(sample, dataset.kind, view.size, view.length, f"{members.get('__key__')} of {file}")


def _complain(dataset: DataSet, error: Exception) -> NoReturn:
    """What the library does with damage; it has put the shard's path among the error's arguments."""
    if isinstance(error, DataError):
        raise error
    file = next((name for name in dataset.files if any(str(item).endswith(name) for item in error.args)), "")
    why = error.args[0] if error.args else repr(error)
    raise DataError(
        f"{dataset.path / file} is damaged ({why}); remove {dataset.path} so that it is made anew"
    ) from None


def _collate(samples: list[Decoded]) -> Batch:
    """Without the key that the library's map adds."""
    batch: Batch = default_collate([{name: sample[name] for name in sample if name != "__key__"} for sample in samples])
    return batch


def _guarded(loader: Any, close: Callable[[], None] = lambda: None) -> Iterator[Batch]:
    """A worker's error as the sentence that it is."""
    sentence = ""
    try:
        yield from loader
    except (DataError, RuntimeError) as error:
        sentence = _sentence(error)
        if not sentence:
            raise
        # PyTorch's iterator must go now, while its queues work: collected later as part of the cycle that the
        # error's frames make, it would wait 5 s for each worker.
        traceback.clear_frames(error.__traceback__)
    finally:
        close()
    if sentence:
        raise DataError(sentence)


def _sentence(error: Exception) -> str:
    """Empty where it is none of the data set's."""
    if isinstance(error, DataError):
        # PyTorch puts the worker's traceback into the message; the sentence is its last line.
        return str(error).strip().splitlines()[-1].removeprefix(f"{DataError.__module__}.DataError: ")
    if "DataLoader worker" in str(error):
        first = str(error).splitlines()[0].rstrip(".")
        return f"{first}; if it was killed for memory, use fewer workers, a smaller batch or a higher memory limit"
    return ""
