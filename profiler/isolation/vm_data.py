"""How a virtual machine gets its data: a disk image of its own, or the host's folder through the share."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from edgeprof.profiler.errors import EdgeprofError
from edgeprof.profiler.guest import tools
from edgeprof.profiler.guest.mounts import mount_at
from edgeprof.profiler.storage.spec import Place

DISK = "disk"
MOST_BYTES = 2 << 30
"""Data up to this size go to a disk of their own unless the user says otherwise: they are copied for each run."""
_MAKE_SECONDS = 600
_BLOCK = 4096


@dataclass(frozen=True)
class Data:
    """The way that was chosen.

    Attributes:
        share: ``disk``, or the kind of share that the data come through.
        image: the disk's image; None: there is none.
        mount: where the guest mounts it.
        file_system: in the image.
        direct: whether QEMU can pass the host's page cache by.
        mounted: where the host has the image mounted, and must not while the guest has it; None: nowhere.
    """

    share: str
    image: Path | None = None
    mount: Path | None = None
    file_system: str = "ext4"
    direct: bool = True
    mounted: Path | None = None

    @property
    def modules(self) -> tuple[str, ...]:
        """That the guest's kernel needs for it."""
        return (self.file_system,) if self.image is not None else ()


def prepared_data(
    asked: str, shared: str, place: Place, data: Path | None, folder: Path, say: Callable[[str], None]
) -> Data:
    """Choose the way, and make the image where one is needed.

    Args:
        asked: ``virtiofs``, ``9p``, ``disk``, or empty for a choice by size.
        shared: the kind of share that the guest has anyway.
        place: where the storage was prepared; an image that it made is handed over as it is.
        data: folder of the data; None: the run has none.
        folder: where an image may be made.

    Raises:
        EdgeprofError: it cannot be made.
    """
    if data is None:
        return Data(shared)
    data = data.resolve()
    if place.image is not None and place.folder is not None and asked in ("", DISK):
        target = place.folder.resolve()
        found = mount_at(target)
        if found is not None and data.is_relative_to(target):
            return Data(DISK, place.image, target, found.file_system, _takes_direct(place.image), target)
    size = _size(data)
    if asked not in ("", DISK) or (not asked and size.bytes > MOST_BYTES):
        return Data(shared)
    say("making a disk image of the data")
    image = folder / "data.img"
    _make(image, data, size)
    return Data(DISK, image, data, "ext4", _takes_direct(image))


@dataclass(frozen=True)
class _Size:
    bytes: int
    files: int


def _size(folder: Path) -> _Size:
    total = files = 0
    for path, folders, names in os.walk(folder):
        files += len(folders) + len(names)
        for name in names:
            total += -(-Path(path, name).lstat().st_size // _BLOCK) * _BLOCK
    return _Size(total, files)


def _make(image: Path, data: Path, size: _Size) -> None:
    """An ext4 image that holds what is in ``data``; all its blocks have their place on the host's disk."""
    total = int(size.bytes * 1.05) + size.files * 2 * 256 + (64 << 20)
    words = [str(tools.program("mke2fs")), "-q", "-F", "-t", "ext4", "-b", str(_BLOCK), "-m", "0"]
    words += ["-N", str(size.files + 4096), "-E", "lazy_itable_init=0,lazy_journal_init=0,nodiscard"]
    words += ["-d", str(data), str(image), str(total // _BLOCK)]
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=_MAKE_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise EdgeprofError(f"no disk image of {data} within {_MAKE_SECONDS} s; try --vm-share virtiofs") from None
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["it gave no reason"])[-1]
        raise EdgeprofError(f"no disk image of {data} could be made ({last}); try --vm-share virtiofs")
    file = os.open(image, os.O_RDWR | os.O_CLOEXEC)
    try:
        os.posix_fallocate(file, 0, total // _BLOCK * _BLOCK)
    except OSError as error:
        raise EdgeprofError(f"no room for a disk image of {data}: {error.strerror}; try --vm-share virtiofs") from None
    finally:
        os.close(file)


def _takes_direct(image: Path) -> bool:
    try:
        os.close(os.open(image, os.O_RDWR | os.O_DIRECT | os.O_CLOEXEC))
    except OSError:
        return False
    return True
