"""Whether the processor's own virtualisation boots guests here; where it does not, QEMU emulates in software."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from edgeprof.profiler.guest.archive import Archive
from edgeprof.profiler.guest.busybox import busybox
from edgeprof.profiler.guest.errors import NoGuest
from edgeprof.profiler.guest.kernel import Kernel
from edgeprof.profiler.guest.qemu import KVM, TCG, Machine, Running

PROBE_SECONDS = 12.0
"""That a guest which does nothing may take under KVM; where KVM works it takes about one."""

SLOWDOWN = 10.0
"""How much longer software emulation takes for plain Python, roughly; arithmetic on vectors takes longer still."""
WARNING = (
    "software emulation (TCG): times inside are those of a processor about ten times slower, and vary more; "
    "compare them with other emulated runs only"
)
_ANSWER = "guest: alive"
_INIT = f"#!/bin/sh\necho '{_ANSWER}'\nexec /bin/busybox poweroff -f\n"


def choose(asked: str, kernel: Kernel, cache: Path, say: Callable[[str], None]) -> str:
    """The accelerator to use: what was asked for, else KVM where it really boots this kernel.

    The answer is kept in the cache folder: some hosts have a /dev/kvm on which a stock kernel hangs.

    Raises:
        NoGuest: KVM was asked for and cannot be used.
    """
    if asked == TCG:
        return TCG
    foreign = not kernel.architecture.is_here
    problem = f"this machine's processor is no {kernel.architecture.kernel}" if foreign else _cannot_open()
    if not problem and asked == KVM:
        return KVM
    if not problem:
        works = _remembered(kernel, cache)
        if works is None:
            say("trying whether KVM boots a guest here")
            works = _boots(kernel)
            _remember(kernel, cache, works)
        if works:
            return KVM
        problem = "a guest does not boot on it"
    if asked == KVM:
        raise NoGuest(f"KVM cannot be used: {problem}; leave the accelerator out to emulate in software")
    return TCG


def _cannot_open() -> str:
    try:
        os.close(os.open("/dev/kvm", os.O_RDWR | os.O_CLOEXEC))
    except OSError as error:
        return f"/dev/kvm: {error.strerror}"
    return ""


def _boots(kernel: Kernel) -> bool:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with (folder / "initramfs").open("wb") as file:
            archive = Archive(file)
            archive.folder("dev")
            archive.node("dev/console", 5, 1)
            archive.busybox(busybox(kernel.architecture))
            archive.file("init", _INIT.encode(), 0o755)
            archive.close()
        running = Running(Machine(kernel, folder / "initramfs", memory=256, accelerator=KVM), folder / "console.log")
        try:
            running.wait(PROBE_SECONDS)
        finally:
            running.stop()
        return _ANSWER in running.console()


def _key(kernel: Kernel) -> str:
    return f"kvm {os.uname().release} {kernel.version or kernel.image}"


def _remembered(kernel: Kernel, cache: Path) -> bool | None:
    try:
        answer = json.loads((cache / "accelerators.json").read_text())[_key(kernel)]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return answer if isinstance(answer, bool) else None


def _remember(kernel: Kernel, cache: Path, works: bool) -> None:
    path = cache / "accelerators.json"
    try:
        known = json.loads(path.read_text())
    except (OSError, ValueError):
        known = {}
    known = dict(known if isinstance(known, dict) else {}, **{_key(kernel): works})
    cache.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".accelerators-{os.getpid()}")
    temporary.write_text(json.dumps(known, indent=1))
    temporary.replace(path)
