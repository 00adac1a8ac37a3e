"""The disk under a folder: which it is, how its queue is set, and how to set it."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeprof.collectors.sysfs import put
from edgeprof.profiler.agent import host
from edgeprof.profiler.errors import EdgeprofError
from edgeprof.profiler.storage.changes import Changes, Say
from edgeprof.profiler.storage.spec import StorageSpec

SYS = Path("/sys")


@dataclass(frozen=True)
class Disk:
    """What the files of a folder lie on.

    Attributes:
        name: kernel name of the whole disk; empty: there is none (memory, network, another host's folder).
        file_system: type of the file system.
        source: what is mounted there, as mountinfo says.
        read_ahead: files in KiB that set the read-ahead; the first is the one that files opened from now on take.
    """

    name: str
    file_system: str
    source: str
    read_ahead: tuple[Path, ...] = ()

    @property
    def kind(self) -> str | None:
        """Its name as a factor: loop devices differ from run to run in their number only."""
        return host.device_kind(self.name) if self.name else None

    @property
    def queue(self) -> Path:
        """Where its settings are."""
        return SYS / "block" / self.name / "queue"


def disk_of(path: Path) -> Disk:
    """The whole disk under a folder or file: a partition's parent, and the first disk of a btrfs."""
    mount = host.mount_of(str(path))
    kind, source = str(mount["file_system"] or ""), str(mount["source"] or "")
    number = path.stat().st_dev
    block = _block(number)
    if block is None and source.startswith("/"):  # btrfs gives each subvolume a number of its own
        block = _block_at(source)
    if block is None:
        own = SYS / "class/bdi" / _pair(number) / "read_ahead_kb"
        return Disk("", kind, source, (own,) if own.exists() else ())
    disk = block.parent if (block / "partition").exists() else block
    # btrfs has a read-ahead of its own, and files take that one; those of other file systems take the disk's.
    places = (
        [*_btrfs_on(block.name), disk / "queue/read_ahead_kb"] if kind == "btrfs" else [disk / "queue/read_ahead_kb"]
    )
    return Disk(disk.name, kind, source, tuple(item for item in places if item.exists()))


def _block(number: int) -> Path | None:
    link = SYS / "dev/block" / _pair(number)
    return link.resolve() if link.exists() else None


def _block_at(path: str) -> Path | None:
    try:
        facts = Path(path).stat()
    except OSError:
        return None
    return _block(facts.st_rdev) if stat.S_ISBLK(facts.st_mode) else None


def _pair(number: int) -> str:
    return f"{os.major(number)}:{os.minor(number)}"


def _btrfs_on(device: str) -> list[Path]:
    return sorted(item.parent.parent / "bdi/read_ahead_kb" for item in (SYS / "fs/btrfs").glob(f"*/devices/{device}"))


def settings_of(disk: Disk) -> dict[str, Any]:
    """How a disk is set now: scheduler, read-ahead (bytes); null where it has no such setting."""
    scheduler = host.read_text(str(disk.queue / "scheduler")) if disk.name else None
    ahead = host.read_text(str(disk.read_ahead[0])) if disk.read_ahead else None
    return {
        "name": disk.name or None,
        "scheduler": chosen(scheduler) if scheduler else None,
        "read_ahead": int(ahead) * 1024 if ahead and ahead.isdecimal() else None,
    }


def chosen(text: str) -> str:
    """The choice in a list such as ``none [mq-deadline] kyber``; any other text as it is."""
    return text.partition("[")[2].partition("]")[0] if "[" in text else text


def set_disk(disk: Disk, spec: StorageSpec, changes: Changes, say: Say) -> dict[str, str]:
    """Set scheduler, queue and read-ahead as ``spec`` asks; returns what is in force of each, by file name.

    A value that the kernel rounds is told with ``say``.

    Raises:
        EdgeprofError: there is no such setting, or the kernel refuses the value; earlier ones are in ``changes``.
    """
    if not disk.name and (spec.scheduler or spec.queue or not disk.read_ahead):
        raise EdgeprofError(
            f"the data lies on {disk.file_system or 'a file system'} ({disk.source or 'no source'}), under which no "
            "disk of this machine is known whose settings could be changed; make one for the run with --file-system"
        )
    wanted: dict[Path, str] = {}
    if spec.scheduler:
        _check_scheduler(disk, spec.scheduler)
        wanted[disk.queue / "scheduler"] = spec.scheduler
    for name, value in spec.queue.items():
        wanted[_queue_file(disk, name)] = value
    if spec.read_ahead is not None:
        wanted.update(dict.fromkeys(disk.read_ahead, str(spec.read_ahead // 1024)))
    for path in wanted:
        if changes.taken(str(path)):
            raise EdgeprofError(f"another run has changed {path} and not ended yet; wait for it, or use another disk")
    _record(disk, list(wanted), changes)
    return {path.name: _set(path, value, say) for path, value in wanted.items()}


def _check_scheduler(disk: Disk, name: str) -> None:
    text = host.read_text(str(disk.queue / "scheduler")) or "none"
    known = text.replace("[", "").replace("]", "").split()
    if name not in known:
        raise EdgeprofError(f"{disk.name} has no I/O scheduler {name!r}; it has: {', '.join(known)}")


def _queue_file(disk: Disk, name: str) -> Path:
    path = disk.queue / name
    if name in ("scheduler", "read_ahead_kb"):
        raise EdgeprofError(
            f"--queue does not set {name}; use --{'scheduler' if name == 'scheduler' else 'read-ahead'}"
        )
    known = sorted(
        item.name
        for item in disk.queue.iterdir()
        if item.is_file() and item.stat().st_mode & stat.S_IWUSR and item.name not in ("scheduler", "read_ahead_kb")
    )
    if name not in known:
        raise EdgeprofError(
            f"{disk.name} has no queue setting {name!r} that can be changed; it has: {', '.join(known)}"
        )
    return path


def _record(disk: Disk, paths: list[Path], changes: Changes) -> None:
    """Write down the old values, so that undoing them, newest first, sets the scheduler first.

    A change of the scheduler sets ``nr_requests`` anew, so that one is kept, too.
    """
    scheduler = disk.queue / "scheduler"
    kept = [path for path in paths if path != scheduler]
    if scheduler in paths:
        kept = [*dict.fromkeys([*kept, disk.queue / "nr_requests"]), scheduler]
    for path in kept:
        old = host.read_text(str(path))
        if old is not None:
            changes.record("write", path=str(path), old=chosen(old))
        elif path in paths:
            raise EdgeprofError(f"{path} cannot be read, so it could not be put back; leave that setting out")


def _set(path: Path, value: str, say: Say) -> str:
    try:
        put(str(path), value)
    except OSError as error:
        raise EdgeprofError(f"the kernel refuses {value!r} for {path}: {error.strerror}") from None
    found = chosen(host.read_text(str(path)) or "")
    if found != value:
        say(f"the kernel made {found} of {value} in {path}")
    return found
