"""edgeprof as an ordinary user: less is captured, each missing thing has a reason and a remedy, nothing is left."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from edgeprof.profiler.run import open_run
from tests.helpers import ROOT, Places, alive, end, wait_until

NOBODY = 65534


def python_for_all() -> str | None:
    """A Python that an ordinary user can run with this environment's packages."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    candidates = [sys.executable, f"/usr/bin/{version}", f"/usr/local/bin/{version}"]
    packages = [path for path in sys.path if path.endswith("-packages")]
    for python in candidates:
        code = "import sys; sys.path[:0] = sys.argv[1:]; import edgeprof.cli.run, pyarrow, rich"
        asked = [*as_user(), python, "-c", code, str(ROOT), *packages]
        if subprocess.run(asked, capture_output=True, cwd="/").returncode == 0:
            return python
    return None


def as_user() -> list[str]:
    """The words that make a command an ordinary user's; none where it already is one."""
    if os.geteuid() != 0:
        return []
    # `env` executes the command: setpriv itself may still read what is root's alone.
    return ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--inh-caps=-all", "env"]


PYTHON = python_for_all() if os.geteuid() != 0 or shutil.which("setpriv") else None
pytestmark = pytest.mark.skipif(
    PYTHON is None,
    reason="no Python that an ordinary user may run: make install from a checkout and a Python outside /root",
)


class User(Places):
    """edgeprof run by an ordinary user, in a folder of that user's."""

    def environment(self, **more: str) -> dict[str, str]:
        packages = [path for path in sys.path if path.endswith("-packages")]
        path = os.pathsep.join([str(ROOT), *packages])
        clean = {name: value for name, value in os.environ.items() if name not in ("XDG_RUNTIME_DIR", "HOME")}
        own = {"EDGEPROF_RUNS": str(self.runs), "EDGEPROF_STATE": str(self.state), "PYTHONDONTWRITEBYTECODE": "1"}
        return {**clean, **own, "PYTHONPATH": path, "HOME": str(self.base), **more}

    def command(self, *words: str) -> list[str]:
        return [*as_user(), str(PYTHON), "-m", "edgeprof.cli.main", *words]


@pytest.fixture
def user() -> Iterator[User]:
    with tempfile.TemporaryDirectory(prefix="edgeprof-user-") as folder:  # pytest's own folders are root's alone
        Path(folder).chmod(0o755)
        home = Path(folder) / "home"
        home.mkdir()
        if os.geteuid() == 0:
            os.chown(home, NOBODY, NOBODY)
        yield User(home)


def test_a_run_captures_what_the_user_may_see(user: User) -> None:
    done = user.edgeprof("run", "--", "sh", "-c", "sleep 0.3; exit 4")
    assert done.returncode == 4, done.stderr
    content = user.manifest()
    assert content["ingest"]["tables"]["process"] >= 2
    assert content["ingest"]["tables"]["system"] >= 2
    for item in content["collectors"]:
        if not item["available"]:
            assert item["reason"], item["name"]
            assert item["remedy"], item["name"]
    missing = {item["name"] for item in content["collectors"] if not item["available"]}
    assert "block" in missing, "an ordinary user may not trace the block layer"
    assert "procfs" not in missing
    assert (user.only() / "report.html").exists()
    assert user.journals() == []


def test_the_missing_cgroup_has_a_reason_and_the_process_tree_takes_its_place(user: User) -> None:
    script = "import os, time\nif os.fork() == 0: time.sleep(0.4); os._exit(0)\nos.wait()"
    done = user.run("--", str(PYTHON), "-c", script)
    assert done.returncode == 0, done.stderr
    content = user.manifest()
    if content["cgroup"]["mode"] != "none":
        pytest.skip("this user has a delegated cgroup: nothing is missing")
    assert any("the run has no cgroup of its own: " in note for note in content["notes"])
    assert "run as root" in content["cgroup"]["reason"]
    (cgroup,) = [item for item in content["collectors"] if item["name"] == "cgroup"]
    assert not cgroup["available"]
    assert cgroup["reason"] == "the run has no cgroup of its own"
    assert len(set(open_run(user.only()).table("process")["pid"])) == 2


@pytest.mark.parametrize("option", [("--memory-limit", "64M"), ("--cpus", "1")])
def test_a_limit_that_cannot_be_kept_is_refused(user: User, option: Sequence[str]) -> None:
    done = user.run(*option, "--", "true")
    if done.returncode == 0:
        pytest.skip("this user has a delegated cgroup: limits can be kept")
    assert done.returncode == 121
    (line,) = done.stderr.splitlines()
    assert line.startswith("edgeprof: cannot limit ")
    assert "run as root" in line
    assert user.directories() == []
    assert user.journals() == []


def test_clean_after_a_kill(user: User) -> None:
    running = user.start("run", "--collect", "procfs,self", "--", "sleep", "600")
    workload = 0
    try:
        wait_until(lambda: any((path / "raw/procfs/samples.frames").exists() for path in user.directories()), "a run")
        workload = int(wait_until(lambda: _sleeping_child(running.pid), "the workload"))
        running.kill()
        running.wait()
        done = user.edgeprof("clean")
        assert done.returncode == 0, done.stderr
        assert alive(workload)
        assert user.journals() == []
        assert user.edgeprof("ingest", str(user.only())).returncode == 0
    finally:
        end([pid for pid in (workload, running.pid) if pid])


def test_clean_kill_ends_a_workload_that_has_no_cgroup(user: User) -> None:
    running = user.start("run", "--collect", "procfs,self", "--", "sleep", "600")
    workload = int(wait_until(lambda: _sleeping_child(running.pid), "the workload"))
    running.kill()
    running.wait()
    done = user.edgeprof("clean", "--kill")
    assert done.returncode == 0, done.stderr
    assert f"killed the workload {workload}" in done.stdout
    wait_until(lambda: not alive(workload), "the end of the workload")


def _sleeping_child(parent: int) -> int:
    for path in Path("/proc").glob("[0-9]*"):
        try:
            fields = (path / "stat").read_text().rpartition(")")[2].split()
            if int(fields[1]) == parent and (path / "comm").read_text() == "sleep\n":
                return int(path.name)
        except OSError:
            continue
    return 0


def test_journals_have_a_place_without_home_and_runtime_folder(user: User) -> None:
    environment = user.environment(HOME="/nonexistent")
    del environment["EDGEPROF_STATE"]
    place = Path(f"/tmp/edgeprof-{NOBODY if os.geteuid() == 0 else os.geteuid()}")
    was_there = place.exists()
    done = user.run("--no-ingest", "--", "true", env=environment)
    assert done.returncode == 0, done.stderr
    assert place.is_dir()
    assert place.stat().st_mode & 0o777 == 0o700
    assert list(place.glob("*.journal")) == []
    if not was_there:
        place.rmdir()


def test_a_folder_of_another_user_is_one_sentence(user: User) -> None:
    done = user.run("-o", "/proc/edgeprof-runs", "--", "true")
    assert done.returncode == 122
    (line,) = done.stderr.splitlines()
    assert line.startswith("edgeprof: cannot write captures to /proc/edgeprof-runs: ")
    assert line.endswith("choose another folder with --output")
