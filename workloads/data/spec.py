"""Which data set a workload needs."""

from __future__ import annotations

from dataclasses import dataclass

KINDS = ("images", "steering", "trajectories", "text", "detection", "segmentation")


@dataclass(frozen=True)
class DataSpec:
    """A data set to make.

    Attributes:
        kind: one of `KINDS`: what a sample is.
        format: one of `edgeprof.workloads.spec.FORMATS`.
        bytes: total size, about.
        side: of images: pixels of the shorter side; 0: the kind's default.
        seed: the same seed gives the same bytes.
    """

    kind: str
    format: str = "folder"
    bytes: int = 64 << 20
    side: int = 0
    seed: int = 0
