"""CRC-32C (Castagnoli, RFC 3720 appendix B.4) in NumPy, as TFRecord wants it."""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

POLYNOMIAL = 0x82F63B78
"""Bits reversed, as the register shifts to the right."""
BLOCK = 512
SHORT = 64
"""Bytes up to which a plain loop is quicker."""
MASK_DELTA = 0xA282EAD8


class _Tables(NamedTuple):
    byte: list[int]  # the register after one byte
    block: NDArray[np.uint32]  # [BLOCK * 256]: the share of each byte at each place of a block
    shift: list[list[int]]  # [4][256]: each byte of the register, BLOCK bytes later


def crc32c(data: bytes) -> int:
    """The checksum.

    A CRC is linear over XOR: each byte's share depends on its distance from the end alone, so that all bytes of a
    block are looked up at once and XORed; blocks are joined by shifting the register by a block's length.
    """
    byte, block, (first, second, third, fourth) = _tables()
    register = 0xFFFFFFFF
    head = len(data) % BLOCK if len(data) > SHORT else len(data)
    for value in data[:head]:
        register = byte[(register ^ value) & 0xFF] ^ (register >> 8)
    if head < len(data):
        places = np.frombuffer(data, np.uint8, offset=head).reshape(-1, BLOCK) + np.arange(BLOCK) * 256
        for part in np.bitwise_xor.reduce(block[places], axis=1).tolist():
            register = (
                part
                ^ first[register & 0xFF]
                ^ second[register >> 8 & 0xFF]
                ^ third[register >> 16 & 0xFF]
                ^ fourth[register >> 24]
            )
    return register ^ 0xFFFFFFFF


def masked(data: bytes) -> int:
    """The checksum as TFRecord stores it: rotated and shifted, since a CRC of data that holds CRCs is weak."""
    crc = crc32c(data)
    return (((crc >> 15) | (crc << 17)) + MASK_DELTA) & 0xFFFFFFFF


@cache
def _tables() -> _Tables:
    byte = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        byte = np.where(byte & 1, byte >> 1 ^ np.uint32(POLYNOMIAL), byte >> 1)

    def later(register: NDArray[np.uint32]) -> NDArray[np.uint32]:
        shifted: NDArray[np.uint32] = byte[register & 0xFF] ^ (register >> 8)
        return shifted

    block = np.empty((BLOCK, 256), np.uint32)
    block[-1] = byte
    for place in range(BLOCK - 2, -1, -1):
        block[place] = later(block[place + 1])
    shift = np.arange(256, dtype=np.uint32)[None, :] << (8 * np.arange(4, dtype=np.uint32))[:, None]
    for _ in range(BLOCK):
        shift = later(shift)
    return _Tables(byte.tolist(), block.ravel(), shift.tolist())
