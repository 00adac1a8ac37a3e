"""Model cards, evaluations and records of `edgeprof tune --json`, found by what they hold.

A file is read to find out what it is, and once more where its content is shown: of hundreds, only that is kept.
"""

from __future__ import annotations

import json
import os
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from edgeprof.dashboards.app.kept import Kept
from edgeprof.dashboards.app.kml.scores import number
from edgeprof.dashboards.report.text import clean

CARD_FORMAT, CARD_VERSION = "edgeprof model card", 1
"""As `edgeprof.kmodule.training.card` writes them."""
PLAN, RESULTS = "plan.json", "results.json"
DEEP, MOST_FOLDERS, MOST_FILES, LARGEST = 3, 3_000, 300, 16 << 20
"""How far is looked: levels below the folder, folders and files opened, and bytes of a file."""
MOST_READ = 64 << 20
"""Bytes that are read, of all files together, to find out what they are."""
LINES_KEPT, LONGEST = 200, 1_000
"""The last lines of a record, and characters of a sentence."""
_PASSED_OVER = frozenset(("runs", "raw", "tables", "logs", "set-aside", "guest", "manifest.json", "report.html"))

Kind = Literal["card", "evaluation", "record"]


@dataclass(frozen=True)
class Item:
    """One thing found.

    Attributes:
        path: below the folder.
        content: as JSON, of an evaluation its results: only of what `opened` returns.  Of a record ``lines`` (the last
            ones, each with its ``time`` and ``sentence``) and their ``count``.
        problem: why it cannot be shown; empty where it can.
        stamp: changes when its file does: when it was written, when it was changed in any way, and its bytes.
    """

    kind: Kind
    path: str
    content: Mapping[str, Any] = field(default_factory=dict)
    problem: str = ""
    stamp: tuple[int, int, int] = (0, 0, 0)

    @property
    def file(self) -> str:
        """The file that it is told by, below the folder."""
        return f"{self.path}/{RESULTS}" if self.kind == "evaluation" else self.path


@dataclass(frozen=True)
class Found:
    """All of a folder; ``cut`` says that there was more than is looked through."""

    items: tuple[Item, ...] = ()
    cut: bool = False

    def of(self, kind: Kind) -> list[Item]:
        """Those of a kind."""
        return [item for item in self.items if item.kind == kind]


@dataclass(frozen=True)
class _Told:
    """What a file was found to be, without its content, and the bytes that were read of it."""

    item: Item | None
    read: int

    @property
    def bytes(self) -> int:
        """Of what is kept."""
        return 1024 + (self.read if self.item is not None and self.item.kind == "record" else 0)


_told: Kept[_Told] = Kept(2 * MOST_READ, lambda told: told.bytes)


def discover(folder: Path) -> Found:
    """Look through a folder.  Links and what cannot be read as a file of ours are passed over.

    What a file is stays known until the file changes.
    """
    items: list[Item] = []
    files = read = 0
    paths, cut = _walk(folder)
    for path in paths:
        name = path.relative_to(folder).as_posix()
        kind = _kind(path, name)
        if kind is None:
            continue
        if files >= MOST_FILES or read >= MOST_READ:
            cut = True
            break
        try:
            stamp = _stamp(path)
        except OSError:
            continue
        told = _told.get((folder, name, stamp), partial(_tell, kind, folder, name, stamp[2]))
        files, read = files + 1, read + told.read
        if told.item is not None:
            items.append(replace(told.item, stamp=stamp))
    return Found(tuple(sorted(items, key=lambda item: (-item.stamp[0], item.path))), cut)


def opened(folder: Path, item: Item) -> Item:
    """A card or an evaluation that `discover` found, with its content; with a problem where it is no longer one."""
    found = _whole(item.kind, folder, item.file)
    return replace(found or Item(item.kind, item.path, problem="it has just changed; look again"), stamp=item.stamp)


def _stamp(path: Path) -> tuple[int, int, int]:
    about = path.stat()
    return about.st_mtime_ns, about.st_ctime_ns, about.st_size


def _tell(kind: Kind, folder: Path, name: str, size: int) -> _Told:
    if kind == "record":
        return _record(folder / name, name)
    found = _whole(kind, folder, name)
    return _Told(replace(found, content={}) if found is not None else None, size if size <= LARGEST else 0)


