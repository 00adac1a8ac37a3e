"""Finding the disk under data, and setting it: on a recorded tree of /sys."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgeprof.profiler.agent.journal import UndoJournal
from edgeprof.profiler.agent.undo import undo_all
from edgeprof.profiler.errors import EdgeprofError
from edgeprof.profiler.storage import disk as module
from edgeprof.profiler.storage.changes import Changes
from edgeprof.profiler.storage.disk import Disk, chosen, disk_of, set_disk, settings_of
from edgeprof.profiler.storage.spec import StorageSpec


def put(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.fixture
def sys_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A disk with a partition, a btrfs on it, and a network file system."""
    root = tmp_path / "sys"
    disk = root / "devices/nvme0n1"
    put(disk / "queue/scheduler", "[none] mq-deadline\n")
    put(disk / "queue/read_ahead_kb", "128\n")
    put(disk / "queue/nr_requests", "1023\n")
    put(disk / "queue/nomerges", "0\n")
    put(disk / "nvme0n1p2/partition", "2\n")
    (root / "block").mkdir()
    (root / "block/nvme0n1").symlink_to("../devices/nvme0n1")
    (root / "dev/block").mkdir(parents=True)
    (root / "dev/block/259:0").symlink_to("../../devices/nvme0n1")
    (root / "dev/block/259:2").symlink_to("../../devices/nvme0n1/nvme0n1p2")
    put(root / "fs/btrfs/0c0ffee0/bdi/read_ahead_kb", "4096\n")
    put(root / "fs/btrfs/0c0ffee0/devices/nvme0n1p2", "")
    put(root / "class/bdi/0:77/read_ahead_kb", "512\n")
    monkeypatch.setattr(module, "SYS", root)
    return root


@pytest.fixture
def lies_on(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Says on what the path /data lies."""

    def say(kind: str, source: str, major: int, minor: int) -> None:
        real = Path.stat
        fields = {"file_system": kind, "source": source}
        monkeypatch.setattr(module.host, "mount_of", lambda path: fields)

        def stat(self: Path, **options: Any) -> os.stat_result:
            if str(self) == "/data":
                return os.stat_result((0o40755, 1, os.makedev(major, minor), 1, 0, 0, 0, 0, 0, 0))
            return real(self, **options)

        monkeypatch.setattr(Path, "stat", stat)

    return say


def test_what_cannot_be_read_is_not_changed_for_it_could_not_be_put_back(
    sys_folder: Path, lies_on: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lies_on("ext4", "/dev/root", 259, 0)
    secret, read = sys_folder / "devices/nvme0n1/queue/nomerges", module.host.read_text
    monkeypatch.setattr(module.host, "read_text", lambda path: None if Path(path).name == "nomerges" else read(path))
    journal = UndoJournal(str(tmp_path), "a", "b")
    with pytest.raises(EdgeprofError, match="nomerges cannot be read, so it could not be put back"):
        set_disk(disk_of(Path("/data")), StorageSpec(queue={"nomerges": "2"}), Changes(journal), print)
    assert secret.read_text() == "0\n"
    journal.remove()


def test_a_partition_has_its_parents_queue(sys_folder: Path, lies_on: Callable[..., None]) -> None:
    lies_on("ext4", "/dev/root", 259, 2)
    disk = disk_of(Path("/data"))
    assert disk == Disk("nvme0n1", "ext4", "/dev/root", (sys_folder / "devices/nvme0n1/queue/read_ahead_kb",))
    assert settings_of(disk) == {"name": "nvme0n1", "scheduler": "none", "read_ahead": 128 << 10}
    assert disk.kind == "nvme0n1"


def test_btrfs_has_a_read_ahead_of_its_own(
    sys_folder: Path, lies_on: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_block_at", lambda path: (sys_folder / "dev/block/259:2").resolve())
    lies_on("btrfs", "/dev/nvme0n1p2", 0, 45)
    disk = disk_of(Path("/data"))
    assert disk.name == "nvme0n1"
    assert [path.read_text() for path in disk.read_ahead] == ["4096\n", "128\n"]
    assert settings_of(disk)["read_ahead"] == 4096 << 10


def test_a_network_file_system_has_read_ahead_and_no_disk(sys_folder: Path, lies_on: Callable[..., None]) -> None:
    lies_on("nfs4", "server:/export", 0, 77)
    disk = disk_of(Path("/data"))
    assert (disk.name, disk.kind) == ("", None)
    assert settings_of(disk) == {"name": None, "scheduler": None, "read_ahead": 512 << 10}


def test_an_overlay_has_neither(sys_folder: Path, lies_on: Callable[..., None], tmp_path: Path) -> None:
    lies_on("overlay", "overlay", 0, 50)
    disk = disk_of(Path("/data"))
    assert settings_of(disk) == {"name": None, "scheduler": None, "read_ahead": None}
    journal = UndoJournal(str(tmp_path), "mine", "")
    with pytest.raises(EdgeprofError, match=r"on overlay \(overlay\), under which no disk .*--file-system"):
        set_disk(disk, StorageSpec(read_ahead=0), Changes(journal), print)
    journal.remove()


def test_settings_are_journalled_first_and_the_scheduler_is_restored_first(
    sys_folder: Path, lies_on: Callable[..., None], tmp_path: Path
) -> None:
    lies_on("ext4", "/dev/nvme0n1p2", 259, 2)
    disk = disk_of(Path("/data"))
    journal = UndoJournal(str(tmp_path), "mine", "")
    said: list[str] = []
    spec = StorageSpec(scheduler="mq-deadline", read_ahead=65536, queue={"nomerges": "2"})
    assert set_disk(disk, spec, Changes(journal), said.append) == {
        "scheduler": "mq-deadline",
        "nomerges": "2",
        "read_ahead_kb": "64",
    }
    entries = list(journal.open_entries.values())
    assert [(Path(entry["path"]).name, entry["old"]) for entry in entries] == [
        ("nomerges", "0"),
        ("read_ahead_kb", "128"),
        ("nr_requests", "1023"),
        ("scheduler", "none"),
    ]
    undone, failed = undo_all(entries)
    assert [sentence.rpartition("/")[2] for sentence in undone] == [
        *("scheduler", "nr_requests", "read_ahead_kb", "nomerges"),
    ]
    assert failed == []
    journal.remove()


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        (StorageSpec(scheduler="cfq"), "nvme0n1 has no I/O scheduler 'cfq'; it has: none, mq-deadline"),
        (StorageSpec(queue={"depth": "1"}), "no queue setting 'depth' that can be changed; it has: nomerges, nr_req"),
        (StorageSpec(queue={"read_ahead_kb": "1"}), "--queue does not set read_ahead_kb; use --read-ahead"),
    ],
)
def test_wrong_settings_change_nothing(
    spec: StorageSpec, sentence: str, sys_folder: Path, lies_on: Callable[..., None], tmp_path: Path
) -> None:
    lies_on("ext4", "/dev/nvme0n1p2", 259, 2)
    journal = UndoJournal(str(tmp_path), "mine", "")
    with pytest.raises(EdgeprofError, match=sentence):
        set_disk(disk_of(Path("/data")), spec, Changes(journal), print)
    assert journal.open_entries == {}
    journal.remove()


def test_the_choice_in_a_list() -> None:
    assert [chosen(text) for text in ("none [kyber] bfq", "write back", "128")] == ["kyber", "write back", "128"]
