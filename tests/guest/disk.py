"""Builds kml_disk.ko, the test disk (docs/test-disk.md), for a kernel."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from edgeprof.kmodule import build
from edgeprof.kmodule.errors import CannotBuild
from edgeprof.profiler.guest.headers import BuildTree
from tests.source_tree import ROOT

DISK = "tests/guest/disk"


def disk_module(tree: BuildTree, folder: Path) -> Path:
    """``kml_disk.ko``, built in an empty folder.  Raises CannotBuild."""
    build.copy_module_sources(folder)
    shutil.copytree(ROOT / "kmodule" / DISK, folder / DISK)
    cross = tree.architecture.cross
    words = ["make", "-C", str(tree.path), f"M={folder / DISK}", f"ARCH={tree.architecture.kernel}"]
    words += [f"CROSS_COMPILE={cross}", f"CC={cross}gcc", "KCFLAGS=-Werror"]
    words += ["CONFIG_DEBUG_INFO_BTF_MODULES=", "modules"]
    done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=300)
    if done.returncode:
        raise CannotBuild(f"kml_disk.ko cannot be built for {tree.version}:\n{done.stdout}")
    return folder / DISK / "kml_disk.ko"
