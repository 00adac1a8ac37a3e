"""Makes a data set: whole or not at all."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from edgeprof.workloads.data.describe import DESCRIPTION, GENERATOR, DataSet, check_files, describe
from edgeprof.workloads.data.errors import DataError
from edgeprof.workloads.data.formats import Layout, make_writer
from edgeprof.workloads.data.generate import samples
from edgeprof.workloads.data.sample import PAST, STATES, TOKENS, VOCABULARY, Sample
from edgeprof.workloads.data.spec import KINDS, DataSpec
from edgeprof.workloads.errors import MissingFramework
from edgeprof.workloads.spec import FORMATS

FEWEST_SAMPLES = 8
"""However small the size asked for."""
MOST_WAITING = 3600.0
"""Seconds for another process that makes a data set in the same folder."""
SAY_EVERY = 5.0
"""Seconds between two lines of progress."""

Say = Callable[[str], None]


def make(spec: DataSpec, folder: Path, say: Say) -> Path:
    """Make the data set in ``folder``, or take the complete one that is there; returns its path.

    Its files have reached the device when this returns, so that nothing is written back in the middle of a
    measurement.

    Raises:
        DataError: the spec is wrong, or there is no room, or the folder cannot be written.
        MissingFramework: a library that writes the format is not installed.
    """
    _check(spec)
    name = f"{spec.kind}-{spec.format}-{spec.bytes}-{spec.seed}" + (f"-{spec.side}" if spec.side else "")
    target = folder / name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _alone(folder, say):
            if _is_complete(target, spec):
                return target
            _remove(target)
            partial = folder / f".{name}.partial"
            _remove(partial)
            _check_room(spec, folder)
            try:
                _write(spec, partial, say)
                partial.rename(target)
            except BaseException:
                shutil.rmtree(partial, ignore_errors=True)
                raise
            _sync(folder)
            return target
    except OSError as error:
        raise _explained(error, spec, folder) from None


def _check(spec: DataSpec) -> None:
    if spec.kind not in KINDS:
        raise DataError(f"there is no kind {spec.kind!r} of data; there are: {', '.join(KINDS)}")
    if spec.format not in FORMATS:
        raise DataError(f"there is no format {spec.format!r}; there are: {', '.join(FORMATS)}")
    if spec.bytes < 1 or spec.seed < 0 or not (spec.side == 0 or 32 <= spec.side <= 4320):
        raise DataError("a data set needs a size above 0, a seed of 0 or more and images of 32 to 4320 pixels")
    if spec.kind not in ("text", "trajectories") and find_spec("PIL") is None:
        raise MissingFramework("Pillow", "data")


def _is_complete(target: Path, spec: DataSpec) -> bool:
    """Whether it is there, as this edgeprof would make it, with all its files."""
    if not target.is_dir():
        return False
    try:
        dataset = describe(target)
        check_files(dataset)
        generator = json.loads((target / DESCRIPTION).read_bytes()).get("generator")
    except DataError:
        return False
    there = {os.path.relpath(f"{where}/{name}", target) for where, _, names in os.walk(target) for name in names}
    wanted = (spec.kind, spec.format, spec.seed, GENERATOR)
    return (dataset.kind, dataset.format, dataset.seed, generator) == wanted and there >= set(dataset.files)


def _write(spec: DataSpec, partial: Path, say: Say) -> None:
    partial.mkdir()
    say(f"making a data set: {spec.kind} as {spec.format}, {_shown(spec.bytes)}")
    writer = make_writer(spec.format, partial, spec.kind, spec.bytes)
    stream = samples(spec)
    count, first = 0, None
    said = time.monotonic()
    try:
        for sample in stream:
            first = first or sample
            writer.add(sample)
            count += 1
            if count >= FEWEST_SAMPLES and writer.written >= spec.bytes:
                break
            if time.monotonic() - said > SAY_EVERY:
                said = time.monotonic()
                say(f"making a data set: {writer.written / 1e6:.0f} of {_shown(spec.bytes)}")
        layout = writer.close()
    except BaseException:
        writer.abandon()
        raise
    finally:
        stream.close()  # type: ignore[attr-defined]  # a generator
    assert first is not None
    dataset = _described(spec, partial, layout, count, first)
    (partial / DESCRIPTION).write_text(json.dumps(dataset.to_json()))
    _sync(partial)


def _described(spec: DataSpec, partial: Path, layout: Layout, count: int, first: Sample) -> DataSet:
    from edgeprof.workloads.data.frames import IMAGE_CLASSES, LOOKS, frame_size
    from edgeprof.workloads.data.prose import TEXT_CLASSES
    from edgeprof.workloads.data.scene import MASK_CLASSES
    from edgeprof.workloads.data.vehicles import VEHICLE_CLASSES

    names = {
        "images": IMAGE_CLASSES,
        "text": TEXT_CLASSES,
        "detection": VEHICLE_CLASSES,
        "segmentation": MASK_CLASSES,
    }.get(spec.kind, ())
    sizes = [(partial / name).stat().st_size for name in layout.files]
    return DataSet(
        path=partial,
        kind=spec.kind,
        format=spec.format,
        samples=count,
        bytes=sum(sizes),
        seed=spec.seed,
        image=frame_size(spec.kind, spec.side) if spec.kind in LOOKS else None,
        classes=len(names),
        class_names=names,
        sequence={"trajectories": (PAST, STATES), "text": (TOKENS, 1)}.get(spec.kind),
        vocabulary=VOCABULARY if spec.kind == "text" else None,
        files=tuple(layout.files),
        counts=tuple(layout.counts) if layout.counts is not None else None,
        sizes=tuple(sizes) if spec.format != "folder" else None,
    )


@contextmanager
def _alone(folder: Path, say: Say) -> Iterator[None]:
    """Hold the folder's lock: what is half made there belongs to nobody then.

    The lock ends with the process, however that ends.  File systems without locks go without.
    """
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        end = time.monotonic() + MOST_WAITING
        told = False
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if not told:
                    say(f"waiting for another edgeprof that makes a data set in {folder}")
                    told = True
                if time.monotonic() > end:
                    raise DataError(f"another edgeprof holds {folder}; end it, or name another folder") from None
                time.sleep(0.2)
            except OSError:
                break
        yield
    finally:
        os.close(handle)


def _remove(path: Path) -> None:
    if path.is_symlink() or path.is_file():
        path.unlink()
    elif path.exists():
        shutil.rmtree(path)


def _check_room(spec: DataSpec, folder: Path) -> None:
    free = shutil.disk_usage(folder).free
    if free < spec.bytes:
        raise OSError(errno.ENOSPC, "No space left on device", str(folder))


def _explained(error: OSError, spec: DataSpec, folder: Path) -> DataError:
    """The library's or the system's error as a sentence."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT) or "No space left" in str(error):
        free = shutil.disk_usage(folder).free
        return DataError(
            f"{folder} has no room for a data set of {_shown(spec.bytes)} ({_shown(free)} are free); make room, "
            "ask for less, or name another folder"
        )
    return DataError(f"the data set cannot be made in {folder} ({error}); name a folder that you may write")


def _sync(folder: Path) -> None:
    """Wait until everything on the folder's file system has reached its device: one call for however many files."""
    import ctypes

    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        library = ctypes.CDLL(None, use_errno=True)
        if library.syncfs(handle) != 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code), str(folder))
    finally:
        os.close(handle)


def _shown(size: int) -> str:
    return f"{size / 1e6:.0f} MB" if size >= 1e7 else f"{size / 1e6:.2g} MB"
