"""Tuning a real disk: what is in force while a change is tried, and that all is as before however it ends."""

from __future__ import annotations

import fcntl
import mmap
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from edgeprof.cli.main import main
from edgeprof.collectors.sysfs import put
from edgeprof.kmodule.model import Feature, Model
from edgeprof.kmodule.model_file import Node, tree_file
from edgeprof.kmodule.readahead import FEATURES
from edgeprof.kmodule.tuning.errors import CannotTune
from edgeprof.kmodule.tuning.lock import DiskLock
from edgeprof.kmodule.tuning.service import Settings, tune
from edgeprof.kmodule.tuning.target import Target
from edgeprof.kmodule.tuning.tuner import Told
from edgeprof.profiler.agent.undo import clean
from edgeprof.profiler.agent.undo_read_ahead import give_normal_advice, kernel_number
from edgeprof.profiler.storage.changes import changes
from edgeprof.profiler.storage.disk import chosen
from edgeprof.profiler.storage.prepare import prepared
from edgeprof.profiler.storage.residency import residency
from edgeprof.profiler.storage.spec import StorageSpec
from tests.helpers import Places, tracing_left, wait_until

pytestmark = pytest.mark.root
SIZE = 64 << 20
PAGE = mmap.PAGESIZE
LOOP_CTL_ADD, LOOP_CTL_REMOVE = 0x4C80, 0x4C81
TICK = 0.1


class LoopDisk:
    """A loop device with a file on it that is never all in memory."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "file"
        self.file.write_bytes(os.urandom(SIZE))
        self.target = Target(str(folder))
        self.read_ahead = Path(self.target.read_ahead_paths[0])
        put(str(self.read_ahead), "128")
        os.sync()

    @property
    def name(self) -> str:
        return self.target.name

    def kib(self) -> int:
        return int(self.read_ahead.read_text())


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoopDisk]:
    folder = tmp_path_factory.mktemp("tune")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGEPROF_STATE", str(folder / "state"))
        patch.setenv("EDGEPROF_DATA_CACHE", str(folder / "cache"))
        with prepared(StorageSpec(file_system="ext4", size=2 * SIZE), SIZE, lambda line: None) as place:
            assert place.folder is not None
            made = LoopDisk(place.folder)
            try:
                yield made
            finally:
                made.target.close()


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[Path]:
    """Journals and locks of the test's own."""
    folder = tmp_path / "state"
    monkeypatch.setenv("EDGEPROF_STATE", str(folder))
    yield folder
    if folder.is_dir():
        clean(str(folder))


def constant_model(kib: int) -> bytes:
    return tree_file("constant", [Feature(name) for name in FEATURES], [Node(-1, 0, 0)], np.array([[np.log2(kib)]]))


