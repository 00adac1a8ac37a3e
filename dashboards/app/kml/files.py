"""Model cards, evaluations and records of `edgeprof tune --json`, found by what they hold."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from edgeprof.dashboards.report.text import clean

CARD_FORMAT, CARD_VERSION = "edgeprof model card", 1
"""As `edgeprof.kmodule.training.card` writes them."""
PLAN, RESULTS = "plan.json", "results.json"
DEEP, MOST_FOLDERS, MOST_FILES, LARGEST = 3, 3_000, 300, 16 << 20
"""How far is looked: levels below the folder, folders and files opened, and bytes of a file."""
_PASSED_OVER = frozenset(("runs", "raw", "tables", "logs", "set-aside", "guest", "manifest.json", "report.html"))

Kind = Literal["card", "evaluation", "record"]


@dataclass(frozen=True)
class Item:
    """One thing found.

    Attributes:
        path: below the folder.
        content: as JSON; of an evaluation its results, of a record ``lines``.
        problem: why it cannot be shown; empty where it can.
    """

    kind: Kind
    path: str
    content: Mapping[str, Any] = field(default_factory=dict)
    problem: str = ""


@dataclass(frozen=True)
class Found:
    """All of a folder; ``cut`` says that there was more than is looked through."""

    items: tuple[Item, ...] = ()
    cut: bool = False

    def of(self, kind: Kind) -> list[Item]:
        """Those of a kind."""
        return [item for item in self.items if item.kind == kind]


def discover(folder: Path) -> Found:
    """Look through a folder.  Links and what cannot be read as a file of ours are passed over."""
    items: list[Item] = []
    opened = 0
    paths, cut = _walk(folder)
    for path in paths:
        if opened >= MOST_FILES:
            return Found(_newest_first(folder, items), True)
        item, read = _item(folder, path)
        opened += read
        if item is not None:
            items.append(item)
    return Found(_newest_first(folder, items), cut)


def _newest_first(folder: Path, items: list[Item]) -> tuple[Item, ...]:
    def age(item: Item) -> tuple[int, str]:
        path = folder / item.path / RESULTS if item.kind == "evaluation" else folder / item.path
        try:
            return -path.stat().st_mtime_ns, item.path
        except OSError:
            return 0, item.path

    return tuple(sorted(items, key=age))


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


def _item(folder: Path, path: Path) -> tuple[Item | None, bool]:
    """What a file is, and whether it was read to find out."""
    name = path.relative_to(folder).as_posix()
    if clean(name) != name:
        return None, False
    if path.name == PLAN:
        return None, False
    if path.name == RESULTS:
        return (
            (_evaluation(path, path.parent.relative_to(folder).as_posix()), True) if _has_plan(path) else (None, False)
        )
    if path.suffix == ".jsonl":
        return _record(path, name), True
    model = path.with_suffix("")
    if path.name.endswith(".kml.json") or model.is_file():
        return _card(path, name), True
    return None, False


def _has_plan(path: Path) -> bool:
    return path.with_name(PLAN).is_file()


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
        said = f"it has version {clean(version)}, and this edgeprof reads {CARD_VERSION}; upgrade edgeprof to see it"
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


def _record(path: Path, name: str) -> Item | None:
    """Lines of JSON as `edgeprof tune --json` prints them; a line that is cut off is passed over."""
    lines = []
    try:
        if path.stat().st_size > LARGEST:
            return None
        for line in _json_lines(path):
            if not isinstance(line.get("sentence"), str) or not isinstance(line.get("event"), str):
                return None
            lines.append(line)
    except OSError:
        return None
    return Item("record", name, {"lines": lines}) if lines else None


def _json_lines(path: Path) -> Iterator[dict[str, Any]]:
    with path.open("rb") as file:
        for text in file:
            try:
                line = json.loads(text)
            except (ValueError, RecursionError):
                continue
            yield line if isinstance(line, dict) else {}
