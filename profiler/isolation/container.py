"""Runs a workload in a container, while this host's agent captures it: its cgroup lies inside the run's."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from edgeprof.profiler.agent import launch as agent_launch
from edgeprof.profiler.agent.engine import LABEL, Engine, EngineError
from edgeprof.profiler.agent.spec import CaptureError, RunSpec
from edgeprof.profiler.errors import EdgeprofError
from edgeprof.profiler.isolation import container_engine, container_image, container_mounts
from edgeprof.profiler.isolation.container_client import CANNOT_START, START, Config, Report
from edgeprof.profiler.isolation.container_mounts import Mounts
from edgeprof.profiler.isolation.container_volume import filled_volume
from edgeprof.profiler.isolation.launch import Launch
from edgeprof.profiler.isolation.spec import IsolationSpec
from edgeprof.profiler.storage.changes import Changes, changes
from edgeprof.profiler.storage.disk import SYS, disk_of
from edgeprof.profiler.storage.spec import Place

Say = Callable[[str], None]
_WAYS = {"read": "BlkioDeviceReadBps", "write": "BlkioDeviceWriteBps"}
_PYTHON = "python3"
_SCENARIO = "edgeprof.workloads.scenarios"


@dataclass(frozen=True)
class _Limits:
    """Device limits: bytes a second by ``read`` and ``write``, and the disk they are of."""

    rates: Mapping[str, int]
    name: str = ""
    number: str = ""

    def body(self) -> dict[str, Any]:
        """As the engine wants them (HostConfig)."""
        return {_WAYS[way]: [{"Path": f"/dev/{self.name}", "Rate": rate}] for way, rate in self.rates.items()}


@contextmanager
def in_container(spec: IsolationSpec, run: RunSpec, place: Place, data: Path | None, say: Say) -> Iterator[Launch]:
    """Prepare one run's container; the engine's client (see `container_client`) makes and starts it.

    Raises:
        EdgeprofError: it cannot be had here; nothing was changed, or it was put back.
    """
    found = container_engine.find()
    image = container_image.choose(found, spec.image, say)
    name = f"edgeprof-{secrets.token_hex(6)}"
    with changes(say, "container") as made:
        made.record("container", socket=found.socket, name=name, label=name)
        run = _command_inside(run, image)
        mounts = Mounts()
        if image.host:
            container_mounts.add_host(mounts, run.command)
        else:
            for folder in container_mounts.package_folders():
                mounts.add(folder)
        mounts.add(Path.cwd(), writable=True)
        if place.folder is not None and data != place.folder:
            mounts.add(place.folder, writable=True)
        where = data
        if data is not None and spec.volume == "volume":
            where = filled_volume(found, image.id, name, data, made, say)
            mounts.volume(name, data)
        elif data is not None:
            mounts.add(data, writable=data == place.folder)
        _check_program(found, image, run.command[0], mounts, made)
        limits = _limits(spec, found, place, where or Path.cwd())
        config = Config(
            socket=found.socket,
            name=name,
            create=_body(image, name, run, mounts, limits),
            inherit=image.host,
            names=sorted(run.environment),
            python_path=[container_mounts.python_path()],
            below=found.below,
            device=limits.number,
            limits=dict(limits.rates),
        )
        facts: dict[str, Any] = {
            "kind": "container",
            **found.facts(),
            "image": image.name,
            "image_id": image.id,
            "image_digest": image.digest,
            "volume": spec.volume if data is not None else None,
            "name": name,
            "limited_device": limits.name or None,
            "limited_number": limits.number or None,
        }
        with _file(json.dumps(asdict(config)).encode()) as config_file, _file(b"") as report_file:
            yield Launch(
                _stand_in(run, facts, limits, config_file, report_file),
                facts,
                lambda path: _after(path, facts, Report.read(report_file)),
                where if where != data else None,
            )


def _command_inside(run: RunSpec, image: container_image.Image) -> RunSpec:
    """The command as the image knows it: this Python's path means nothing in an image that has its own."""
    if not run.command or not run.command[0]:
        raise EdgeprofError("nothing to run; give a command after --, as in `edgeprof run -- python train.py`")
    if _SCENARIO in run.command:
        raise EdgeprofError("a scenario's roles need cgroups of their own, which a container cannot make: run it bare")
    if image.host or run.command[0] != sys.executable:
        return run
    return replace(run, command=[_PYTHON, *run.command[1:]])


def _check_program(
    found: container_engine.Found, image: container_image.Image, program: str, mounts: Mounts, made: Changes
) -> None:
    """Say in time that the image cannot run the command.  Raises EdgeprofError."""
    if image.host:
        try:
            agent_launch.find_program([program], dict(os.environ))
        except CaptureError as error:
            failure = EdgeprofError(str(error))
            failure.exit_code = error.exit_code
            raise failure from None
        return
    if "/" in program:
        place = Path(os.path.normpath(Path.cwd() / program))
        there = (mounts.covers(place) and place.exists()) or _in_image(found, image, [str(place)], made)
    else:
        there = _in_image(found, image, [f"{folder}/{program}" for folder in image.path if folder], made)
    if there:
        return
    if program == _PYTHON:
        failure = EdgeprofError(
            f"the image {image.name} has no Python ({_PYTHON} is not on its PATH): choose one that has it and what the "
            "workload needs, or --image host for the host's own files"
        )
    else:
        failure = EdgeprofError(f"cannot run {program}: the image {image.name} has no such program")
    failure.exit_code = CANNOT_START
    raise failure


