"""Stands for a container in edgeprof's place of the workload: starts it, passes streams and signals, ends as it does.

    python -I -S -c START ROOT CONFIG REPORT

CONFIG and REPORT are descriptors of JSON files, see `Config` and `Report`.  It is a process of its own because the
agent watches one, and it speaks the engine's HTTP itself because the SDK would take longer to import than the
container takes to start.  It never enters the run's cgroup, so nothing that it does is the run's.
"""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from edgeprof.profiler.agent.engine import Connection, Engine, EngineError, send
from edgeprof.profiler.isolation import container_cgroup
from edgeprof.profiler.isolation.container_streams import PASSED_ON, Lost, Streams

START = (
    "import sys; sys.path.insert(0, sys.argv[1]); from edgeprof.profiler.isolation.container_client import main; "
    "sys.exit(main(sys.argv[2:]))"
)
CANNOT_START = 121
"""As the agent's own: the workload cannot be started."""
_CGROUP = "EDGEPROF_CGROUP"
_PHASES = "EDGEPROF_PHASES"


@dataclass(frozen=True)
class Config:
    """What to start.

    Attributes:
        socket: path of the engine's socket.
        name: of the container.
        create: body of the engine's ``containers/create``, but for what only the agent knows: environment and cgroup.
        inherit: whether the container gets this process's whole environment, or only what is edgeprof's and ``names``.
        names: variables that it gets in any case.
        python_path: folders for its PYTHONPATH, where ``inherit`` is false.
        below: whether the engine can make the container's cgroup inside the run's.
        limits: bytes a second by ``read`` and ``write`` that must really be set on ``device`` (``major:minor``).
    """

    socket: str
    name: str
    create: dict[str, Any]
    inherit: bool
    names: list[str]
    python_path: list[str]
    below: bool
    device: str
    limits: dict[str, int]


@dataclass
class Report:
    """What became of it; complete once this process has ended.

    Attributes:
        error: why nothing was run; empty otherwise.
        id, pid: the container's, and of its first process on the host; None: it never started.
        init: whether the engine's small init is the first process.
        cgroup: ``below``: the engine made the container's cgroup inside the run's; ``moved``: its processes were moved
            to the run's cgroup once they had started.
        path: of the container's cgroup, by controller.
        limits: device limits as the kernel gave them back.
        created, start_seconds, started_ns: s to create and to start it; CLOCK_MONOTONIC after that.
        exit_code, oom_killed: how it ended.
        notes: sentences for the user.
    """

    error: str = ""
    id: str = ""
    pid: int | None = None
    init: bool = True
    cgroup: str = ""
    path: dict[str, str] = field(default_factory=dict)
    limits: dict[str, int] = field(default_factory=dict)
    create_seconds: float | None = None
    start_seconds: float | None = None
    started_ns: int | None = None
    exit_code: int | None = None
    oom_killed: bool | None = None
    notes: list[str] = field(default_factory=list)

    @classmethod
    def read(cls, descriptor: int) -> Report:
        """What the client has written so far."""
        text = os.pread(descriptor, 1 << 20, 0)
        known = {item.name for item in fields(cls)}
        found = json.loads(text) if text else {}
        return cls(**{name: value for name, value in found.items() if name in known})

    def write(self, descriptor: int) -> None:
        """Replace what was written before."""
        text = json.dumps(asdict(self)).encode()
        os.ftruncate(descriptor, os.pwrite(descriptor, text, 0))


class CannotStart(Exception):
    """Nothing was run; the message is one sentence."""


def main(arguments: list[str]) -> int:
    """Run the container to its end; the exit code is its own."""
    config_file, report_file = map(int, arguments)
    config = Config(**json.loads(os.pread(config_file, 16 << 20, 0)))
    report = Report()
    client = Client(config, report, report_file)
    try:
        code = client.run()
    except (CannotStart, Lost) as error:
        report.error = str(error)
        code = CANNOT_START
    except OSError as error:
        report.error = error.strerror or str(error)
        code = CANNOT_START
    finally:
        report.write(report_file)
        client.remove()
    return code


