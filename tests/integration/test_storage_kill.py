"""`kill -9` while storage is prepared, at each step: `edgeprof clean` leaves nothing."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edgeprof.profiler.agent import undo
from edgeprof.profiler.agent.journal import UndoJournal
from edgeprof.profiler.agent.undo import clean
from edgeprof.profiler.storage.prepare import prepared, tuned
from edgeprof.profiler.storage.spec import StorageSpec
from tests.helpers import Places, alive, wait_until
from tests.integration.test_storage_real import left

pytestmark = pytest.mark.root
NEED = 1 << 20
HAS_ZRAM = Path("/sys/class/zram-control/hot_add").exists()
SPEC = StorageSpec(
    file_system="ext4",
    size=32 << 20,
    scheduler="mq-deadline",
    read_ahead=64 << 10,
    queue={"nomerges": "1"},
    zram=(16 << 20) if HAS_ZRAM else 0,
)
SETTINGS = ("scheduler", "read_ahead_kb", "nr_requests", "nomerges")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("EDGEPROF_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("EDGEPROF_DATA_CACHE", str(tmp_path / "cache"))
    yield tmp_path
    clean(str(tmp_path / "state"))


def in_a_child(action: Callable[[], None]) -> int:
    """Do it in a forked process of its own; returns its wait status."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            action()
            code = 0
        finally:
            os._exit(code)
    return os.waitpid(child, 0)[1]


def prepare() -> None:
    with prepared(SPEC, NEED, lambda line: None) as place:
        assert place.folder is not None
        (place.folder / "file").write_bytes(bytes(NEED))
        with tuned(SPEC, place, place.folder, lambda line: None):
            pass


def killed_at(step: int, where: str) -> bool:
    """Prepare in a child that kills itself at its ``step``-th journal entry or undoing; False: it has fewer.

    ``before`` an entry all earlier changes are made, ``after`` it the change it stands for is not made yet;
    ``undo``: that many entries are undone, and none of them is struck out.
    """

    def action() -> None:
        count = 0

        def reached() -> bool:
            nonlocal count
            count += 1
            return count == step

        record, one = UndoJournal.record, undo.undo

        def recording(self: UndoJournal, kind: str, **details: object) -> int:
            if where != "undo" and reached():
                if where == "after":
                    record(self, kind, **details)
                os.kill(os.getpid(), signal.SIGKILL)
            return record(self, kind, **details)

        def undoing(entry: dict[str, object]) -> str:
            if where == "undo" and reached():
                os.kill(os.getpid(), signal.SIGKILL)
            return one(entry)

        UndoJournal.record = recording  # type: ignore[method-assign]
        undo.undo = undoing
        prepare()

    status = in_a_child(action)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return os.WIFSIGNALED(status)


def machine() -> tuple[str, list[str]]:
    """The swaps and the zram devices that there are."""
    return Path("/proc/swaps").read_text(), sorted(path.name for path in Path("/sys/block").glob("zram*"))


def loop_settings() -> dict[str, str]:
    """Of the free loop devices: settings outlive what was attached."""
    free = [path for path in Path("/sys/block").glob("loop*") if not (path / "loop/backing_file").exists()]
    return {f"{path.name}/{name}": (path / "queue" / name).read_text() for path in free for name in SETTINGS}


@pytest.mark.parametrize("where", ["before", "after", "undo"])
def test_killed_at_each_step(where: str, folder: Path) -> None:
    before, settings = machine(), loop_settings()
    step = 1
    while killed_at(step, where):
        result = clean(str(folder / "state"))
        assert (result.failed, result.running) == ([], []), step
        assert left(folder) == [], step
        assert machine() == before, step
        again = loop_settings()
        assert {name: again[name] for name in settings if name in again} == {
            name: settings[name] for name in settings if name in again
        }, step
        step += 1
    # Folder, image, loop device, mkfs, mount point, mount, four settings; zram twice, mkswap, swap.
    assert step > (7 if where == "undo" else 10) + (2 if HAS_ZRAM else 0)
    assert left(folder) == []


def test_a_terminated_preparation_puts_all_back_by_itself(folder: Path) -> None:
    def action() -> None:
        with prepared(SPEC, NEED, lambda line: None):
            os.kill(os.getpid(), signal.SIGTERM)
            signal.pause()

    in_a_child(action)
    assert left(folder) == []


def test_a_killed_run_is_cleaned_while_others_live(places: Places, folder: Path) -> None:
    data = folder / "data"
    data.mkdir()
    (data / "file").write_bytes(bytes(NEED))
    environment = places.environment(EDGEPROF_DATA_CACHE=str(folder / "cache"))
    words = ("run", "--collect", "procfs", "--no-report", "--file-system", "ext4", "--scheduler", "bfq")
    ready = folder / "ready"
    work = (
        "import sys, time, pathlib; pathlib.Path(sys.argv[2]).touch(); open(sys.argv[1] + '/f', 'w'); time.sleep(600)"
    )
    with places.start(
        *words, "--data", str(data), "--", sys.executable, "-c", work, "{data}", str(ready), env=environment
    ) as process:
        wait_until(ready.exists, "the start of the workload")
        answer = places.edgeprof("clean", env=environment)
        assert "a run that has its own storage belongs to process" in answer.stdout
        assert left(folder)
        process.kill()
        process.wait()
    wait_until(lambda: not alive(process.pid), "the death of edgeprof")
    # The workload outlived edgeprof, and its file system with it; asked to, `clean` ends it and removes all.
    answer = places.edgeprof("clean", "--kill", env=environment)
    assert answer.returncode == 0, answer.stderr
    assert left(folder) == []
