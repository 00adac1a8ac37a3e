"""The run's cgroup on the kernel's own cgroup file systems."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgeprof.collectors.base import Roots
from edgeprof.profiler.agent import cgroups
from edgeprof.profiler.agent.cgroups import RunCgroup, hierarchies
from edgeprof.profiler.agent.journal import UndoJournal
from tests.helpers import ROOT, wait_until

pytestmark = pytest.mark.root

UNIFIED = next((item for item in hierarchies() if item.version == 2), None)
needs_v2 = pytest.mark.skipif(UNIFIED is None, reason="no cgroup v2 is mounted: mount -t cgroup2 none /sys/fs/cgroup")


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[UndoJournal]:
    made = UndoJournal(str(tmp_path), "test", "")
    yield made
    made.remove()


@pytest.fixture
def run(journal: UndoJournal) -> Iterator[RunCgroup]:
    made = RunCgroup(f"edgeprof-test-{os.getpid()}", journal)
    if not made.paths:
        pytest.skip(f"no cgroup can be had here: {made.reason}")
    yield made
    assert made.remove() == []


def test_a_process_is_in_all_hierarchies_and_its_children_too(run: RunCgroup, journal: UndoJournal) -> None:
    with subprocess.Popen(["sh", "-c", "read x; sleep 600 & sleep 600 & wait"], stdin=subprocess.PIPE) as shell:
        assert shell.stdin is not None
        run.add(shell.pid)
        assert run.members() == [shell.pid]
        shell.stdin.write(b"\n")
        shell.stdin.flush()
        children = set(wait_until(lambda: len(run.members()) == 3 and run.members(), "the children")) - {shell.pid}
        for folder in run.paths.values():
            assert {int(line) for line in Path(folder, "cgroup.procs").read_text().split()} == {shell.pid, *children}
        inner = Path(next(iter(run.paths.values()))) if "unified" not in run.paths else Path(run.paths["unified"])
        (inner / "inner").mkdir()
        moved = children.pop()
        (inner / "inner/cgroup.procs").write_text(str(moved))
        assert moved in run.members()
        paths = list(run.paths.values())
        assert run.remove() == []
        assert not any(Path(path).exists() for path in paths)
        assert journal.open_entries == {}
        assert not any("edgeprof" in line for line in Path(f"/proc/{moved}/cgroup").read_text().splitlines())
        for pid in (moved, *children, shell.pid):
            os.kill(pid, 9)


def test_a_thousand_members_are_all_listed(run: RunCgroup) -> None:
    """The kernel gives cgroup.procs a page at a time, which holds some 800 numbers."""
    script = (
        "import os, sys\nsys.stdin.readline()\n"
        "read, write = os.pipe()\n"
        "for _ in range(999):\n    if os.fork() == 0: os.close(write); os.read(read, 1); os._exit(0)\n"
        "print('ready', flush=True); sys.stdin.readline()"
    )
    argv = [sys.executable, "-S", "-c", script]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdin is not None
        assert parent.stdout is not None
        run.add(parent.pid)
        parent.stdin.write("\n")
        parent.stdin.flush()
        assert parent.stdout.readline() == "ready\n"
        members = run.members()
        assert len(set(members)) == len(members) == 1000
        parent.stdin.close()


def v2_roots(folder: Path, mount: str, home: str) -> Roots:
    """A /proc that shows nothing but one v2 mount."""
    (folder / "proc/self").mkdir(parents=True)
    (folder / "proc/self/mountinfo").write_text(f"41 31 0:38 / {mount} rw - cgroup2 cgroup2 rw\n")
    (folder / "proc/self/cgroup").write_text(f"0::{home}\n")
    return Roots(proc=str(folder / "proc"))


@pytest.fixture
def controller(monkeypatch: pytest.MonkeyPatch) -> str:
    """A controller that is free on this host's v2 hierarchy; on hybrid hosts v1 has most."""
    assert UNIFIED is not None
    free = Path(UNIFIED.mount, "cgroup.controllers").read_text().split()
    on = Path(UNIFIED.mount, "cgroup.subtree_control").read_text().split()
    chosen = next((name for name in ("hugetlb", "misc", "rdma", "pids") if name in free and name not in on), None)
    if chosen is None:
        pytest.skip("every controller is switched on already: this needs one that is not")
    monkeypatch.setattr(cgroups, "V2_CONTROLLERS", (chosen,))
    return chosen


