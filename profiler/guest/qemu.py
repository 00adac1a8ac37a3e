"""QEMU's command line, and the console of the machine that it runs."""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgeprof.collectors.helper import HelperProcess
from edgeprof.profiler.guest import tools
from edgeprof.profiler.guest.errors import NoGuest
from edgeprof.profiler.guest.kernel import Kernel

KVM, TCG = "kvm", "tcg"
_COUNTED = "shift=3,sleep=off"
"""Each instruction takes 8 ns of the guest's time, and time in which it only waits is skipped."""
_CONSOLE_BYTES = 3000
_CONTROL = re.compile(r"\x1b(?:c|\[[0-9;?]*[A-Za-z])")
"""Of terminals, as the firmware prints them."""


@dataclass(frozen=True)
class Disk:
    """A raw image as a virtio disk of the guest.

    Attributes:
        serial: by which the guest finds it (``/sys/block/DISK/serial``, at most 20 letters); empty: by its order.
        direct: past the host's page cache (O_DIRECT) and without merging, so that each request of the guest becomes
            one of QEMU's; else through the cache, and never synced.
    """

    path: Path
    serial: str = ""
    direct: bool = False


@dataclass(frozen=True)
class Machine:
    """What QEMU is to emulate.

    Attributes:
        memory: MiB.
        accelerator: `KVM` or `TCG` (software emulation).
        counted: whether the guest's time follows the instructions that it executes (QEMU's -icount), so that its
            measurements repeat; needs software emulation and one processor.
        shared_memory: whether other processes may map the guest's memory, as virtiofsd must.
        arguments: of the kernel, behind the others.
        options: of QEMU, behind the others.
    """

    kernel: Kernel
    initramfs: Path
    memory: int = 1024
    cpus: int = 1
    accelerator: str = TCG
    disks: Sequence[Disk] = ()
    counted: bool = False
    shared_memory: bool = False
    quiet: bool = True
    arguments: Sequence[str] = ()
    options: Sequence[str] = ()

    def command(self) -> list[str]:
        """The command line.  Raises NoGuest where QEMU is missing, or cannot do what is asked for."""
        architecture = self.kernel.architecture
        if self.accelerator == KVM and not architecture.is_here:
            raise NoGuest(f"this machine emulates {architecture.kernel} in software only")
        if self.counted and (self.accelerator == KVM or self.cpus > 1):
            raise NoGuest("instructions are counted in software emulation of one processor only")
        board = architecture.board + (",memory-backend=memory" if self.shared_memory else "")
        words = [str(tools.program(f"qemu-system-{architecture.name}")), "-nodefaults", "-nographic", "-no-reboot"]
        words += ["-serial", "stdio", "-machine", board, "-accel", self.accelerator]
        words += ["-cpu", "host" if self.accelerator == KVM else architecture.processor]
        words += ["-smp", str(self.cpus), "-m", str(self.memory)]
        if self.counted:
            words += ["-icount", _COUNTED]
        if self.shared_memory:
            words += ["-object", f"memory-backend-memfd,id=memory,size={self.memory}M,share=on"]
        kernel = [f"console={architecture.console}", *(["quiet"] if self.quiet else [])]
        kernel += ["panic=-1", "random.trust_cpu=on"]
        kernel += architecture.arguments if self.accelerator == TCG else ()
        words += ["-kernel", str(self.kernel.image), "-initrd", str(self.initramfs)]
        words += ["-append", " ".join([*kernel, *self.arguments])]
        for number, disk in enumerate(self.disks):
            words += _disk(disk, f"disk{number}")
        return [*words, *self.options]


def _disk(disk: Disk, name: str) -> list[str]:
    cache = "cache=none,aio=threads" if disk.direct else "cache=unsafe,discard=unmap"
    device = f"virtio-blk-pci,drive={name}"
    if disk.serial:
        device += f",serial={disk.serial}"
    if disk.direct:
        device += ",request-merging=off"
    return ["-drive", f"file={escaped(disk.path)},format=raw,if=none,id={name},{cache}", "-device", device]


def escaped(path: Path) -> str:
    """A path as a value in one of QEMU's lists."""
    return str(path).replace(",", ",,")


class Running:
    """A machine that runs; the kernel kills it when this process ends.

    Args:
        console: file that the machine's console, and QEMU's own messages, are appended to.
        descriptors: that QEMU inherits.

    Raises:
        NoGuest: QEMU is missing.
        OSError: it cannot be started.
    """

    def __init__(self, machine: Machine, console: Path, descriptors: Sequence[int] = ()) -> None:
        self._console = console
        with console.open("ab") as file:
            self._begin = file.tell()
            self._process = HelperProcess(
                machine.command(), stdout=file.fileno(), stderr=file.fileno(), pass_fds=descriptors
            )
        self.pid = self._process.pid

    def alive(self) -> bool:
        """Whether QEMU still runs."""
        return self._process.alive()

    def wait(self, seconds: float, until: Callable[[], bool] = lambda: False) -> bool:
        """Wait for the machine's end; False when the time is over, or ``until`` says so."""
        deadline = time.monotonic() + seconds
        while self.alive():
            if time.monotonic() > deadline or until():
                return False
            time.sleep(0.02)
        return True

    def stop(self) -> None:
        """End QEMU, whatever the machine does; harmless when it has ended."""
        self._process.stop(signal.SIGKILL)

    def console(self) -> str:
        """What the machine and QEMU have printed so far."""
        with self._console.open("rb") as file:
            file.seek(self._begin)
            return file.read().decode("utf-8", "replace")


def last_words(text: str) -> str:
    """The end of a console's text, for people."""
    return _CONTROL.sub("", text[-_CONSOLE_BYTES:]).replace("\r", "").strip()
