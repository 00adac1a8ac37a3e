"""Count, sum, extremes, mean and spread of numbers, of parts that can be put together."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from edgeprof.profiler.errors import EdgeprofError

if TYPE_CHECKING:
    import pyarrow as pa

Key = tuple[Any, ...]
Number = int | float


@dataclass(frozen=True)
class Moments:
    """Of some numbers: how many, their sum (exact where they are whole), least, greatest, mean, and the sum of squared
    differences from the mean.  ``runs``: from how many runs they are."""

    count: int = 0
    sum: Number = 0
    least: Number | None = None
    greatest: Number | None = None
    mean: float = 0.0
    squares: float = 0.0
    runs: int = 0

    def __add__(self, other: Moments) -> Moments:
        if not self.count or not other.count:
            some = other if other.count else self
            return Moments(**{**some.__dict__, "runs": self.runs + other.runs})
        assert self.least is not None and self.greatest is not None
        assert other.least is not None and other.greatest is not None
        count, apart = self.count + other.count, other.mean - self.mean
        return Moments(
            count,
            self.sum + other.sum,
            min(self.least, other.least),
            max(self.greatest, other.greatest),
            self.mean + apart * other.count / count,
            self.squares + other.squares + apart * apart * self.count * other.count / count,
            self.runs + other.runs,
        )

    @property
    def stddev(self) -> float | None:
        """The sample's standard deviation; None of less than two numbers."""
        return math.sqrt(max(self.squares, 0.0) / (self.count - 1)) if self.count > 1 else None


def grouped(table: pa.Table, column: str, keys: Sequence[str]) -> Iterator[tuple[Key, Moments]]:
    """The moments of a table's column in each group of equal keys; nulls are not counted.

    Raises:
        EdgeprofError: the column holds no numbers.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    values = table.column(column)
    kind = values.type
    if pa.types.is_boolean(kind):
        values, kind = values.cast(pa.int8()), pa.int8()
    whole = bool(pa.types.is_integer(kind))
    if not whole and not pa.types.is_floating(kind):
        raise EdgeprofError(
            f"the column {column} holds no numbers ({kind}); name another, or count with `edgeprof query`"
        )
    columns = {f"key{number}": _plain(table.column(name)) for number, name in enumerate(keys)}
    # A sum of times in ns may be beyond 64 bits.
    columns["exact"] = values.cast(pa.decimal128(20, 0)) if whole else values
    columns["values"] = values
    found = pa.table(columns).group_by([*columns][:-2], use_threads=False)
    spread = pc.VarianceOptions(ddof=0)
    asked = [("values", name) for name in ("count", "min", "max", "mean")]
    result = found.aggregate([*asked, ("values", "variance", spread), ("exact", "sum")])
    names = [f"values_{name}" for name in ("count", "min", "max", "mean", "variance")]
    for row in result.to_pylist():
        count, least, greatest, mean, variance = (row[name] for name in names)
        key = tuple(row[f"key{number}"] for number in range(len(keys)))
        if not count:
            yield key, Moments()
            continue
        total = row["exact_sum"]
        total = int(total) if isinstance(total, Decimal) else total
        yield key, Moments(count, total, least, greatest, float(mean), variance * count)


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """A column that can be grouped by: dictionaries of several row groups differ."""
    import pyarrow as pa

    return column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column
