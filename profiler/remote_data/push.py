"""Puts runs where others can read them: an fsspec address.

A run's list of files is written first and its manifest last; nothing counts as there that is not of the listed size
and was not pushed under the listed checksum, so that a push that was cut goes on where it was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from edgeprof.profiler.errors import EdgeprofError, NotIngested
from edgeprof.profiler.remote_data import listing
from edgeprof.profiler.remote_data.address import Found, Place, RemoteError, open_address
from edgeprof.profiler.remote_data.listing import Pushed
from edgeprof.profiler.remote_data.mirror import WINDOWS
from edgeprof.profiler.run import open_run

MANIFEST = "manifest.json"
_AT_ONCE, _AT_ONCE_BYTES = 16, 256 << 20
"""Files, and their bytes, that are sent side by side."""


@dataclass(frozen=True)
class Sent:
    """What pushing one run did.

    Attributes:
        address: of the run.
        files, bytes: of the run, at the address.
        sent_files, sent_bytes: of those, sent now.
    """

    address: str
    files: int
    bytes: int
    sent_files: int
    sent_bytes: int


def push(run: Path, address: str, raw: bool = False, force: bool = False, tell: Callable[[int], object] = int) -> Sent:
    """Put one run's capture directory below ``address``, in a folder of its own name.

    Args:
        raw: also what was captured, not only what was made of it.
        force: send all files, also those that seem to be there.
        tell: called with the bytes that were sent since the last call.

    Raises:
        NotARun, DamagedManifest, NewerSchema, NotIngested: it is no run that others could read.
        RemoteError: the address cannot be written.
        EdgeprofError: the run changes while it is pushed, or cannot be read.
    """
    if not open_run(run).tables:
        raise NotIngested(run)
    name = run.resolve().name
    place = open_address(f"{address.rstrip('/')}/{name}")
    try:
        local = {file: listing.of_file(run / file) for file in sorted(_files(run, raw))}
        return _send(place, run, local, force, tell)
    except OSError as error:
        raise EdgeprofError(
            f"{run} cannot be read ({error.strerror or error}); push it when nothing else changes it"
        ) from None


def _files(run: Path, raw: bool) -> Iterator[str]:
    """A run's files by their name in it; no symbolic links, nothing hidden."""
    for path in run.rglob("*"):
        name = path.relative_to(run)
        if path.is_symlink() or not path.is_file() or any(part.startswith(".") for part in name.parts):
            continue
        if str(name) == listing.NAME or ("raw" in name.parts[:2] and not raw and name.name != WINDOWS):
            continue
        if not any((run / parent).is_symlink() for parent in name.parents):
            yield str(name)


def _send(place: Place, run: Path, local: Mapping[str, Pushed], force: bool, tell: Callable[[int], object]) -> Sent:
    there = place.find()
    before = {} if force else listing.load(place.read_one(listing.NAME) if listing.NAME in there else None)
    kept = {name for name, about in local.items() if before.get(name) == about and _is_there(there, name, about)}
    carried = {
        name: about
        for name, about in before.items()
        if name not in local and name.split("/")[0] == "raw" and _is_there(there, name, about)
    }
    listed = {**carried, **local}
    total = sum(about.size for about in local.values())
    missing = [name for name in local if name not in kept]
    if not missing and before == listed:
        return Sent(place.address, len(local), total, 0, 0)
    # The manifest goes first and comes last: without it nobody reads the run.
    stale = [name for name in there if name not in kept and (name in local or (name in before and name not in carried))]
    place.remove([name for name in (MANIFEST, *(name for name in stale if name != MANIFEST)) if name in there])
    place.write(listing.NAME, listing.dump(listed))
    to_send = [name for name in missing if name != MANIFEST]
    for names in _batches(to_send, local):
        place.upload({name: run / name for name in names})
        tell(sum(local[name].size for name in names))
    _check(place, run, {name: about for name, about in local.items() if name != MANIFEST})
    place.upload({MANIFEST: run / MANIFEST})
    tell(local[MANIFEST].size)
    sent = {*to_send, MANIFEST}
    return Sent(place.address, len(local), total, len(sent), sum(local[name].size for name in sent))


def _is_there(there: Mapping[str, Found], name: str, about: Pushed) -> bool:
    return name in there and there[name].size == about.size


def _batches(names: list[str], local: Mapping[str, Pushed]) -> Iterator[list[str]]:
    batch: list[str] = []
    size = 0
    for name in names:
        if batch and (len(batch) == _AT_ONCE or size + local[name].size > _AT_ONCE_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(name)
        size += local[name].size
    if batch:
        yield batch


def _check(place: Place, run: Path, local: Mapping[str, Pushed]) -> None:
    """That all is there before the manifest says so, and is still what was listed."""
    there = place.find()
    short = next((name for name, about in local.items() if not _is_there(there, name, about)), None)
    if short is not None:
        size = f"{there[short].size} of {local[short].size} bytes" if short in there else "not there"
        if (run / short).stat().st_size != local[short].size:
            raise EdgeprofError(f"{run / short} changed while it was pushed; push the run again when nothing writes it")
        raise RemoteError(f"{place.url(short)} did not arrive ({size}); push the run again")
