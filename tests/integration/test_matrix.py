"""A matrix of real runs: it may be killed, interrupted or refused at any moment, and ends up complete."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from edgeprof.profiler.matrix.child import Child, Interrupts, end_survivor
from edgeprof.profiler.matrix.results import study
from edgeprof.profiler.matrix.state import read_state
from edgeprof.profiler.run import open_run
from tests.helpers import QUICK, Places, alive, cgroups_left, lines_of, processes_with, wait_until

pytest.importorskip("yaml", reason="needs PyYAML: pip install 'edgeprof[matrix]'")


class Matrix:
    """A matrix over a shell script in a test's own places; ``{word}`` is its axis."""

    def __init__(self, places: Places, script: str, words: str = "[a, b]", more: str = "") -> None:
        self.places = places
        self.log = places.base / "log"
        self.mark = f"matrix-test-{places.base.name}"
        self.spec = places.base / "m.yaml"
        script = f"echo {{word}} >> {shlex.quote(str(self.log))}; {script}"
        command = json.dumps(["sh", "-c", script])
        self.spec.write_text(f"command: {command}\nfixed: {{collect: '{QUICK}'}}\naxes: {{word: {words}}}\n{more}\n")
        self.folder = places.base / "edgeprof-matrix" / "m"

    def call(self, *words: str) -> subprocess.CompletedProcess[str]:
        """``edgeprof matrix run`` to its end."""
        return self.places.edgeprof("matrix", "run", str(self.spec), *words, env=self._environment())

    def start(self, *words: str) -> subprocess.Popen[str]:
        """The same, not waited for."""
        return self.places.start("matrix", "run", str(self.spec), *words, env=self._environment())

    def _environment(self) -> dict[str, str]:
        return self.places.environment(TEST_MARK=self.mark)

    def executed(self) -> list[str]:
        """The words of the runs that were begun, in their order."""
        return list(lines_of(self.log))

    def order(self) -> list[tuple[str, int]]:
        """Word and repeat of the runs that ended, in their order."""
        progress = read_state(self.folder)
        return [(progress.cells[cell]["word"], repeat) for cell, repeat in progress.ended]

    def captures(self, folder: str = "runs") -> list[Path]:
        """Capture directories."""
        return sorted((self.folder / folder).iterdir()) if (self.folder / folder).is_dir() else []

    def status(self) -> dict[str, Any]:
        """What ``edgeprof matrix status`` says."""
        done = self.places.edgeprof("matrix", "status", str(self.spec), "--json")
        assert done.returncode == 0, done.stderr
        told: dict[str, Any] = json.loads(done.stdout)
        return told

    def is_complete(self, repeats: int) -> None:
        """Every cell has run well as often as it should, and nothing twice."""
        factors = [open_run(path).manifest["factors"]["matrix"] for path in self.captures()]
        assert Counter(each["cell"] for each in factors) == dict.fromkeys(read_state(self.folder).cells, repeats)
        assert len({(each["cell"], each["repeat"]) for each in factors}) == len(factors)
        assert {each["name"] for each in factors} == {"m"}
        told = self.status()
        assert (told["done"], told["failed"], told["left"]) == (len(factors), 0, 0)

    def nothing_is_left(self) -> None:
        """No process, journal or cgroup of the matrix is on the machine."""
        wait_until(lambda: not processes_with(self.mark), "the end of the matrix's processes")
        runs = Places(self.folder)
        assert cgroups_left(runs) == []
        assert self.places.journals() == []


def test_a_matrix_runs_to_its_end_once(places: Places) -> None:
    matrix = Matrix(places, "sleep 0.0{word}", "[1, 2]", "repeats: 2\nseed: 3\nbaseline: {word: 2}")
    planned = places.edgeprof("matrix", "plan", str(matrix.spec), "--json")
    assert planned.returncode == 0, planned.stderr
    told = json.loads(planned.stdout)
    assert (told["runs"], {cell["estimate"] for cell in told["cells"]}) == (4, {"assumed"})

    done = matrix.call()
    assert (done.returncode, done.stdout) == (0, f"4 runs done, 0 left in {matrix.folder.relative_to(places.base)}\n")
    assert [word for word, _ in matrix.order()] == matrix.executed()
    assert [repeat for _, repeat in matrix.order()] == [1, 1, 2, 2]
    matrix.is_complete(2)
    for path in matrix.captures():
        assert not (path / "raw").exists()
        assert (path / "tables" / "system.parquet").is_file()
        assert not (path / "report.html").exists()
    assert list((matrix.folder / "logs").iterdir()) == []

    again = matrix.call()
    assert (again.returncode, again.stdout.split()[0]) == (0, "0")
    assert len(matrix.executed()) == 4, "nothing is run twice"
    told = json.loads(places.edgeprof("matrix", "plan", str(matrix.spec), "--json").stdout)
    assert {cell["estimate"] for cell in told["cells"]} == {"measured"}

    found = study(matrix.folder)
    assert (found.axes, found.baseline) == ({"word": ["1", "2"]}, {"word": "2"})
    assert all(run.metrics["wall_time"] and not run.failed for run in found.cells)

    report = places.edgeprof("matrix", "report", str(matrix.spec))
    assert report.returncode == 0, report.stderr
    assert "<html" in Path(places.base, report.stdout.strip()).read_text()
    assert all((path / "report.html").is_file() for path in matrix.captures())

    pyperf = pytest.importorskip("pyperf", reason="needs pyperf: pip install 'edgeprof[matrix]'")
    exported = places.edgeprof("export", str(matrix.folder), "--format", "pyperf")
    assert exported.returncode == 0, exported.stderr
    suite = pyperf.BenchmarkSuite.load(str(places.base / exported.stdout.strip()))
    assert {bench.get_name(): bench.get_nrun() for bench in suite} == {"wall_time word=1": 2, "wall_time word=2": 2}