def _in_image(found: container_engine.Found, image: container_image.Image, paths: list[str], made: Changes) -> bool:
    """Whether one of the paths is in the image, by a container that is never started."""
    engine = Engine(found.socket)
    name = f"edgeprof-{secrets.token_hex(6)}"
    entry = made.record("container", socket=found.socket, name=name, label=name)
    body = {"Image": image.id, "Cmd": [_PYTHON], "Labels": {LABEL: name}, "NetworkDisabled": True}
    try:
        engine.call("POST", "/containers/create", body, name=name)
        return any(_has(engine, name, path) for path in paths)
    except OSError as error:
        raise EdgeprofError(f"the container engine refuses the image {image.name}: {error.strerror or error}") from None
    finally:
        engine.remove_container(name)
        made.done(entry)


def _has(engine: Engine, container: str, path: str) -> bool:
    try:
        engine.call("HEAD", f"/containers/{container}/archive", path=path)
    except EngineError as error:
        if error.status == 404:
            return False
        raise
    return True


def _limits(spec: IsolationSpec, found: container_engine.Found, place: Place, where: Path) -> _Limits:
    """The disk that is to be limited.  Raises EdgeprofError."""
    rates = {way: round(rate) for way, rate in spec.device_limits.items()}
    if not rates:
        return _Limits({})
    if not found.below:
        raise EdgeprofError(
            f"device limits need an engine that keeps containers' cgroups itself, and this one leaves them to "
            f'{found.info.get("CgroupDriver")}: add "exec-opts": ["native.cgroupdriver=cgroupfs"] to '
            "/etc/docker/daemon.json and start it again"
        )
    disk = disk_of(where)
    name = place.device or disk.name
    if not name or not Path("/dev", name).exists():
        raise EdgeprofError(
            f"{where} lies on {disk.file_system or 'no file system'}, on no disk whose speed could be limited: make a "
            "file system for the run with --file-system, or leave out --device-limit"
        )
    return _Limits(rates, name, (SYS / "class/block" / name / "dev").read_text().strip())


def _body(image: container_image.Image, name: str, run: RunSpec, mounts: Mounts, limits: _Limits) -> dict[str, Any]:
    """The engine's description of the container; the client adds the environment and the cgroup."""
    memory = Path("/dev/shm")  # noqa: S108
    shared = os.statvfs(memory) if memory.is_dir() else None
    host: dict[str, Any] = {
        "Mounts": mounts.body(),
        "NetworkMode": "none",
        "LogConfig": {"Type": "none", "Config": {}},
        **limits.body(),
    }
    if shared is not None and shared.f_blocks:  # the engine's own 64 MB are too few for workers that load data
        host["ShmSize"] = shared.f_blocks * shared.f_frsize
    stdin = not _closed(0) and not os.isatty(0)
    body: dict[str, Any] = {
        "Image": image.id,
        "Entrypoint": [""],  # the command is run as it is
        "Cmd": list(run.command),
        "WorkingDir": str(Path.cwd()),
        "Labels": {LABEL: name},
        "NetworkDisabled": True,
        "AttachStdin": stdin,
        "AttachStdout": True,
        "AttachStderr": True,
        "OpenStdin": stdin,
        "StdinOnce": stdin,
        "HostConfig": host,
    }
    if image.host:
        body["User"] = f"{os.getuid()}:{os.getgid()}"
    return body


def _closed(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return True
    return False


@contextmanager
def _file(content: bytes) -> Iterator[int]:
    """A file in memory that a child process inherits; nothing of it is left when both have ended."""
    descriptor = os.memfd_create("edgeprof", 0)
    try:
        os.pwrite(descriptor, content, 0)
        yield descriptor
    finally:
        os.close(descriptor)


def _stand_in(run: RunSpec, facts: Mapping[str, Any], limits: _Limits, config_file: int, report_file: int) -> RunSpec:
    """The run as the agent captures it: the client in the command's place."""
    factors = {
        "container.image": facts["image"],
        "container.volume": facts["volume"],
        "container.storage_driver": facts["storage_driver"],
        **{f"container.{way}_limit": rate for way, rate in limits.rates.items()},
    }
    root = container_mounts.python_path()
    return replace(
        run,
        command=[sys.executable, "-I", "-S", "-c", START, root, str(config_file), str(report_file)],
        name=run.name or Path(run.command[0]).name,
        stand_in=True,
        options={**run.options, "perf_stat": {**run.options.get("perf_stat", {}), "by_cgroup": True}},
        factors={**factors, **run.factors},
    )


def _after(path: Path, facts: dict[str, Any], report: Report) -> None:
    """Complete the facts.  Raises EdgeprofError when nothing was run; then there is no capture either."""
    facts.update({name: value for name, value in asdict(report).items() if name != "error"})
    if not report.error:
        if report.cgroup == "moved":
            facts["notes"].append(
                "the container's processes were moved to the run's cgroup a moment after they had started, because "
                f"the engine leaves cgroups to {facts['cgroup_driver']}: what they used before is not in its account"
            )
        return
    if report.pid is None:
        shutil.rmtree(path, ignore_errors=True)
    failure = EdgeprofError(report.error)
    failure.exit_code = CANNOT_START
    raise failure
