"""Guests of the tests: `edgeprof.profiler.guest.script` with the source tree's own cache and project.

Kernels are unpacked to ``.cache/guest`` of the source tree, or EDGEPROF_GUEST_CACHE.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from edgeprof.profiler.guest import kernel, script
from edgeprof.profiler.guest.errors import GuestFailed, NoGuest
from tests.source_tree import ROOT

CACHE = Path(os.environ.get("EDGEPROF_GUEST_CACHE", ROOT / ".cache" / "guest"))
"""Downloads and unpacked kernels; may be deleted at any time."""

__all__ = ["CACHE", "Guest", "GuestFailed", "NoGuest", "debian_kernel"]


def debian_kernel() -> kernel.Kernel:
    """The newest cloud kernel of this machine's Debian release.  Raises NoGuest."""
    return kernel.distribution_kernel(CACHE)


@dataclass
class Guest(script.Guest):
    """With ``python``, the project's packages are there too, as /project."""

    def __post_init__(self) -> None:
        if self.python:
            self.project = ROOT / "edgeprof"
