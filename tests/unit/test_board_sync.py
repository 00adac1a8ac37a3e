"""What the desk sends to a board: a wrong or hostile list, stream or request is one sentence, and changes nothing."""

from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path
from typing import Any

import pytest

from edgeprof.profiler.agent.remote_protocol import Refused
from edgeprof.profiler.agent.remote_start import start
from edgeprof.profiler.agent.remote_sync import receive
from edgeprof.profiler.agent.spec import CaptureError
from tests.board_agent import announced, tar_of


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EDGEPROF_BOARD_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def send(files: dict[str, bytes], stream: bytes | None = None, request: object = None) -> list[dict[str, Any]]:
    """Send a folder as the desk does; the board's answers."""
    answers: list[dict[str, Any]] = []
    head = json.dumps(announced(files) if request is None else request).encode() + b"\n"
    body = io.BufferedReader(io.BytesIO(head + (tar_of(files) if stream is None else stream)))  # type: ignore[arg-type]
    receive("app", body, answers.append)
    return answers


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("stream", "expected"),
    [
        (tar_of({"other": b"new"}), "was not announced"),
        (tar_of({"../a": b"new"}), "was not announced"),
        (tar_of({"/tmp/a": b"new"}), "was not announced"),
        (tar_of({"a": b"neww"}), "something else than was announced"),
        (tar_of({"a": b"new"}, type=b"2", linkname="/etc/passwd"), "something else than was announced"),
        (tar_of({"a": b"new"}, type=b"1", linkname="b"), "something else than was announced"),
        (tar_of({"a": b"new"}, type=b"3"), "something else than was announced"),
        (tar_of({"a": b"new"}, type=b"5"), "something else than was announced"),
        (tar_of({"a": b"wen"}), "SHA-256 differs"),
        (tar_of({"a": b"new"})[:514], "cut or damaged"),
        (tar_of({}), "did not come"),
        (b"", "cut or damaged"),
        (b"not a tar stream " * 1000, "cut or damaged"),
    ],
)
def test_a_stream_that_is_not_what_was_announced_changes_nothing(home: Path, stream: bytes, expected: str) -> None:
    send({"a": b"old", "b": b"old"})  # of the same size and time of change as the new one
    with pytest.raises(Refused, match=expected):
        send({"a": b"new", "b": b"old"}, stream)
    assert contents(home / "sync" / "app") == {"a": b"old", "b": b"old"}
    assert [path.name for path in (home / "sync").iterdir() if not path.name.startswith(".app.")] == ["app"]


def test_a_member_that_comes_twice_is_refused(home: Path) -> None:
    twice = tar_of({"a": b"new"})[:1024] + tar_of({"a": b"new"})
    with pytest.raises(Refused, match="was not announced"):
        send({"a": b"new", "b": b"new"}, twice)
    assert contents(home / "sync" / "app") == {}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"path": "../a"}, "no path below"),
        ({"path": "/etc/a"}, "no path below"),
        ({"path": "a//b"}, "no path below"),
        ({"path": "a" * 2000}, "no path below"),
        ({"path": "a\0b"}, "no path below"),
        ({"path": 5}, "wrong field"),
        ({"size": -1}, "wrong field"),
        ({"size": True}, "wrong field"),
        ({"mode": 1 << 70}, "wrong field"),
        ({"size": 1 << 50}, "MiB are free"),
        ({"sha256": "x"}, "without its SHA-256"),
        ({"more": 1}, "an announced file needs"),
    ],
)
def test_a_list_of_files_that_is_wrong_is_refused(home: Path, change: dict[str, Any], expected: str) -> None:
    item = {**announced({"a": b"a"})["files"][0], **change}
    with pytest.raises(Refused, match=expected):
        send({}, request={"files": [item]})


def test_names_that_collide_are_refused(home: Path) -> None:
    for files, expected in ((["a", "a"], "announced twice"), (["a", "a/b"], "as a file and as a folder")):
        items = [announced({path: b""})["files"][0] for path in files]
        with pytest.raises(Refused, match=expected):
            send({}, request={"files": items})
    for name in ("..", ".app", "a/b", "", "a\n"):
        with pytest.raises(Refused, match="is no name for a folder"):
            receive(name, io.BufferedReader(io.BytesIO(b"{}\n")), print)  # type: ignore[arg-type]


def test_links_on_the_board_are_not_followed(home: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_text("kept")
    folder = home / "sync" / "app"
    send({"data/kept": b"old"})
    (folder / "data" / "kept").unlink()
    (folder / "data").rmdir()
    (folder / "data").symlink_to(outside)
    (folder / "e").symlink_to(outside / "kept")
    send({"e": b"new"})  # data/kept is not announced any more, and is to be removed
    assert contents(outside) == {"kept": b"kept"}
    assert (folder / "e").read_bytes() == b"new"
    send({"e": b"new", "data/a": b"new"}, tar_of({"data/a": b"new"}))
    assert contents(outside) == {"kept": b"kept"}
    assert contents(folder) == {"e": b"new", "data/a": b"new"}


def test_a_damaged_record_of_what_was_received_costs_a_look_at_the_files_only(home: Path) -> None:
    send({"a": b"old"})
    for text in ("", "[1]", '{"../x": 5, "a": 1}', "[" * 100_000):
        (home / "sync" / ".app.json").write_text(text)
        assert send({"a": b"old"}, b"")[0] == {"missing": []}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"job": "../one"}, "is no name for a job"),
        ({"job": None}, "is no name for a job"),
        ({"spec": None}, "has no 'spec'"),
        ({"spec": {"command": "true"}}, "wrong 'command'"),
        ({"spec": {"command": ["true"], "colour": 1}}, "unknown field 'colour'"),
        ({"cwd": "/no/such"}, "there is no folder '/no/such'"),
        ({"cwd": "../jobs"}, "is not below"),
        ({"cwd": 5}, "wrong 'cwd'"),
        ({"wait": -1}, "nobody waits"),
        ({"wait": float("nan")}, "nobody waits"),
        ({"owner": 5}, "wrong 'owner'"),
    ],
)
def test_a_wrong_request_to_start_leaves_nothing(home: Path, change: dict[str, Any], expected: str) -> None:
    request = {"job": "one", "spec": {"command": ["true"]}, "cwd": None, "owner": "me", "wait": 0, **change}
    with pytest.raises((Refused, CaptureError), match=expected) as caught:
        start(request)
    assert 120 <= caught.value.exit_code <= 125
    assert not (home / "jobs").exists()


def test_what_was_received_is_what_was_sent(home: Path) -> None:
    files = {f"folder/{number}": bytes([number]) * number * 1000 for number in range(50)}
    first, done = send(files)
    assert first == {"missing": sorted(files)}
    assert contents(Path(done["folder"])) == files
    for path, content in files.items():
        assert hashlib.sha256((home / "sync" / "app" / path).read_bytes()).digest() == hashlib.sha256(content).digest()
    assert send(files, b"")[0] == {"missing": []}
