"""Reads the kernel's own descriptions of its trace format: header_page, header_event and event formats.

Everything that differs between kernels and processors (word size, page size,
field order and width) is data here, so that a board's trace reads on any machine.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

_FIELD = re.compile(
    r"^\s*field:(?P<declaration>[^;]+);\s*offset:(?P<offset>\d+);\s*size:(?P<size>\d+);(?:\s*signed:(?P<signed>[01]);)?",
    re.MULTILINE,
)
_DECLARATION = re.compile(r"^(?P<type>.*?)(?P<name>\w+)\s*(?:\[(?P<count>[^\]]*)\])?$")
_LIMIT = 1 << 20
"""No field starts or ends further into a record or page."""


class FormatError(ValueError):
    """A description that does not say what is needed; the message says what is missing."""


@dataclass(frozen=True)
class Field:
    """A field of an event: where it is in the record, and how to read it.

    ``kind``: ``integer`` (1, 2, 4 or 8 bytes), ``text`` (char array of ``size`` bytes), ``array`` (other arrays and
    structures, as bytes), ``data_loc`` and ``rel_loc`` (32 bits: length << 16 | offset; from the record's start, or
    from the field's end).
    """

    name: str
    offset: int
    size: int
    signed: bool
    kind: str


@dataclass(frozen=True)
class EventFormat:
    """One event's ``format`` file: number and fields by name, common ones included; ``size`` covers all fields."""

    name: str
    number: int
    fields: Mapping[str, Field]

    @property
    def size(self) -> int:
        """Bytes from the record's start to the end of its last fixed field."""
        return max(field.offset + field.size for field in self.fields.values())


@dataclass(frozen=True)
class PageLayout:
    """How a sub-buffer and the events in it are laid out; offsets and sizes in bytes."""

    timestamp_offset: int
    commit_offset: int
    commit_size: int
    data_offset: int
    page_size: int
    big_endian: bool = False
    type_bits: int = 5
    delta_bits: int = 27
    data_max: int = 28
    padding: int = 29
    time_extend: int = 30
    time_stamp: int = 31

    @property
    def order(self) -> str:
        """NumPy's byte-order mark."""
        return ">" if self.big_endian else "<"


def parse_fields(text: str) -> dict[str, Field]:
    """All ``field:`` lines of a description, by name."""
    fields: dict[str, Field] = {}
    for match in _FIELD.finditer(text):
        declaration = _DECLARATION.match(match["declaration"].strip())
        offset, size = int(match["offset"]), int(match["size"])
        if declaration is None or offset > _LIMIT or size > _LIMIT:
            continue
        kind = _kind(declaration["type"], declaration["count"] is not None, size)
        fields[declaration["name"]] = Field(declaration["name"], offset, size, match["signed"] == "1", kind)
    return fields


def _kind(type_name: str, is_array: bool, size: int) -> str:
    if "__rel_loc" in type_name:
        return "rel_loc"
    if "__data_loc" in type_name:
        return "data_loc"
    if is_array:
        return "text" if re.search(r"\bchar\b", type_name) else "array"
    return "integer" if size in (1, 2, 4, 8) else "array"


def parse_event(text: str) -> EventFormat:
    """An event's ``format`` file.

    Raises:
        FormatError: it has no name, number or fields, or no common_type.
    """
    name = re.search(r"^name:\s*(\S+)", text, re.MULTILINE)
    number = re.search(r"^ID:\s*(\d+)", text, re.MULTILINE)
    fields = parse_fields(text)
    if name is None or number is None or "common_type" not in fields:
        raise FormatError("not the format of an event")
    if fields["common_type"].size != 2 or fields["common_type"].offset > 2:
        raise FormatError("common_type is not in the first four bytes")
    return EventFormat(name[1], int(number[1]), fields)


def parse_layout(header_page: str, header_event: str, big_endian: bool = False) -> PageLayout:
    """The layout that ``events/header_page`` and ``events/header_event`` describe.

    Raises:
        FormatError: a part is missing or impossible.
    """
    fields = parse_fields(header_page)
    try:
        timestamp, commit, data = fields["timestamp"], fields["commit"], fields["data"]
    except KeyError as error:
        raise FormatError(f"header_page has no field {error}") from None
    page_size = data.offset + data.size
    sound = timestamp.size == 8 and commit.size in (4, 8) and data.size > 0
    aligned = data.offset % 4 == 0 and page_size % 4 == 0
    if not sound or not aligned or max(timestamp.offset + 8, commit.offset + commit.size) > data.offset:
        raise FormatError("header_page describes an impossible page")
    numbers = {"type_bits": _number(header_event, r"type_len\s*:\s*(\d+)\s*bits", 5)}
    numbers["delta_bits"] = _number(header_event, r"time_delta\s*:\s*(\d+)\s*bits", 27)
    for name, default in (("padding", 29), ("time_extend", 30), ("time_stamp", 31)):
        numbers[name] = _number(header_event, name + r"\s*:\s*type == (\d+)", default)
    numbers["data_max"] = _number(header_event, r"data max type_len\s*==\s*(\d+)", 28)
    if numbers["type_bits"] + numbers["delta_bits"] != 32 or not 1 <= numbers["type_bits"] <= 16:
        raise FormatError("header_event describes an impossible event header")
    return PageLayout(timestamp.offset, commit.offset, commit.size, data.offset, page_size, big_endian, **numbers)


def _number(text: str, pattern: str, default: int) -> int:
    match = re.search(pattern, text)
    return default if match is None else int(match[1])
