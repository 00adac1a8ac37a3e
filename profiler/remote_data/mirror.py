"""A local mirror of a folder of runs at an address: manifests and metrics always, tables when they are asked for.

It lies in the user's cache and may be deleted at any time.  Each mirrored run has a file `RUN_MARKER` that says where
it is from and which files it has there; a file is fetched anew when its size or version there changed.  A marker counts
only below the cache's own folder, so that no folder that came from elsewhere can name an address to ask.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgeprof.profiler.errors import EdgeprofError
from edgeprof.profiler.files import replacing, write_text
from edgeprof.profiler.remote_data import listing
from edgeprof.profiler.remote_data.address import (
    Found,
    Place,
    RemoteError,
    child,
    is_address,
    local_path,
    open_address,
    split,
)
from edgeprof.profiler.remote_data.listing import Pushed
from edgeprof.profiler.remote_data.marker import FOLDER_MARKER, RUN_MARKER

_MANIFEST, _METRICS = "manifest.json", "metrics.parquet"
_SMALL = (_MANIFEST, _METRICS, listing.NAME, f"guest/{_MANIFEST}", f"guest/{_METRICS}")
WINDOWS = "windows.bin"
"""When a budgeted capture recorded; training sets need it, and it is small."""
_TABLE = re.compile(r"tables/([^/]+)\.parquet")


@dataclass(frozen=True)
class Marked:
    """What the marker of a mirrored run, or of a mirrored folder, says.

    Attributes:
        address: of the run; of the folder, where it is the folder's marker.
        files: those of the run there, by name.
        problem: why its mirror cannot be relied on.
    """

    address: str
    files: Mapping[str, Found] = field(default_factory=dict)
    problem: str | None = None


def cache_folder() -> Path:
    """Where mirrors are kept."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "edgeprof" / "remote"


def local_folder(text: str | Path) -> Path:
    """The folder of runs that a path or an address names; of an address, its mirror, brought up to date.

    Raises:
        RemoteError: the address cannot be read, or there is nothing.
    """
    if not is_address(text):
        return Path(text)
    own = local_path(str(text))
    return Path(own) if own is not None else mirror(str(text))


def local_run(text: str | Path) -> Path:
    """The capture directory that a path or a run's own address names; of an address, its mirror.

    Raises:
        RemoteError: the address cannot be read, or there is no run.
    """
    if not is_address(text):
        return Path(text)
    address = str(text).rstrip("/")
    own = local_path(address)
    if own is not None:
        return Path(own)
    folder, name = split(address)
    return mirror(folder, only=name) / name


def mirror(address: str, only: str | None = None) -> Path:
    """Bring the mirror of a folder of runs up to date, or that of one run of it, and return the mirror's path.

    Raises:
        RemoteError: the address cannot be read, or there is nothing.
        CannotWrite: the cache cannot be written.
    """
    place = open_address(address)
    target = mirror_path(place)
    found = place.find(only or "")
    if not found:
        where = child(place.address, only) if only else place.address
        raise RemoteError(
            f"there is nothing at {where}; check the address, or put runs there with"
            f" `edgeprof dataset push RUN... {place.address}`"
        )
    try:
        cache_folder().mkdir(parents=True, exist_ok=True, mode=0o700)
        target.mkdir(exist_ok=True, mode=0o700)
        _write_marker(target / FOLDER_MARKER, Marked(place.address))
        runs = _by_run(found)
        if only is None:
            _drop_vanished(target, runs)
        _bring(place, target, runs)
    except OSError as error:
        raise EdgeprofError(
            f"the mirror of {place.address} cannot be kept in {target} ({error.strerror or error}); free some space,"
            " or set XDG_CACHE_HOME to another folder"
        ) from None
    return target


def mirror_path(place: Place) -> Path:
    """Where the mirror of an opened address lies: by address and endpoint."""
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or ""
    digest = hashlib.sha256(f"{place.address}\0{endpoint}".encode()).hexdigest()[:16]
    words = re.sub(r"[^A-Za-z0-9.-]+", "-", place.address)[:60].strip("-.")
    return cache_folder() / f"{words}-{digest}"


def _by_run(found: Mapping[str, Found]) -> dict[str, dict[str, Found]]:
    """Files by run and their name in it; what is in no run's folder is passed over."""
    runs: dict[str, dict[str, Found]] = {}
    for name, about in found.items():
        run, _, rest = name.partition("/")
        if rest and rest.split("/")[0] != RUN_MARKER:
            runs.setdefault(run, {})[rest] = about
    return {run: files for run, files in runs.items() if _is_run(files)}


def _is_run(files: Iterable[str]) -> bool:
    return any(name in (_MANIFEST, "manifest.partial.json", listing.NAME) or name.startswith("raw/") for name in files)


def _drop_vanished(target: Path, runs: Mapping[str, Any]) -> None:
    for path in target.iterdir():
        if path.name not in runs and path.is_dir():
            shutil.rmtree(path)


