"""What KMLib does in the running kernel, as its files in /sys and debugfs say: modules, predictors, disks."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgeprof.dashboards.report.text import clean

MODULES = ("kml", "mq_kmlib", "kml_readahead")
_LINE = re.compile(r"(\w+) (-?\d+)(?:/65536)?")
_CHOSEN = re.compile(r"\[([^\]]+)\]")
_ONE = 65536
_CLASSES = (("read_", "reads"), ("sync_write_", "synchronous writes"), ("writeback_", "writeback"))
NEEDS_ROOT = "the counters are for root: run `edgeprof dashboard` as root to see them"


@dataclass(frozen=True)
class Table:
    """One thing that runs: its state in words, and its counters; ``problem`` says why some are missing."""

    title: str
    facts: Sequence[tuple[str, str]]
    problem: str = ""


@dataclass(frozen=True)
class State:
    """All of it: the modules that are loaded, and what they do."""

    modules: Sequence[str]
    tables: Sequence[Table]


def read(root: Path = Path("/")) -> State:
    """The state of the machine whose files lie below ``root``."""
    modules = [name for name in MODULES if (root / "sys/module" / name).is_dir()]
    tables = [*_predictors(root), *_disks(root), *_readahead(root)] if modules else []
    return State(modules, tables)


def _text(path: Path) -> str | None:
    """A small file of the kernel's; None where there is none or it is not for us."""
    try:
        return clean(path.read_bytes()[:65536].decode("utf-8", "replace")).strip()
    except OSError:
        return None


def _counters(text: str | None) -> dict[str, int]:
    """Lines of a name and a number."""
    found = {}
    for line in (text or "").splitlines():
        match = _LINE.fullmatch(line.strip())
        if match:
            found[match[1]] = int(match[2])
    return found


def _predictors(root: Path) -> list[Table]:
    tables = []
    for folder in _folders(root / "sys/kernel/debug/kml"):
        counters = _counters(_text(folder / "statistics"))
        problem = "" if counters else NEEDS_ROOT
        facts = (
            [("Model", f"number {counters['models']}" if counters.get("model_bytes") else "none")] if counters else []
        )
        for name, words in (
            ("predictions", "Predictions"),
            ("without_model", "Asked without a model"),
            ("pushed", "Samples collected"),
            ("dropped", "Samples dropped"),
            ("trained", "Samples learned from"),
        ):
            if name in counters:
                facts.append((words, str(counters[name])))
        if "loss" in counters:
            facts.append(("Loss, fading mean", f"{counters['loss'] / _ONE:.4f}"))
        tables.append(Table(f"Predictor {clean(folder.name)}", facts, problem))
    return tables


def _folders(place: Path) -> list[Path]:
    try:
        return sorted(path for path in place.iterdir() if path.is_dir())
    except OSError:
        return []


def _disks(root: Path) -> list[Table]:
    """The disks that mq-kmlib schedules."""
    tables = []
    for disk in _folders(root / "sys/block"):
        chosen = _CHOSEN.search(_text(disk / "queue/scheduler") or "")
        if chosen is None or chosen[1] != "mq-kmlib":
            continue
        facts = [
            (words, text)
            for name, words in (("mode", "Mode"), ("state", "It"))
            if (text := _text(disk / "queue/iosched" / name)) is not None
        ]
        counters = _counters(_text(root / "sys/kernel/debug/block" / disk.name / "sched/statistics"))
        facts += _of_classes(counters)
        facts += [
            (words, str(counters[name]))
            for name, words in (
                ("held", "Dispatches that held writeback back"),
                ("comparisons", "Comparisons with the order by deadline"),
                ("fallbacks", "Given up for a while"),
            )
            if name in counters
        ]
        tables.append(Table(f"Scheduler of {clean(disk.name)}", facts, "" if counters else NEEDS_ROOT))
    return tables


def _of_classes(counters: Mapping[str, int]) -> list[tuple[str, str]]:
    facts = []
    for prefix, words in _CLASSES:
        completed = counters.get(f"{prefix}completed", 0)
        if completed:
            mean = counters.get(f"{prefix}latency_ns", 0) / completed / 1e6
            missed = counters.get(f"{prefix}missed", 0)
            facts.append((words.capitalize(), f"{completed}, {mean:.3g} ms in the mean, {missed} past their deadline"))
        if counters.get(f"{prefix}model_predictions"):
            error, trivial = (counters.get(f"{prefix}model_{name}", 0) / _ONE for name in _ERRORS)
            trusted = "used" if counters.get(f"{prefix}model_trusted") else "not used"
            said = f"{error:.2f} doublings, {trivial:.2f} by the mean alone: {trusted}"
            facts.append((f"Prediction error, {words}", said))
    return facts


_ERRORS = ("error_of_65536", "trivial_error_of_65536")


def _readahead(root: Path) -> list[Table]:
    parameters = root / "sys/module/kml_readahead/parameters"
    mode = _text(parameters / "mode")
    if mode is None:
        return []
    facts = [("Mode", mode), ("Disks", _text(parameters / "devices") or "none")]
    counters = _counters(_text(root / "sys/kernel/debug/kml_readahead/counters"))
    facts += [
        (words, str(counters[name]))
        for name, words in (
            ("windows", "Windows judged"),
            ("predictions", "Predictions"),
            ("wanted", "Changes wanted"),
            ("files_changed", "Changes of files"),
            ("devices_changed", "Changes of disks"),
            ("taken_back", "Taken back"),
        )
        if name in counters
    ]
    return [Table("Read-ahead", facts, "" if counters else NEEDS_ROOT)]
