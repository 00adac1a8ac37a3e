"""Base textures, made once a process and cut at random places: fresh noise for every frame would cost more than it.

Only integer arithmetic: they are the same on every machine.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

SIDE = 1024
"""Of a tile, pixels; a power of two, so that coordinates wrap by masking."""


@cache
def cloud(seed: int, coarse: int = 8) -> NDArray[np.float32]:
    """A tile of 1/f noise, float32 [SIDE, SIDE], about -1..1: octaves of noise, each half as strong as the coarser."""
    from PIL import Image

    rng = np.random.default_rng(seed)
    total = np.zeros((SIDE, SIDE), np.int32)
    cells, strength = coarse, 128
    while cells <= SIDE and strength:
        # Two cells of the other side around it: the tile has no seam where coordinates wrap.
        layer = Image.fromarray(np.pad(rng.integers(0, 256, (cells, cells), np.uint8), 2, mode="wrap"))
        smooth = layer.resize((SIDE, SIDE), Image.Resampling.BICUBIC, box=(2, 2, cells + 2, cells + 2))
        total += (np.asarray(smooth, np.int32) - 128) * strength
        cells, strength = cells * 2, strength // 2
    tile: NDArray[np.float32] = (total / np.float32(128 * 128)).astype(np.float32)
    return tile


@cache
def grain(seed: int, sigma: int) -> NDArray[np.uint8]:
    """Sensor noise around 128, uint8 [SIDE, 2 * SIDE, 3].

    The sum of four uniform numbers is close to normal.
    """
    rng = np.random.default_rng(seed)
    # A uniform number in -a..a has the variance a (a + 1) / 3; four of them four times that.
    reach = max(1, round(sigma * 0.866))
    total = sum(rng.integers(-reach, reach + 1, (SIDE, 2 * SIDE, 3), np.int16) for _ in range(4))
    tile: NDArray[np.uint8] = np.clip(np.asarray(total) + 128, 0, 255).astype(np.uint8)
    return tile


def cut(tile: NDArray[Any], height: int, width: int, rng: np.random.Generator) -> NDArray[Any]:
    """A piece of a tile from a random place; repeated where it is larger than the tile."""
    if height > tile.shape[0] or width > tile.shape[1]:
        times = (-(-height // tile.shape[0]), -(-width // tile.shape[1]), *(1,) * (tile.ndim - 2))
        tile = np.tile(tile, times)
    top = int(rng.integers(0, tile.shape[0] - height + 1))
    left = int(rng.integers(0, tile.shape[1] - width + 1))
    return tile[top : top + height, left : left + width]