@pytest.mark.root
def test_a_killed_matrix_goes_on_where_it_was(places: Places) -> None:
    matrix = Matrix(places, "sleep 0.5", more="repeats: 2")
    process = matrix.start()
    wait_until(lambda: len(matrix.executed()) == 2, "the second run")
    process.kill()
    process.communicate()
    wait_until(lambda: not processes_with(matrix.mark), "the end of the run whose matrix was killed")
    assert len(read_state(matrix.folder).open) == 1

    done = matrix.call()
    assert done.returncode == 0, done.stderr
    assert "set aside the capture of an interrupted run" in done.stderr
    matrix.is_complete(2)
    assert len(matrix.executed()) == 5
    assert len(matrix.captures("set-aside")) == 1
    rounds = [repeat for _, repeat in matrix.order()]
    assert rounds == [1, 1, 2, 2]
    matrix.nothing_is_left()


@pytest.mark.root
def test_a_workload_that_outlives_its_killed_matrix_is_ended_at_the_next_start(places: Places) -> None:
    matrix = Matrix(places, "test -e go || { touch go; trap '' INT; sleep 60; }", "[a]", "repeats: 1")
    process = matrix.start()
    wait_until((places.base / "go").exists, "the first run")
    run = wait_until(lambda: [each["pid"] for each in read_state(matrix.folder).open.values() if each], "its process")
    os.kill(run[0], signal.SIGKILL)
    process.kill()
    process.communicate()
    assert processes_with(matrix.mark), "the workload goes on"
    done = matrix.call()
    assert done.returncode == 0, done.stderr
    assert "killed the workload" in done.stderr
    matrix.is_complete(1)
    matrix.nothing_is_left()


def test_ctrl_c_ends_the_run_and_puts_everything_back(places: Places) -> None:
    matrix = Matrix(places, "exec sleep 30", more="repeats: 1")
    process = matrix.start()
    wait_until(lambda: len(matrix.executed()) == 1, "the first run")
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "it was interrupted; 2 runs are left" in err
    assert "Traceback" not in err
    assert (matrix.captures(), len(matrix.captures("set-aside"))) == ([], 1)
    assert read_state(matrix.folder).ended == {}
    matrix.nothing_is_left()


def test_what_fails_is_recorded_and_the_rest_goes_on(places: Places) -> None:
    matrix = Matrix(
        places,
        "case {word} in slow) exec sleep 30;; bad) test -e mended || { echo why >&2; exit 3; };; esac",
        "[good, bad, slow]",
        "repeats: 1\ntimeout: 4",
    )
    done = matrix.call()
    assert done.returncode == 1, done.stderr
    told = {cell["levels"]["word"]: cell for cell in matrix.status()["cells"]}
    assert {word: (cell["done"], cell["failed"]) for word, cell in told.items()} == {
        "good": (1, 0),
        "bad": (0, 1),
        "slow": (0, 1),
    }
    assert told["bad"]["problem"] == "exit code 3: why"
    assert told["slow"]["problem"] == "it took longer than 4 s"
    assert (matrix.folder / "logs" / f"{told['bad']['id']}-1.log").read_text() == "why\n"
    assert len(matrix.captures()) == 1, "what failed does not lie among the runs that count"
    assert len(matrix.captures("set-aside")) == 2
    assert {run.levels["word"]: bool(run.failed) for run in study(matrix.folder).cells}["bad"]

    (places.base / "mended").touch()
    assert matrix.call("--only", "word=bad").returncode == 0
    assert len(matrix.executed()) == 3, "a failed run is not tried again unasked"
    again = matrix.call("--retry-failed", "--only", "word=bad")
    assert (again.returncode, again.stdout.split()[0]) == (0, "1")
    assert len(matrix.captures()) == 2
    matrix.nothing_is_left()


