"""Where there is no cgroup at all, the run is a process tree: orphans are found, and reaped."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest

from edgeprof.profiler.ingest import ingest
from tests.helpers import QUICK, Places, alive, end

WITHOUT_CGROUPS = """
import os, subprocess, sys
mounts = [line.split(' - ') for line in open('/proc/self/mountinfo')]
points = [before.split()[4] for before, after in mounts if after.split()[0] in ('cgroup', 'cgroup2')]
for point in reversed(points):
    subprocess.run(['umount', '--lazy', point], check=True)
os.execv(sys.argv[1], sys.argv[1:])
"""


def can_unshare() -> bool:
    """Whether a mount namespace of one's own can be had."""
    return bool(shutil.which("unshare")) and subprocess.run(["unshare", "-m", "true"]).returncode == 0


pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(not can_unshare(), reason="no mount namespaces here: run the tests in a privileged container"),
]


class NoCgroups(Places):
    """edgeprof in a mount namespace without any cgroup file system."""

    def command(self, *words: str) -> list[str]:
        return ["unshare", "-m", sys.executable, "-S", "-c", WITHOUT_CGROUPS, *super().command(*words)]


@pytest.fixture
def tree(places: Places) -> NoCgroups:
    return NoCgroups(places.base)


def test_children_grandchildren_and_orphans_are_found(tree: NoCgroups) -> None:
    told = tree.base / "pids"
    script = f"""
import os, sys, time
def tell(): open({str(told)!r}, 'a').write('%d ' % os.getpid())
tell()
if os.fork() == 0:
    tell()
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            tell()
            time.sleep(0.6)
        os._exit(0)
    time.sleep(0.5)
    os._exit(0)
time.sleep(0.8)
os.wait()
"""
    done = tree.run("--", sys.executable, "-S", "-c", script)
    assert done.returncode == 0, done.stderr
    run = ingest(tree.only())
    assert run.manifest["cgroup"] == {"mode": "none", "paths": {}, "reason": "no cgroup file system is mounted"}
    expected = {int(text) for text in told.read_text().split()}
    assert len(expected) == 3
    assert set(run.table("process")["pid"]) >= expected
    assert run.manifest["processes"]["agent"] not in set(run.table("process")["pid"])
    assert tree.journals() == []


def test_orphans_that_end_do_not_stay_zombies(tree: NoCgroups) -> None:
    script = """
import os, time
for _ in range(20):
    child = os.fork()
    if child == 0:
        if os.fork() == 0:
            time.sleep(0.02)
        os._exit(0)
    os.waitpid(child, 0)
edgeprof = os.getppid()
def zombies():
    found = 0
    for name in filter(str.isdigit, os.listdir('/proc')):
        try:
            fields = open('/proc/%s/stat' % name).read().rpartition(')')[2].split()
        except OSError:
            continue
        found += fields[0] == 'Z' and int(fields[1]) == edgeprof
    return found
time.sleep(0.1)
deadline = time.monotonic() + 10
while zombies() and time.monotonic() < deadline:
    time.sleep(0.02)
print(zombies())
"""
    done = tree.run("--no-ingest", "--", sys.executable, "-S", "-c", script)
    assert (done.returncode, done.stdout) == (0, "0\n"), done.stderr


def test_what_outlives_the_workload_is_named(tree: NoCgroups) -> None:
    script = """
import os, subprocess
if os.fork() == 0:
    os.setsid()
    subprocess.Popen(['sleep', '600'])
    os._exit(0)
os.wait()
"""
    streams = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "capture_output": False}
    tree.run("--no-ingest", "--", sys.executable, "-S", "-c", script, **streams)
    (left,) = tree.manifest()["processes"]["left_running"]
    try:
        assert left["comm"] == "sleep"
        assert alive(left["pid"])
    finally:
        end([left["pid"]])


def test_helper_tools_are_not_taken_for_the_run(tree: NoCgroups) -> None:
    if shutil.which("perf") is None:
        pytest.skip("no perf here: apt-get install linux-perf")
    done = tree.edgeprof("run", "--collect", f"{QUICK},perf_stat", "--no-report", "--", "sleep", "0.4")
    assert done.returncode == 0, done.stderr
    run = ingest(tree.only())
    assert set(run.table("process")["comm"].dropna()) <= {"sleep"}
    (perf,) = [item for item in run.manifest["collectors"] if item["name"] == "perf_stat"]
    assert run.manifest["processes"]["helpers"] == ([perf["details"]["helper_pid"]] if perf["available"] else [])
