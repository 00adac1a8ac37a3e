"""The training set *read-ahead*: its columns, what each is for, and its version."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from edgeprof.profiler.training_sets.schema import METADATA, Column

NAME = "readahead"
VERSION = 1
"""Raised when a column changes its meaning, its unit or its name; a new column does not raise it."""

FILE, DEVICE = "file", "device"
SCOPES = (FILE, DEVICE)

_TEXT = pa.dictionary(pa.int32(), pa.string())
_COUNT, _REAL = pa.int64(), pa.float64()

GROUPS = (
    Column("run_id", _TEXT, "text", "group", "the run"),
    Column("workload", _TEXT, "text", "group", "what ran: factors of the program, its framework and its data"),
    Column(
        "situation", _TEXT, "text", "group", "where it ran: factors of the storage and the machine, less read-ahead"
    ),
    Column("machine", _TEXT, "text", "group", "host name of the machine"),
    Column("device", _TEXT, "text", "group", "name of the disk"),
    Column("scope", _TEXT, "text", "group", "whose window: file, or device: all its files together"),
    Column("begun_ns", _COUNT, "ns", "group", "the window's begin, CLOCK_MONOTONIC"),
    Column("time_ns", _COUNT, "ns", "group", "its end: the moment of prediction"),
    Column("current_kib", _COUNT, "KiB", "group", "read-ahead of the run"),
)
LABELS = (
    Column(
        "best_kib", _COUNT, "KiB", "label", "read-ahead to choose: as fast as the best, and nearest to the current one"
    ),
    Column("split_time", _TEXT, "text", "split", "train, validation, test by time within the run"),
    Column("split_workload", _TEXT, "text", "split", "train, validation, test by workload"),
)


def columns(features: Sequence[str]) -> tuple[Column, ...]:
    """All columns, with the features of the windows between the groups and the labels."""
    told = (Column(name, _REAL, "1", "feature", f"feature {name} of kml/readahead.h") for name in features)
    return (*GROUPS, *told, *LABELS)


def schema(features: Sequence[str], about: bytes) -> pa.Schema:
    """The file's schema; ``about`` is the JSON of how it was made."""
    return pa.schema([column.field for column in columns(features)], metadata={METADATA: about})
