"""What can go wrong with KMLib, as sentences for a person."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from edgeprof.profiler.errors import EdgeprofError


class KmlError(EdgeprofError):
    """Base of KMLib's own errors."""


class CannotBuild(KmlError):
    """The C sources cannot be built; the sentence says which file tells more."""


class ToolMissing(CannotBuild):
    """A compiler, or another tool of the build, is not here."""

    def __init__(self, tool: str, package: str) -> None:
        self.tool, self.package = tool, package
        super().__init__(f"building KMLib takes {tool}, which is not here: apt-get install {package}")


class Refused(KmlError):
    """The library refused what it was given.

    Attributes:
        what: what was asked of it.
        number: the errno.
        reason: its own words, a clause; empty where it has none.
    """

    def __init__(self, what: str, number: int, reason: str = "") -> None:
        self.what, self.number, self.reason = what, number, reason
        code = errno.errorcode.get(number, str(number))
        super().__init__(f"{what} is refused: {reason or os.strerror(number)} ({code})")


class NotANumber(KmlError):
    """Values for the library hold NaN or infinity."""

    def __init__(self, what: str) -> None:
        super().__init__(f"{what} holds NaN or infinity, which no Q16.16 number stands for")


class WrongShape(KmlError):
    """An array is not as a model needs it."""

    def __init__(self, what: str, found: object, wanted: str) -> None:
        self.found, self.wanted = found, wanted
        super().__init__(f"{what} is {found}; it must be {wanted}")


class NoDevice(KmlError):
    """/dev/kml cannot be opened."""

    def __init__(self, path: Path, error: OSError) -> None:
        self.path, self.number = path, error.errno
        advice = {
            errno.ENOENT: "load the module with `edgeprof kml load`",
            errno.EPERM: "it is for root (CAP_SYS_ADMIN)",
            errno.EACCES: "it is for root (CAP_SYS_ADMIN)",
        }
        super().__init__(f"{path} cannot be opened ({error.strerror}): {advice.get(error.errno or 0, 'see dmesg')}")


class DeviceRefused(Refused):
    """The kernel module refused a request; its line in the kernel's log says more."""


class ModuleRefused(KmlError):
    """The kernel would not load or unload kml.ko; ``words`` are those of insmod or rmmod."""

    def __init__(self, what: str, words: str) -> None:
        self.what, self.words = what, words
        super().__init__(f"{what} failed: {words}")
