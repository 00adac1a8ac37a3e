"""The training set *request latency*: its columns, what each is for, and its version."""

from __future__ import annotations

from typing import Literal, NamedTuple

import pyarrow as pa

NAME = "latency"
VERSION = 1
"""Raised when a column changes its meaning, its unit or its name; a new column does not raise it."""

METADATA = b"edgeprof_training_set"
"""Key of the file's metadata that holds how the set was made, as JSON."""

HISTORY = 3
"""Earlier arrivals, and completions of each operation, that a request's features look back to."""

RECENT_NS = 100_000_000
"""The stretch of time that ``written_100ms`` adds up."""

Role = Literal["feature", "label", "group", "split"]
ROLES: tuple[Role, ...] = ("feature", "label", "group", "split")
SPLITS = ("train", "validation", "test")

_TEXT = pa.dictionary(pa.int32(), pa.string())
_COUNT, _REAL, _FLAG = pa.int64(), pa.float64(), pa.bool_()


class Column(NamedTuple):
    """A column; ``about`` says what its values are at the request's moment of prediction."""

    name: str
    kind: pa.DataType
    unit: str
    role: Role
    about: str

    @property
    def field(self) -> pa.Field:
        """As it stands in the file: unit, role and meaning are the field's metadata."""
        metadata = {"unit": self.unit, "role": self.role, "about": self.about}
        return pa.field(self.name, self.kind, metadata=metadata)


def _back(number: int) -> str:
    return ("last", "second last", "third last")[number - 1]


COLUMNS: tuple[Column, ...] = (
    Column("run_id", _TEXT, "text", "group", "the run"),
    Column("workload", _TEXT, "text", "group", "what ran: factors of the program, its framework and its data"),
    Column("machine", _TEXT, "text", "group", "host name of the machine"),
    Column("device", _TEXT, "text", "group", "name of the disk"),
    Column("owner", _TEXT, "text", "group", "whose request it is: run, profiler, kernel, other"),
    Column("time_ns", _COUNT, "ns", "group", "moment of prediction, CLOCK_MONOTONIC"),
    Column("moment", _TEXT, "text", "group", "what happened at that moment: insert or issue"),
    Column("op", _TEXT, "text", "feature", "read, write, discard, flush or other"),
    Column("synchronous", _FLAG, "flag", "feature", "somebody waits for it: a read, or flagged S, F or preflush"),
    Column("bytes", _COUNT, "bytes", "feature", "length at that moment"),
    Column("sector_distance", _COUNT, "sectors", "feature", "from the end of the device's last request to its start"),
    Column("device_class", _TEXT, "text", "feature", "kind of device"),
    Column("queue", _COUNT, "count", "feature", "requests of the device that had arrived and not completed"),
    *(
        Column(f"queue_{back}", _COUNT, "count", "feature", f"the same at the {_back(back)} arrival")
        for back in range(1, HISTORY + 1)
    ),
    *(
        Column(f"{op}_latency_{back}", _REAL, "s", "feature", f"latency of the {_back(back)} {op} that completed")
        for op in ("read", "write")
        for back in range(1, HISTORY + 1)
    ),
    Column("since_write", _REAL, "s", "feature", "time since the device's last write arrived"),
    Column("written_100ms", _COUNT, "bytes", "feature", "bytes of the writes that completed in the last 100 ms"),
    Column("ahead", _COUNT, "bytes", "feature", "length of the requests that had arrived and not completed"),
    Column("latency", _REAL, "s", "label", "from the moment of prediction to completion"),
    Column("deadline", _REAL, "s", "label", "what the latency was held against; null: the operation has none"),
    Column("missed", _FLAG, "flag", "label", "whether the latency was longer than the deadline"),
    Column("split_time", _TEXT, "text", "split", "train, validation, test by time within the run"),
    Column("split_workload", _TEXT, "text", "split", "train, validation, test by workload"),
)

FEATURES = tuple(column.name for column in COLUMNS if column.role == "feature")


def schema(about: bytes) -> pa.Schema:
    """The file's schema; ``about`` is the JSON of how it was made."""
    return pa.schema([column.field for column in COLUMNS], metadata={METADATA: about})