class Client:
    """One container from its creation to its removal."""

    def __init__(self, config: Config, report: Report, report_file: int) -> None:
        self.config = config
        self.report = report
        self.report_file = report_file
        self.engine = Engine(config.socket)
        self.folders: dict[str, str] = json.loads(os.environ.get(_CGROUP) or "{}")

    def run(self) -> int:
        """Create, start, attend; returns the exit code.  Raises CannotStart, Lost, OSError."""
        with Streams(self.config.socket, self.config.name) as streams:
            begun = time.monotonic()
            self._create()
            self.report.create_seconds = time.monotonic() - begun
            waiting = self._start(streams)
            state = (self.engine.container(self.config.name) or {}).get("State") or {}
            if state.get("Pid"):
                self._started(int(state["Pid"]), streams)
            code = streams.attend(waiting)
        ended = self.engine.container(self.config.name) or {}
        self.report.exit_code = code
        self.report.oom_killed = (ended.get("State") or {}).get("OOMKilled")
        return code

    def _create(self) -> None:
        body = dict(self.config.create, Env=self._environment())
        host = dict(body["HostConfig"])
        host["Mounts"] = [*host.get("Mounts", []), *self._phases()]
        parent = container_cgroup.parent(self.folders) if self.config.below else None
        if parent:
            host["CgroupParent"] = parent
        host["Init"] = self.report.init
        answer = self._ask("POST", "/containers/create", dict(body, HostConfig=host), name=self.config.name)
        self.report.id = answer["Id"]
        for warning in answer.get("Warnings") or []:
            if "throttle" in warning.lower() or "BPS" in warning:
                raise CannotStart(f"the container engine sets no device limits here: {warning}")
            self.report.notes.append(f"the container engine says: {warning}")

    def _ask(self, method: str, path: str, body: Any = None, **query: str) -> Any:
        try:
            return self.engine.call(method, path, body, **query)
        except EngineError as error:
            raise CannotStart(f"the container engine refused: {error.strerror}") from None

    def _start(self, streams: Streams) -> Connection:
        """Start it, and again without an init where the engine has none; returns the connection that tells its end."""
        while True:
            streams.attach(stdin=bool(self.config.create.get("OpenStdin")))
            waiting = Connection(self.config.socket, timeout=None)
            streams.exit = send(waiting, "POST", f"/containers/{self.config.name}/wait", condition="next-exit")
            begun = time.monotonic()
            try:
                self.engine.call("POST", f"/containers/{self.config.name}/start")
            except EngineError as error:
                if not (self.report.init and "docker-init" in str(error.strerror)):
                    raise CannotStart(f"the container cannot be started: {error.strerror}") from None
                self.report.init = False
                self.report.notes.append("the container engine has no init (docker-init): see docs/containers.md")
                streams.detach()
                waiting.close()
                self.engine.remove_container(self.config.name)
                self._create()
                continue
            self.report.start_seconds = time.monotonic() - begun
            self.report.started_ns = time.monotonic_ns()
            return waiting

    def _started(self, pid: int, streams: Streams) -> None:
        self.report.pid = pid
        streams.watch(pid)
        self.report.path = container_cgroup.paths_of(pid, self.folders)
        if len(self.report.path) == len(self.folders):
            self.report.cgroup = "below"
        else:
            container_cgroup.move(pid, self.folders)
            self.report.cgroup = "moved"
        if self.config.limits and self.report.path:
            self.report.limits = container_cgroup.device_limits(self.report.path, self.config.device)
        self.report.write(self.report_file)
        if self.config.limits and self.report.limits != self.config.limits and Path("/proc", str(pid)).exists():
            raise CannotStart(
                f"the container's device limits are {self.report.limits or 'not there'} and not {self.config.limits} "
                f"of device {self.config.device}: this kernel does not keep them"
            )

    def _environment(self) -> list[str]:
        """The container's variables, as NAME=VALUE."""
        mine = {name: value for name, value in os.environ.items() if name != _CGROUP}
        if not self.config.inherit:
            kept = set(self.config.names)
            path = list(self.config.python_path)
            if mine.get("EDGEPROF_AUTO"):
                path.insert(0, mine.get("PYTHONPATH", "").partition(os.pathsep)[0])
            mine = {name: value for name, value in mine.items() if name.startswith("EDGEPROF_") or name in kept}
            mine["PYTHONPATH"] = os.pathsep.join(path)
        return [f"{name}={value}" for name, value in mine.items()]

    def _phases(self) -> list[dict[str, Any]]:
        """The capture's folder for phases, at the path that the variable names."""
        folder = os.environ.get(_PHASES)
        return [{"Type": "bind", "Source": folder, "Target": folder}] if folder else []

    def remove(self) -> None:
        """Leave no container behind; where the engine fails, the undo journal still knows of it."""
        try:
            self.engine.remove_container(self.config.name)
        except OSError as error:
            print(f"edgeprof: {error.strerror or error}", file=sys.stderr)


__all__ = ["CANNOT_START", "PASSED_ON", "START", "Client", "Config", "Report", "main"]