def _whole(kind: Kind, folder: Path, name: str) -> Item | None:
    if kind == "evaluation":
        return _evaluation(folder / name, PurePosixPath(name).parent.as_posix())
    return _card(folder / name, name)


def _walk(folder: Path) -> tuple[list[Path], bool]:
    """Files that may be ours, and whether there were more folders than are looked through."""
    files: list[Path] = []
    level = [folder]
    seen = 0
    for depth in range(DEEP + 1):
        below: list[Path] = []
        for place in level:
            seen += 1
            if seen > MOST_FOLDERS:
                return files, True
            found, folders = _listed(place)
            files += found
            below += folders if depth < DEEP else []
        level = below
    return files, False


def _listed(place: Path) -> tuple[list[Path], list[Path]]:
    """Files and folders to look at; a run's own folder holds none of ours."""
    files, folders = [], []
    try:
        with os.scandir(place) as entries:
            for entry in entries:
                if entry.is_symlink() or entry.name.startswith(".") or entry.name in _PASSED_OVER:
                    if entry.name == "manifest.json":
                        return [], []
                    continue
                if entry.is_dir():
                    folders.append(Path(entry.path))
                elif entry.name.endswith((".json", ".jsonl")) and entry.is_file():
                    files.append(Path(entry.path))
    except OSError:
        return [], []
    return sorted(files), sorted(folders)


def _kind(path: Path, name: str) -> Kind | None:
    """What a file may be, by its name and its neighbours."""
    if clean(name) != name or path.name == PLAN:
        return None
    if path.name == RESULTS:
        return "evaluation" if path.with_name(PLAN).is_file() else None
    if path.suffix == ".jsonl":
        return "record"
    return "card" if path.name.endswith(".kml.json") or path.with_suffix("").is_file() else None


def _read(path: Path) -> Any:
    if path.stat().st_size > LARGEST:
        raise ValueError("it is too large")
    return json.loads(path.read_bytes())


def _card(path: Path, name: str) -> Item | None:
    sure = name.endswith(".kml.json")
    try:
        content = _read(path)
    except (OSError, ValueError, RecursionError) as error:
        return Item("card", name, problem=_damaged(error)) if sure else None
    if not isinstance(content, dict) or content.get("format") != CARD_FORMAT:
        return Item("card", name, problem="it is no model card; train the model again to get one") if sure else None
    version = content.get("version")
    if version != CARD_VERSION:
        said = (
            f"it has version {clean(version)[:40]}, and this edgeprof reads {CARD_VERSION}; upgrade edgeprof to see it"
        )
        return Item("card", name, problem=said)
    if not isinstance(content.get("model"), dict):
        return Item("card", name, problem="it does not describe a model; train the model again")
    return Item("card", name, content)


def _damaged(error: Exception) -> str:
    return f"it cannot be read ({clean(error)}); make it again"


def _evaluation(path: Path, name: str) -> Item:
    try:
        content = _read(path)
    except (OSError, ValueError, RecursionError) as error:
        return Item("evaluation", name, problem=f"{_damaged(error)} with `edgeprof kml bench show`")
    if not isinstance(content, dict) or not isinstance(content.get("plan"), dict):
        return Item("evaluation", name, problem="it holds no results; make them with `edgeprof kml bench show`")
    return Item("evaluation", name, content)


def _record(path: Path, name: str) -> _Told:
    """Lines of JSON as `edgeprof tune --json` prints them; a line that is cut off is passed over."""
    lines: deque[dict[str, Any]] = deque(maxlen=LINES_KEPT)
    count = read = 0
    try:
        if path.stat().st_size > LARGEST:
            return _Told(None, 0)
        with path.open("rb") as file:
            for text in file:
                read += len(text)
                line = _json(text)
                if line is None:
                    continue
                sentence = line.get("sentence")
                if not isinstance(sentence, str) or not isinstance(line.get("event"), str):
                    return _Told(None, read)
                lines.append({"time": number(line.get("time")), "sentence": clean(sentence)[:LONGEST]})
                count += 1
    except OSError:
        return _Told(None, read)
    return _Told(Item("record", name, {"lines": list(lines), "count": count}) if lines else None, read)


def _json(text: bytes) -> dict[str, Any] | None:
    """The object of a line; an empty one where it is none of ours, None where the line is damaged."""
    try:
        line = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return line if isinstance(line, dict) else {}
