"""A file system made for one run."""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from edgeprof.profiler.errors import EdgeprofError
from edgeprof.profiler.storage.changes import Changes
from edgeprof.profiler.storage.device import check_device
from edgeprof.profiler.storage.disk import disk_of, settings_of
from edgeprof.profiler.storage.loop import attach, make_image, private_folder
from edgeprof.profiler.storage.spec import Place, StorageSpec
from edgeprof.profiler.storage.tools import need_root, need_tool

_MKFS_SECONDS = 300.0
_NOSUID, _NODEV = 2, 4  # sys/mount.h


class _Kind(NamedTuple):
    """How to make a file system: program, package, its options, mount options, fewest bytes that it can be made on.

    Blocks are not discarded, neither by mkfs nor later: the image would lose the room it was given.  What ext4 would
    do lazily, in the background of the run, is done at once.
    """

    program: str
    package: str
    options: tuple[str, ...]
    mount: str
    least: int


_KINDS = {
    "ext4": _Kind(
        "mkfs.ext4",
        "e2fsprogs",
        # 4 KiB blocks also on a small image, which mkfs.ext4 would give 1 KiB; inodes for small files.
        (
            *("-q", "-F", "-b", "4096", "-i", "8192", "-m", "0"),
            *("-E", "nodiscard,lazy_itable_init=0,lazy_journal_init=0"),
        ),
        "",
        64 << 20,
    ),
    "xfs": _Kind("mkfs.xfs", "xfsprogs", ("-q", "-f", "-K"), "", 320 << 20),
    "btrfs": _Kind("mkfs.btrfs", "btrfs-progs", ("-q", "-f", "-K"), "nodiscard", 256 << 20),
    "f2fs": _Kind("mkfs.f2fs", "f2fs-tools", ("-q", "-f", "-t", "0"), "nodiscard", 128 << 20),
}


class Formatter(NamedTuple):
    """A file system that this machine can make: its kind, and where its mkfs is."""

    kind: str
    mkfs: str


def can_make(kind: str) -> Formatter:
    """Check that this machine can make that file system; changes nothing.

    Raises:
        EdgeprofError: the kernel, the tool, or the right to do it is missing.
    """
    need_root(f"--file-system {kind}")
    if not kernel_has(kind):
        raise EdgeprofError(
            f"this kernel has no {kind} (/proc/filesystems does not list it, and no module of it can be loaded); "
            "choose another --file-system, or boot a kernel that has it"
        )
    how = _KINDS[kind]
    return Formatter(kind, need_tool(how.program, how.package))


def kernel_has(kind: str) -> bool:
    """Whether the kernel knows that file system; trying to mount it loads its module where there is one."""
    listed = Path("/proc/filesystems").read_text().split()
    if kind in listed:
        return True
    libc = ctypes.CDLL(None, use_errno=True)
    # There is no such source, so nothing is mounted; ENODEV alone says that the type is not known (mount(2)).
    libc.mount(b"", b"/", kind.encode(), 0, None)
    return ctypes.get_errno() != errno.ENODEV


def make_file_system(
    spec: StorageSpec, need: int, formatter: Formatter, place: Place, changes: Changes, say: Callable[[str], None]
) -> None:
    """Make the file system, mount it, and complete ``place``.

    Raises:
        EdgeprofError: it could not be made; what was begun is in ``changes``.
    """
    kind = formatter.kind
    device = check_device(spec.device, spec.erase) if spec.device else ""
    folder = private_folder(changes)
    facts: dict[str, object] = {"kind": kind}
    if device:
        path = spec.device
        place.factors["storage.device"] = device
    else:
        size = spec.size or room_for(need, kind)
        place.image = make_image(folder, size, changes)
        device, facts["direct_io"] = attach(place.image, changes)
        facts["image_bytes"] = size
        facts["disk_below"] = settings_of(disk_of(folder))
        path = f"/dev/{device}"
        place.factors["storage.device"] = "loop"
        if not facts["direct_io"]:
            say(f"{device} has no direct I/O here: what it reads is in the host's page cache, too")
    facts["device"] = place.device = device
    argv = [formatter.mkfs, *_KINDS[kind].options, path]
    facts["mkfs"] = argv
    say(f"making {kind} on {path}")
    problem = changes.run(argv, _MKFS_SECONDS)
    if problem:
        raise EdgeprofError(f"{kind} could not be made on {path}: {problem}{_hint(spec)}")
    place.folder = _mount(path, folder / "mount", kind, changes)
    facts["folder"] = str(place.folder)
    place.factors["storage.file_system"] = kind
    place.facts["file_system"] = facts


def room_for(need: int, kind: str) -> int:
    """Size of an image for data of ``need`` bytes: small files take whole blocks, and the file system its part."""
    size = need + min(need, 1 << 30) + need // 16 + _KINDS[kind].least
    return -(-size // (1 << 20)) * (1 << 20)


def _hint(spec: StorageSpec) -> str:
    return "; name a larger --fs-size, or leave it out" if spec.size else ""


def _mount(path: str, target: Path, kind: str, changes: Changes) -> Path:
    changes.record("file", path=str(target))
    target.mkdir()
    changes.record("mount", target=str(target))
    libc = ctypes.CDLL(None, use_errno=True)
    options = _KINDS[kind].mount.encode() or None
    if libc.mount(os.fsencode(path), os.fsencode(target), kind.encode(), _NOSUID | _NODEV, options) != 0:
        number = ctypes.get_errno()
        hint = "; in a container, run it with --privileged" if number == errno.EPERM else ""
        raise EdgeprofError(f"the new {kind} on {path} could not be mounted: {os.strerror(number)}{hint}")
    try:
        (target / "lost+found").rmdir()  # it would be taken for a part of the data
    except FileNotFoundError:
        pass
    return target
