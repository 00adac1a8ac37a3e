"""Runs an evaluation's jobs on a real disk of this machine, which they erase; what is changed is journalled and undone.

Here time does not follow instructions: other load, the disk's own state and its heat all count, so that it takes more
repeats than in a guest to show the same.
"""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

from edgeprof.collectors.tracefs import capture as tracefs
from edgeprof.collectors.tracefs.capture_files import Undo, mount
from edgeprof.kmodule import build
from edgeprof.kmodule.evaluation.errors import NoSuchChoice, NotInstalled
from edgeprof.kmodule.evaluation.guest import Ran
from edgeprof.kmodule.evaluation.plan import Contender, Job, Plan
from edgeprof.kmodule.evaluation.script import INSTANCE, JOB_SCRIPT, WRITEBACK, variables
from edgeprof.profiler.storage.changes import Changes, Say, changes
from edgeprof.profiler.storage.device import check_device
from edgeprof.profiler.storage.tools import ADMIN_FOLDERS, need_root, need_tool

_SECONDS_A_JOB = 900
_SECONDS_TO_END = 5
_FUNCTIONS = """
load_disk() { :; }
unload_disk() { :; }
load_scheduler() { :; }
unload_scheduler() { :; }
"""
_VM = Path("/proc/sys/vm")


@dataclass(frozen=True)
class Device:
    """A disk that may be erased."""

    name: str

    @property
    def facts(self) -> dict[str, Any]:
        """Of the machine that the jobs run on, for their manifests."""
        number = (self._folder / "dev").read_text().strip()
        about = os.uname()
        return {"machine": about.nodename, "kernel": about.release, "device": self.name, "number": number}

    @property
    def schedulers(self) -> list[str]:
        """Those that can be chosen for it now."""
        return (self._folder / "queue" / "scheduler").read_text().replace("[", "").replace("]", "").split()

    @property
    def _folder(self) -> Path:
        return Path("/sys/block") / self.name


def device(path: str, erase: str) -> Device:
    """The disk of a path, which must be named twice where it holds data.  Raises EdgeprofError."""
    need_root("measuring a real disk")
    name = check_device(path, erase)
    if not (Path("/sys/block") / name).is_dir():
        raise NoSuchChoice("whole disk", path, sorted(item.name for item in Path("/sys/block").iterdir()))
    return Device(name)


def suited(plan: Plan, disk: Device, say: Say) -> Plan:
    """The plan for this disk alone, of the schedulers that are installed here; the others are named.

    Raises:
        NotInstalled: what the others are compared with is not.
    """
    there: list[Contender] = []
    for each in plan.contenders:
        if each.scheduler in disk.schedulers:
            there.append(replace(each, modules=(), predictor=""))
        elif each.name == plan.catalogue.baseline:
            raise NotInstalled(each.scheduler, disk.name, disk.schedulers)
        else:
            say(f"{each.name} is left out: {each.scheduler} is not installed for {disk.name}")
    return replace(plan, contenders=tuple(there), disks=(disk.name,))


def run(disk: Device, jobs: Sequence[Job], say: Say) -> Iterator[Ran]:
    """Run the jobs one after the other; what each left is there only until the next is asked for.

    Raises:
        EdgeprofError: a program is missing, or nothing could be journalled.
    """
    with changes(say, "evaluation") as journal, tempfile.TemporaryDirectory() as place:
        _record(disk, journal)
        folder = Path(place)
        script = folder / "job.sh"
        script.write_text(_FUNCTIONS + JOB_SCRIPT)
        files = folder / "files"
        files.mkdir()
        journal.record("mount", target=str(files))
        environment = _environment(disk, journal, files, folder)
        for job in jobs:
            left = folder / job.name
            left.mkdir()
            with (left / "printed").open("wb") as printed:
                if not _succeeds(["sh", "-e", str(script)], environment | variables(job), printed):
                    (left / "failed").touch()
                    subprocess.run(["umount", "-q", files], check=False)
            yield Ran(job, left)


def _succeeds(words: Sequence[str], environment: Mapping[str, str], printed: IO[bytes]) -> bool:
    """Whether a job ends well, in time; whatever it started ends with it."""
    job = subprocess.Popen(
        words,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=printed,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        return job.wait(_SECONDS_A_JOB) == 0
    except subprocess.TimeoutExpired:
        printed.write(f"it was not done in {_SECONDS_A_JOB} seconds, and was ended\n".encode())
        return False
    finally:
        if job.returncode is None:
            _end(job)


def _end(job: subprocess.Popen[bytes]) -> None:
    """Kill a job and what it started, and wait until they have let go of their files."""
    until = time.monotonic() + _SECONDS_TO_END
    while time.monotonic() < until:
        try:
            os.killpg(job.pid, signal.SIGKILL)
        except ProcessLookupError:
            return
        job.poll()
        time.sleep(0.01)


def _environment(disk: Device, journal: Changes, files: Path, out: Path) -> dict[str, str]:
    found = tracefs.probe()
    if not found.available:
        raise NotInstalled("tracefs", disk.name, [found.reason])
    tracing = found.details["path"] or mount("tracefs", Undo(journal))
    journal.record("tracefs_instance", path=f"{tracing}/instances/{INSTANCE}")
    need_tool("fio", "fio")
    loader = build.program(build.SOURCES / "loader" / "loader.c")
    path = os.pathsep.join((str(loader.parent), os.environ.get("PATH", os.defpath), *ADMIN_FOLDERS))
    return {
        **os.environ,
        "PATH": path,
        "DISK": disk.name,
        "TRACING": tracing,
        "OUT": str(out),
        "FILES": str(files),
        "PAGE": str(resource.getpagesize()),
        "DD": need_tool("dd", "coreutils"),
        "MKE2FS": need_tool("mke2fs", "e2fsprogs"),
        "ZEROING": "lazy_itable_init=0,lazy_journal_init=0",
    }


def _record(disk: Device, journal: Changes) -> None:
    """Journal what the script will write."""
    queue = Path("/sys/block") / disk.name / "queue"
    chosen = (queue / "scheduler").read_text().partition("[")[2].partition("]")[0]
    journal.record("write", path=str(queue / "scheduler"), old=chosen or "none")
    journal.record("write", path=str(queue / "read_ahead_kb"), old=(queue / "read_ahead_kb").read_text().strip())
    for name in WRITEBACK:
        value = (_VM / name).read_text().strip()
        if value == "0":  # the share of memory counts instead, and writing it puts this back to 0
            name = name.replace("_bytes", "_ratio")
            value = (_VM / name).read_text().strip()
        journal.record("write", path=str(_VM / name), old=value)
