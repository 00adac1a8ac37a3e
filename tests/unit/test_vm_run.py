"""A run becomes one of QEMU on the host and one of the workload inside, and what comes back is put in its place."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from edgeprof.profiler.agent.manifest import wrong_factor
from edgeprof.profiler.agent.spec import RunSpec
from edgeprof.profiler.errors import EdgeprofError
from edgeprof.profiler.guest.errors import GuestFailed
from edgeprof.profiler.guest.kernel import Kernel
from edgeprof.profiler.isolation import vm
from edgeprof.profiler.isolation.spec import IsolationSpec
from edgeprof.profiler.isolation.vm_data import Data
from edgeprof.profiler.storage.spec import StorageSpec

RUN = RunSpec(
    command=["python", "train.py"],
    auto=True,
    memory_limit=1 << 28,
    cpus=0.5,
    options={"block": {"devices": ["sda"], "backend": "blk"}, "power": {"x": 1}},
    factors={"unit.kind": "cpu", "vm.kernel": "mine"},
    environment={"EDGEPROF_DATA": "/data"},
)
ON_DISK = Data("disk", Path("/image"), Path("/data"), "xfs", True, Path("/data"))
CHOICE = vm._Choice(Kernel(Path("/boot/vmlinuz-6.1"), None, "6.1"), "tcg", "virtiofs")


def test_inside_the_run_is_what_was_asked_for_but_for_the_hosts_disks() -> None:
    inner = vm._inner(RUN, "kvm")
    assert (inner.command, inner.auto, inner.memory_limit, inner.cpus) == (RUN.command, True, 1 << 28, 0.5)
    assert (inner.environment, inner.factors) == (RUN.environment, RUN.factors)
    assert inner.options == {"block": {"backend": "blk"}, "power": {"x": 1}}
    assert RUN.options["block"]["devices"] == ["sda"]
    assert RunSpec.from_json(json.dumps(inner.to_dict())) == inner
    assert inner.budget_cpu == RUN.budget_cpu
    assert vm._inner(RUN, "tcg").budget_cpu == 10 * RUN.budget_cpu


def test_on_the_host_the_run_is_qemus_and_its_limits_are_the_inner_ones() -> None:
    facts = vm._facts(IsolationSpec(kind="vm", memory=1 << 30, cpus=2), CHOICE, ON_DISK, RUN)
    outer = vm._outer(RUN, Path("/job.json"), facts)
    assert outer.command == [sys.executable, "-m", "edgeprof.profiler.guest.supervise", "/job.json"]
    assert (outer.name, outer.auto, outer.memory_limit, outer.cpus, outer.environment) == (
        "python",
        False,
        None,
        None,
        {},
    )
    assert outer.options == RUN.options
    assert outer.factors == {
        "unit.kind": "cpu",
        "vm.kernel": "mine",
        "vm.accelerator": "tcg",
        "vm.share": "disk",
        "vm.memory": 1 << 30,
        "vm.cpus": 2,
        "storage.memory_limit": 1 << 28,
    }
    assert [wrong_factor(name) for name in outer.factors] == [""] * 7
    assert facts["command"] == ["python", "train.py"]
    assert "ten times slower" in facts["warning"]


def test_what_is_asked_of_the_storage_is_done_inside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEPROF_STATE", "/the/hosts")
    storage = StorageSpec(scheduler="kyber", read_ahead=131072, queue={"nr_requests": "64"}, cache="warm")
    job = vm._inner_job(ON_DISK, Path("/data/set"), storage)
    (disk,) = job["disks"]
    assert list(disk["queue"].items()) == [("scheduler", "kyber"), ("nr_requests", "64"), ("read_ahead_kb", "128")]
    assert (disk["mount"], disk["file_system"], disk["copy"]) == ("/data", "xfs", False)
    assert (job["warm"], job["data"], job["cwd"]) == (True, "/data/set", str(Path.cwd()))
    assert job["environment"]["EDGEPROF_STATE"] == "/run/edgeprof"
    assert {name: job["environment"].get(name) for name in ("PATH", "HOME")} == {
        name: os.environ.get(name) for name in ("PATH", "HOME")
    }
    assert vm._modules(ON_DISK, storage) == ["xfs", "kyber-iosched"]
    shared = vm._inner_job(Data("virtiofs"), Path("/data/set"), storage)
    assert (shared["disks"], vm._modules(Data("virtiofs"), storage)) == ([], [])


class Came:
    """A scratch folder as a guest leaves it, and a capture directory for it."""

    def __init__(self, base: Path) -> None:
        self.folder, self.capture = base / ".edgeprof-vm-1", base / "capture"
        self.facts: dict[str, Any] = {}
        self.said: list[str] = []
        (self.folder / "place").mkdir(parents=True)
        self.capture.mkdir()
        (self.folder / "console.log").write_text("\x1bcBooting\nKernel panic\n")

    def leaves(self, name: str, **content: Any) -> None:
        (self.folder / name).write_text(json.dumps(content))

    def bring_in(self) -> None:
        vm._bring_in(self.folder, self.capture, self.facts, self.said.append)


@pytest.fixture
def came(tmp_path: Path) -> Came:
    return Came(tmp_path)


def test_the_capture_from_inside_and_the_console_come_into_the_capture_directory(came: Came) -> None:
    (came.folder / "place" / "runs" / "20260101T000000Z-x-1").mkdir(parents=True)
    (came.folder / "place" / "runs" / "20260101T000000Z-x-1" / "manifest.json").write_text("{}")
    came.leaves("result.json", status="finished", exit_code=3, clock={"drift": 0.0}, image={"extents": [[0, 1, 2]]})
    came.leaves("place/data.json", residency_before={"share": 1.0})
    came.bring_in()
    assert sorted(str(path.relative_to(came.capture)) for path in came.capture.rglob("*") if path.is_file()) == [
        "guest/manifest.json",
        "vm/console.log",
        "vm/result.json",
    ]
    assert came.facts == {
        "status": "finished",
        "exit_code": 3,
        "clock": {"drift": 0.0},
        "data": {"residency_before": {"share": 1.0}},
    }
    assert came.said == []


@pytest.mark.parametrize(
    ("status", "what"), [("boot", "did not come up"), ("limit", "failed"), ("crash", "failed"), ("disk", "failed")]
)
def test_a_guest_that_failed_is_one_sentence_with_its_console(came: Came, status: str, what: str) -> None:
    came.leaves("result.json", status=status, reason="it ended by itself", exit_code=None)
    with pytest.raises(GuestFailed) as raised:
        came.bring_in()
    log = came.capture / "vm" / "console.log"
    assert str(raised.value) == f"the virtual machine {what}: it ended by itself; its console log is {log}"
    assert raised.value.exit_code == 121
    assert came.said == ["the last words of the guest's console:\nBooting\nKernel panic"]
    assert came.facts["status"] == status


def test_a_guest_whose_process_was_killed_is_known_to_be(came: Came) -> None:
    with pytest.raises(GuestFailed, match="its process on the host was killed"):
        came.bring_in()


def test_what_the_agent_inside_cannot_do_is_told_as_its_own_sentence(came: Came) -> None:
    came.leaves("result.json", status="finished", exit_code=121)
    came.leaves("place/failure.json", error="cannot run train: no such program", exit_code=121)
    with pytest.raises(EdgeprofError) as raised:
        came.bring_in()
    assert str(raised.value) == "inside the virtual machine: cannot run train: no such program"
    assert raised.value.exit_code == 121