def _bring(place: Place, target: Path, runs: Mapping[str, Mapping[str, Found]]) -> None:
    """Fetch what is small and new; the lists of files come first, since the others are held against them.

    What is there is marked before it is fetched, so that one that was interrupted goes on where it was.
    """
    for run, files in runs.items():
        if _forget_changed(target / run, files):
            _mark(place, target / run, files)
    wanted = {
        f"{run}/{name}": about.size
        for run, files in runs.items()
        for name, about in files.items()
        if _is_mirrored(name) and not (target / run / name).is_file()
    }
    problems: dict[str, str] = {}
    lists = {name: size for name, size in wanted.items() if name.endswith(f"/{listing.NAME}")}
    others = {name: size for name, size in wanted.items() if name not in lists}
    for part in (lists, others):
        for name, data in place.read(part):
            run, _, rest = name.partition("/")
            if data is None:
                continue  # it has just been deleted: the run is being pushed anew
            expected = _listed(target / run).get(rest)
            if expected is not None and rest != listing.NAME and listing.of_bytes(data) != expected:
                problems[run] = _damaged(place.url(name))
                continue
            _write(target / run / rest, data)
    for run, problem in problems.items():
        _mark(place, target / run, runs[run], problem)


def _is_mirrored(name: str) -> bool:
    return name in _SMALL or (name.startswith("raw/") and name.endswith(f"/{WINDOWS}"))


def _mark(place: Place, run: Path, files: Mapping[str, Found], problem: str | None = None) -> None:
    run.mkdir(exist_ok=True)
    _write_marker(run / RUN_MARKER, Marked(child(place.address, run.name), _kept(files), problem))


def _kept(files: Mapping[str, Found]) -> dict[str, Found]:
    """The files that a marker names."""
    return {name: about for name, about in files.items() if not name.startswith("raw/")}


def _forget_changed(run: Path, files: Mapping[str, Found]) -> bool:
    """Delete what is mirrored of a run and is another there now; whether its marker is to be written anew."""
    marked = marked_at(run)
    if marked is None:  # nothing tells of which version its files are
        if run.is_dir():
            shutil.rmtree(run)
        return True
    now = _kept(files)
    if marked.files == now and marked.problem is None:
        return False
    for name in {*marked.files, *now}:
        if marked.files.get(name) != now.get(name) or marked.problem is not None:
            (run / name).unlink(missing_ok=True)
    return True


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def _write_marker(file: Path, marked: Marked) -> None:
    files = {name: [about.size, about.version] for name, about in marked.files.items()}
    text = json.dumps({"address": marked.address, "files": files, "problem": marked.problem})
    if not file.is_file() or file.read_text("utf-8") != text:
        write_text(file, text)


def marked_at(path: Path, name: str = RUN_MARKER) -> Marked | None:
    """What the marker of a mirrored run (or, by its name, of a folder) says; None for a path that is no mirror."""
    file = path / name
    try:
        data = file.read_bytes()
        if cache_folder().resolve() not in file.resolve().parents:
            return None
        content = json.loads(data)
        files = {name: Found(size, version) for name, (size, version) in content["files"].items()}
        return Marked(content["address"], files, content["problem"])
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


def named(path: Path) -> str:
    """How to call a folder or a run in words: a mirrored one by its address."""
    marked = marked_at(path) or marked_at(path, FOLDER_MARKER)
    return str(path) if marked is None else marked.address


def problem_of(path: Path) -> str | None:
    """Why a mirrored run cannot be read; None where it can be, and for a local run."""
    marked = marked_at(path)
    if marked is None:
        return None
    if marked.problem is None and not (path / _MANIFEST).is_file():
        return "it is still being pushed, or its push was cut: `edgeprof dataset push` again completes it"
    return marked.problem


def refuse_problem(path: Path) -> None:
    """Raises RemoteError where a mirrored run cannot be read."""
    problem = problem_of(path)
    if problem is not None:
        raise RemoteError(problem if "://" in problem else f"{named(path)}: {problem}")


def tables_at(run: Path) -> dict[str, str]:
    """Tables of a mirrored run by name, with their file's name there; none for a local run."""
    marked, below = _marked_run(run)
    if marked is None:
        return {}
    start = f"{below}/" if below else ""
    found = {name: _TABLE.fullmatch(name[len(start) :]) for name in marked.files if name.startswith(start)}
    return {matched[1]: name for name, matched in found.items() if matched is not None}


def fetched_table(run: Path, name: str) -> Path:
    """A table's Parquet file; that of a mirrored run is fetched first, and held against what was pushed.

    Raises:
        RemoteError: it cannot be read, or is damaged.
    """
    path = run / "tables" / f"{name}.parquet"
    there = tables_at(run).get(name)
    marked, _ = _marked_run(run)
    if path.is_file() or there is None or marked is None:
        return path
    place = open_address(marked.address)
    owner = run if marked_at(run) is not None else run.parent
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        place.download(there, temporary)
        expected = _listed(owner).get(there)
        size = marked.files[there].size
        if expected not in (None, listing.of_file(temporary)) or temporary.stat().st_size != size:
            raise RemoteError(_damaged(place.url(there)))
    return path


def _marked_run(run: Path) -> tuple[Marked | None, str]:
    """A run's marker, and the part of it that ``run`` is: a guest's capture lies in its host's."""
    marked = marked_at(run)
    if marked is None and run.name == "guest":
        return marked_at(run.parent), "guest"
    return marked, ""


def _listed(run: Path) -> dict[str, Pushed]:
    try:
        return listing.load((run / listing.NAME).read_bytes())
    except OSError:
        return {}


def _damaged(address: str) -> str:
    return f"{address} is not what was pushed (its checksum differs); push the run again with --force"
