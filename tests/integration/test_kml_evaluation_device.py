"""An evaluation on a real block device: the same work under two schedulers, and the machine as it was before."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from edgeprof.kmodule.evaluation import folder
from edgeprof.kmodule.evaluation.device import device, run, suited
from edgeprof.kmodule.evaluation.errors import NotInstalled
from edgeprof.kmodule.evaluation.plan import SCHEDULERS, Contender, Plan, contender
from edgeprof.kmodule.evaluation.script import INSTANCE, WRITEBACK
from edgeprof.kmodule.evaluation.workloads import Part, Workload
from edgeprof.profiler.errors import EdgeprofError
from tests.helpers import tracing

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(shutil.which("losetup") is None, reason="no losetup here: apt-get install mount"),
    pytest.mark.skipif(shutil.which("fio") is None, reason="no fio here: apt-get install fio"),
]
BYTES = 64 << 20
READS, RECORDS = 60, 10
WORK = Workload(
    "small",
    "loader",
    True,
    "",
    (
        Part("inference", "inference,size=2m,read=16k,rate=0", READS),
        Part("log", "camera,frame=4k,sync=1,rate=0", RECORDS),
    ),
)
PLAN = Plan(SCHEDULERS, (contender("none"), contender("mq-deadline")), (WORK,), (), repeats=1)


@pytest.fixture
def loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("EDGEPROF_STATE", str(tmp_path / "state"))
    image = tmp_path / "image"
    with image.open("wb") as file:
        file.truncate(BYTES)
    attach = subprocess.run(["losetup", "--find", "--show", str(image)], capture_output=True, text=True, check=False)
    if attach.returncode:
        pytest.skip(f"no loop device can be had here: {attach.stderr.strip()}")
    path = attach.stdout.strip()
    yield path
    subprocess.run(["losetup", "--detach", path], check=True)


def settings(path: str) -> list[str]:
    queue = Path("/sys/block") / Path(path).name / "queue"
    files = [queue / "scheduler", queue / "read_ahead_kb", *(Path("/proc/sys/vm") / name for name in WRITEBACK)]
    return [file.read_text() for file in files]


def test_a_real_disk_is_measured_and_left_as_it_was(loop: str, tmp_path: Path) -> None:
    before = settings(loop)
    disk = device(loop, "")
    if "mq-deadline" not in disk.schedulers:
        pytest.skip("this kernel has no mq-deadline: use one with CONFIG_MQ_IOSCHED_DEADLINE")
    plan = suited(PLAN, disk, lambda sentence: None)
    folder.evaluate(
        tmp_path / "results",
        plan,
        disk.facts,
        lambda jobs, logs: run(disk, jobs, lambda sentence: None),
        lambda *_: None,
    )
    jobs = folder.read_jobs(tmp_path / "results")
    assert {job["contender"]: job["failed"] for job in jobs} == {"none": None, "mq-deadline": None}
    for job in jobs:
        assert job["classes"]["read"]["requests"] > 20
        assert job["classes"]["sync_write"]["requests"] >= RECORDS
        assert 0 < job["classes"]["read"]["mean"] <= job["classes"]["read"]["max"] < job["completion"]["total"]
    assert settings(loop) == before
    assert Path(loop).name not in Path("/proc/mounts").read_text()
    assert not (tracing() / "instances" / INSTANCE).exists()
    with pytest.raises(EdgeprofError, match="holds data"):  # its own last file system
        device(loop, "")


def test_schedulers_that_are_not_here_are_named_and_left_out(loop: str) -> None:
    disk, said = device(loop, ""), []
    foreign = Contender("foreign", "foreign", "")
    plan = suited(replace(PLAN, contenders=(contender("mq-deadline"), foreign)), disk, said.append)
    assert [each.name for each in plan.contenders] == ["mq-deadline"]
    assert said == [f"foreign is left out: foreign is not installed for {disk.name}"]
    assert [job.disk for job in plan.jobs()] == [disk.name]
    without = replace(PLAN, contenders=(replace(foreign, name="mq-deadline"),))
    with pytest.raises(NotInstalled, match="foreign cannot be used"):
        suited(without, disk, said.append)
