"""Runs an evaluation's jobs in guests that count instructions, some jobs a guest, some guests at once."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any

from edgeprof.kmodule import build, latency, readahead
from edgeprof.kmodule.errors import Refused
from edgeprof.kmodule.evaluation.errors import NoModel
from edgeprof.kmodule.evaluation.plan import Job, modules_of
from edgeprof.kmodule.evaluation.script import DISK, GUEST_FUNCTIONS, JOB_FILE, JOB_SCRIPT, MODEL_FILE, guest_script
from edgeprof.kmodule.model import Model
from edgeprof.kmodule.training.errors import WrongModel
from edgeprof.profiler.guest.errors import GuestFailed
from edgeprof.profiler.guest.headers import build_tree
from edgeprof.profiler.guest.kernel import Kernel
from edgeprof.profiler.guest.script import Guest

JOBS_A_GUEST = 12
SECONDS_A_JOB = 60.0
"""That a job may take of the host's time; a few are usual, on a host that does nothing else."""
BOOT_SECONDS = 60.0
MEMORY_MIB = 1536
PROCESSOR = ("-cpu", "max,-erms,-fsrm")
"""Without instructions that copy byte by byte: each byte would count as an instruction, and copies would be all that
a guest has time for."""
SCHEDULERS = ("mq-deadline", "kyber-iosched", "bfq")
"""Modules of the kernel's own schedulers."""
_PREDICTORS = {"mq-kmlib": (latency.FEATURES, "latency"), "kml-readahead": (readahead.FEATURES, "readahead")}
"""What a predictor's model takes, and the kind of model that `edgeprof kml train` makes for it."""


COMPLAINTS = re.compile(r".*(?:WARNING:|BUG:|Oops|Call Trace|blocked for more than).*")
"""In a kernel's log."""


@dataclass(frozen=True)
class Machine:
    """What all guests of an evaluation are.

    Attributes:
        cache: for what must be fetched; None: the user's.
        at_once: guests.
        model: that is loaded into the contenders' predictor.
    """

    kernel: Kernel
    cache: Path | None = None
    at_once: int = 2
    model: Path | None = None

    @property
    def facts(self) -> dict[str, Any]:
        """Of the machine that the jobs run on, for their manifests."""
        return {"machine": "test disk", "kernel": self.kernel.version, "device": DISK, "number": "0:0"}


@dataclass(frozen=True)
class Ran:
    """What came of one job: the folder with what it left, or why there is none."""

    job: Job
    left: Path


Left = tuple[Sequence[Job], Mapping[str, bytes]]
"""Jobs of a guest, and the files that it left."""


def run(machine: Machine, jobs: Sequence[Job], logs: Path) -> Iterator[Ran]:
    """Run the jobs in order; what each left is there only until the next is asked for.

    Raises:
        NoGuest, CannotBuild, ToolMissing: a guest cannot be had here.
        NoModel, WrongModel: a contender's model is not given, or is none for it.
    """
    files = _files(machine, jobs)
    batches: SimpleQueue[Sequence[Job]] = SimpleQueue()
    for at in range(0, len(jobs), JOBS_A_GUEST):
        batches.put(jobs[at : at + JOBS_A_GUEST])
    count = batches.qsize()
    done: SimpleQueue[Left | Exception] = SimpleQueue()

    def work() -> None:
        try:
            while True:
                batch = batches.get_nowait()
                done.put((batch, _boot(machine, batch, files, logs / f"{batch[0].name}.log")))
        except Empty:
            return
        except Exception as error:
            done.put(error)

    for _ in range(machine.at_once):
        Thread(target=work, daemon=True).start()  # a daemon's guest ends with us: Ctrl-C waits for none
    for _ in range(count):
        came = done.get()
        if isinstance(came, Exception):
            raise came
        yield from _unpacked(*came)


def _files(machine: Machine, jobs: Sequence[Job]) -> dict[str, bytes]:
    tree = build_tree(machine.kernel, machine.cache)
    modules = [DISK, *modules_of(jobs)]
    files = {f"{name}.ko": build.module(tree, name).read_bytes() for name in modules}
    if any(job.contender.predictor for job in jobs):
        if machine.model is None:
            raise NoModel(next(job.contender.name for job in jobs if job.contender.predictor))
        for predictor in sorted({job.contender.predictor for job in jobs} - {""}):
            _check_model(machine.model, predictor)
        files[MODEL_FILE] = machine.model.read_bytes()
    return {**files, JOB_FILE: (GUEST_FUNCTIONS + JOB_SCRIPT).encode()}


def _check_model(path: Path, predictor: str) -> None:
    """Raises WrongModel where no guest's predictor would take the model."""
    features, kind = _PREDICTORS[predictor]
    try:
        model = Model.load(path)
        names = tuple(feature.name for feature in model.features)
        why = "" if names == features and model.outputs == 1 else f"its inputs are {', '.join(names)}"
    except Refused as error:
        why = error.reason
    except OSError as error:
        why = f"it cannot be read: {error.strerror}"
    if why:
        raise WrongModel(f"{path} is no model for {predictor}: {why}; `edgeprof kml train {kind}` makes one")


def _boot(machine: Machine, jobs: Sequence[Job], files: Mapping[str, bytes], log: Path) -> dict[str, bytes]:
    """What a guest left; where it hung or crashed twice, the reason is what each of its jobs left."""
    programs: list[str | Path] = ["dd"]
    if any(job.contender.predictor for job in jobs):
        programs.append(build.program(Path(__file__).with_name("kml_load.c")))
    if any(job.workload.program == "fio" for job in jobs):
        programs.append("fio")
    if any(job.workload.program == "loader" for job in jobs):
        programs += ["mke2fs", build.program(build.SOURCES / "loader" / "loader.c")]
    guest = Guest(
        machine.kernel,
        programs=programs,
        modules=SCHEDULERS,
        files=files,
        memory=MEMORY_MIB,
        counted=True,
        options=PROCESSOR,
        cache=machine.cache,
    )
    try:
        return guest.run(guest_script(jobs), BOOT_SECONDS + SECONDS_A_JOB * len(jobs), log=log)
    except GuestFailed as error:
        what = str(error).partition(";")[0]
        said = f"{what}; {log} has what it printed".encode()
        return {f"{job.name}/{name}": said for job in jobs for name in ("failed", "printed")}


def _unpacked(jobs: Sequence[Job], files: Mapping[str, bytes]) -> Iterator[Ran]:
    """Each job's files; where the kernel complained, no job of that guest is believed."""
    complaint = COMPLAINTS.search(files.get("log", b"").decode("utf-8", "replace"))
    for job in jobs:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            for path, content in files.items():
                inside = Path(path)
                if inside.parts[0] == job.name:
                    target = folder.joinpath(*inside.parts[1:])
                    target.parent.mkdir(parents=True, exist_ok=True)
                    target.write_bytes(content)
            if complaint is not None:
                (folder / "failed").touch()
                (folder / "printed").write_text(f"the guest's kernel complained: {complaint[0]}")
            yield Ran(job, folder)
