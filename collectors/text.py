"""Reading the kernel's small text files: bounded, and never raising on what is cut or foreign."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa

MAX_COLUMNS = 4096
"""More keys than any kernel's memory.stat or vmstat has; of a damaged file with more, the further ones are dropped."""
MAX_CELLS = 1 << 28
"""Rows times columns of one wide table (8 bytes each); a run that would have more loses its rarest columns."""
_MAX_DIGITS = 20
_MAX_FIELDS = 32
"""More fields than a line of the tables read here has."""
MOST = (1 << 63) - 1
"""The largest number in a table."""


def to_int(text: bytes) -> int | None:
    """A decimal number that fits in 64 bits (saturated), or None for anything else."""
    digits = text[1:] if text[:1] == b"-" else text
    if not digits.isdigit() or len(digits) > _MAX_DIGITS:
        return None
    return max(-MOST - 1, min(int(text), MOST))  # v1 writes "no limit" as a number close to 2**63


def scaled(number: int, factor: int) -> int:
    """A number times a unit's size, saturated like `to_int`."""
    return max(-MOST - 1, min(number * factor, MOST))


def keyed(payload: bytes, prefix: str, units: Mapping[str, int] | None = None) -> dict[str, float]:
    """``name value [unit]`` lines, with or without a colon, as prefix+name -> number; a unit multiplies it.

    Names keep to letters, digits and ``_``: ``Active(anon)`` becomes ``Active_anon``.
    """
    values: dict[str, float] = {}
    for line in payload.split(b"\n"):
        fields = line.split(None, 3)
        if len(fields) < 2 or len(values) >= MAX_COLUMNS:
            continue
        number = to_int(fields[1])
        if number is None:
            continue
        if units and len(fields) > 2:
            number = scaled(number, units.get(fields[2].decode("ascii", "replace"), 1))
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
        fields = line.split(None, _MAX_FIELDS)
        if len(fields) >= least:
            yield fields


class KeyedColumns:
    """Gathers samples whose keys depend on the kernel into one wide table; a key missing in a sample is null.

    ``dropped`` counts the columns for which there was no room.
    """

    def __init__(self) -> None:
        self._rows: dict[int, dict[str, float]] = {}
        self._names: dict[str, int] = {}
        self.dropped = 0

    def add(self, time_ns: int, values: Mapping[str, float]) -> None:
        """Add values to the row of a time."""
        if not values:
            return
        self._rows.setdefault(time_ns, {}).update(values)
        for name in values:
            if name in self._names:
                self._names[name] += 1
            elif len(self._names) < MAX_COLUMNS:
                self._names[name] = 1

    def table(self, name: str, unit: Callable[[str], str]) -> pa.Table:
        """The table in time order; columns beyond the schema's fixed ones get their unit from ``unit``."""
        import pyarrow as pa

        from edgeprof.collectors import schema

        times = sorted(self._rows)
        fixed = {item.name for item in schema.SCHEMAS[name]}
        columns: dict[str, pa.Array] = {"time_ns": pa.array(times, pa.int64())}
        extra = []
        for column in self._kept():
            values = [self._rows[time_ns].get(column) for time_ns in times]
            whole = all(value is None or isinstance(value, int) for value in values)
            kind = pa.int64() if whole else pa.float64()
            columns[column] = pa.array(values, kind)
            if column not in fixed:
                extra.append(schema.column(column, kind, unit(column)))
        return schema.table(name, columns, extra)

    def _kept(self) -> list[str]:
        """The columns there is room for, in order of first appearance; those with the fewest values go first."""
        room = max(1, MAX_CELLS // max(1, len(self._rows)))
        names = list(self._names)
        if len(names) > room:
            self.dropped = len(names) - room
            chosen = set(sorted(names, key=lambda name: -self._names[name])[:room])
            names = [name for name in names if name in chosen]
        return names
