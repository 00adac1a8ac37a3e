"""What modules for a kernel are built against: Debian's headers, unpacked and never installed, or a given folder."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from edgeprof.profiler.guest.architecture import ARM64, X86_64, Architecture, here
from edgeprof.profiler.guest.errors import NoGuest
from edgeprof.profiler.guest.kernel import Kernel, cache_folder
from edgeprof.profiler.guest.releases import SUITES, apt_for

_BLOCK_HEADER = "blk-mq-sched.h"


@dataclass(frozen=True)
class BuildTree:
    """A kernel's build folder.

    Attributes:
        path: what ``make -C`` is given.
        version: as ``uname -r`` gives it.
    """

    path: Path
    version: str
    architecture: Architecture


def build_tree(kernel: Kernel, cache: Path | None = None) -> BuildTree:
    """The headers of one of Debian's kernels: from the cache, else by apt.

    Raises:
        NoGuest: they cannot be had here.
    """
    cache = cache or cache_folder()
    name, machine = f"linux-headers-{kernel.version}", kernel.architecture.debian
    target = cache / "headers" / kernel.version
    if not target.is_dir():
        apt = apt_for(".".join(kernel.version.split(".")[:2]), kernel.architecture, cache)
        packages = [f"{name}:{machine}"]
        for needed in apt.depends(packages[0]):
            plain = needed.partition(":")[0]
            if plain.startswith("linux-kbuild-"):  # programs that run here, whatever they build for
                packages.append(f"{plain}:{here().debian}")
            elif plain.startswith("linux-headers-"):
                packages.append(plain)
        if len(packages) == 1:
            raise NoGuest(
                f"apt has no {name}: run apt-get update; if that does not help, the kernel in {kernel.tree} is older"
                " than what the mirror has: remove that folder, so that the newest is taken"
            )
        apt.unpack(packages, target, _make_relocatable)
    return BuildTree(target / "usr" / "src" / name, kernel.version, kernel.architecture)


def given_tree(path: Path) -> BuildTree:
    """A folder that a kernel was built in, or its headers' folder.

    Raises:
        NoGuest: it is none, or a part is missing.
    """
    missing = [name for name in ("Makefile", ".config", "Module.symvers") if not (path / name).is_file()]
    if missing:
        raise NoGuest(
            f"{path} is no folder that modules can be built against: it has no {', '.join(missing)};"
            " build the kernel there, or take the folder of its headers"
        )
    config = (path / ".config").read_text(errors="replace")
    for option, architecture in (("CONFIG_X86_64=y", X86_64), ("CONFIG_ARM64=y", ARM64)):
        if re.search(f"^{option}$", config, re.MULTILINE):
            return BuildTree(path.resolve(), _version(path), architecture)
    raise NoGuest(f"{path} is of a kernel that is neither x86-64 nor arm64")


def block_headers(tree: BuildTree, source: Path | None = None, cache: Path | None = None) -> Path:
    """The folder of the block layer's own headers, which an I/O scheduler takes and packages of headers lack.

    Args:
        tree: of the kernel.
        source: its sources; None: where its build folder says, else Debian's package of them, from the cache or by apt.
        cache: None: `cache_folder`.

    Raises:
        NoGuest: they cannot be had here.
    """
    folders = [source] if source is not None else [tree.path / "source", tree.path]
    for folder in folders:
        if (folder / "block" / _BLOCK_HEADER).is_file():
            return folder.resolve() / "block"
    if source is not None:
        raise NoGuest(f"{source} has no block/{_BLOCK_HEADER}: it takes the folder of the kernel's sources")
    release = ".".join(tree.version.split(".")[:2])
    if release not in SUITES:
        raise NoGuest(
            f"the sources of the kernel {tree.version} are not here, and it is not known where they are to be had:"
            " name their folder with --kernel-source"
        )
    cache = cache or cache_folder()
    target = cache / "block-headers" / tree.version
    if not target.is_dir():
        apt = apt_for(release, here(), cache)  # sources are the same for all processors
        apt.unpack([f"linux-source-{release}"], target, _leave_block_headers)
    return target / "block"


def running_tree() -> BuildTree:
    """That of the kernel that runs here.  Raises NoGuest."""
    release = os.uname().release
    path = Path("/lib/modules") / release / "build"
    if path.is_dir():
        return given_tree(path)
    raise NoGuest(
        f"the headers of the running kernel {release} are not here ({path}):"
        f" apt-get install linux-headers-{release} on Debian and Ubuntu, nvidia-l4t-kernel-headers on a Jetson;"
        " or name another kernel's folder with --kernel-dir, or fetch some with --release"
    )


def _version(path: Path) -> str:
    try:
        return (path / "include" / "config" / "kernel.release").read_text().strip()
    except OSError:
        pass  # Debian's headers lack the file in some releases
    try:
        found = re.search(r'UTS_RELEASE "([^"]+)"', (path / "include/generated/utsrelease.h").read_text())
    except OSError:
        found = None
    if found is None:
        raise NoGuest(f"{path} does not tell its kernel's version: run `make modules_prepare` there")
    return found[1]


def _make_relocatable(tree: Path) -> None:
    """Absolute paths of the installed headers, as paths from the file that has them."""
    for file in [*tree.glob("usr/src/*/Makefile"), *tree.glob("usr/src/*/.kernelvariables")]:
        text = file.read_text()
        here_in_make = "$(dir $(abspath $(lastword $(MAKEFILE_LIST))))"
        file.write_text(re.sub(r"(?<![\w./])/usr/src/", f"{here_in_make}../", text))


def _leave_block_headers(tree: Path) -> None:
    """Of the archive in a package of sources, the block layer's headers alone."""
    (archive,) = tree.glob("usr/src/linux-source-*.tar.xz")
    words = [
        "tar",
        "-xJf",
        str(archive),
        "-C",
        str(tree),
        "--strip-components=1",
        "--wildcards",
        "linux-source-*/block/*.h",
    ]
    done = subprocess.run(words, stderr=subprocess.PIPE, text=True)
    if done.returncode:
        raise NoGuest(f"tar could not unpack {archive.name}: {done.stderr.strip()}")
    shutil.rmtree(tree / "usr")
