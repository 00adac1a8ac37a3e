"""Starts the roles of a scenario, lets them begin together, and ends them together.

    python -m edgeprof.workloads.scenarios JSON

The last line on standard output is JSON: what each role said of itself.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from types import FrameType
from typing import Any

import edgeprof
from edgeprof.workloads import gate
from edgeprof.workloads.errors import WrongSpec
from edgeprof.workloads.scenarios.cgroups import RoleCgroups
from edgeprof.workloads.scenarios.spec import Role, ScenarioSpec

GRACE = 10.0
"""Seconds beyond the measured part that a role may take to end by itself, then to end when asked to."""
_POLL = 0.02
_LAST_LINE = 1 << 20
"""Bytes at the end of a role's output in which its last line is looked for."""


class RoleFailed(Exception):
    """A role could not be started, or ended before it was ready."""


class Running:
    """The processes of a scenario; `end` leaves none of them."""

    def __init__(self, spec: ScenarioSpec, folder: Path, cgroups: RoleCgroups) -> None:
        self.spec, self.folder, self.cgroups = spec, folder, cgroups
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.asked: set[str] = set()

    def start(self, role: Role) -> None:
        """Start a role in its cgroup.  Raises RoleFailed."""
        command = command_of(role, self.spec, self.folder)
        try:
            self.cgroups.make(role.name)
            with (self.folder / f"{role.name}.out").open("wb") as output:
                self.processes[role.name] = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    env=dict(os.environ, **{gate.VARIABLE: str(self.folder)}),
                    preexec_fn=lambda: self._enter(role),
                )
        except OSError as error:
            raise RoleFailed(f"the role {role.name} cannot be started: {error.filename}: {error.strerror}") from None
        except subprocess.SubprocessError:  # of what is done before its program is run
            raise RoleFailed(f"the role {role.name} cannot be started: its cgroup refuses it") from None

    def _enter(self, role: Role) -> None:
        """In the child: a process group of its own, so that what it starts ends with it, and the role's cgroup."""
        os.setpgid(0, 0)
        self.cgroups.enter(role.name, os.getpid())

    def wait_until_ready(self) -> None:
        """Return when every role that knows the gate waits at it.  Raises RoleFailed."""
        deadline = time.monotonic() + self.spec.ready
        waiting = {role.name for role in self.spec.roles if role.kind != "command"}
        while waiting:
            for name in sorted(waiting):
                process = self.processes[name]
                if gate.is_ready(self.folder, process.pid):
                    waiting.discard(name)
                elif process.poll() is not None:
                    raise RoleFailed(f"the role {name} ended with code {process.returncode} before it was ready")
            if time.monotonic() > deadline:
                names = ", ".join(sorted(waiting))
                raise RoleFailed(f"not ready within {self.spec.ready:g} s: {names}; `ready` in the scenario gives more")
            time.sleep(_POLL)

    def wait(self) -> None:
        """Wait for the measured part to be over and for the roles to end by themselves."""
        deadline = time.monotonic() + self.spec.seconds
        while time.monotonic() < deadline and any(item.poll() is None for item in self.processes.values()):
            time.sleep(_POLL)
        deadline += GRACE
        own_end = {role.name for role in self.spec.roles if role.kind != "command"}
        while time.monotonic() < deadline and any(self.processes[name].poll() is None for name in own_end):
            time.sleep(_POLL)

    def end(self) -> None:
        """Ask what still runs to end, and kill what does not: the roles' processes and all that they started."""
        self.asked |= {name for name, process in self.processes.items() if process.poll() is None}
        for number in (signal.SIGTERM, signal.SIGKILL):
            deadline = time.monotonic() + GRACE
            running = self._running()
            for pid in running:
                with suppress(ProcessLookupError):
                    os.kill(pid, number)
            while running and time.monotonic() < deadline:
                time.sleep(_POLL)
                running = self._running()

    def _running(self) -> set[int]:
        """Processes of the roles that live: by cgroup where there is one, and by process group."""
        for process in self.processes.values():
            process.poll()  # reaps it
        groups = {process.pid for process in self.processes.values()}
        inside = {pid for name in self.processes for pid in self.cgroups.members(name)}
        return {pid for pid, state, group in _processes() if state not in "ZX" and (group in groups or pid in inside)}

    def results(self) -> dict[str, Any]:
        """What each role printed last, and its exit code: null where `end` had to end it, as it does with commands."""
        found: dict[str, Any] = {}
        for name, process in self.processes.items():
            try:
                said = json.loads(_last_line(self.folder / f"{name}.out"))
            except (ValueError, RecursionError):
                said = None
            found[name] = {"exit_code": None if name in self.asked else process.returncode, "result": said}
        return found


