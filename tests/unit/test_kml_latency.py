"""The features of a request's latency: the kernel's code and the training set's columns say the same."""

from __future__ import annotations

import ctypes

import numpy as np
import numpy.typing as npt
import pytest

from edgeprof.kmodule import latency
from edgeprof.kmodule.errors import WrongShape
from edgeprof.kmodule.latency import FEATURES, NEVER, NO_SECTOR, Operation
from edgeprof.kmodule.library import library, to_float
from edgeprof.profiler.training_sets import features
from edgeprof.profiler.training_sets.features import READ, UNKNOWN, WRITE, Arrivals

STEPS = 4 / 65536
"""The library's logarithms are within 3 steps, and rounding the reference adds one."""
COUNT = 3000
FLUSH = features.OPERATIONS.index("flush")
BEGUN = 5_000_000_000
WRITTEN = FEATURES.index("written_100ms")


def a_table(seed: int) -> Arrivals:
    """Requests that come singly and in the same nanosecond, flushes without a place, completions never seen."""
    random = np.random.default_rng(seed)
    moment = BEGUN + np.cumsum(random.choice([0, 0, 1, 1000, 90_000, 3_000_000], COUNT))
    op = random.choice([READ, WRITE, FLUSH], COUNT, p=[0.5, 0.45, 0.05]).astype(np.int32)
    length = np.where(op == FLUSH, 0, random.integers(1, 2048, COUNT) * 512)
    sector = np.where(op == FLUSH, UNKNOWN, random.integers(0, 1 << 40, COUNT))
    goes_on = np.flatnonzero(random.random(COUNT) < 0.2)
    goes_on = goes_on[(goes_on > 0) & (op[goes_on] != FLUSH)]
    sector[goes_on] = sector[goes_on - 1] + length[goes_on - 1] // 512
    took = np.exp(random.normal(13, 2, COUNT)).astype(np.int64)
    completed = np.where(random.random(COUNT) < 0.05, features.NEVER, moment + took)
    grown = length + random.integers(0, 8, COUNT) * 512 * (op != FLUSH)
    return Arrivals(moment, completed, op, sector, length, grown)


def by_the_library(table: Arrivals) -> npt.NDArray[np.float64]:
    operations = {READ: Operation.READ, WRITE: Operation.WRITE, FLUSH: Operation.OTHER}
    requests = latency.arrivals(
        table.moment,
        np.where(table.sector == UNKNOWN, NO_SECTOR, table.sector.astype(np.uint64)),
        table.length,
        [operations[int(op)] for op in table.op],
        table.op == READ,
    )
    completed = np.where(table.completed == features.NEVER, NEVER, table.completed.astype(np.uint64))
    return to_float(latency.features(requests, completed, table.final_length, BEGUN))


def test_names_are_those_of_the_library() -> None:
    names = (ctypes.c_char_p * len(FEATURES)).in_dll(library(), "kml_latency_names")
    assert tuple((name or b"").decode() for name in names) == FEATURES


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_features_are_the_columns_of_the_training_set(seed: int) -> None:
    table = a_table(seed)
    found = by_the_library(table)
    assert np.array_equal(found[:, 0], table.op == WRITE)
    assert np.array_equal(found[:, 1], table.op == READ)
    assert np.abs(found[:, 2] - np.log2(1 + table.length / 1024)).max() <= STEPS
    columns = features.features(table, BEGUN)
    for name in (*FEATURES[3:WRITTEN], "ahead"):
        values, known = columns[name]
        scale = 1e6 if name.startswith(("read_", "write_", "since_")) else 1 / 1024 if name == "ahead" else 1
        expected = np.where(known, np.log2(1 + np.abs(values) * scale), -1)
        assert np.abs(found[:, FEATURES.index(name)] - expected).max() <= STEPS, name


def test_written_bytes_are_those_of_the_last_94_to_100_ms() -> None:
    """The library adds them up in slices of 6.25 ms."""
    table = a_table(4)
    found = by_the_library(table)[:, WRITTEN]
    most, known = features.features(table, BEGUN)["written_100ms"]
    rows = np.flatnonzero((table.op == WRITE) & (table.completed != features.NEVER))
    for at in range(COUNT):
        if not known[at]:
            assert found[at] == -1
            continue
        ended = table.completed[rows]
        recent = rows[(ended < table.moment[at]) & (ended >= table.moment[at] - 93_750_000)]
        least = table.final_length[recent].sum()
        assert np.log2(1 + least / 1024) - STEPS <= found[at] <= np.log2(1 + most[at] / 1024) + STEPS
    assert known.sum() > COUNT / 2


def test_targets_go_there_and_back() -> None:
    for ns in (0, 1, 999, 1000, 123_456, 10**9, 7 * 10**12):
        value = latency.target(ns)
        assert value / 65536 == pytest.approx(np.log2(1 + ns / 1000), abs=STEPS)
        assert latency.from_target(value) == pytest.approx(ns, rel=2e-4, abs=150)


def test_tables_that_are_none_are_refused() -> None:
    table = a_table(5)
    requests = latency.arrivals(table.moment, table.sector % 1000, table.length, table.op * 0, table.op == READ)
    ends = table.completed
    with pytest.raises(WrongShape, match="back"):
        latency.features(requests[::-1], ends, table.final_length, BEGUN)
    with pytest.raises(WrongShape):
        latency.features(requests[:-1], ends, table.final_length, BEGUN)
    with pytest.raises(WrongShape):
        latency.features(np.zeros(COUNT), ends, table.final_length, BEGUN)  # type: ignore[arg-type]
    with pytest.raises(WrongShape):
        latency.arrivals(table.moment, table.sector[:-1], table.length, table.op, table.op)
