"""The address book: which boards there are, and how each is reached.

One JSON file of the user's: ``EDGEPROF_BOARDS``, else ``$XDG_CONFIG_HOME/edgeprof/boards.json``.  What it holds ends
up in a command line of ``ssh``, so that names and addresses have few characters, wherever they come from.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from edgeprof.profiler.board.errors import DamagedBook, FullBook, UnknownBoard, WrongEntry, told
from edgeprof.profiler.files import CannotWrite, write_text

VERSION = 1
DEFAULT_PYTHON = "python3"

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
_USER = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}"
_HOST = r"(?:[A-Za-z0-9_][A-Za-z0-9_.-]{0,252}|[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*)"  # the second: IPv6
_PLAIN = re.compile(rf"(?:{_USER}@)?{_HOST}")
_URL = re.compile(rf"ssh://(?:{_USER}@)?(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_][A-Za-z0-9_.-]{{0,252}})(?::\d{{1,5}})?")
_PYTHON = re.compile(r"(?:/|[A-Za-z0-9_])[A-Za-z0-9_./+-]{0,254}")
_LONGEST = 1 << 20


@dataclass(frozen=True)
class Board:
    """One board.

    Attributes:
        name: what the user calls it.
        address: ``user@host``, a ``Host`` of the user's ssh_config, or ``ssh://user@host:port``.
        python: the program that is its Python.
        seen: what it told of itself when it was last checked.
    """

    name: str
    address: str
    python: str = DEFAULT_PYTHON
    seen: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Raises WrongEntry."""
        check_name(self.name)
        check_address(self.address)
        check_python(self.python)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


def check_name(name: str) -> str:
    """The name, if a board may have it.  Raises WrongEntry."""
    if not _NAME.fullmatch(name):
        raise WrongEntry(
            f"{told(name)!r} is no name for a board: small letters, digits, dot, dash and underscore, beginning with a"
            " letter or digit, 63 at most"
        )
    return name


def check_address(address: str) -> str:
    """The address, if it is one.  Raises WrongEntry."""
    if not (_PLAIN.fullmatch(address) or _URL.fullmatch(address)):
        raise WrongEntry(
            f"{told(address)!r} is no address of a board; write user@host, ssh://user@host:port, or a Host of your"
            " ~/.ssh/config"
        )
    return address


def check_python(program: str) -> str:
    """The program, if a board's Python may be called so.  Raises WrongEntry."""
    if not _PYTHON.fullmatch(program):
        raise WrongEntry(f"{told(program)!r} is no program's name or path; write python3.9 or /usr/local/bin/python3")
    return program


def book_path() -> Path:
    """Where the user's address book is."""
    chosen = os.environ.get("EDGEPROF_BOARDS")
    if chosen:
        return Path(chosen)
    base = os.environ.get("XDG_CONFIG_HOME") or ""
    folder = Path(base) if base.startswith("/") else Path.home() / ".config"
    return folder / "edgeprof" / "boards.json"


class Book:
    """The boards of one file.

    Raises (all methods):
        DamagedBook: the file is not an address book.
        CannotWrite: it cannot be written.
        FullBook: what is to be written would be more than can be read again.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = path or book_path()

    def boards(self) -> dict[str, Board]:
        """All of them by name, in the order of the names; none where there is no file."""
        try:
            with self.path.open("rb") as file:
                data = file.read(_LONGEST + 1)
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise DamagedBook(self.path, error.strerror or str(error)) from None
        if len(data) > _LONGEST:
            raise DamagedBook(self.path, "it is larger than an address book can be")
        try:
            content = json.loads(data)
        except (ValueError, RecursionError):
            raise DamagedBook(self.path, "it is not JSON") from None
        if not isinstance(content, dict) or not isinstance(content.get("boards"), dict):
            raise DamagedBook(self.path, "it has no 'boards'")
        if content.get("version") != VERSION:
            raise DamagedBook(
                self.path, f"its version is {told(content.get('version'))}, and this edgeprof knows {VERSION}"
            )
        return {name: self._read(name, values) for name, values in sorted(content["boards"].items())}

    def _read(self, name: str, values: Any) -> Board:
        try:
            seen = values.get("seen", {})
            return Board(
                name, values["address"], values.get("python", DEFAULT_PYTHON), seen if isinstance(seen, dict) else {}
            )
        except (AttributeError, KeyError, TypeError):
            raise DamagedBook(self.path, f"the entry {told(name)!r} has no address") from None
        except WrongEntry as error:
            raise DamagedBook(self.path, str(error)) from None

    def find(self, name: str) -> Board:
        """The board of that name.  Raises UnknownBoard."""
        boards = self.boards()
        if name not in boards:
            raise UnknownBoard(name, list(boards))
        return boards[name]

    def put(self, board: Board) -> None:
        """Add the board, or replace the one of its name."""
        self._change(lambda boards: {**boards, board.name: board})

    def remove(self, name: str) -> Board:
        """Take the board out, and return it.  Raises UnknownBoard."""
        found = self.find(name)
        self._change(lambda boards: {key: value for key, value in boards.items() if key != name})
        return found

    def _change(self, change: Callable[[dict[str, Board]], dict[str, Board]]) -> None:
        with self._locked():
            boards = change(self.boards())
            entries = {
                name: {key: value for key, value in boards[name].to_dict().items() if key != "name"}
                for name in sorted(boards)
            }
            text = json.dumps({"version": VERSION, "boards": entries}, indent=1) + "\n"  # ASCII: as many bytes
            if len(text) > _LONGEST:
                raise FullBook(self.path)
            write_text(self.path, text)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Two commands at once do not lose each other's boards."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            lock = os.open(
                self.path.with_name(f".{self.path.name}.lock"), os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600
            )
        except OSError as error:
            raise CannotWrite(self.path, error) from None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)
