"""A file of boards is checked before anything is run, and every complaint names its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeprof.profiler.board.book import Board as Entry
from edgeprof.profiler.board.book import Book
from edgeprof.profiler.errors import EdgeprofError
from edgeprof.profiler.fleet.shelf import DEFAULT_RETRIES, DEFAULT_WAIT, read_shelf
from edgeprof.profiler.matrix.placement import Board

pytest.importorskip("yaml", reason="needs PyYAML: pip install 'edgeprof[matrix]'")


@pytest.fixture
def book(tmp_path: Path) -> Book:
    book = Book(tmp_path / "boards.json")
    book.put(Entry("orin-a", "user@orin-a", "python3.9"))
    return book


def written(folder: Path, text: str) -> Path:
    path = folder / "boards.yaml"
    path.write_text(text)
    return path


def test_boards_come_from_the_file_and_the_address_book(tmp_path: Path, book: Book) -> None:
    text = """
        retries: 2
        wait: 90s
        boards:
          orin-a: {kind: orin-nx}
          pi-1: {kind: pi5, address: "ssh://pi@10.0.0.7:2222", python: /opt/python3.11}
        """
    shelf = read_shelf(written(tmp_path, text), book)
    assert shelf.boards == (Board("orin-a", "orin-nx"), Board("pi-1", "pi5"))
    assert (shelf.retries, shelf.wait) == (2, 90)
    assert [(entry.address, entry.python) for entry in shelf.entries] == [
        ("user@orin-a", "python3.9"),
        ("ssh://pi@10.0.0.7:2222", "/opt/python3.11"),
    ]
    own = shelf.write_book(tmp_path)
    assert own == shelf.write_book(tmp_path)
    assert Book(own).find("pi-1").address == "ssh://pi@10.0.0.7:2222"
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".boards-")] == []


def test_limits_have_defaults(tmp_path: Path, book: Book) -> None:
    shelf = read_shelf(written(tmp_path, "boards: {orin-a: {kind: orin-nx}}"), book)
    assert (shelf.retries, shelf.wait) == (DEFAULT_RETRIES, DEFAULT_WAIT)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "1: the file must be a mapping"),
        ("boards: {}", "1: there is no board"),
        ("retry: 1\nboards: {a: {kind: x}}", "1: a file of boards has no key 'retry', did you mean 'retries'"),
        ("boards:\n  orin-a: {}", "2: 'orin-a' has no kind"),
        ("boards:\n  orin-a: orin-nx", "2: the board 'orin-a' must be a mapping"),
        ("boards:\n  orin-b: {kind: x}", "2: 'orin-b' is not in the address book, did you mean 'orin-a'"),
        ("boards:\n  orin-a:\n    kind: x\n    kindd: y", "4: a board has no key 'kindd', did you mean 'kind'"),
        ("boards:\n  orin-a:\n    kind: 7", "3: 7 is not a text"),
        ("boards:\n  Orin;rm: {kind: x, address: a}", "2: 'Orin;rm' is no name for a board"),
        ("boards:\n  a: {kind: x, address: '-oProxyCommand=x'}", "2: '-oProxyCommand=x' is no address"),
        ("boards:\n  a: {kind: x, address: b, python: 'python; rm'}", "2: 'python; rm' is no program"),
        ("boards:\n  a: {kind: 'X y', address: b}", "2: 'X y' is no name"),
        ("boards:\n  a: {kind: b, address: a}\n  b: {kind: c, address: b}", "3: 'b' is a board and a kind"),
        ("boards:\n  a: {kind: x, address: a}\n  a: {kind: x, address: b}", "3: 'a' stands in line 2 already"),
        ("retries: -1\nboards: {orin-a: {kind: x}}", "1: 'retries' must be a whole number"),
        ("retries: yes\nboards: {orin-a: {kind: x}}", "1: 'retries' must be a whole number"),
        ("boards: {orin-a: {kind: x}}\nwait: soon", "2: 'soon' is not a time"),
        ("boards: {orin-a: {kind: x}}\nwait: 2d", "2: 'wait' must be at most 24h"),
        ("boards: {1: {kind: x}}", "1: 1 is no name"),
        ("boards: [", "is not YAML"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(tmp_path: Path, book: Book, text: str, says: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(EdgeprofError) as caught:
        read_shelf(path, book)
    assert says in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(EdgeprofError, match=r"cannot read .*none\.yaml.*name a file of boards"):
        read_shelf(tmp_path / "none.yaml")
