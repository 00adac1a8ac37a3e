"""The shell of guests: a static busybox, this machine's own or Debian's for another processor."""

from __future__ import annotations

from pathlib import Path

from edgeprof.profiler.guest import tools
from edgeprof.profiler.guest.architecture import Architecture
from edgeprof.profiler.guest.errors import NoGuest
from edgeprof.profiler.guest.kernel import cache_folder
from edgeprof.profiler.guest.packages import codename, suite_apt


def busybox(architecture: Architecture, cache: Path | None = None) -> Path:
    """Where it is; for another processor it is unpacked to the cache folder.  Raises NoGuest."""
    if architecture.is_here:
        return tools.program("busybox")
    cache = cache or cache_folder()
    target = cache / f"busybox-{architecture.debian}"
    if not target.is_dir():
        suite_apt(codename(), cache).unpack([f"busybox-static:{architecture.debian}"], target)
    for place in ("bin", "usr/bin"):
        if (target / place / "busybox").is_file():
            return target / place / "busybox"
    raise NoGuest(f"{target} has no busybox: remove that folder, so that it is fetched again")
