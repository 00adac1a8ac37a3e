"""The processors that guests may have: what the kernel, Debian, GNU and QEMU call them."""

from __future__ import annotations

import platform
from dataclasses import dataclass

from edgeprof.profiler.guest.errors import NoGuest


@dataclass(frozen=True)
class Architecture:
    """A kind of processor.

    Attributes:
        name: as ``uname -m`` prints it; QEMU and GNU use it, too.
        kernel: as the kernel's makefiles name it (``ARCH=``).
        debian: as Debian's packages name it.
        board: that QEMU emulates (``-machine``).
        processor: that QEMU emulates in software (``-cpu``).
        console: of the kernel, the board's serial port.
        arguments: of a kernel whose processor is emulated in software.
    """

    name: str
    kernel: str
    debian: str
    board: str
    processor: str
    console: str
    arguments: tuple[str, ...] = ()

    @property
    def is_here(self) -> bool:
        """Whether this machine has such a processor."""
        return self.name == platform.machine()

    @property
    def cross(self) -> str:
        """Prefix of the GNU tools that make programs for it; empty for this machine's own."""
        return "" if self.is_here else f"{self.name}-linux-gnu-"


X86_64 = Architecture("x86_64", "x86_64", "amd64", "pc", "max", "ttyS0", ("clearcpuid=141",))
"""Its kernels do without CMPXCHG16B (X86_FEATURE_CX16, asm/cpufeatures.h), whose flags QEMU 7.2 gets wrong now and
then: 7 of 8 boots of a 6.12 ended in a double fault behind the one in its allocator, and none of 10 without."""

ARM64 = Architecture("aarch64", "arm64", "arm64", "virt,gic-version=max", "cortex-a57", "ttyAMA0")
"""A Cortex-A57 and not all that QEMU can do: arm64 kernels before 5.12 do not boot on a processor that has LPA2."""

ARCHITECTURES = (X86_64, ARM64)


def find(name: str) -> Architecture:
    """An architecture by any of its names.  Raises NoGuest."""
    for architecture in ARCHITECTURES:
        if name in (architecture.name, architecture.kernel, architecture.debian):
            return architecture
    known = ", ".join(architecture.kernel for architecture in ARCHITECTURES)
    raise NoGuest(f"there is no guest with a processor {name!r}; there are: {known}")


def here() -> Architecture:
    """This machine's.  Raises NoGuest where guests know nothing of it."""
    return find(platform.machine())
