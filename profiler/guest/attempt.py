"""One boot of a run's guest: up, clocks compared, workload, clocks again, down."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from edgeprof.profiler.guest import root
from edgeprof.profiler.guest.clock import clock_facts, exchange
from edgeprof.profiler.guest.kernel import Kernel
from edgeprof.profiler.guest.qemu import TCG, Disk, Machine, Running
from edgeprof.profiler.guest.share import VIRTIOFS, Shared

DATA_SERIAL = "edgeprof-data"
"""By which the guest finds the disk with its data."""
BOOT_SECONDS, BOOT_SECONDS_EMULATED = 40.0, 120.0
"""That a guest may take until it answers."""
_PORTS = ("control", "stdout", "stderr")
_HALT_SECONDS = 10.0
_PATIENCE = 3
"""Signals after which the guest is ended, whatever its workload makes of them."""
_PASSED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)


@dataclass(frozen=True)
class Job:
    """What to boot; JSON for the process that does it.

    Attributes:
        folder: of this run; ``place`` in it is the guest's `root.PLACE`, ``console.log`` the guest's console.
        kernel: its image.
        share: ``virtiofs`` or ``9p``.
        disk: raw image of the data; empty: there is none.
        direct: whether the disk's file system can do without the page cache.
        mounted: folder where that image is mounted on the host, to be unmounted while the guest has it.
        memory: MiB.
        timeout: seconds for everything.
    """

    folder: str
    kernel: str
    share: str
    accelerator: str
    memory: int
    cpus: int
    timeout: float
    disk: str = ""
    direct: bool = True
    mounted: str = ""

    def write(self, path: Path) -> None:
        """As JSON."""
        path.write_text(json.dumps(asdict(self)))

    @classmethod
    def read(cls, path: Path) -> Job:
        """What `write` has written."""
        return cls(**json.loads(path.read_text()))


@dataclass
class Result:
    """How it went.

    Attributes:
        status: ``finished``; or what went wrong: ``boot`` (the workload never began), ``crash``, ``limit``, ``ended``
            (by signals), ``disk`` (it could not be handed over).
        reason: a clause that says it.
        exit_code: the workload's.
        attempts: boots.
        boot_seconds: of the last boot, until the guest was ready.
        clock: see `edgeprof.profiler.guest.clock`.
        guest: what it found: ``kernel``, ``disks``.
        image: where the disk's image lies on the host: ``dev``, ``extents`` (offset, first sector, bytes); or
            ``reason``.
    """

    status: str = "boot"
    reason: str = ""
    exit_code: int | None = None
    attempts: int = 0
    boot_seconds: float | None = None
    clock: dict[str, Any] = field(default_factory=dict)
    guest: dict[str, Any] = field(default_factory=dict)
    image: dict[str, Any] = field(default_factory=dict)


class Ended(Exception):
    """The guest is over before its workload is: status and reason."""

    def __init__(self, status: str, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class Signals:
    """Signals that came, for the guest's workload."""

    def __init__(self) -> None:
        self.count = 0
        self._new: list[int] = []
        self.wake, write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        for number in _PASSED_ON:
            signal.signal(number, self._came)
        signal.set_wakeup_fd(write, warn_on_full_buffer=False)

    def _came(self, number: int, frame: object) -> None:
        self.count += 1
        self._new.append(number)

    def take(self) -> list[int]:
        """Those since last time."""
        try:
            os.read(self.wake, 4096)
        except BlockingIOError:
            pass
        new, self._new = self._new, []
        return new


