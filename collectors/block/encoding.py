"""Dictionary encoding of 64-bit words (devices, rwbs strings) by a small hash table.

A trace has millions of rows and a few dozen distinct values, so hashing beats
sorting: each value is hashed to a slot, one representative a slot is kept, and
every value is compared with its representative.  Where two distinct values
share a slot, the exact (sorting) way is taken instead.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Words = npt.NDArray[np.uint64]
Codes = npt.NDArray[np.int32]
Index = npt.NDArray[np.int64]

_SLOT_BITS = 16
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)  # 2**64 divided by the golden ratio: neighbours spread over all slots


def encode(words: Words) -> tuple[Codes, Index]:
    """Give equal rows equal small numbers.

    Args:
        words: shape (n,) or (n, width).

    Returns:
        codes, shape (n,), from 0; and for each code the position of one row that has it.
    """
    if len(words) == 0:
        return np.zeros(0, np.int32), np.zeros(0, np.int64)
    table = words.reshape(len(words), -1)
    mixed = table[:, 0] * _MULTIPLIER
    for column in range(1, table.shape[1]):
        mixed = ((mixed >> np.uint64(29)) ^ mixed ^ table[:, column]) * _MULTIPLIER
    slots = (mixed >> np.uint64(64 - _SLOT_BITS)).astype(np.int64)
    keeper = np.zeros(1 << _SLOT_BITS, np.int64)  # position + 1; 0: unused
    keeper[slots] = np.arange(1, len(table) + 1)
    used = np.flatnonzero(keeper)
    representatives = keeper[used] - 1
    number = np.zeros(1 << _SLOT_BITS, np.int32)
    number[used] = np.arange(len(used), dtype=np.int32)
    codes = number[slots]
    for column in range(table.shape[1]):
        values = table[:, column]
        if not np.array_equal(values[representatives][codes], values):
            return _encode_exactly(table)
    return codes, representatives


def _encode_exactly(table: Words) -> tuple[Codes, Index]:
    rows = np.ascontiguousarray(table).view([(f"w{column}", table.dtype) for column in range(table.shape[1])])
    _, first, codes = np.unique(rows.reshape(-1), return_index=True, return_inverse=True)
    return codes.reshape(-1).astype(np.int32), first.astype(np.int64)


def word(text: bytes) -> int:
    """A short string (rwbs) as one little-endian word: its first 8 bytes, zero padded."""
    return int.from_bytes(text[:8].ljust(8, b"\0"), "little")


def text(value: int) -> str:
    """The string in a word; undecodable bytes are replaced."""
    return value.to_bytes(8, "little").split(b"\0", 1)[0].decode("utf-8", "replace")