def test_limits_stop_it_and_say_what_is_left(places: Places) -> None:
    matrix = Matrix(places, "true", "[a, b, c]", "repeats: 1")
    stopped = matrix.call("--max-time", "0.01")
    assert stopped.returncode == 3
    assert "would exceed the --max-time of 10 ms" in stopped.stderr
    assert "2 runs are left" in stopped.stderr
    assert len(matrix.executed()) == 1, "where nothing is known of a cell, it is begun while any time is left"

    only = matrix.call("--only", "word=b", "--only", "word=a", "--keep", "metrics")
    assert only.returncode == 0
    assert set(matrix.executed()) >= {"a", "b"}
    small = [path for path in matrix.captures() if not (path / "tables").exists()]
    assert all((path / "report.html").is_file() for path in small)
    assert small

    text = matrix.spec.read_text()
    matrix.spec.write_text(text + "budget: {bytes: 10K}")
    full = matrix.call("--only", "word=c")
    assert full.returncode == (0 if "c" in matrix.executed() else 3)
    matrix.spec.write_text(text.replace("repeats: 1", "repeats: 2") + "budget: {bytes: 10K}")
    full = matrix.call()
    assert full.returncode == 3
    assert "would exceed the budget of 10.2 kB on disk" in full.stderr
    matrix.spec.write_text(text.replace("repeats: 1", "repeats: 2") + "budget: {time: 10ms}".replace("10ms", "1"))
    spent = matrix.call()
    assert spent.returncode == 3
    assert "would exceed the budget of the matrix of 1 s" in spent.stderr
    for words, says in (
        (("--only", "wrd=a"), "did you mean 'word'"),
        (("--only", "word=x"), "'x' is none of the levels of 'word' (a, b, c)"),
        (("--max-time", "soon"), "'soon' is not a time"),
    ):
        wrong = matrix.call(*words)
        assert wrong.returncode == 120
        assert says in wrong.stderr


def test_a_second_one_at_once_is_refused(places: Places) -> None:
    matrix = Matrix(places, "sleep 2", "[a]", "repeats: 1")
    first = matrix.start()
    wait_until(lambda: matrix.executed(), "the first run")
    second = matrix.call()
    assert second.returncode == 120
    assert f"is being run by process {first.pid} already" in second.stderr
    assert matrix.status()["left"] == 1, "status may be asked meanwhile"
    first.communicate(timeout=60)
    assert first.returncode == 0

    other = places.base / "other.yaml"
    other.write_text(matrix.spec.read_text())
    refused = places.edgeprof("matrix", "run", str(other), "-o", str(matrix.folder))
    assert refused.returncode == 120
    assert "holds the matrix 'm', not 'other'" in refused.stderr


def test_a_stubborn_process_is_ended_with_all_of_its_group(tmp_path: Path) -> None:
    script = "trap '' INT TERM; sleep 60 & echo $! > pid; while :; do sleep 0.1; done"
    with Interrupts() as interrupts:
        child = Child(["sh", "-c", f"cd {shlex.quote(str(tmp_path))}; {script}"], tmp_path / "log")
        pid = int(wait_until(lambda: "".join(lines_of(tmp_path / "pid")), "its child"))
        assert child.wait(lambda: True) is False
        child.stop(interrupts, (0.2, 0.2, 10.0))
        assert child.reap() == -signal.SIGKILL
        wait_until(lambda: not alive(pid), "the end of its child")


def test_each_further_signal_saves_a_wait(tmp_path: Path) -> None:
    with Interrupts() as interrupts:
        child = Child(
            [sys.executable, "-S", "-c", "import signal; signal.signal(2, 1); signal.pause()"], tmp_path / "log"
        )
        wait_until(lambda: "sigcgt" not in _ignored(child.pid), "its handler")
        signal.setitimer(signal.ITIMER_REAL, 0)  # no timer of another test
        old = signal.signal(signal.SIGALRM, lambda *_: os.kill(os.getpid(), signal.SIGINT))
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        began = time.monotonic()
        child.stop(interrupts, (60.0, 10.0, 10.0))
        signal.signal(signal.SIGALRM, old)
        assert time.monotonic() - began < 30
        assert child.reap() == -signal.SIGTERM
        assert interrupts.count == 1


def _ignored(pid: int) -> str:
    text = Path(f"/proc/{pid}/status").read_text()
    ignored = int(text.partition("SigIgn:")[2].split()[0], 16)
    return "" if ignored & 2 else "sigcgt"


def test_a_survivor_is_ended_unless_it_is_another_process(tmp_path: Path) -> None:
    with Interrupts():
        child = Child(["sleep", "60"], tmp_path / "log")
        assert end_survivor(child.pid, child.start_time + 1, (0.1, 1.0, 1.0)) is False
        assert alive(child.pid)
        assert end_survivor(child.pid, child.start_time, (0.1, 5.0, 5.0)) is True
        assert child.reap() == -signal.SIGTERM
