"""A loop device with ext4 that gives a load no more bytes and requests a second than asked, and little memory.

The block controller holds the load to the limits (blkio.throttle of cgroup v1, io.max of v2): with the image in memory
(`/dev/shm`) the disk is then as slow as asked, and as steady.  Needs root.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from common import loop_device

_V1, _V2 = Path("/sys/fs/cgroup/blkio"), Path("/sys/fs/cgroup")
_NAME = f"edgeprof-slow-disk-{os.getpid()}"


@dataclass(frozen=True)
class SlowDisk:
    """What `slow_disk` made: the device's name, where it is mounted, the load's cgroups."""

    name: str
    folder: Path
    groups: tuple[Path, ...]

    @property
    def read_ahead(self) -> Path:
        """In KiB."""
        return Path(f"/sys/block/{self.name}/queue/read_ahead_kb")

    def command(self, words: Sequence[str]) -> list[str]:
        """The same command as a load of this disk, held to its limits."""
        join = "".join(f"echo $$ > {group}/cgroup.procs; " for group in self.groups)
        return ["sh", "-c", join + 'exec "$@"', "sh", *words]

    def forget(self) -> None:
        """Let nothing of its files be in memory."""
        subprocess.run(["umount", str(self.folder)], check=True)
        subprocess.run(["mount", f"/dev/{self.name}", str(self.folder)], check=True)


@contextmanager
def slow_disk(folder: Path, size: int, read_bytes: int, read_requests: int, memory: int) -> Iterator[SlowDisk]:
    """The disk while the block runs; what it was made of is gone afterwards."""
    with ExitStack() as undo:
        device = undo.enter_context(loop_device(folder, size))
        number = Path(f"/sys/block/{Path(device).name}/dev").read_text().strip()
        place = folder / "mounted"
        place.mkdir()
        undo.callback(place.rmdir)
        subprocess.run(["mkfs.ext4", "-q", device], check=True)
        subprocess.run(["mount", device, str(place)], check=True)
        undo.callback(subprocess.run, ["umount", str(place)], check=True)
        groups = _groups(number, read_bytes, read_requests, memory, undo)
        yield SlowDisk(Path(device).name, place, groups)


def _make(group: Path, undo: ExitStack) -> None:
    group.mkdir(exist_ok=True)
    undo.callback(_remove, group)


def _remove(group: Path) -> None:
    """Remove a cgroup; one whose last process has just died is busy for a moment."""
    deadline = time.monotonic() + 5
    while True:
        try:
            group.rmdir()
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)


def _groups(number: str, read_bytes: int, read_requests: int, memory: int, undo: ExitStack) -> tuple[Path, ...]:
    if (_V1 / "blkio.throttle.read_bps_device").exists():
        block, ram = _V1 / _NAME, Path("/sys/fs/cgroup/memory") / _NAME
        _make(block, undo)
        _make(ram, undo)
        (block / "blkio.throttle.read_bps_device").write_text(f"{number} {read_bytes}")
        (block / "blkio.throttle.read_iops_device").write_text(f"{number} {read_requests}")
        (ram / "memory.limit_in_bytes").write_text(str(memory))
        return block, ram
    if not (_V2 / "cgroup.controllers").exists():
        raise SystemExit("this machine has no block controller in /sys/fs/cgroup; mount cgroup2 there")
    (_V2 / "cgroup.subtree_control").write_text("+io +memory")
    group = _V2 / _NAME
    _make(group, undo)
    (group / "io.max").write_text(f"{number} rbps={read_bytes} riops={read_requests}")
    (group / "memory.max").write_text(str(memory))
    return (group,)


def need_root() -> None:
    """End with a sentence where this is not root."""
    if os.geteuid() != 0:
        raise SystemExit("this needs root: call it with sudo")
