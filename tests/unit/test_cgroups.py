"""Where the run's cgroup goes, from the mounts of v1, hybrid, v2 and container hosts."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgeprof.collectors.base import Roots
from edgeprof.profiler.agent.cgroups import Hierarchy, RunCgroup, hierarchies
from edgeprof.profiler.agent.spec import CaptureError

V2 = "25 30 0:22 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"
V1 = """31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
36 31 0:33 / /sys/fs/cgroup/devices rw,relatime - cgroup cgroup rw,devices
38 31 0:35 / /sys/fs/cgroup/blkio rw,relatime - cgroup cgroup rw,blkio
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd
"""
HYBRID = V1 + "41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n"
V1_OWN = "9:name=systemd:/user\n7:blkio:/\n5:devices:/\n4:memory:/user/me\n2:cpu,cpuacct:/user\n"


class Journal:
    """A journal in memory."""

    def __init__(self) -> None:
        self.entries: dict[int, dict[str, Any]] = {}
        self._count = 0

    def record(self, kind: str, **details: Any) -> int:
        self._count += 1
        self.entries[self._count] = {"kind": kind, **details}
        return self._count

    def done(self, number: int) -> None:
        del self.entries[number]


def roots(folder: Path, mountinfo: str, own: str) -> Roots:
    """A /proc with these mounts and memberships."""
    (folder / "proc/self").mkdir(parents=True, exist_ok=True)
    (folder / "proc/self/mountinfo").write_text(mountinfo)
    (folder / "proc/self/cgroup").write_text(own)
    return Roots(proc=str(folder / "proc"))


def test_pure_v2(tmp_path: Path) -> None:
    found = hierarchies(roots(tmp_path, V2, "0::/user.slice/session-3.scope\n"))
    assert found == [Hierarchy(2, (), "/sys/fs/cgroup", "/sys/fs/cgroup/user.slice/session-3.scope")]


def test_v1_with_controllers_mounted_together(tmp_path: Path) -> None:
    found = hierarchies(roots(tmp_path, V1, V1_OWN))
    assert found == [
        Hierarchy(1, ("cpu", "cpuacct"), "/sys/fs/cgroup/cpu,cpuacct", "/sys/fs/cgroup/cpu,cpuacct/user"),
        Hierarchy(1, ("memory",), "/sys/fs/cgroup/memory", "/sys/fs/cgroup/memory/user/me"),
        Hierarchy(1, ("blkio",), "/sys/fs/cgroup/blkio", "/sys/fs/cgroup/blkio"),
    ]


def test_hybrid(tmp_path: Path) -> None:
    found = hierarchies(roots(tmp_path, HYBRID, V1_OWN + "0::/user/me\n"))
    assert [item.version for item in found] == [1, 1, 1, 2]
    assert found[-1].home == "/sys/fs/cgroup/unified/user/me"


def test_a_container_that_sees_its_own_cgroup_as_the_mounts_root(tmp_path: Path) -> None:
    mounted = "25 30 0:22 /docker/abc /sys/fs/cgroup ro - cgroup2 cgroup2 rw\n"
    (found,) = hierarchies(roots(tmp_path, mounted, "0::/docker/abc/inner\n"))
    assert found.home == "/sys/fs/cgroup/inner"
    (found,) = hierarchies(roots(tmp_path, mounted, "0::/elsewhere\n"))
    assert found.home == "/sys/fs/cgroup"


def test_of_several_mounts_the_first_counts(tmp_path: Path) -> None:
    again = V2.replace("/sys/fs/cgroup", "/chroot/sys/fs/cgroup").replace("25 30", "99 30")
    assert [item.mount for item in hierarchies(roots(tmp_path, V2 + again, "0::/\n"))] == ["/sys/fs/cgroup"]


def test_odd_names_of_mounts(tmp_path: Path) -> None:
    odd = V2.replace("/sys/fs/cgroup", "/mnt/with\\040space\\134and\\011tab")
    (found,) = hierarchies(roots(tmp_path, odd, "0::/\n"))
    assert found.mount == "/mnt/with space\\and\ttab"


def test_without_any_there_is_none_and_it_is_said(tmp_path: Path) -> None:
    none = RunCgroup("edgeprof-x", Journal(), roots(tmp_path, "", ""))
    assert (none.mode, none.paths, none.reason) == ("none", {}, "no cgroup file system is mounted")
    assert none.members() == []
    assert none.remove() == []
    missing = RunCgroup("edgeprof-x", Journal(), Roots(proc=str(tmp_path / "none")))
    assert missing.reason.startswith("cgroups cannot be read: ")


def test_a_limit_without_its_controller_is_refused(tmp_path: Path) -> None:
    none = RunCgroup("edgeprof-x", Journal(), roots(tmp_path, "", ""))
    none.limit(None, None)
    with pytest.raises(CaptureError, match="cannot limit memory: no cgroup file system is mounted"):
        none.limit(1 << 20, None)
    with pytest.raises(CaptureError, match="cannot limit CPU time: "):
        none.limit(None, 2.0)


@pytest.fixture
def plain(tmp_path: Path) -> tuple[Roots, Path]:
    """Plain folders in the places of v1 hierarchies: what is made and removed can be seen, without root."""
    memory, blkio = tmp_path / "memory", tmp_path / "blkio"
    memory.mkdir()
    blkio.mkdir()
    mounts = f"1 0 0:1 / {memory} rw - cgroup c rw,memory\n2 0 0:2 / {blkio} rw - cgroup c rw,blkio\n"
    return roots(tmp_path, mounts, "4:memory:/\n7:blkio:/\n"), tmp_path


def test_folders_are_journalled_made_and_removed(plain: tuple[Roots, Path]) -> None:
    places, base = plain
    journal = Journal()
    cgroup = RunCgroup("edgeprof-x", journal, places)
    assert cgroup.mode == "v1"
    assert cgroup.paths == {name: str(base / name / "edgeprof-x") for name in ("memory", "blkio")}
    assert [entry["path"] for entry in journal.entries.values()] == list(cgroup.paths.values())
    assert cgroup.remove() == []
    assert journal.entries == {}
    assert not (base / "memory/edgeprof-x").exists()


def test_a_hierarchy_that_refuses_is_left_out_with_its_reason(plain: tuple[Roots, Path]) -> None:
    places, base = plain
    (base / "blkio/edgeprof-x").mkdir()
    journal = Journal()
    cgroup = RunCgroup("edgeprof-x", journal, places)
    assert set(cgroup.paths) == {"memory"}
    assert cgroup.reason.startswith(f"no cgroup could be made in {base}/blkio: File exists; ")
    assert len(journal.entries) == 1


def test_a_workload_that_is_refused_everywhere_has_no_cgroup(plain: tuple[Roots, Path]) -> None:
    places, base = plain
    cgroup = RunCgroup("edgeprof-x", Journal(), places)
    cgroup.add(os.getpid())  # a plain folder has no file cgroup.procs
    assert (cgroup.mode, cgroup.paths) == ("none", {})
    assert cgroup.reason == f"{base}/memory/edgeprof-x refused the workload: No such file or directory"
    assert cgroup.remove() == []
    assert not (base / "memory/edgeprof-x").exists()


def test_a_limit_that_does_not_hold_the_workload_is_an_error(plain: tuple[Roots, Path]) -> None:
    places, base = plain
    cgroup = RunCgroup("edgeprof-x", Journal(), places)
    limit = base / "memory/edgeprof-x/memory.limit_in_bytes"
    limit.touch()
    cgroup.limit(1 << 30, None)
    assert limit.read_text() == str(1 << 30)
    with pytest.raises(CaptureError, match=r"cannot limit the workload: .* refused the workload"):
        cgroup.add(os.getpid())


def test_what_cannot_be_removed_is_named_and_stays_in_the_journal(
    plain: tuple[Roots, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgeprof.profiler.agent.undo._PATIENCE", 0.05)
    places, base = plain
    journal = Journal()
    cgroup = RunCgroup("edgeprof-x", journal, places)
    (base / "memory/edgeprof-x/file").touch()
    assert cgroup.remove() == [f"{base}/memory/edgeprof-x could not be undone: Directory not empty"]
    assert [entry["path"] for entry in journal.entries.values()] == [f"{base}/memory/edgeprof-x"]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.text(alphabet="0123 /:-cgroup2,memory\\\n", max_size=120), st.text(alphabet="0:/cpu,memory\n", max_size=60))
def test_no_text_makes_more_than_a_reason(tmp_path: Path, mountinfo: str, own: str) -> None:
    places = roots(tmp_path, mountinfo, own)
    try:
        found = hierarchies(places)
    except ValueError:
        return  # RunCgroup tells it as its reason
    assert all(item.version in (1, 2) for item in found)
