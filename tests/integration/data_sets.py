"""Small data sets of every kind and format, and the samples that they must hold."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgeprof.workloads.data.describe import DESCRIPTION, DataSet, describe
from edgeprof.workloads.data.generate import make_chunk
from edgeprof.workloads.data.make import make
from edgeprof.workloads.data.sample import TOKENS, Decoded, decode
from edgeprof.workloads.data.spec import KINDS, DataSpec
from edgeprof.workloads.spec import FORMATS, WorkloadSpec

SEED = 5
SIDE = 64
IN_ORDER = WorkloadSpec("resnet18", lifecycle="infer", access="sequential")
AT_RANDOM = WorkloadSpec("resnet18", lifecycle="infer", access="random", seed=1)
TRAINING = WorkloadSpec("resnet18", lifecycle="train", access="random", seed=1)
BY_INDEX = ("folder", "lmdb", "hdf5", "numpy")


@dataclass(frozen=True)
class Made:
    """Data sets below a folder, as kind-format."""

    folder: Path

    def path(self, kind: str, data_format: str) -> Path:
        return next(self.folder.glob(f"{kind}-{data_format}-*"))

    def dataset(self, kind: str, data_format: str) -> DataSet:
        return describe(self.path(kind, data_format))


def make_all(folder: Path) -> Made:
    """Make them; large enough for 12 samples of the largest."""
    for kind in KINDS:
        for data_format in FORMATS:
            size = 12 * 36_000 if data_format == "numpy" and kind in ("detection", "segmentation") else 160_000
            make(DataSpec(kind, data_format, size, SIDE, SEED), folder, lambda line: None)
    return Made(folder)


def truth(kind: str, count: int, size: tuple[int, int] | None = None) -> Decoded:
    """The first samples of the seed, stacked, as Pillow decodes them."""
    samples = make_chunk(kind, SIDE, SEED, 0) + make_chunk(kind, SIDE, SEED, 1)
    decoded = [decode(sample, kind, size, TOKENS, "a sample") for sample in samples[:count]]
    return {name: np.stack([sample[name] for sample in decoded]) for name in decoded[0]}


def forget_sizes(path: Path) -> None:
    """Make the description say nothing of the files' sizes, so that the readers themselves must notice damage."""
    description = path / DESCRIPTION
    content: dict[str, Any] = json.loads(description.read_text())
    description.write_text(json.dumps({**content, "sizes": None}))
