"""Guests of the tests: `edgeprof.profiler.guest.script` with the source tree's own cache and project.

Kernels are unpacked to ``.cache/guest`` of the source tree, or EDGEPROF_GUEST_CACHE.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from edgeprof.profiler.guest import headers, kernel, releases, script
from edgeprof.profiler.guest.architecture import X86_64, Architecture
from edgeprof.profiler.guest.errors import GuestFailed, NoGuest
from tests.source_tree import ROOT

CACHE = Path(os.environ.get("EDGEPROF_GUEST_CACHE", ROOT / ".cache" / "guest"))
"""Downloads and unpacked kernels; may be deleted at any time."""

BAD_NEWS = re.compile(r"WARNING|BUG|Oops|KASAN|UBSAN|lockdep|possible recursive|leak|Call Trace|hung|stall|suspicious")
"""In a kernel's log."""

__all__ = ["BAD_NEWS", "CACHE", "Guest", "GuestFailed", "NoGuest", "build_tree", "debian_kernel", "release_kernel"]


def debian_kernel() -> kernel.Kernel:
    """The newest cloud kernel of this machine's Debian release.  Raises NoGuest."""
    return kernel.distribution_kernel(CACHE)


def release_kernel(release: str, architecture: Architecture = X86_64) -> kernel.Kernel:
    """A kernel of any of the releases that can be had.  Raises NoGuest."""
    return releases.release_kernel(release, architecture, CACHE)


def build_tree(for_kernel: kernel.Kernel) -> headers.BuildTree:
    """The headers of a kernel.  Raises NoGuest."""
    return headers.build_tree(for_kernel, CACHE)


@dataclass
class Guest(script.Guest):
    """With ``python``, the project's packages are there too, as /project."""

    def __post_init__(self) -> None:
        self.cache = CACHE
        if self.python:
            self.project = ROOT / "edgeprof"
