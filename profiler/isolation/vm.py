"""Runs a workload in a virtual machine: the same agent captures it inside, and QEMU itself on the host."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edgeprof.profiler.agent.spec import RunSpec
from edgeprof.profiler.errors import EdgeprofError
from edgeprof.profiler.guest import accelerator, inside, root, share, tools
from edgeprof.profiler.guest.attempt import DATA_SERIAL, Job
from edgeprof.profiler.guest.errors import GuestFailed
from edgeprof.profiler.guest.kernel import CLOUD, GENERIC, Kernel, cache_folder, distribution_kernel, given_kernel
from edgeprof.profiler.guest.qemu import TCG, last_words
from edgeprof.profiler.isolation.launch import Launch
from edgeprof.profiler.isolation.spec import IsolationSpec
from edgeprof.profiler.isolation.vm_data import DISK, Data, prepared_data
from edgeprof.profiler.storage.changes import changes
from edgeprof.profiler.storage.spec import Place, StorageSpec

FOLDER = "vm"
"""In the capture directory: the guest's ``console.log``, ``share.log`` of the shared folders, and ``result.json``,
what `supervise` found."""
CONSOLE, RESULT = "console.log", "result.json"
GUEST = "guest"
"""In the capture directory: the capture directory of the agent inside."""

_SCHEDULERS = {"mq-deadline": "mq-deadline", "kyber": "kyber-iosched", "bfq": "bfq"}
"""Modules of I/O schedulers."""

Say = Callable[[str], None]


@dataclass(frozen=True)
class _Choice:
    """What this machine offers of what was asked for."""

    kernel: Kernel
    accelerator: str
    share: str


@contextmanager
def in_machine(
    spec: IsolationSpec,
    run: RunSpec,
    place: Place,
    data: Path | None,
    say: Say,
    storage: StorageSpec = StorageSpec(),
) -> Iterator[Launch]:
    """Prepare the guest of one run.

    What ``storage`` asks of the device and of the cache is done inside, too: the guest has a disk and a page cache
    of its own.

    Raises:
        NoGuest: it cannot be had here.
        EdgeprofError: its disk cannot be made.
    """
    choice = _choose(spec, say)
    with _scratch(Path(run.folder), say) as folder:
        there = prepared_data(spec.share, choice.share, place, data, folder, say)
        root.write_initramfs(
            folder / "initramfs", choice.kernel, choice.share, sys.executable, _modules(there, storage)
        )
        (folder / "place").mkdir()
        shutil.copy(inside.__file__, folder / "place" / "inside.py")
        (folder / "place" / "spec.json").write_text(json.dumps(_inner(run, choice.accelerator).to_dict()))
        (folder / "place" / "job.json").write_text(json.dumps(_inner_job(there, data, storage)))
        job = Job(
            folder=str(folder),
            kernel=str(choice.kernel.image),
            share=choice.share,
            accelerator=choice.accelerator,
            memory=spec.memory >> 20,
            cpus=spec.cpus,
            timeout=spec.timeout,
            disk=str(there.image or ""),
            direct=there.direct,
            mounted=str(there.mounted or ""),
        )
        job.write(folder / "job.json")
        facts = _facts(spec, choice, there, run)
        yield Launch(_outer(run, folder / "job.json", facts), facts, lambda path: _bring_in(folder, path, facts, say))


def _choose(spec: IsolationSpec, say: Say) -> _Choice:
    tools.program(f"qemu-system-{os.uname().machine}")
    if spec.kernel:
        kernel = given_kernel(Path(spec.kernel))
    else:
        kernel = distribution_kernel(package=GENERIC if spec.share == share.NINE_P else CLOUD)
    kind = share.choose(spec.share if spec.share != DISK else "", kernel)
    chosen = accelerator.choose(spec.accelerator, kernel, cache_folder(), say)
    if chosen == TCG:
        say(accelerator.WARNING)
    return _Choice(kernel, chosen, kind)


@contextmanager
def _scratch(runs: Path, say: Say) -> Iterator[Path]:
    """A folder beside the captures, which is gone at the end; named in an undo journal."""
    with changes(say) as journal:
        path = runs.resolve() / f".edgeprof-vm-{secrets.token_hex(4)}"
        journal.record("scratch", path=str(path))
        try:
            path.mkdir(mode=0o700, parents=True)
        except OSError as error:
            raise EdgeprofError(f"cannot write to {runs}: {error.strerror}; choose another --output") from None
        yield path


def _inner(run: RunSpec, chosen: str) -> RunSpec:
    """The run as the agent inside captures it; the host's disks have other names there.

    The agent gets as much work done as on the host: its budget of CPU time grows with what emulation costs.  Power
    mode, steadiness and idle power are the host's.
    """
    options = {name: dict(values) for name, values in run.options.items()}
    options.get("block", {}).pop("devices", None)
    budget = min(1.0, run.budget_cpu * accelerator.SLOWDOWN) if chosen == TCG else run.budget_cpu
    run = replace(run, steady=None, power_mode="", idle=0.0)
    return replace(run, folder=f"{root.PLACE}/runs", options=options, roots={}, budget_cpu=budget)


def _modules(there: Data, storage: StorageSpec) -> list[str]:
    scheduler = [_SCHEDULERS[storage.scheduler]] if there.image is not None and storage.scheduler in _SCHEDULERS else []
    return [*there.modules, *scheduler]


def _inner_job(there: Data, data: Path | None, storage: StorageSpec) -> dict[str, Any]:
    """For `inside` and `agent`."""
    disks = []
    if there.image is not None:
        queue = {"scheduler": storage.scheduler} if storage.scheduler else {}  # first: changing it resets others
        queue.update(storage.queue)
        if storage.read_ahead is not None:
            queue["read_ahead_kb"] = str(storage.read_ahead >> 10)
        disk = {"serial": DATA_SERIAL, "mount": str(there.mount), "file_system": there.file_system, "queue": queue}
        disks.append({**disk, "copy": there.mounted is None})
    return {
        "python": sys.executable,
        "cwd": str(Path.cwd()),
        "environment": dict(os.environ, EDGEPROF_STATE="/run/edgeprof"),
        "disks": disks,
        "data": str(data.resolve()) if data else "",
        "warm": storage.cache == "warm",
    }


def _facts(spec: IsolationSpec, choice: _Choice, there: Data, run: RunSpec) -> dict[str, Any]:
    return {
        "kind": "vm",
        "kernel": choice.kernel.version or str(choice.kernel.image),
        "accelerator": choice.accelerator,
        "warning": accelerator.WARNING if choice.accelerator == TCG else None,
        "root": choice.share,
        "share": there.share,
        "direct": there.direct if there.image is not None else None,
        "memory": spec.memory,
        "cpus": spec.cpus,
        "command": list(run.command),
    }


def _outer(run: RunSpec, job: Path, facts: dict[str, Any]) -> RunSpec:
    """The run as this host's agent captures it: QEMU with its helpers; limits and phases are the inner one's."""
    factors = {f"vm.{name}": facts[name] for name in ("kernel", "accelerator", "share", "memory", "cpus")}
    if run.memory_limit is not None:
        factors["storage.memory_limit"] = run.memory_limit
    return replace(
        run,
        command=[sys.executable, "-m", "edgeprof.profiler.guest.supervise", str(job)],
        name=run.name or Path(run.command[0]).name,
        auto=False,
        memory_limit=None,
        cpus=None,
        environment={},
        factors={**factors, **run.factors},
    )


def _bring_in(folder: Path, capture: Path, facts: dict[str, Any], say: Say) -> None:
    """Move what came back into the capture directory.  Raises GuestFailed, EdgeprofError."""
    target = capture / FOLDER
    target.mkdir(exist_ok=True)
    for name in (CONSOLE, "share.log", RESULT):
        if (folder / name).exists():
            shutil.move(folder / name, target / name)
    captures = sorted((folder / "place" / "runs").glob("*/"))
    if captures:
        shutil.move(captures[-1], capture / GUEST)
    result = _result(target / RESULT)
    facts.update({key: value for key, value in result.items() if key != "image"})
    console = target / CONSOLE
    if result["status"] != "finished":
        ending = last_words(console.read_text("utf-8", "replace")) if console.exists() else ""
        if ending:
            say(f"the last words of the guest's console:\n{ending}")
        what = "did not come up" if result["status"] == "boot" else "failed"
        raise GuestFailed(
            f"the virtual machine {what}: {result['reason']}; its console log is {console}", ending, console
        )
    facts["data"] = _told(folder / "place" / "data.json")
    told = _told(folder / "place" / "failure.json")
    if told:
        wrong = EdgeprofError(f"inside the virtual machine: {told['error']}")
        wrong.exit_code = int(told["exit_code"])
        raise wrong


def _told(path: Path) -> dict[str, Any]:
    """What `agent` has written inside; empty when it has not."""
    try:
        content: dict[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return content


def _result(path: Path) -> dict[str, Any]:
    return _told(path) or {"status": "killed", "reason": "its process on the host was killed"}
