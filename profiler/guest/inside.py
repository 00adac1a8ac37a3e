"""The guest's first process: runs edgeprof's agent with the workload, and answers the host.

Runs as ``python3 -I -S inside.py FOLDER`` on the host's own root, shared.  It is copied to FOLDER, the place that goes
back to the host, so it is of the standard library alone.  FOLDER/job.json says what to do.

Lines on the port ``control``:

    guest: ready JSON       what was found
    host:  time TOKEN       guest: time TOKEN NANOSECONDS
    host:  start            the workload begins
    host:  signal NUMBER    to the agent
    guest: ended JSON       exit code of the agent
    host:  halt             the machine is switched off
"""

from __future__ import annotations

import ctypes
import json
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

_POWER_OFF = 0x4321FEDC  # linux/reboot.h
_GRACE = 0.5
"""Seconds that processes which outlive the agent may still print."""
_PORTS_SECONDS = 10.0

Job = dict[str, Any]


class Control:
    """Lines to and from the host."""

    def __init__(self, device: Path) -> None:
        self.descriptor = os.open(device, os.O_RDWR | os.O_CLOEXEC)
        self._pending = b""

    def send(self, line: str) -> None:
        """Write a line."""
        write_all(self.descriptor, line.encode() + b"\n")

    def receive(self) -> list[tuple[str, str]]:
        """The lines that came, each as its first word and the rest."""
        data = os.read(self.descriptor, 4096)
        if not data:  # the host has gone; it ends the machine, too
            time.sleep(0.1)
        *lines, self._pending = (self._pending + data).split(b"\n")
        return [(word, rest) for word, _, rest in (line.decode().partition(" ") for line in lines)]


class Agent:
    """edgeprof's agent under way.

    Its output passes through pipes: a port cannot be opened twice, as programs do that open /dev/stdout.
    """

    def __init__(self, job: Job, folder: Path, ports: dict[str, Path]) -> None:
        self._process = subprocess.Popen(
            [job["python"], "-m", "edgeprof.profiler.guest.agent", str(folder)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=job["cwd"],
            env=job["environment"],
            start_new_session=True,
        )
        self.code: int | None = None
        self._ended_at = 0.0
        self.outputs: dict[int, int] = {}
        for stream, name in ((self._process.stdout, "stdout"), (self._process.stderr, "stderr")):
            assert stream is not None
            self.outputs[stream.fileno()] = os.open(ports[name], os.O_WRONLY | os.O_CLOEXEC)

    def signal(self, number: int) -> None:
        """Send a signal, if it still runs."""
        if self.code is None:
            os.kill(self._process.pid, number)

    def pass_on(self, stream: int) -> None:
        """Copy output that is there."""
        data = os.read(stream, 65536)
        if data:
            write_all(self.outputs[stream], data)
        else:
            del self.outputs[stream]

    def reap(self) -> None:
        """As the first process: wait for whoever has ended, the agent or another."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid == self._process.pid:
                signalled = os.WIFSIGNALED(status)
                self.code = 128 + os.WTERMSIG(status) if signalled else os.WEXITSTATUS(status)
                self._process.returncode = self.code
                self._ended_at = time.monotonic()

    def done(self) -> bool:
        """Whether it has ended and has no more to say."""
        return self.code is not None and (not self.outputs or time.monotonic() - self._ended_at > _GRACE)


def main(folder: Path) -> None:
    """Serve the host until it says halt."""
    job: Job = json.loads((folder / "job.json").read_text())
    ports = find_ports()
    control = Control(ports["control"])
    wake, signalled = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    signal.signal(signal.SIGCHLD, lambda number, frame: None)
    signal.set_wakeup_fd(signalled)
    control.send(f"ready {json.dumps(prepare(job))}")
    agent: Agent | None = None
    told = False
    while True:
        streams = list(agent.outputs) if agent else []
        wait = 0.05 if agent and agent.code is not None and not told else None
        readable, _, _ = select.select([control.descriptor, wake, *streams], [], [], wait)
        if wake in readable:
            os.read(wake, 4096)
        for word, rest in control.receive() if control.descriptor in readable else ():
            if word == "time":
                control.send(f"time {rest} {time.monotonic_ns()}")
            elif word == "start" and agent is None:
                agent = Agent(job, folder, ports)
            elif word == "signal" and agent is not None:
                agent.signal(int(rest))
            elif word == "halt":
                halt(job)
        if agent is None:
            continue
        for stream in streams:
            if stream in readable:
                agent.pass_on(stream)
        agent.reap()
        if agent.done() and not told:
            told = True
            control.send(f"ended {json.dumps({'exit_code': agent.code})}")


def find_ports() -> dict[str, Path]:
    """Names of the virtio serial ports -> their devices; waits a moment for the driver to name them."""
    deadline = time.monotonic() + _PORTS_SECONDS
    while True:
        found: dict[str, Path] = {}
        for name in Path("/sys/class/virtio-ports").glob("*/name"):
            found[read(name)] = Path("/dev") / name.parent.name
        if {"control", "stdout", "stderr"} <= set(found):
            return found
        if time.monotonic() > deadline:
            raise SystemExit(f"guest: its serial ports are not there, only {sorted(found)}")
        time.sleep(0.01)


def prepare(job: Job) -> dict[str, Any]:
    """Set and mount the disks; what was found, and the ``problem`` where it could not be done."""
    facts: dict[str, Any] = {"kernel": os.uname().release, "problem": ""}
    try:
        facts["disks"] = [mount_disk(disk) for disk in job["disks"]]
    except OSError as error:
        facts["problem"] = f"{error.filename or ''}: {error.strerror}".lstrip(": ")
    return facts


def mount_disk(disk: dict[str, Any]) -> dict[str, Any]:
    """Set and mount the disk of a serial number; its name and number.  Raises OSError."""
    for folder in sorted(Path("/sys/block").iterdir()):
        if not (folder / "serial").exists() or read(folder / "serial") != disk["serial"]:
            continue
        for knob, value in disk["queue"].items():
            (folder / "queue" / knob).write_text(value)
        target = Path(disk["mount"])
        target.mkdir(parents=True, exist_ok=True)
        libc = ctypes.CDLL(None, use_errno=True)
        words = [text.encode() for text in (f"/dev/{folder.name}", disk["mount"], disk["file_system"])]
        if libc.mount(*words, 0, b"") != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), disk["mount"])
        if disk["copy"]:  # mke2fs has added it to what was copied
            (target / "lost+found").rmdir()
        major, _, minor = read(folder / "dev").partition(":")
        return {"serial": disk["serial"], "name": folder.name, "dev": int(major) << 20 | int(minor)}
    raise FileNotFoundError(2, "the guest does not see it", f"disk {disk['serial']}")


def halt(job: Job) -> None:
    """Bring everything to its disk, and switch the machine off."""
    os.sync()
    libc = ctypes.CDLL(None, use_errno=True)
    for disk in job["disks"]:
        libc.umount2(disk["mount"].encode(), 0)
    os.sync()
    libc.reboot(_POWER_OFF)


def read(path: Path) -> str:
    """A small file's text."""
    return path.read_text().strip("\0\n ")


def write_all(descriptor: int, data: bytes) -> None:
    """Write all of it, however long that takes."""
    while data:
        data = data[os.write(descriptor, data) :]


if __name__ == "__main__":
    main(Path(sys.argv[1]))