def _last_line(path: Path) -> str:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - _LAST_LINE))
        return file.read().decode("utf-8", "replace").strip().rpartition("\n")[2]


def _processes() -> Iterator[tuple[int, str, int]]:
    """Process id, state and process group of all processes."""
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError, ValueError, IndexError):
            fields = path.read_text(errors="replace").rpartition(")")[2].split()
            yield int(path.parent.name), fields[0], int(fields[2])


def command_of(role: Role, spec: ScenarioSpec, folder: Path) -> list[str]:
    """The words that start a role."""
    if role.kind == "command":
        return [word.replace("{data}", spec.folder) for word in role.command]
    if role.workload is not None:
        checkpoint = str(folder / f"{role.name}.checkpoint") if role.workload.lifecycle == "train" else ""
        workload = replace(role.workload, seconds=spec.seconds, checkpoint=checkpoint)
        return [sys.executable, "-m", "edgeprof.workloads", workload.to_json()]
    stream = [sys.executable, "-m", "edgeprof.workloads.scenarios.streams"]
    return [*stream, json.dumps(asdict(role)), str(spec.seconds), str(folder)]


def run(spec: ScenarioSpec) -> Mapping[str, Any]:
    """Run a scenario to its end.  Raises RoleFailed."""
    folder = Path(tempfile.mkdtemp(prefix="scenario-", dir=spec.folder or None))
    running = Running(spec, folder, RoleCgroups())
    try:
        with edgeprof.phase("start"):
            for role in spec.roles:
                running.start(role)
            running.wait_until_ready()
        edgeprof.mark("measured", 1)
        gate.open_gate(folder)
        with edgeprof.phase("scenario"):
            running.wait()
        edgeprof.mark("measured", 0)
        running.end()
        return {"scenario": spec.name, "cgroups": running.cgroups.reason or "own", "roles": running.results()}
    finally:
        running.end()
        shutil.rmtree(folder, ignore_errors=True)


def _interrupted(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def main(arguments: Sequence[str]) -> int:
    """Run the scenario that the arguments hold; 1: a role failed, 2: the spec is wrong, 130: interrupted."""
    signal.signal(signal.SIGTERM, _interrupted)
    try:
        if len(arguments) != 1:
            raise WrongSpec("give one argument, the scenario as JSON; `edgeprof run NAME` makes it")
        spec = ScenarioSpec.from_json(arguments[0])
        outcome = run(spec)
    except WrongSpec as error:
        print(f"edgeprof scenario: {error}", file=sys.stderr)
        return 2
    except RoleFailed as error:
        print(f"edgeprof scenario: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    print(json.dumps(outcome), flush=True)
    codes = {name: said["exit_code"] for name, said in outcome["roles"].items()}
    late = [role.name for role in spec.roles if role.kind != "command" and codes[role.name] is None]
    if late:
        print(
            f"edgeprof scenario: still at work {GRACE:g} s after their time, and ended: {', '.join(late)}",
            file=sys.stderr,
        )
    failed = [name for name, code in codes.items() if code]
    if failed:
        print(f"edgeprof scenario: failed roles: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
