"""What is known of a folder's runs: one row a run, read by a thread of its own, newest runs first."""

from __future__ import annotations

import logging
import os
import re
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from edgeprof.dashboards.app import stored
from edgeprof.dashboards.app.links import LeadsOut, check_parts, inside
from edgeprof.dashboards.app.rows import IDENTITY, READING, Column, Row, joined, read_row, stamp, table_of, texts
from edgeprof.dashboards.report.text import clean
from edgeprof.profiler.dataset import Entry, entry_of, looks_like_a_run
from edgeprof.profiler.errors import EdgeprofError
from edgeprof.profiler.matrix.folder import MatrixFolder, is_matrix

if TYPE_CHECKING:
    import pyarrow as pa

_log = logging.getLogger(__name__)

FIRST, BATCH = 50, 200
"""Runs that are read before the rest is shown, and between two showings: a page of runs is there at once."""
REST_SECONDS, REST_SHARE = 3.0, 20
"""Between two looks at the folder: at least so long, and so many times what the last look took."""

FIRST_LOOK = 30.0
"""Seconds that a page waits for the folder's listing at most: before it, nothing can be said."""

_NAMED = re.compile(r"(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z-(.+)-[0-9a-f]{4,}")
"""A capture directory as `edgeprof run` names it."""


@dataclass(frozen=True)
class Found:
    """What lies in a folder: runs by id (their path below it), newest first, and matrices by the same kind of path."""

    runs: Sequence[str] = ()
    matrices: Sequence[str] = ()


@dataclass(frozen=True)
class Snapshot:
    """What the index knows at a moment; it never changes.

    Attributes:
        table: one row a run with the columns ``id``, ``name``, ``started``, ``state``, ``problem`` and those of
            ``columns``; float64 or text, null where a run has no such value.
        columns: what each column is of, and its unit.
        reading: runs that are there and were not read yet.
        matrices: paths of the matrices below the folder; "." is the folder itself.
        problem: why the folder cannot be listed.
    """

    table: pa.Table
    columns: Mapping[str, Column]
    reading: int = 0
    matrices: Sequence[str] = ()
    problem: str = ""

    @property
    def total(self) -> int:
        """How many runs there are."""
        return int(self.table.num_rows)

    @property
    def begun(self) -> bool:
        """Whether some of the runs are still to be read, and others are."""
        return 0 < self.reading < self.total


@dataclass
class RunIndex:
    """The runs of a folder and of the matrices in it.

    A thread looks at the folder when somebody asks (and not more often than it can afford), reads what is new or
    changed, and stores what it knows for the next start.
    """

    folder: Path
    cache: Path | None = None
    _known: pa.Table = field(init=False)
    _columns: dict[str, Column] = field(init=False, default_factory=dict)
    _snapshot: Snapshot = field(init=False)
    _asked: threading.Event = field(init=False, default_factory=threading.Event)
    _news: threading.Condition = field(init=False, default_factory=threading.Condition)
    _passes: int = field(init=False, default=0)
    _due: float = field(init=False, default=0.0)
    _looked: bool = field(init=False, default=False)

    def __post_init__(self) -> None:
        kept = stored.load(self.cache, self.folder) if self.cache else None
        self._known, self._columns = kept or (table_of([]), {})
        for name in IDENTITY:
            self._columns.setdefault(name, Column("run"))
        self._snapshot = Snapshot(self._known, dict(self._columns))
        self._looked = bool(self._known.num_rows)  # what was kept is shown at once

    def start(self) -> None:
        """Begin to look at the folder, in a thread that ends with the process."""
        self._asked.set()
        threading.Thread(target=self._follow, name="index", daemon=True).start()

    def snapshot(self, patience: float = 0.4) -> Snapshot:
        """What is known now.

        Args:
            patience: seconds to wait for what a look at the folder brings.
        """
        with self._news:
            if time.monotonic() >= self._due:
                before = self._passes
                self._asked.set()
                if patience:
                    self._news.wait_for(lambda: self._looked, FIRST_LOOK)
                self._news.wait_for(lambda: self._passes > before or self._snapshot.begun, patience)
            return self._snapshot

    def runs(self) -> list[str]:
        """The ids of all runs, oldest first."""
        found: list[str] = self.snapshot().table.column("id").to_pylist()
        return sorted(found, key=lambda run: run.rsplit("/", 1)[-1])

    def entry(self, run: str) -> Entry:
        """One run, as `edgeprof.profiler.dataset.entry_of` has it."""
        return entry_of(self.folder / run)

    def entries(self) -> list[Entry]:
        """All runs, oldest first; each manifest is read anew, so prefer `snapshot`."""
        return [self.entry(run) for run in reversed(discover(self.folder).runs)]

    def refresh(self) -> None:
        """Look at the folder once and read what is new or changed."""
        try:
            found = discover(self.folder)
        except OSError as error:
            self._publish(
                Found(), table_of([]), f"{clean(self.folder)} cannot be listed ({error.strerror}); name another folder"
            )
            return
        stamps = dict(zip(*(self._known.column(name).to_pylist() for name in ("id", "stamp")), strict=True))
        names = {_shown(run): run for run in found.runs}
        new = [run for name, run in names.items() if name not in stamps]
        gone = stamps.keys() - names
        self._drop(gone)
        waiting = table_of([_unread(run) for run in new])
        self._publish(found, waiting)
        for batch in _batches(new):
            self._take_in(batch)
            waiting = waiting.slice(len(batch))
            self._publish(found, waiting)
        changed = [run for name, run in names.items() if stamps.get(name) and stamps[name] != stamp(self.folder / run)]
        for batch in _batches(changed):
            self._take_in(batch)
            self._publish(found, waiting)
        if new or changed or gone:
            self._known = self._known.combine_chunks()
            self._publish(found, waiting)
            if self.cache is not None:
                stored.save(self.cache, self.folder, self._known, self._columns)

    def _follow(self) -> None:
        while True:
            self._asked.wait()
            began = time.monotonic()
            try:
                self.refresh()
            except Exception:  # the pages show what is known, and the next look may succeed
                _log.warning("the folder of runs could not be read", exc_info=True)
            self._asked.clear()
            with self._news:
                self._passes += 1
                self._due = time.monotonic() + max(REST_SECONDS, REST_SHARE * (time.monotonic() - began))
                self._news.notify_all()

    def _take_in(self, runs: Sequence[str]) -> None:
        """Read runs; one that is like no other is told as damaged and keeps none of them back."""
        root = self.folder.resolve()
        rows = [self._read(run, root) for run in runs]
        try:
            self._add(rows)
        except Exception:  # whatever a foreign folder holds must not keep the others back
            for run, row in zip(runs, rows, strict=True):
                try:
                    self._add([row])
                except Exception as error:
                    self._add([self._damaged(run, error)])

    def _read(self, run: str, root: Path) -> Row:
        if clean(run) != run:
            return _unread(run, "the name of its folder holds what cannot be shown; rename the folder", "damaged")
        try:
            check_parts(self.folder / run, root)
            return read_row(run, self.folder / run)
        except Exception as error:  # likewise
            return self._damaged(run, error)

    def _damaged(self, run: str, error: Exception) -> Row:
        said = clean(error)
        if not isinstance(error, OSError | EdgeprofError):
            _log.warning("the run %s could not be read", run, exc_info=error)
            said = f"it is not what edgeprof writes ({type(error).__name__}: {said})"
        return _unread(run, said, "damaged", stamp(self.folder / run))

    def _add(self, rows: Sequence[Row]) -> None:
        new = table_of(rows)
        for row in rows:
            for name, column in row.columns.items():
                if name not in self._columns or not self._columns[name].unit:
                    self._columns[name] = column
        self._drop(set(new.column("id").to_pylist()))
        self._known = joined([self._known, new])

    def _drop(self, runs: set[str]) -> None:
        import pyarrow.compute as pc

        if not runs:
            return
        old = pc.is_in(self._known.column("id"), texts(sorted(runs)))
        if pc.any(old).as_py():
            self._known = self._known.filter(pc.invert(old))

    def _publish(self, found: Found, waiting: pa.Table, problem: str = "") -> None:
        table = joined([self._known, waiting])
        columns = {name: self._columns[name] for name in table.column_names if name in self._columns}
        with self._news:
            self._snapshot = Snapshot(table, columns, waiting.num_rows, found.matrices, problem)
            self._looked = True
            self._news.notify_all()


