"""What a block request does, told from the kernel's rwbs string and its length."""

from __future__ import annotations

import numpy as np

from edgeprof.collectors.block.actions import Actions, Mask, UInt8, UInt64

READ, WRITE, DISCARD, FLUSH, OTHER, EMPTY_FLUSH = range(6)
"""Kinds of operation.  FLUSH is the command that the kernel sends to the device (rwbs ``FF``);
EMPTY_FLUSH is a zero-byte write that a caller such as fsync waits for, served by the former."""

OPERATIONS = ("read", "write", "discard", "flush", "other", "flush")
"""Names of the kinds in the table."""


def kinds_of(actions: Actions) -> UInt8:
    """The kind of each action."""
    kind: UInt8 = _KIND_OF_START[(actions.rwbs & np.uint64(0xFFFF)).astype(np.uint16)]
    empty = (kind == WRITE) & (actions.length == 0)
    if bool(empty.any()):
        kind[empty] = EMPTY_FLUSH
    return kind


def _kind_table() -> UInt8:
    """Kind by the first two characters of rwbs: an F before another operation is the pre-flush flag."""
    letters = np.full(256, OTHER, np.uint8)
    for letter, kind in ((b"R", READ), (b"W", WRITE), (b"D", DISCARD), (b"F", FLUSH)):
        letters[letter[0]] = kind
    first, second = np.arange(65536) & 0xFF, np.arange(65536) >> 8
    flagged = (first == ord("F")) & np.isin(second, list(b"RWD"))
    table: UInt8 = letters[np.where(flagged, second, first)]
    return table


_KIND_OF_START = _kind_table()


def _starts_with(rwbs: UInt64, text: bytes) -> Mask:
    mask = np.uint64((1 << 8 * len(text)) - 1)
    matches: Mask = (rwbs & mask) == np.uint64(int.from_bytes(text, "little"))
    return matches


def asks_flush_before(rwbs: UInt64) -> Mask:
    """Where a write or read bears the pre-flush flag."""
    return _starts_with(rwbs, b"FW") | _starts_with(rwbs, b"FR")


def asks_durable(rwbs: UInt64) -> Mask:
    """Where a write bears FUA; a device without FUA gets a flush after the data instead."""
    return _starts_with(rwbs, b"WF") | _starts_with(rwbs, b"FWF")
