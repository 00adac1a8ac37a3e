"""Swap on a compressed device in memory, for one run."""

from __future__ import annotations

import ctypes
import os
import time
from pathlib import Path
from typing import Any

from edgeprof.collectors.sysfs import put
from edgeprof.profiler.agent.undo_storage import zram_numbers
from edgeprof.profiler.errors import EdgeprofError
from edgeprof.profiler.storage.changes import Changes
from edgeprof.profiler.storage.tools import need_root, need_tool

_CONTROL = Path("/sys/class/zram-control/hot_add")
_PREFER, _HIGHEST = 0x8000, 0x7FFF  # linux/swap.h: SWAP_FLAG_PREFER, and the highest priority that it holds
_SECONDS = 10.0


def can_swap() -> str:
    """Check that this machine can swap to zram; returns where mkswap is.  Raises EdgeprofError."""
    need_root("--zram")
    if not _CONTROL.exists():
        raise EdgeprofError(f"this kernel has no zram ({_CONTROL} is missing); load it with `modprobe zram`")
    return need_tool("mkswap", "util-linux")


def add_swap(size: int, mkswap: str, changes: Changes) -> dict[str, Any]:
    """Add a zram device of ``size`` bytes and swap to it before any other; returns facts about it.

    Raises:
        EdgeprofError: it could not be done; what was begun is in ``changes``.
    """
    page = os.sysconf("SC_PAGE_SIZE")
    size = -(-size // page) * page
    try:
        number = _add(size, changes)
        folder, device = Path(f"/sys/block/zram{number}"), f"/dev/zram{number}"
        put(str(folder / "disksize"), str(size))
        _wait_for(device)
        problem = changes.run([mkswap, device], _SECONDS)
        if problem:
            raise EdgeprofError(f"{device} could not be made a swap device: {problem}")
        changes.record("swap", path=device)
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.swapon(device.encode(), _PREFER | _HIGHEST) != 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), device)
        algorithm = (folder / "comp_algorithm").read_text().partition("[")[2].partition("]")[0]
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        raise EdgeprofError(
            f"no swap of {size} bytes on zram can be had: {error.strerror}{where}; ask for less with --zram, or leave "
            "it out"
        ) from None
    return {"device": device, "bytes": size, "algorithm": algorithm or None, "priority": _HIGHEST}


def _add(size: int, changes: Changes) -> int:
    """A new device.  Its number is known only once it is there: until then the journal tells it by those known."""
    before = changes.record("zram", known=zram_numbers())
    number = int(_CONTROL.read_text())
    changes.record("zram", number=number, bytes=size)
    changes.done(before)
    return number


def _wait_for(device: str) -> None:
    deadline = time.monotonic() + _SECONDS
    while not Path(device).exists():
        if time.monotonic() > deadline:
            raise FileNotFoundError(2, "the device does not appear; in a container, give it the host's /dev", device)
        time.sleep(0.01)
