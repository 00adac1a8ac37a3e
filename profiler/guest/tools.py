"""Finds this machine's programs that guests need, and says which package has a missing one."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

from edgeprof.profiler.guest.errors import NoGuest

_PACKAGES = {
    "blkparse": "blktrace",
    "busybox": "busybox-static",
    "mke2fs": "e2fsprogs",
    "perf": "linux-perf",
    "qemu-system-aarch64": "qemu-system-arm",
    "qemu-system-x86_64": "qemu-system-x86",
    **dict.fromkeys(("blkdiscard", "setpriv", "unshare"), "util-linux"),
}
"""Of Debian, for programs that are named otherwise."""


def find_tool(name: str) -> Path | None:
    """Where a program is; administrators' folders count, which are not on everyone's PATH."""
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/local/sbin:/usr/sbin:/sbin")
    return Path(found) if found else None


def program(name: str) -> Path:
    """Path of a program.  Raises NoGuest naming its package."""
    found = find_tool(name)
    if found is None:
        raise NoGuest(f"the guest needs {name}, which is not here: apt-get install {_PACKAGES.get(name, name)}")
    return found.resolve() if name == "busybox" else found


def libraries(path: Path) -> list[Path]:
    """The shared objects that a program is linked to, its loader among them; none where it is static."""
    answer = subprocess.run(["ldd", path], capture_output=True, text=True, check=False)
    return sorted({Path(word) for word in re.findall(r"(/[^ \n]+)", answer.stdout) if Path(word).is_file()})
