"""Which samples train, which validate, and in which order they are read."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeprof.workloads.data.describe import DataSet
from edgeprof.workloads.data.errors import DataError
from edgeprof.workloads.data.formats import Shard
from edgeprof.workloads.data.parts import MOST_BUFFERED, buffer_of, order_of, part_of_samples, part_of_shards
from edgeprof.workloads.spec import WorkloadSpec

TRAIN = WorkloadSpec("resnet18")


def dataset(samples: int, size: int = 1000) -> DataSet:
    return DataSet(Path("d"), "images", "folder", samples, samples * size, 0, None, 1, (), None, None, ("a",))


@given(st.integers(1, 500), st.integers(1, 40), st.booleans())
def test_parts_do_not_overlap_and_are_whole(samples: int, batch: int, validate: bool) -> None:
    spec = WorkloadSpec("resnet18", validate=validate)
    if samples < batch:
        with pytest.raises(DataError, match="less than one batch"):
            part_of_samples(spec, dataset(samples), batch, training=True)
        return
    train = part_of_samples(spec, dataset(samples), batch, training=True)
    held_out = part_of_samples(spec, dataset(samples), batch, training=False)
    assert min(len(train), len(held_out)) >= batch
    if validate and samples >= 2 * batch:
        assert [*train, *held_out] == list(range(samples))
    else:
        assert train == held_out == range(samples)


@given(st.lists(st.integers(1, 60), min_size=1, max_size=12), st.integers(1, 40))
def test_shards_are_split_alike(counts: list[int], batch: int) -> None:
    if sum(counts) < batch:
        return
    shards = [Shard(str(number), count) for number, count in enumerate(counts)]
    train = part_of_shards(TRAIN, dataset(sum(counts)), batch, True, shards)
    held_out = part_of_shards(TRAIN, dataset(sum(counts)), batch, False, shards)
    assert min(sum(shard.samples for shard in part) for part in (train, held_out)) >= batch
    assert train + held_out == shards or train == held_out == shards


def test_an_inference_reads_everything() -> None:
    spec = WorkloadSpec("resnet18", lifecycle="infer")
    assert part_of_samples(spec, dataset(100), 4, training=False) == range(100)
    assert sorted(order_of(spec, range(100), 0, training=False)) == list(range(100))
    assert order_of(spec, range(100), 0, training=False) != list(range(100))


def test_orders_follow_from_seed_and_epoch() -> None:
    part = range(10, 60)
    first = order_of(TRAIN, part, 0, training=True)
    assert sorted(first) == list(part)
    assert first == order_of(TRAIN, part, 0, training=True)
    assert first != order_of(TRAIN, part, 1, training=True)
    assert first != order_of(WorkloadSpec("resnet18", seed=1), part, 0, training=True)
    assert order_of(TRAIN, part, 0, training=False) == list(part)
    assert order_of(WorkloadSpec("resnet18", access="sequential"), part, 0, training=True) == list(part)


def test_a_shuffle_buffer_is_bounded_in_bytes() -> None:
    assert buffer_of(dataset(10_000)) == 1000
    assert buffer_of(dataset(1000, MOST_BUFFERED // 10)) == 10
    assert buffer_of(dataset(3, MOST_BUFFERED * 2)) == 2
