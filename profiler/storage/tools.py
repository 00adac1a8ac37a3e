"""The system's own tools."""

from __future__ import annotations

import os
import shutil

from edgeprof.profiler.errors import EdgeprofError

ADMIN_FOLDERS = ("/usr/local/sbin", "/usr/sbin", "/sbin")
"""Where administrators' tools are; they are not on everyone's PATH."""


def find_tool(name: str) -> str | None:
    """Full path of a program; None: it is not installed."""
    return shutil.which(name, path=os.pathsep.join((os.environ.get("PATH", os.defpath), *ADMIN_FOLDERS)))


def need_tool(name: str, package: str) -> str:
    """Full path of a program.  Raises EdgeprofError naming the package that has it."""
    found = find_tool(name)
    if found is None:
        raise EdgeprofError(f"{name} is not installed; it is in the package {package} (apt-get install {package})")
    return found


def need_root(what: str) -> None:
    """Raises EdgeprofError where this is not root."""
    if os.geteuid() != 0:
        raise EdgeprofError(f"{what} needs root: call edgeprof with sudo")
