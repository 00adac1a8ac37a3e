"""The undo journal: durable, cut anywhere, in a place that only its user can write."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgeprof.collectors.helper import start_time
from edgeprof.profiler.agent.journal import UndoJournal, boot_id, open_entries, read_journal, state_folder


def test_a_journal_holds_what_is_still_to_be_undone(tmp_path: Path) -> None:
    journal = UndoJournal(str(tmp_path), "run-1", "/captures/run-1")
    first = journal.record("cgroup", path="/sys/fs/cgroup/x", home="/sys/fs/cgroup")
    second = journal.record("process", pid=7, start_time=8)
    third = journal.record("write", path="/sys/y", old="1")
    journal.done(second)
    journal.done(second)
    saved = read_journal(journal.path)
    assert saved is not None
    assert (saved.owner, saved.owner_start) == (os.getpid(), start_time(os.getpid()))
    assert (saved.boot_id, saved.capture) == (boot_id(), "/captures/run-1")
    assert [(entry["n"], entry["kind"]) for entry in saved.entries] == [(first, "cgroup"), (third, "write")]
    assert saved.entries[0]["home"] == "/sys/fs/cgroup"
    assert [entry["n"] for entry in journal.open_entries.values()] == [first, third]
    assert [entry["n"] for entry in open_entries(str(tmp_path), "write")] == [third]
    assert Path(journal.path).stat().st_mode & 0o777 == 0o600
    journal.remove()
    journal.remove()
    assert list(tmp_path.iterdir()) == []


def test_an_entry_is_on_disk_before_its_number_is_told(tmp_path: Path) -> None:
    journal = UndoJournal(str(tmp_path), "run-1", "")
    for kind in ("cgroup", "write", "mount"):
        journal.record(kind, path="x")
        saved = read_journal(journal.path)
        assert saved is not None
        assert saved.entries[-1]["kind"] == kind
    journal.close()


def test_a_journal_that_cannot_be_begun_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(source: object, target: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "rename", refuse)
    with pytest.raises(OSError, match="No space left"):
        UndoJournal(str(tmp_path), "run-1", "")
    assert list(tmp_path.iterdir()) == []


OWNER = json.dumps({"owner": 5, "start_time": 6, "boot_id": "b", "capture": "c"}).encode() + b"\n"


@pytest.mark.parametrize("content", [b"", b"\n\n", b"null\n[]\n7\n", OWNER[:-20], b'{"owner": "5", "start_time": 6}\n'])
def test_without_an_owner_there_is_no_journal(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.journal"
    path.write_bytes(content)
    assert read_journal(str(path)) is None


def test_lines_that_are_cut_or_foreign_are_skipped(tmp_path: Path) -> None:
    path = tmp_path / "x.journal"
    lines = [
        b'{"n": 1, "kind": "write"}',
        b"{",
        b"[" * 50_000,
        b"3",
        b'{"n": "2", "kind": "a"}',
        b'{"n": 3, "kind": 4}',
    ]
    lines += [b'{"n": 3, "kind": 4}', b'{"done": 77}', b'{"n": 9, "kind": "mount"}', b'{"n": 10, "ki']
    path.write_bytes(OWNER + b"\n".join(lines))
    saved = read_journal(str(path))
    assert saved is not None
    assert [entry["n"] for entry in saved.entries] == [1, 9]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.binary(max_size=200), st.integers(min_value=0, max_value=200))
def test_no_bytes_raise(tmp_path: Path, data: bytes, cut: int) -> None:
    path = tmp_path / "x.journal"
    path.write_bytes((OWNER + data)[: len(OWNER) + cut])
    read_journal(str(path))
    path.write_bytes(data)
    read_journal(str(path))


# -- where it lies -------------------------------------------------------------------------------------------


@pytest.fixture
def no_places(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An ordinary user without any of the variables that name folders."""
    for name in ("EDGEPROF_STATE", "XDG_RUNTIME_DIR"):
        monkeypatch.delenv(name, raising=False)
    owner = os.geteuid()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    if owner == 0:  # root's is /run/edgeprof: tell the code that it is another, and that the files are that one's
        own = os.lstat
        monkeypatch.setattr(os, "geteuid", lambda: 1234)
        monkeypatch.setattr(os, "lstat", lambda path: os.stat_result((*own(path)[:4], 1234, *own(path)[5:])))
    return tmp_path


def test_the_users_choice_wins(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("EDGEPROF_STATE", str(tmp_path / "a/b"))
    assert state_folder() == str(tmp_path / "a/b")
    assert (tmp_path / "a/b").stat().st_mode & 0o777 == 0o700


def test_the_runtime_folder_comes_before_home(no_places: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert state_folder() == str(no_places / "home/.local/state/edgeprof")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(no_places / "runtime"))
    assert state_folder() == str(no_places / "runtime/edgeprof")


def test_a_place_that_cannot_be_made_is_passed_over(no_places: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (no_places / "file").touch()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(no_places / "file"))
    assert state_folder() == str(no_places / "home/.local/state/edgeprof")


def test_a_place_that_others_can_change_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    chosen = tmp_path / "open"
    chosen.mkdir()
    chosen.chmod(0o777)
    monkeypatch.setenv("EDGEPROF_STATE", str(chosen))
    with pytest.raises(PermissionError, match="it can be changed by others"):
        state_folder()
    link = tmp_path / "link"
    link.symlink_to(tmp_path)
    monkeypatch.setenv("EDGEPROF_STATE", str(link))
    with pytest.raises(PermissionError, match="it can be changed by others"):
        state_folder()


def test_no_boot_id_is_an_empty_one(tmp_path: Path) -> None:
    assert boot_id(str(tmp_path)) == ""
    assert len(boot_id()) == 36
