"""Inputs that look like the real ones, to set what depends on data: ranges of int8, and means of normalisation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgeprof.workloads.catalog import Workload

_SEED = 1_000_003
INPUT = {
    "images": "image",
    "steering": "image",
    "detection": "image",
    "segmentation": "image",
    "trajectories": "past",
    "text": "tokens",
}
"""What of a batch goes into the model, by kind of data."""


def inputs(entry: Workload, size: str, count: int) -> Any:
    """``count`` inputs of made samples, always the same: uint8 [N, H, W, 3], int64 [N, L] or float32 [N, T, F]."""
    import numpy as np

    from edgeprof.workloads.data.generate import make_chunk
    from edgeprof.workloads.data.sample import decode

    found: list[Any] = []
    chunk = 0
    while len(found) < count:
        for sample in make_chunk(entry.data, 0, _SEED, chunk):
            decoded = decode(sample, entry.data, entry.image_of(size), entry.length_of(size), "a made sample")
            found.append(decoded[INPUT[entry.data]])
        chunk += 1
    return np.stack(found[:count])
