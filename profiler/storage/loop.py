"""A loop device over an image file, past the page cache of the file system that holds the file."""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
from pathlib import Path
from typing import NamedTuple

from edgeprof.profiler.agent.journal import boot_id
from edgeprof.profiler.errors import EdgeprofError
from edgeprof.profiler.storage.changes import Changes
from edgeprof.profiler.storage.folders import data_folder
from edgeprof.profiler.units import human

_SET_FD, _SET_DIRECT_IO, _SET_BLOCK_SIZE, _GET_FREE = 0x4C00, 0x4C08, 0x4C09, 0x4C82  # linux/loop.h
_CONTROL = "/dev/loop-control"
_PREFIX = "storage-"
_ATTEMPTS = 50
"""A free device may be taken by another program before we have it."""


class Loop(NamedTuple):
    """A loop device: its kernel name, and whether it reads and writes its file with direct I/O."""

    name: str
    direct_io: bool


def private_folder(changes: Changes) -> Path:
    """A new folder that only this user can look into, beside the data sets.  Raises EdgeprofError."""
    boot = boot_id().replace("-", "")
    parent = data_folder()
    folder = parent / f"{_PREFIX}{boot}-{secrets.token_hex(4)}"
    try:
        parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(parent, boot)
        changes.record("file", path=str(folder))
        folder.mkdir(mode=0o700)
    except OSError as error:
        raise EdgeprofError(
            f"cannot make {folder}: {error.strerror}; name another folder with EDGEPROF_DATA_CACHE"
        ) from None
    return folder


def _remove_abandoned(parent: Path, boot: str) -> None:
    """Remove images from before the last start of this machine, whose undo journals may have gone with it."""
    for folder in parent.glob(_PREFIX + "*"):
        if boot and not folder.name.startswith(f"{_PREFIX}{boot}-"):
            (folder / "image").unlink(missing_ok=True)
            for item in (folder / "mount", folder):
                if item.is_dir():
                    item.rmdir()


def make_image(folder: Path, size: int, changes: Changes) -> Path:
    """A file of ``size`` bytes whose blocks are all allocated: a sparse one could run full in the middle of the run.

    Raises:
        EdgeprofError: there is no room for it.
    """
    image = folder / "image"
    changes.record("file", path=str(image))
    descriptor = os.open(image, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.posix_fallocate(descriptor, 0, size)
    except OSError as error:
        raise EdgeprofError(
            f"no file system image of {human(size, 'B')} can be made in {folder.parent}: {error.strerror}; make room, "
            "ask for less with --fs-size, or name a folder on another disk with EDGEPROF_DATA_CACHE"
        ) from None
    finally:
        os.close(descriptor)
    return image


def attach(image: Path, changes: Changes) -> Loop:
    """Make the image file a block device.  Raises EdgeprofError."""
    file = os.open(image, os.O_RDWR | os.O_CLOEXEC)
    try:
        facts = os.fstat(file)
        changes.record("loop", path=str(image), device=facts.st_dev, inode=facts.st_ino)
        number = _attach(file)
    except OSError as error:
        raise EdgeprofError(
            f"no loop device can be had here: {error.strerror} ({error.filename or _CONTROL}); load the kernel module "
            "`loop`, in a container run it with --privileged and /dev, or name a device with --fs-device"
        ) from None
    finally:
        os.close(file)
    return Loop(f"loop{number}", _with_direct_io(number))


def _attach(file: int) -> int:
    control = os.open(_CONTROL, os.O_RDWR | os.O_CLOEXEC)
    try:
        for _ in range(_ATTEMPTS):
            number = fcntl.ioctl(control, _GET_FREE)
            device = os.open(f"/dev/loop{number}", os.O_RDWR | os.O_CLOEXEC)
            try:
                fcntl.ioctl(device, _SET_FD, file)
                return number
            except OSError as error:
                if error.errno != errno.EBUSY:
                    raise
            finally:
                os.close(device)
    finally:
        os.close(control)
    raise OSError(errno.EBUSY, os.strerror(errno.EBUSY), _CONTROL)


def _with_direct_io(number: int) -> bool:
    """Switch direct I/O on; some file systems have none, and some disks want the device's blocks as large as theirs."""
    device = os.open(f"/dev/loop{number}", os.O_RDWR | os.O_CLOEXEC)
    try:
        for block in (0, 4096):
            try:
                if block:
                    fcntl.ioctl(device, _SET_BLOCK_SIZE, block)
                fcntl.ioctl(device, _SET_DIRECT_IO, 1)
            except OSError:
                continue
            return Path(f"/sys/block/loop{number}/loop/dio").read_text().strip() == "1"
        return False
    finally:
        os.close(device)