class Attempt:
    """One boot of the guest."""

    def __init__(self, job: Job, result: Result, signals: Signals, deadline: float) -> None:
        self._job, self._result, self._signals, self._deadline = job, result, signals, deadline
        self._folder = Path(job.folder)
        self._pending = b""
        self._asked = 0
        self._running: Running
        self._ends: dict[str, socket.socket] = {}

    def run(self) -> None:
        """Raises Ended, OSError."""
        begun = time.monotonic()
        with self._booted():
            facts = self._ready(begun)
            self._result.boot_seconds = time.monotonic() - begun
            self._result.guest = facts
            if facts.get("problem"):
                raise Ended("disk", f"it could not mount its data: {facts['problem']}")
            before = exchange(self._ask)
            self._send("start")
            self._result.exit_code = self._workload()
            self._result.clock = clock_facts(before, exchange(self._ask))
            self._send("halt")
            if not self._running.wait(_HALT_SECONDS):
                self._result.guest["halted"] = False
            self._result.status, self._result.reason = "finished", ""

    @contextmanager
    def _booted(self) -> Iterator[None]:
        with ExitStack() as stack:
            theirs: dict[str, socket.socket] = {}
            for name in _PORTS:
                ours, theirs[name] = socket.socketpair()
                self._ends[name] = ours
                stack.callback(ours.close)
            shared = Shared(self._job.share, root.shares(self._folder / "place"), self._folder / "share.log")
            stack.callback(shared.close)
            descriptors = [*shared.descriptors, *(item.fileno() for item in theirs.values())]
            self._running = Running(self._machine(shared, theirs), self._folder / "console.log", descriptors)
            stack.callback(self._running.stop)
            for item in theirs.values():
                item.close()
            shared.release()
            yield

    def _machine(self, shared: Shared, ports: dict[str, socket.socket]) -> Machine:
        options = [*shared.options, "-device", "virtio-serial-pci"]
        for name, end in ports.items():
            options += ["-chardev", f"socket,id={name},fd={end.fileno()}"]
            options += ["-device", f"virtserialport,chardev={name},name={name}"]
        job = self._job
        return Machine(
            Kernel(Path(job.kernel), None, ""),
            self._folder / "initramfs",
            memory=job.memory,
            cpus=job.cpus,
            accelerator=job.accelerator,
            disks=[Disk(Path(job.disk), DATA_SERIAL, job.direct)] if job.disk else [],
            shared_memory=job.share == VIRTIOFS,
            quiet=self._result.attempts < 2,
            options=options,
        )

    def _workload(self) -> int:
        """Pass output on until the workload has ended; its exit code."""
        outputs = {self._ends["stdout"]: 1, self._ends["stderr"]: 2}
        control = self._ends["control"]
        code: int | None = None
        while code is None:
            wait = self._check()
            watched: list[Any] = [control, self._signals.wake, *outputs]
            readable, _, _ = select.select(watched, [], [], min(wait, 1.0))
            for number in self._signals.take():
                self._send(f"signal {number}")
            for end in [end for end in outputs if end in readable]:
                _pass_on(end, outputs)
            for word, rest in self._lines() if control in readable else ():
                if word == "ended":
                    code = int(json.loads(rest)["exit_code"])
        while outputs:  # what the guest had written before it said so
            remaining, _, _ = select.select(list(outputs), [], [], 0)
            if not remaining:
                break
            for end in remaining:
                _pass_on(end, outputs)
        return code

    def _check(self) -> float:
        """Seconds that are left.  Raises Ended when there are none, or no machine any more."""
        left = self._deadline - time.monotonic()
        if not self._running.alive():
            raise Ended("crash", "it ended before its workload did")
        if self._signals.count >= _PATIENCE:
            raise Ended("ended", "it was ended by signals")
        if left <= 0:
            raise Ended("limit", f"its workload was not done within {self._job.timeout:g} s (--vm-timeout sets more)")
        return left

    def _ready(self, begun: float) -> dict[str, Any]:
        """What the guest says of itself once it is up.  Raises Ended."""
        limit = min(BOOT_SECONDS_EMULATED if self._job.accelerator == TCG else BOOT_SECONDS, self._deadline - begun)
        while True:
            if not self._running.alive():
                raise Ended("boot", "it ended before it was up")
            if self._signals.count:
                raise Ended("ended", "it was ended by a signal")
            if time.monotonic() - begun > limit:
                raise Ended("boot", f"it was not up within {limit:.0f} s")
            watched: list[Any] = [self._ends["control"], self._signals.wake]
            readable, _, _ = select.select(watched, [], [], 0.2)
            for word, rest in self._lines() if self._ends["control"] in readable else ():
                if word == "ready":
                    facts: dict[str, Any] = json.loads(rest)
                    return facts

    def _ask(self) -> int:
        """The guest's time, ns.  Raises Ended."""
        self._asked += 1
        self._send(f"time {self._asked}")
        while True:
            if not select.select([self._ends["control"]], [], [], min(10.0, self._check()))[0]:
                raise Ended("crash", "it does not answer any more")
            for word, rest in self._lines():
                token, _, time_ns = rest.partition(" ")
                if word == "time" and token == str(self._asked):
                    return int(time_ns)

    def _send(self, line: str) -> None:
        self._ends["control"].sendall(line.encode() + b"\n")

    def _lines(self) -> list[tuple[str, str]]:
        data = self._ends["control"].recv(65536)
        if not data:
            raise Ended("boot" if self._result.boot_seconds is None else "crash", "it ended by itself")
        *lines, self._pending = (self._pending + data).split(b"\n")
        words = (line.decode("utf-8", "replace").partition(" ") for line in lines)
        return [(word, rest) for word, _, rest in words]


def _pass_on(end: socket.socket, outputs: dict[socket.socket, int]) -> None:
    """Copy what is there to our own output; one that is closed on either side is given up."""
    data = end.recv(1 << 16)
    target = outputs[end]
    try:
        while data:
            data = data[os.write(target, data) :]
            if not data:
                return
    except BrokenPipeError:
        outputs[end] = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)  # the guest may still print
        return
    del outputs[end]
