"""Prepares a run's storage, and puts everything back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edgeprof.profiler.errors import EdgeprofError
from edgeprof.profiler.storage.cache import make_cold, make_warm, settle
from edgeprof.profiler.storage.changes import Say, changes
from edgeprof.profiler.storage.disk import disk_of, set_disk, settings_of
from edgeprof.profiler.storage.file_system import can_make, make_file_system
from edgeprof.profiler.storage.residency import files_below, residency
from edgeprof.profiler.storage.spec import Place, StorageSpec
from edgeprof.profiler.storage.tools import need_root
from edgeprof.profiler.storage.zram import add_swap, can_swap


@contextmanager
def prepared(spec: StorageSpec, need: int, say: Say) -> Iterator[Place]:
    """Make the file system and the swap that ``spec`` asks for; all that was changed is undone on leaving.

    Args:
        spec: what is asked for.
        need: bytes of the data that will lie there.
        say: told what takes long, and what could not be undone.

    Raises:
        EdgeprofError: this machine cannot; nothing was changed, or it was put back.
    """
    _check(spec)
    place = Place()
    if not (spec.file_system or spec.zram or _sets_device(spec)):
        yield place
        return
    formatter = can_make(spec.file_system) if spec.file_system else None
    mkswap = can_swap() if spec.zram else ""
    if _sets_device(spec):
        need_root("changing a device's settings")
    with changes(say) as place.changes:
        if formatter is not None:
            make_file_system(spec, need, formatter, place, place.changes, say)
        if spec.zram:
            place.facts["zram"] = add_swap(spec.zram, mkswap, place.changes)
            place.factors["storage.zram"] = place.facts["zram"]["bytes"]
        yield place


@contextmanager
def tuned(
    spec: StorageSpec, place: Place, data: Path | None, say: Say, memory_limit: int | None = None
) -> Iterator[None]:
    """Set device and cache as ``spec`` asks, as the last before the workload starts; completes ``place``.

    Its factors and facts become those of the place where ``data`` lies.  Afterwards ``place.facts`` also tells how
    much of ``data`` was in memory before and after the run.

    Args:
        spec: what is asked for.
        place: from `prepared`.
        data: the run's data set; None: it has none, and the device is the one under the new file system, or else
            under the working folder.
        say: told what the kernel rounds, and what stays in memory.
        memory_limit: of the run, bytes; a warm cache does not count towards it, and is told so.

    Raises:
        EdgeprofError: the kernel refuses a setting; what was changed was put back.
    """
    where = data or place.folder
    if spec.cache != "as-is" and data is None:
        raise EdgeprofError(f"--cache {spec.cache} is of a data set; name one with --data")
    last = place.changes.last() if place.changes else 0
    try:
        if place.changes and _sets_device(spec):
            place.facts["set"] = set_disk(disk_of(where or Path.cwd()), spec, place.changes, say)
        if where or _sets_device(spec):
            _describe(place, where or Path.cwd())
        files = files_below(data) if data is not None else []
        if data is not None:
            settle(data)
            place.factors["storage.cache"] = spec.cache
            place.facts["residency_before"] = _start(spec, place, files, memory_limit, say)
        yield
        if data is not None:
            place.facts["residency_after"] = residency(files).facts()
    finally:
        if place.changes:
            for sentence in place.changes.undo(last):
                say(sentence)


def _start(spec: StorageSpec, place: Place, files: list[Path], memory_limit: int | None, say: Say) -> dict[str, object]:
    """Bring the cache into the state that is asked for; how much of the files is in memory then."""
    if spec.cache == "cold":
        found = make_cold(files, place.image, say)
    elif spec.cache == "warm":
        found = make_warm(files, memory_limit, say)
    else:
        return residency(files).facts()
    if found.bytes is None:
        say(f"whether the cache of the data set is {spec.cache} could not be verified: {found.reason}")
    return found.facts()


def _describe(place: Place, where: Path) -> None:
    """Factors and facts of the disk under the data; the agent itself tells those of the working folder."""
    disk = disk_of(where)
    settings = settings_of(disk)
    place.device = disk.name
    place.facts["disk"] = {**settings, "file_system": disk.file_system, "source": disk.source}
    place.factors.update(
        {
            "storage.file_system": disk.file_system or None,
            "storage.device": disk.kind,
            "storage.scheduler": settings["scheduler"],
            "storage.read_ahead": settings["read_ahead"],
        }
    )


def _sets_device(spec: StorageSpec) -> bool:
    return bool(spec.scheduler or spec.queue) or spec.read_ahead is not None


def _check(spec: StorageSpec) -> None:
    """Raises EdgeprofError where options go together that cannot, or without the one they belong to."""
    if not spec.file_system:
        for name, given in (("--fs-device", spec.device), ("--erase", spec.erase), ("--fs-size", spec.size)):
            if given:
                raise EdgeprofError(f"{name} is of a new file system; name its kind with --file-system")
    if spec.device and spec.size:
        raise EdgeprofError("--fs-size is of a loop device's file; leave it out where --fs-device names a device")
    if spec.erase and not spec.device:
        raise EdgeprofError("--erase is of a device that is named with --fs-device; name it, too")