def _batches(runs: Sequence[str]) -> Iterator[Sequence[str]]:
    yield runs[:FIRST]
    for begin in range(FIRST, len(runs), BATCH):
        yield runs[begin : begin + BATCH]


def _shown(run: str) -> str:
    """A run's id; for one that cannot be shown, what tells it from others."""
    return run if clean(run) == run else ascii(run)


def _unread(run: str, problem: str = "", state: str = READING, made: str = "") -> Row:
    """The row of a run of which only the name is known."""
    match = _NAMED.fullmatch(run.rsplit("/", 1)[-1])
    started = "{}-{}-{}T{}:{}:{}Z".format(*match.groups()[:6]) if match else None
    values = {"id": _shown(run), "name": clean(match[7] if match else run), "started": started, "state": state}
    return Row({**values, "problem": problem or None, "stamp": made}, {})


def discover(folder: Path) -> Found:
    """The runs in a folder and in the matrices that it is or holds.

    A link that leads out of the folder is left out.  Raises OSError; a folder that is not there yet has no runs.
    """
    runs: list[str] = []
    matrices: list[str] = []
    root = folder.resolve()
    if _is_own_matrix(folder, root):
        matrices.append(".")
        runs += [f"runs/{name}" for name in _runs_in(MatrixFolder(folder).runs, root)]
    for name in _directories(folder, root):
        path = folder / name
        if _NAMED.fullmatch(name) or looks_like_a_run(path):
            runs.append(name)
        elif _is_own_matrix(path, root):
            matrices.append(name)
            runs += [f"{name}/runs/{run}" for run in _runs_in(MatrixFolder(path).runs, root)]
    runs.sort(key=lambda run: run.rsplit("/", 1)[-1], reverse=True)
    return Found(runs, sorted(matrices))


def _is_own_matrix(folder: Path, root: Path) -> bool:
    try:
        if is_matrix(folder):
            check_parts(folder, root)
            return True
    except (LeadsOut, OSError):
        pass
    return False


def _runs_in(folder: Path, root: Path) -> list[str]:
    try:
        return [
            name for name in _directories(folder, root) if _NAMED.fullmatch(name) or looks_like_a_run(folder / name)
        ]
    except OSError:
        return []


def _directories(folder: Path, root: Path) -> Iterator[str]:
    try:
        items = os.scandir(folder)
    except FileNotFoundError:
        return
    with items:
        for item in items:
            own = not item.is_symlink() or inside(Path(item.path), root)
            if own and not item.name.startswith(".") and item.is_dir():
                yield item.name