@pytest.fixture
def scope(controller: str) -> Iterator[Path]:
    """A v2 cgroup of the test's own that may hand the controller on."""
    assert UNIFIED is not None
    made = Path(UNIFIED.mount, f"test-scope-{os.getpid()}")
    top = Path(UNIFIED.mount, "cgroup.subtree_control")
    made.mkdir()
    try:
        top.write_text(f"+{controller}")
        yield made
    finally:
        made.rmdir()
        top.write_text(f"-{controller}")


@needs_v2
def test_the_last_of_several_runs_switches_off_what_the_first_switched_on(
    journal: UndoJournal, tmp_path: Path, controller: str, scope: Path
) -> None:
    control = scope / "cgroup.subtree_control"
    roots = v2_roots(tmp_path / "fake", str(scope), "/")
    state = str(tmp_path)
    first = RunCgroup("edgeprof-test-1", journal, roots, state)
    second = RunCgroup("edgeprof-test-2", journal, roots, state)
    assert (first.mode, first.reason) == ("v2", "")
    for run in (first, second):
        assert Path(run.paths["unified"]).parent == scope
        assert controller in Path(run.paths["unified"], "cgroup.controllers").read_text().split()
    assert first.remove() == []
    assert controller in control.read_text().split(), "the second run still needs it"
    assert second.remove() == []
    assert control.read_text().split() == []
    assert journal.open_entries == {}


DELEGATED = """
import json, os, sys
from pathlib import Path
from edgeprof.collectors.base import Roots
from edgeprof.profiler.agent import cgroups
from edgeprof.profiler.agent.journal import UndoJournal
scope, proc, state, controller = sys.argv[1:]
Path(scope, 'cgroup.procs').write_text(str(os.getpid()))
cgroups.V2_CONTROLLERS = (controller,)
journal = UndoJournal(state, 'delegated', '')
run = cgroups.RunCgroup('edgeprof-test-delegated', journal, Roots(proc=proc), state)
here = Path('/proc/self/cgroup').read_text()
controllers = Path(run.paths['unified'], 'cgroup.controllers').read_text().split()
child = os.fork()
if child == 0:
    sys.stdin.read(1)
    os._exit(0)
run.add(child)
members = run.members() == [child]
problems = run.remove()
left = [item.name for item in Path(scope).iterdir() if item.is_dir()]
left += {str(child), str(os.getpid())} ^ set(Path(scope, 'cgroup.procs').read_text().split())
os.kill(child, 9)
os.wait()
print(json.dumps([run.mode, here, controllers, members, problems, left, len(journal.open_entries)]))
journal.remove()
"""


@needs_v2
def test_alone_in_a_delegated_scope_it_steps_aside_and_comes_back(tmp_path: Path, controller: str, scope: Path) -> None:
    reading, writing = os.pipe()  # keeps the run's process alive
    try:
        v2_roots(tmp_path / "fake", str(scope), "/")
        argv = [sys.executable, "-c", DELEGATED, str(scope), str(tmp_path / "fake/proc"), str(tmp_path), controller]
        done = subprocess.run(argv, stdin=reading, capture_output=True, text=True, cwd=ROOT, timeout=60)
    finally:
        os.close(reading)
        os.close(writing)
    assert done.returncode == 0, done.stderr
    mode, here, controllers, members, problems, left, entries = json.loads(done.stdout)
    assert mode == "v2"
    assert f"/{scope.name}/edgeprof-test-delegated-agent\n" in here
    assert controller in controllers
    assert members
    assert (problems, left, entries) == ([], [], 0)
