"""What is asked of storage that cannot be, and the undoing of files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from edgeprof.profiler.agent.journal import boot_id
from edgeprof.profiler.agent.undo import clean, undo
from edgeprof.profiler.agent.undo_storage import users_of
from edgeprof.profiler.errors import EdgeprofError
from edgeprof.profiler.storage.changes import changes
from edgeprof.profiler.storage.file_system import room_for
from edgeprof.profiler.storage.folders import data_folder
from edgeprof.profiler.storage.loop import private_folder
from edgeprof.profiler.storage.prepare import prepared, tuned
from edgeprof.profiler.storage.residency import files_below, residency
from edgeprof.profiler.storage.spec import Place, StorageSpec


@pytest.fixture(autouse=True)
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEPROF_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("EDGEPROF_DATA_CACHE", str(tmp_path / "cache"))


def refused(spec: StorageSpec) -> str:
    with pytest.raises(EdgeprofError) as error, prepared(spec, 0, print) as place, tuned(spec, place, None, print):
        pass
    return str(error.value)


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        (StorageSpec(device="/dev/x"), "--fs-device is of a new file system; name its kind with --file-system"),
        (StorageSpec(erase="/dev/x"), "--erase is of a new file system"),
        (StorageSpec(size=1), "--fs-size is of a new file system"),
        (StorageSpec(file_system="ext4", device="/dev/x", size=1), "--fs-size is of a loop device's file"),
        (StorageSpec(file_system="ext4", erase="/dev/x"), "--erase is of a device that is named with --fs-device"),
        (StorageSpec(cache="cold"), "--cache cold is of a data set; name one with --data"),
    ],
)
def test_options_that_do_not_go_together(spec: StorageSpec, sentence: str, tmp_path: Path) -> None:
    assert sentence in refused(spec)
    assert not (tmp_path / "state").exists()


@pytest.mark.parametrize(
    ("spec", "what"),
    [
        (StorageSpec(file_system="ext4"), "--file-system ext4"),
        (StorageSpec(zram=1 << 20), "--zram"),
        (StorageSpec(read_ahead=0), "changing a device's settings"),
    ],
)
def test_what_needs_root(spec: StorageSpec, what: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert refused(spec) == f"{what} needs root: call edgeprof with sudo"
    assert not (tmp_path / "state").exists()


def test_nothing_asked_changes_nothing(tmp_path: Path) -> None:
    with prepared(StorageSpec(), 0, print) as place, tuned(StorageSpec(), place, None, print):
        assert place == Place()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        (("/dev/null", ""), "/dev/null is not a block device"),
        (("/nonexistent", ""), "there is no device /nonexistent: No such file or directory"),
        (("/dev/null", "/dev/zero"), "--erase names /dev/zero and --fs-device /dev/null"),
    ],
)
def test_what_is_no_device(spec: tuple[str, str], sentence: str) -> None:
    from edgeprof.profiler.storage.device import check_device

    with pytest.raises(EdgeprofError, match=sentence):
        check_device(*spec)


def test_an_image_has_room_for_small_files_and_the_file_system() -> None:
    assert room_for(0, "ext4") == 64 << 20
    assert room_for(100 << 20, "ext4") > 2 * (100 << 20)
    assert room_for(100 << 30, "xfs") < 1.1 * (100 << 30)


def test_files_are_undone_and_folders_only_when_empty(tmp_path: Path) -> None:
    folder = tmp_path / "made"
    folder.mkdir()
    (folder / "image").touch()
    with pytest.raises(OSError, match="not empty"):
        undo({"n": 1, "kind": "file", "path": str(folder)})
    for _ in range(2):
        undo({"n": 2, "kind": "file", "path": str(folder / "image")})
        undo({"n": 1, "kind": "file", "path": str(folder)})
    assert not folder.exists()


def test_a_file_is_removed_after_a_reboot_too_and_settings_are_not(tmp_path: Path) -> None:
    (tmp_path / "image").touch()
    (tmp_path / "knob").write_text("new")
    state = tmp_path / "state"
    state.mkdir()
    lines = (
        '{"owner": 1, "start_time": 1, "boot_id": "another", "capture": "x"}',
        f'{{"n": 1, "kind": "file", "path": "{tmp_path}/image"}}',
        f'{{"n": 2, "kind": "write", "path": "{tmp_path}/knob", "old": "old"}}',
    )
    (state / "storage-1-x.journal").write_text("\n".join(lines))
    clean(str(state))
    assert not (tmp_path / "image").exists()
    assert (tmp_path / "knob").read_text() == "new"


def test_images_from_before_the_last_boot_are_removed(tmp_path: Path) -> None:
    old = data_folder() / "storage-0123456789abcdef0123456789abcdef-12345678"
    (old / "mount").mkdir(parents=True)
    (old / "image").touch()
    with changes(print) as made:
        folder = private_folder(made)
        assert boot_id().replace("-", "") in folder.name
        assert [path.name for path in data_folder().iterdir()] == [folder.name]
    assert list(data_folder().iterdir()) == []
    assert list((tmp_path / "state").iterdir()) == []


def test_an_entry_of_a_loop_device_or_swap_that_is_gone_is_undone() -> None:
    assert undo({"n": 1, "kind": "loop", "path": "/x", "device": 1, "inode": 2}) == ""
    for entry in ({"kind": "loop", "path": "/x"}, {"kind": "zram"}, {"kind": "swap"}, {"kind": "file"}):
        with pytest.raises(OSError, match="damaged journal entry"):
            undo({"n": 1, **entry})


def test_who_uses_a_folder(tmp_path: Path) -> None:
    with (tmp_path / "file").open("w"):
        assert f" {os.getpid()}" in users_of(str(tmp_path))
    assert users_of(str(tmp_path / "fi")) == ""


def test_each_file_counts_once_wherever_links_lead(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a/one").write_bytes(b"x")
    os.link(tmp_path / "a/one", tmp_path / "hard")
    (tmp_path / "soft").symlink_to("a/one")
    (tmp_path / "nowhere").symlink_to("missing")
    (tmp_path / "folder").symlink_to("a")
    os.mkfifo(tmp_path / "pipe")
    assert len(files_below(tmp_path)) == 1
    assert files_below(tmp_path / "a/one") == [tmp_path / "a/one"]


def test_both_ways_of_measuring_agree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from edgeprof.profiler.storage import residency as module

    monkeypatch.setattr(module, "_CHUNK", 1 << 16)
    path, empty = tmp_path / "file", tmp_path / "empty"
    path.write_bytes(os.urandom(200_001))
    empty.touch()
    page = os.sysconf("SC_PAGE_SIZE")
    first = residency([path, empty])
    monkeypatch.setattr(module, "_CACHESTAT", 100_000)
    second = residency([path, empty])
    assert (second.how, second.files) == ("mincore", 2)
    assert (first.bytes, first.total) == (second.bytes, second.total)
    assert second.share == 1
    assert second.total == -(-200_001 // page) * page


def test_what_cannot_be_measured_is_null_with_a_reason(tmp_path: Path) -> None:
    found = residency([tmp_path / "missing"])
    assert (found.bytes, found.share) == (None, None)
    assert "No such file" in found.facts()["reason"]
    assert residency([]).share is None
