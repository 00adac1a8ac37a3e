"""The boards of a fleet: read from YAML, every name and value checked before anything is run."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeprof.profiler.agent.spec import LONGEST_WAIT
from edgeprof.profiler.board.book import DEFAULT_PYTHON, Book, check_address, check_name, check_python
from edgeprof.profiler.board.book import Board as Entry
from edgeprof.profiler.board.errors import UnknownBoard, WrongEntry
from edgeprof.profiler.fleet.errors import WrongFleet
from edgeprof.profiler.matrix.errors import near
from edgeprof.profiler.matrix.placement import Board
from edgeprof.profiler.matrix.quantities import parse_time
from edgeprof.profiler.matrix.yaml_lines import Place, read_yaml

KEYS = ("boards", "retries", "wait")
BOARD_KEYS = ("kind", "address", "python")
DEFAULT_RETRIES = 1
DEFAULT_WAIT = 600.0
MOST_BOARDS = 256
MOST_RETRIES = 100


@dataclass(frozen=True)
class Shelf:
    """The boards there are, and what is allowed with them.

    Attributes:
        boards: name and kind of each.
        retries: how often a cell whose board is lost may begin anew on another of its kind.
        wait: seconds to wait for a board that somebody else has reserved.
        entries: how each board is reached; none for boards whose proxies know.
    """

    boards: tuple[Board, ...]
    retries: int = DEFAULT_RETRIES
    wait: float = DEFAULT_WAIT
    entries: tuple[Entry, ...] = ()

    def write_book(self, folder: Path) -> Path:
        """An address book of these boards alone: what the user changes in his own does not disturb a matrix.

        Its name comes from what is in it, so that a call with other boards does not replace it either.

        Raises:
            EdgeprofError: it cannot be written.
        """
        said = "\n".join(f"{entry.name} {entry.address} {entry.python}" for entry in self.entries)
        path = folder / f"boards-{hashlib.sha256(said.encode()).hexdigest()[:12]}.json"
        if not path.exists():
            with tempfile.TemporaryDirectory(prefix=".boards-", dir=folder) as inside:
                book = Book(Path(inside, "boards.json"))
                for entry in self.entries:
                    book.put(entry)
                book.path.replace(path)
        return path.resolve()


def read_shelf(path: Path, book: Book | None = None) -> Shelf:
    """Read a file of boards; those without an address are looked up in the address book.

    Raises:
        WrongFleet: with file and line.
        DamagedBook
    """
    content, lines = read_yaml(path, "a file of boards", WrongFleet)
    return _Reader(path, lines, book or Book()).read(content)


class _Reader:
    def __init__(self, path: Path, lines: Mapping[Place, int], book: Book) -> None:
        self.path, self.lines, self.book = path, lines, book

    def read(self, content: Any) -> Shelf:
        top = self._mapping(content, (), "the file")
        self._known(top, (), KEYS, "a file of boards")
        boards = self._mapping(top.get("boards"), ("boards",), "`boards`")
        if not boards:
            raise self._wrong(("boards",), "there is no board; name some, such as `orin-a: {kind: orin-nx}`")
        if len(boards) > MOST_BOARDS:
            raise self._wrong(("boards",), f"there are {len(boards)} boards, and {MOST_BOARDS} is the most")
        found = [self._board(name, values) for name, values in boards.items()]
        kinds = {board.kind for board, _ in found}
        for board, _ in found:
            if board.name in kinds:
                raise self._wrong(("boards", board.name), f"{board.name!r} is a board and a kind; rename one of them")
        retries = top.get("retries", DEFAULT_RETRIES)
        if isinstance(retries, bool) or not isinstance(retries, int) or not 0 <= retries <= MOST_RETRIES:
            raise self._wrong(("retries",), f"'retries' must be a whole number from 0 to {MOST_RETRIES}")
        wait = parse_time(top.get("wait", DEFAULT_WAIT))
        if wait is None:
            raise self._wrong(("wait",), f"{top['wait']!r} is not a time; write it like 90s, 10m or 2h")
        if wait > LONGEST_WAIT:
            raise self._wrong(("wait",), f"'wait' must be at most {LONGEST_WAIT / 3600:g}h")
        return Shelf(tuple(board for board, _ in found), retries, wait, tuple(entry for _, entry in found))

    def _board(self, name: str, content: Any) -> tuple[Board, Entry]:
        place: Place = ("boards", name)
        values = self._mapping(content, place, f"the board {name!r}")
        self._known(values, place, BOARD_KEYS, "a board")
        for key in values:
            if not isinstance(values[key], str):
                raise self._wrong(
                    (*place, key), f"{values[key]!r} is not a text; put it in quotes if it is meant as one"
                )
        if "kind" not in values:
            raise self._wrong(
                place, f"{name!r} has no kind; boards of one kind stand in for each other: `kind: orin-nx`"
            )
        at = place
        try:
            check_name(name)
            at = (*place, "kind")
            check_name(values["kind"])
            at = (*place, "address")
            if "address" not in values:
                at = place
                entry = self.book.find(name)
            else:
                entry = Entry(name, check_address(values["address"]))
            at = (*place, "python")
            python = check_python(values.get("python", entry.python or DEFAULT_PYTHON))
        except UnknownBoard:
            hint = near(name, self.book.boards())
            raise self._wrong(
                at, f"{name!r} is not in the address book{hint}; give it an `address:`, or use `edgeprof board add`"
            ) from None
        except WrongEntry as error:
            raise self._wrong(at, str(error)) from None
        return Board(name, values["kind"]), Entry(name, entry.address, python, entry.seen)

    def _known(self, values: Mapping[str, Any], place: Place, keys: Sequence[str], what: str) -> None:
        for key in values:
            if key not in keys:
                hint = near(key, keys)
                raise self._wrong((*place, key), f"{what} has no key {key!r}{hint}; there are: {', '.join(keys)}")

    def _mapping(self, content: Any, place: Place, what: str) -> dict[str, Any]:
        if not isinstance(content, dict):
            raise self._wrong(place, f"{what} must be a mapping of names, such as `name: value`")
        for key in content:
            if not isinstance(key, str):
                raise self._wrong((*place, str(key)), f"{key!r} is no name; put it in quotes if it is meant as one")
        return content

    def _wrong(self, place: Place, sentence: str) -> WrongFleet:
        while place and place not in self.lines:
            place = place[:-1]
        return WrongFleet(f"{self.path}:{self.lines.get(place, 1)}: {sentence}")
