"""Reading the kernel's small text files: bounded, and never raising on what is cut or foreign."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import pyarrow as pa

from edgeprof.collectors import schema

MAX_COLUMNS = 4096
"""More keys than any kernel's memory.stat or vmstat has; of a damaged file with more, the further ones are dropped."""
_MAX_DIGITS = 20


def to_int(text: bytes) -> int | None:
    """A decimal number that fits in 64 bits (saturated), or None for anything else."""
    digits = text[1:] if text[:1] == b"-" else text
    if not digits.isdigit() or len(digits) > _MAX_DIGITS:
        return None
    return max(-(1 << 63), min(int(text), (1 << 63) - 1))  # v1 writes "no limit" as a number close to 2**63


def keyed(payload: bytes, prefix: str, units: Mapping[str, int] | None = None) -> dict[str, float]:
    """``name value [unit]`` lines, with or without a colon, as prefix+name -> number; a unit multiplies it.

    Names keep to letters, digits and ``_``: ``Active(anon)`` becomes ``Active_anon``.
    """
    values: dict[str, float] = {}
    for line in payload.split(b"\n"):
        fields = line.split()
        if len(fields) < 2 or len(values) >= MAX_COLUMNS:
            continue
        number = to_int(fields[1])
        if number is None:
            continue
        if units and len(fields) > 2:
            number *= units.get(fields[2].decode("ascii", "replace"), 1)
        values[prefix + _column_name(fields[0])] = number
    return values


def _column_name(text: bytes) -> str:
    name = text.rstrip(b":").decode("ascii", "replace")
    if name.isidentifier():
        return name
    return "".join(char if char.isalnum() and char.isascii() else "_" for char in name).strip("_")


def rows_of(payload: bytes, least: int) -> Iterator[list[bytes]]:
    """The lines of a table that have at least ``least`` fields, split at white space."""
    for line in payload.split(b"\n"):
        fields = line.split()
        if len(fields) >= least:
            yield fields


class KeyedColumns:
    """Gathers samples whose keys depend on the kernel into one wide table; a key missing in a sample is null."""

    def __init__(self) -> None:
        self._rows: dict[int, dict[str, float]] = {}
        self._names: dict[str, None] = {}

    def add(self, time_ns: int, values: Mapping[str, float]) -> None:
        """Add values to the row of a time."""
        if not values:
            return
        self._rows.setdefault(time_ns, {}).update(values)
        for name in values:
            if name not in self._names and len(self._names) < MAX_COLUMNS:
                self._names[name] = None

    def table(self, name: str, unit: Callable[[str], str]) -> pa.Table:
        """The table in time order; columns beyond the schema's fixed ones get their unit from ``unit``."""
        times = sorted(self._rows)
        fixed = {item.name for item in schema.SCHEMAS[name]}
        columns: dict[str, pa.Array] = {"time_ns": pa.array(times, pa.int64())}
        extra = []
        for column in self._names:
            values = [self._rows[time_ns].get(column) for time_ns in times]
            whole = all(value is None or isinstance(value, int) for value in values)
            kind = pa.int64() if whole else pa.float64()
            columns[column] = pa.array(values, kind)
            if column not in fixed:
                extra.append(schema.column(column, kind, unit(column)))
        return schema.table(name, columns, extra)
