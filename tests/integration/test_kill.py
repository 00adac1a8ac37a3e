"""`kill -9` of edgeprof at any moment: the workload finishes, the capture is readable, the machine can be restored."""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edgeprof.profiler.errors import NotARun
from edgeprof.profiler.ingest import NothingCaptured, ingest
from tests.helpers import Places, alive, cgroups_left, end, found_below, processes_with, tracing_left, wait_until

pytestmark = pytest.mark.root

EVERYTHING = "procfs,cgroup,self,phases,perf_stat,block"
SECONDS = 1.5

WORK = """
import os, sys, time
folder, seconds = sys.argv[1], float(sys.argv[2])
end = time.monotonic() + seconds
workers = []
for number in range(2):
    pid = os.fork()
    if pid == 0:
        path = os.path.join(folder, 'work%d' % number)
        whole = True
        while True:
            with open(path, 'wb') as file:
                file.write(os.urandom(1 << 16))
                file.flush()
                os.fsync(file.fileno())
            whole = whole and len(open(path, 'rb').read()) == 1 << 16
            if time.monotonic() >= end:
                break
            time.sleep(0.005)
        os._exit(0 if whole else 1)
    workers.append(pid)
codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in workers]
sys.exit(any(codes))
"""


class Killed:
    """One run of edgeprof that will be killed: its places, its process and what its workload tells of itself."""

    def __init__(self, places: Places, folder: Path, seconds: float = SECONDS) -> None:
        self.places = places
        self.mark = f"edgeprof-test-{folder.parent.name}-{folder.name}"
        folder.mkdir()
        self._started, self._code = folder / "started", folder / "code"
        work = f"{sys.executable} -S -c '{WORK.replace(chr(39), chr(34))}' {folder} {seconds}"
        self.known = set(places.directories())
        self.process = places.start(
            *("run", "--collect", EVERYTHING, "--no-report", "--"),
            *(
                "sh",
                "-c",
                f"echo > {self._started}; {work}; echo $? > {self._code}.part; mv {self._code}.part {self._code}",
            ),
            env=places.environment(TEST_MARK=self.mark),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    @property
    def directory(self) -> Path | None:
        """The run's capture directory, once it is there."""
        new = set(self.places.directories()) - self.known
        return new.pop() if new else None

    @property
    def started(self) -> bool:
        """Whether the workload got as far as its exec."""
        return self._started.exists()

    def has(self, name: str) -> bool:
        """Whether a file is in the capture directory."""
        folder = self.directory
        return folder is not None and (folder / name).exists()

    def kill(self) -> None:
        """Kill edgeprof, without a moment's notice; it is left a zombie, as by a parent that never waits."""
        self.process.kill()
        wait_until(lambda: not alive(self.process.pid), "the death of edgeprof")

    def finish(self) -> None:
        """Wait until the workload has ended, undisturbed; or was never begun, and is gone."""
        if self.started:
            wait_until(self._code.exists, "the end of the workload", 60)
            assert self._code.read_text().strip() == "0"
        wait_until(lambda: not processes_with(self.mark), "the end of workload and helper tools", 30)


@pytest.fixture
def killed(places: Places, tmp_path: Path) -> Iterator[Callable[[], Killed]]:
    """Makes runs; those still going at the end of the test are ended."""
    made: list[Killed] = []

    def make(seconds: float = SECONDS) -> Killed:
        made.append(Killed(places, tmp_path / f"work-{len(made)}", seconds))
        return made[-1]

    yield make
    for item in made:
        item.process.kill()
        item.process.wait()
        end(processes_with(item.mark))


def nothing_left(places: Places, edgeprof: int) -> None:
    """No journal, cgroup or tracing instance is on the machine."""
    assert places.journals() == []
    assert cgroups_left(places) == []
    assert tracing_left(edgeprof) == []


def check_capture(run: Killed) -> str:
    """Ingest what a killed run left; say how far it had come."""
    folder = run.directory
    if folder is None:
        assert not run.started
        return "nothing"
    try:
        content = ingest(folder).manifest
    except (NotARun, NothingCaptured):
        assert not run.started, "a workload ran, so that its capture must be readable"
        return "prepared"
    if run.started:  # the first sample comes before the workload
        assert content["ingest"]["tables"]["system"] >= 1
        assert content["ingest"]["tables"]["process"] >= 1
    assert not [note for note in content["ingest"]["notes"] if "could not be read" in note]
    return str(content["run"]["status"])


def clean(places: Places, *words: str) -> str:
    done = places.edgeprof("clean", *words)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.timeout(240)
def test_twenty_random_moments(killed: Callable[[], Killed], places: Places) -> None:
    moments = random.Random(20261121)
    ended = []
    span = 3.4  # from before the exec to the middle of ingest, on a machine of two processors
    for number in range(20):
        run = killed()
        time.sleep(span * (number + moments.random()) / 20)
        run.kill()
        run.finish()
        clean(places)
        nothing_left(places, run.process.pid)
        ended.append(check_capture(run))
        run.process.wait()
    assert ended.count("interrupted") >= 5, ended


STAGES: dict[str, Callable[[Killed], bool]] = {
    "its folder is there": lambda run: run.directory is not None,
    "its journal is there": lambda run: bool(run.places.journals()),
    "its cgroups are there": lambda run: bool(cgroups_left(run.places)),
    "its tracing instance is there": lambda run: bool(tracing_left(run.process.pid)),
    "the partial manifest is there": lambda run: run.has("manifest.partial.json"),
    "the workload has begun": lambda run: run.started,
    "the manifest is there": lambda run: run.has("manifest.json"),
    "tables are being written": lambda run: run.has("tables"),
    "raw files are being compressed": lambda run: (
        run.has("raw/procfs/samples.frames.zst.tmp") or run.has("raw/procfs/samples.frames.zst")
    ),
}


@pytest.mark.parametrize("stage", STAGES)
def test_each_stage(killed: Callable[[float], Killed], places: Places, stage: str) -> None:
    run = killed(0.3)
    deadline = time.monotonic() + 30
    while not STAGES[stage](run) and run.process.poll() is None:  # no pause: some stages last but a millisecond
        assert time.monotonic() < deadline
    run.kill()
    run.finish()
    clean(places)
    nothing_left(places, run.process.pid)
    how = check_capture(run)
    if stage == "the workload has begun":
        assert how == "interrupted"
    if stage in ("the manifest is there", "tables are being written", "raw files are being compressed"):
        assert how == "finished"


def test_clean_moves_the_workload_out_and_lets_it_finish(killed: Callable[[float], Killed], places: Places) -> None:
    run = killed(1.0)
    wait_until(lambda: run.started, "the workload")
    run.kill()
    told = clean(places)
    assert "removed cgroup" in told
    assert "of its processes go on in" in told
    nothing_left(places, run.process.pid)
    run.finish()


def test_clean_kill_ends_the_workload(killed: Callable[[float], Killed], places: Places) -> None:
    run = killed(600)
    wait_until(lambda: run.started, "the workload")
    run.kill()
    assert "killed the workload" in clean(places, "--kill")
    nothing_left(places, run.process.pid)
    wait_until(lambda: not processes_with(run.mark), "the end of the workload")


def test_clean_leaves_a_run_alone_that_is_being_captured(killed: Callable[[float], Killed], places: Places) -> None:
    run = killed(0.8)
    wait_until(lambda: run.started, "the workload")
    assert f"belongs to process {run.process.pid}, which still runs" in clean(places, "--kill")
    assert cgroups_left(places)
    assert run.process.wait(60) == 0
    run.finish()
    nothing_left(places, run.process.pid)


def test_the_next_run_cleans_up_by_itself(killed: Callable[[float], Killed], places: Places) -> None:
    run = killed(0.5)
    wait_until(lambda: run.started, "the workload")
    run.kill()
    done = places.run("--no-ingest", "--", "true")
    assert done.returncode == 0
    assert "left by an interrupted run: removed cgroup" in done.stderr
    nothing_left(places, run.process.pid)
    run.finish()


def test_what_a_helper_tool_writes_ends_with_edgeprof(killed: Callable[[float], Killed], places: Places) -> None:
    if shutil.which("perf") is None:
        pytest.skip("no perf here: apt-get install linux-perf")
    run = killed(1.0)
    wait_until(lambda: run.started, "the workload")
    helpers = [pid for pid in processes_with(run.mark) if Path(f"/proc/{pid}/comm").read_text() == "perf\n"]
    assert helpers
    run.kill()
    wait_until(lambda: not any(map(alive, helpers)), "the end of perf")
    clean(places)
    run.finish()
    assert found_below("/sys/fs/cgroup", f"edgeprof-{run.directory}") == []
