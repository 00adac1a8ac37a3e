"""The address book: names and addresses that may end up in a command line, and files that are no address book."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgeprof.profiler.board.book import Board, Book, book_path, check_address, check_name, check_python
from edgeprof.profiler.board.check import Check, Holder
from edgeprof.profiler.board.clock import Reading
from edgeprof.profiler.board.connection import Hello
from edgeprof.profiler.board.errors import DamagedBook, FullBook, UnknownBoard, WrongEntry
from edgeprof.profiler.files import CannotWrite


@pytest.mark.parametrize("name", ["orin", "pi-5.lab_2", "0", "a" * 63])
def test_a_plain_name_is_a_name(name: str) -> None:
    assert check_name(name) == name


@pytest.mark.parametrize(
    "name", ["", "-x", ".x", "Orin", "a b", "a;b", "$(reboot)", "`x`", "a/b", "a\n", "ä", "a" * 64, "x'y", "a|b"]
)
def test_any_other_name_is_refused(name: str) -> None:
    with pytest.raises(WrongEntry, match="is no name for a board"):
        check_name(name)


@pytest.mark.parametrize(
    "address",
    ["orin", "me@orin.lab", "nvidia@192.168.55.1", "me@fe80::1", "ssh://me@host:2222", "ssh://[::1]:22", "ssh://host"],
)
def test_addresses_of_ssh_are_addresses(address: str) -> None:
    assert check_address(address) == address


@pytest.mark.parametrize(
    "address",
    [
        "",
        "-oProxyCommand=x",
        "me@-oX",
        "a b",
        "a;b",
        "ssh://-x",
        "ssh://a/b",
        "$(x)",
        "me@h`x`",
        "h\nProxyCommand x",
        "%h",
    ],
)
def test_what_ssh_or_a_shell_could_read_otherwise_is_no_address(address: str) -> None:
    with pytest.raises(WrongEntry, match="is no address"):
        check_address(address)


@pytest.mark.parametrize("program", ["-c", "python3 -c x", "$(x)", "~/python", "", "py;x"])
def test_what_is_no_programs_name_is_refused(program: str) -> None:
    with pytest.raises(WrongEntry, match="is no program"):
        check_python(program)


def test_boards_are_kept_and_taken_out(tmp_path: Path) -> None:
    book = Book(tmp_path / "new" / "boards.json")
    assert book.boards() == {}
    book.put(Board("pi", "me@pi", seen={"model": "Pi 5"}))
    book.put(Board("orin", "ssh://orin:2222", "python3.10"))
    book.put(Board("pi", "me@pi2"))
    assert list(Book(book.path).boards().values()) == [
        Board("orin", "ssh://orin:2222", "python3.10"),
        Board("pi", "me@pi2"),
    ]
    assert book.remove("orin").address == "ssh://orin:2222"
    with pytest.raises(UnknownBoard, match=r"no board 'orin'; there are: pi;.*edgeprof board add"):
        book.find("orin")


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("{", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("[]", "no 'boards'"),
        ('{"boards": {}, "version": 9}', "version is 9"),
        ('{"version": 1, "boards": {"a": {}}}', "no address"),
        ('{"version": 1, "boards": {"a": 1}}', "no address"),
        ('{"version": 1, "boards": {"a": {"address": "-oProxyCommand=x"}}}', "no address of a board"),
        ('{"version": 1, "boards": {"a": {"address": "b", "python": "x y"}}}', "no program"),
        ('{"version": 1, "boards": {"$(x)": {"address": "b"}}}', "no name"),
        ('{"version": 1, "boards": {"a": {"address": 5}}}', "no address"),
    ],
)
def test_a_damaged_book_is_told_and_left_as_it_is(tmp_path: Path, content: str, why: str) -> None:
    path = tmp_path / "boards.json"
    path.write_text(content)
    with pytest.raises(DamagedBook, match=why):
        Book(path).put(Board("a", "b"))
    assert path.read_text() == content


def test_a_book_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CannotWrite):
        Book(tmp_path / "file" / "boards.json").put(Board("a", "b"))


def test_a_book_that_could_not_be_read_again_is_not_written(tmp_path: Path) -> None:
    book = Book(tmp_path / "boards.json")
    book.put(Board("a", "b"))
    with pytest.raises(FullBook, match="no room for this"):
        book.put(Board("c", "d", seen={"model": "é" * 300_000}))
    assert list(book.boards()) == ["a"]


def test_what_a_board_says_of_itself_is_kept_short_and_in_print() -> None:
    hello = Hello(1, "1.0", "3.11.2", "aarch64", "6.6\x1b[2J", "pi", 1000, "/home/pi", None, "boot", 0)
    identity = {"name": "é" * 1_000_000, "system": {"deep": ["x" * 1_000_000]}}
    clock, nobody = Reading(*range(7)), Holder(False, None, None, None)
    found = Check("pi", "pi", hello, "", False, 0.0, clock, nobody, {"board": identity}, [])
    seen = found.seen()
    assert (seen["model"], seen["system"], seen["kernel"]) == ("é" * 200, None, "6.6\\x1b[2J")
    assert (seen["hostname"], seen["machine"], seen["python"]) == ("pi", "aarch64", "3.11.2")


def test_the_book_is_where_the_environment_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("EDGEPROF_BOARDS", str(tmp_path / "b.json"))
    assert book_path() == tmp_path / "b.json"
    monkeypatch.delenv("EDGEPROF_BOARDS")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert book_path() == tmp_path / "edgeprof" / "boards.json"
    monkeypatch.setenv("XDG_CONFIG_HOME", "relative")  # the specification says that it is to be ignored
    monkeypatch.setenv("HOME", "/home/me")
    assert book_path() == Path("/home/me/.config/edgeprof/boards.json")


def test_boards_added_at_once_are_all_kept(tmp_path: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    book = Book(tmp_path / "boards.json")
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: book.put(Board(f"b{number}", "host")), range(24)))
    assert len(json.loads(book.path.read_text())["boards"]) == 24
