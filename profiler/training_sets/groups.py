"""What examples have in common, and the splits that keep it apart: the workload, the kind of device, time."""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from edgeprof.profiler.analysis.compare import flatten
from edgeprof.profiler.training_sets.features import UNKNOWN, Int32, Int64

WORKLOAD_FACTORS = (
    "model",
    "model_size",
    "lifecycle",
    "scenario",
    "framework.name",
    "unit.kind",
    "unit.precision",
    "storage.format",
    "storage.access",
    "loader.batch",
    "loader.workers",
    "loader.prefetch",
)
"""Factors of what runs.  Those of where it runs (disk, file system, scheduler, caches, isolation, memory) and versions
are none: the same program on another disk is the same workload."""

TRAIN, VALIDATION, TEST = 0, 1, 2
TIME_CUTS = (0.70, 0.85)
"""Shares of a run's requests, in the order of time, that lie before the validation and before the test."""
HELD_OUT = 0.15
"""Share of the workloads that goes to the validation, and to the test."""

_COMMAND_SHOWN = 200


def workload_of(manifest: Mapping[str, Any]) -> str:
    """The workload in words: its factors, or its command where no model is named."""
    factors = flatten(manifest.get("factors") or {})
    known = [f"{name}={factors[name]}" for name in WORKLOAD_FACTORS if factors.get(name) is not None]
    if factors.get("model") is not None:
        return " ".join(known)
    command = shlex.join(manifest["run"].get("command") or ()) or str(manifest["run"].get("name") or "unknown")
    return command[:_COMMAND_SHOWN]


def device_class(name: str, facts: Mapping[str, Any]) -> str:
    """The kind of a disk, by its driver's name for it; ``facts`` are the manifest's, and name it of a modelled disk."""
    if isinstance(facts.get("class"), str):
        return str(facts["class"])
    prefixes = {
        "nvme": "nvme",
        "mmcblk": "mmc",
        "vd": "virtio",
        "xvd": "virtio",
        "loop": "loop",
        "zram": "zram",
        "md": "raid",
        "dm-": "mapped",
    }
    for prefix, kind in prefixes.items():
        if name.startswith(prefix):
            return kind
    rotational = facts.get("rotational")
    if name.startswith("sd") and rotational in (0, 1):
        return "hdd" if rotational else "ssd"
    return "other"


def split_by_time(moment: Int64, completed: Int64) -> tuple[Int32, tuple[int, int] | None]:
    """Train, validation and test of one run's requests, and the two moments that part them.

    A request whose latency became known only after its part had ended is in none (`UNKNOWN`): whoever trained
    before that moment could not have learnt from it.
    """
    split = np.full(len(moment), TRAIN, np.int32)
    if len(moment) == 0:
        return split, None
    ordered = np.sort(moment)
    first, second = (int(ordered[min(len(ordered) - 1, int(len(ordered) * share))]) for share in TIME_CUTS)
    split[moment >= first] = VALIDATION
    split[moment >= second] = TEST
    split[(moment < first) & (completed >= first)] = UNKNOWN
    split[(moment >= first) & (moment < second) & (completed >= second)] = UNKNOWN
    return split, (first, second)


def split_by_workload(workloads: Iterable[str]) -> dict[str, int]:
    """Workload -> train, validation or test, the same for the same set of workloads.

    The order is that of a hash, so that names that begin alike do not land together.  One workload alone cannot be
    held out: all is training then.
    """
    ordered = sorted(set(workloads), key=lambda name: hashlib.sha256(name.encode("utf-8", "replace")).digest())
    held_out = max(1, round(len(ordered) * HELD_OUT)) if len(ordered) > 1 else 0
    parts = dict.fromkeys(ordered, TRAIN)
    parts |= dict.fromkeys(ordered[:held_out], TEST)
    if len(ordered) > 2:
        parts |= dict.fromkeys(ordered[held_out : 2 * held_out], VALIDATION)
    return parts
