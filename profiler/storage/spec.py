"""What a run asks of its storage."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgeprof.profiler.storage.changes import Changes

FILE_SYSTEMS = ("ext4", "xfs", "btrfs", "f2fs")
CACHES = ("as-is", "cold", "warm")


@dataclass(frozen=True)
class StorageSpec:
    """Where the run's data lies, and how the device under it is set.

    Attributes:
        file_system: one of `FILE_SYSTEMS`, made for the run; empty: the data stays where it is.
        device: block device to make it on; empty: a loop device over an image file.
        erase: the device's name again, when it holds data that may be erased.
        size: bytes of the image file; 0: as much as the data set needs.
        scheduler: I/O scheduler of the device under the data; empty: as it is.
        read_ahead: bytes of read-ahead of that device; None: as it is.
        queue: further settings below ``/sys/block/DEVICE/queue``, by file name.
        cache: one of `CACHES`: page-cache state of the data set when the workload starts, verified by residency.
        zram: bytes of a compressed swap device for the run; 0: none.
    """

    file_system: str = ""
    device: str = ""
    erase: str = ""
    size: int = 0
    scheduler: str = ""
    read_ahead: int | None = None
    queue: Mapping[str, str] = field(default_factory=dict)
    cache: str = "as-is"
    zram: int = 0


@dataclass
class Place:
    """Where a run's data is, once its storage is prepared.

    Attributes:
        folder: made for the run's data sets (the new file system's root); None: no file system was made.
        image: the file behind the loop device; None: there is none.
        device: kernel name of the disk under the data, such as ``sda`` or ``loop3``; empty: not known.
        factors: factors that the preparation fixed, by dotted names.
        facts: what was found and done, for the manifest.
        changes: the undo journal of the preparation; None: nothing was to be changed.
    """

    folder: Path | None = None
    image: Path | None = None
    device: str = ""
    factors: dict[str, Any] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    changes: Changes | None = None