class Reader:
    """Reads single pages of the file at random, cold each time, in a thread; the file stays open all the while."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_RDONLY)
        self._map = mmap.mmap(self._file, 0, prot=mmap.PROT_READ)
        self._random = np.random.default_rng(0)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._read)
        self._path = path

    def __enter__(self) -> Reader:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.pause()
        self._map.close()
        os.close(self._file)

    def pause(self) -> None:
        """Read no more."""
        self._ended.set()
        self._thread.join()

    def _read(self) -> None:
        while not self._ended.is_set():
            self._forget()
            for page in self._random.integers(0, SIZE // PAGE, 200).tolist():
                self._map[page * PAGE]
            time.sleep(0.002)

    def _forget(self) -> None:
        self._map.madvise(mmap.MADV_DONTNEED)
        os.posix_fadvise(self._file, 0, 0, os.POSIX_FADV_DONTNEED)

    def pages_for_one(self) -> int:
        """Pages that come into memory when one in the middle is touched."""
        self._forget()
        assert residency([self._path]).bytes == 0
        self._map[SIZE // 2]
        return int(residency([self._path]).bytes or 0) // PAGE


def run(disk: LoopDisk, model: bytes, until: Callable[[], bool], **more: bool) -> tuple[list[Told], dict[str, float]]:
    """Tune in this process, in short ticks, until something has come about."""
    told: list[Told] = []
    deadline = time.monotonic() + 30

    def wait(seconds: float) -> bool:
        time.sleep(seconds)
        return until() or time.monotonic() > deadline

    figures = tune([disk.name], Settings(Model.load(model), tick=TICK, **more), wait, told.append)
    assert time.monotonic() < deadline, [item.sentence for item in told]
    return told, figures


def events(told: list[Told]) -> list[str]:
    return [str(item.facts["event"]) for item in told]


def test_an_open_file_follows_its_disk_when_it_is_told_to(disk: LoopDisk) -> None:
    numbers = {kernel_number(disk.file.stat().st_dev)}
    with Reader(disk.file) as reader:
        reader.pause()
        assert reader.pages_for_one() == 128 // 4
        put(str(disk.read_ahead), "8")
        try:
            assert reader.pages_for_one() == 128 // 4
            child = os.fork()  # a process never tells itself
            if child == 0:
                os._exit(give_normal_advice([os.getppid()], numbers))
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 2  # a mapping has a descriptor of its own
            assert reader.pages_for_one() == 8 // 4
        finally:
            put(str(disk.read_ahead), "128")


def test_a_change_is_in_force_while_it_is_tried_and_undone_at_the_end(disk: LoopDisk, state: Path) -> None:
    seen: set[int] = set()

    def until() -> bool:
        seen.add(disk.kib())
        return seen == {8, 128}

    with Reader(disk.file):
        told, figures = run(disk, constant_model(8), until)
    assert events(told)[:2] == ["begins", "tries"]
    assert figures["looks"] >= 2
    assert disk.kib() == 128
    assert tracing_left(os.getpid()) == []
    assert list(state.glob("*.journal")) == []


def test_schedulers_are_tried_and_put_back_with_their_settings(disk: LoopDisk) -> None:
    queue = disk.read_ahead.parent
    names = (queue / "scheduler").read_text().replace("[", "").replace("]", "").split()
    if not {"mq-deadline", "none"} <= set(names):
        pytest.skip("this kernel has no mq-deadline; build it with CONFIG_MQ_IOSCHED_DEADLINE")
    put(str(queue / "scheduler"), "mq-deadline")
    put(str(queue / "iosched" / "fifo_batch"), "7")
    put(str(queue / "nr_requests"), "99")
    tried: set[str] = set()

    def until() -> bool:
        tried.add(chosen((queue / "scheduler").read_text()))
        return len(tried) > 1

    try:
        with Reader(disk.file):
            told, _ = run(disk, constant_model(128), until, schedulers=True)
        assert events(told)[:2] == ["begins", "tries"]
        assert chosen((queue / "scheduler").read_text()) == "mq-deadline"
        assert (queue / "iosched" / "fifo_batch").read_text() == "7\n"
        assert (queue / "nr_requests").read_text() == "99\n"
    finally:
        put(str(queue / "scheduler"), "none")


def test_an_observer_changes_nothing(disk: LoopDisk) -> None:
    told: list[Told] = []
    with Reader(disk.file):
        deadline = time.monotonic() + 30

        def wait(seconds: float) -> bool:
            assert disk.kib() == 128
            time.sleep(seconds)
            return "would_try" in events(told) or time.monotonic() > deadline

        tune([disk.name], Settings(Model.load(constant_model(8)), observe=True, tick=TICK), wait, told.append)
    assert events(told) == ["begins", "would_try"]


def test_killed_in_a_trial_its_changes_are_cleaned_also_for_open_files(disk: LoopDisk, places: Places) -> None:
    model = places.base / "model.kml"
    model.write_bytes(constant_model(8))
    words = ("tune", disk.name, "--model", str(model))
    with Reader(disk.file) as reader, places.start(*words) as tuner:
        wait_until(lambda: disk.kib() == 8 or tuner.poll() is not None, "a trial", 40)
        time.sleep(0.3)  # open files are told right after the disk is
        tuner.kill()
        tuner.wait()
        if disk.kib() == 128:
            pytest.fail(f"it had ended its trial: {tuner.communicate()}")
        reader.pause()
        assert reader.pages_for_one() == 8 // 4
        assert tracing_left(tuner.pid) != []
        done = places.edgeprof("clean")
        assert done.returncode == 0, done.stderr
        assert f"restored {disk.read_ahead}, also for 2 open descriptors" in done.stdout
        assert disk.kib() == 128
        assert tracing_left(tuner.pid) == []
        assert reader.pages_for_one() == 128 // 4


def test_terminated_it_says_so_and_puts_all_back(disk: LoopDisk, places: Places) -> None:
    with Reader(disk.file), places.start("tune", disk.name, "--json") as tuner:
        assert tuner.stdout is not None
        assert '"event": "begins"' in tuner.stdout.readline()
        second = places.edgeprof("tune", disk.name)
        assert second.returncode == 120
        assert f"{disk.name} is tuned by process {tuner.pid} already" in second.stderr
        busy = places.edgeprof("clean")
        assert f"tuning belongs to process {tuner.pid}, which still runs" in busy.stdout
        tuner.send_signal(signal.SIGTERM)
        out, err = tuner.communicate(timeout=20)
    assert (tuner.returncode, err) == (0, "")
    assert '"event": "ends"' in out
    assert disk.kib() == 128
    assert [path.name for path in places.journals()] == [f"tune-{disk.name}.lock"]


def test_a_disk_whose_settings_a_run_has_changed_is_left_to_it_and_the_other_way_round(
    disk: LoopDisk, state: Path
) -> None:
    with changes(lambda line: None) as run_of_another:
        run_of_another.record("write", path=str(disk.read_ahead), old="128")
        with pytest.raises(CannotTune, match="was changed by a run that has not ended yet"):
            run(disk, constant_model(8), lambda: True)
    with changes(lambda line: None, "tuning") as tuning, changes(lambda line: None) as another:
        assert not another.taken(str(disk.read_ahead))
        tuning.record("read_ahead", path=str(disk.read_ahead), old="128", numbers=[], open_files=False)
        assert another.taken(str(disk.read_ahead))
        assert not tuning.taken(str(disk.read_ahead))


def test_what_somebody_else_sets_stays(disk: LoopDisk) -> None:
    changed = False

    def until() -> bool:
        nonlocal changed
        if not changed and disk.kib() == 8:
            put(str(disk.read_ahead), "64")
            changed = True
        return False

    try:
        with Reader(disk.file):
            told, _ = run(disk, constant_model(8), until)
        assert events(told)[-1] == "dropped"
        assert "somebody else set it" in told[-1].sentence
        assert disk.kib() == 64
    finally:
        put(str(disk.read_ahead), "128")


def test_a_disk_that_goes_away_is_dropped(tmp_path: Path) -> None:
    image = tmp_path / "image"
    image.write_bytes(bytes(1 << 20))
    losetup = ["losetup", "--find", "--show", str(image)]
    device = subprocess.run(losetup, check=True, capture_output=True, text=True).stdout.strip()
    number = int(device.removeprefix("/dev/loop"))
    told: list[Told] = []
    ticks = 0

    def wait(seconds: float) -> bool:
        nonlocal ticks
        ticks += 1
        if ticks == 3:
            subprocess.run(["losetup", "--detach", device], check=True)
            with Path("/dev/loop-control").open("rb") as control:
                fcntl.ioctl(control, LOOP_CTL_REMOVE, number)
        return ticks > 30

    try:
        tune([device], Settings(Model.load(constant_model(8)), tick=0.01), wait, told.append)
    finally:
        with Path("/dev/loop-control").open("rb") as control:
            fcntl.ioctl(control, LOOP_CTL_ADD, number)
    assert told[-1].sentence == f"loop{number} has gone and is no longer tuned"
    assert ticks < 30


def test_what_cannot_be_tuned_is_refused_in_a_sentence(
    disk: LoopDisk, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = tmp_path / "wrong.kml"
    wrong.write_bytes(tree_file("wrong", [Feature("size")], [Node(-1, 0, 0)], np.array([[1.0]])))
    for words, sentence in (
        (["/dev/no-such"], "/dev/no-such: No such file or directory; name a disk"),
        (["/proc"], "which is no disk of this machine"),
        ([disk.name, f"/dev/{disk.name}"], f"{disk.name} is named twice"),
        ([disk.name, "--model", str(wrong)], "is no model of read-ahead: it takes size"),
        ([disk.name, "--model", str(disk.file)], "is no model of read-ahead"),
    ):
        assert main(["tune", *words]) == 120
        said = capsys.readouterr().err
        assert sentence in said
        assert len(said.splitlines()) == 1
    assert tracing_left(os.getpid()) == []


def test_the_lock_goes_with_its_process(disk: LoopDisk) -> None:
    child = os.fork()
    if child == 0:
        DiskLock("lock-test")
        os._exit(0)
    os.waitpid(child, 0)
    held = DiskLock("lock-test")
    with pytest.raises(CannotTune, match=f"is tuned by process {os.getpid()} already"):
        DiskLock("lock-test")
    held.close()
