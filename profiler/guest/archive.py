"""Writes an initramfs: the first file system of a guest."""

from __future__ import annotations

import io
import stat
from collections.abc import Sequence
from pathlib import Path

from edgeprof.profiler.guest import tools
from edgeprof.profiler.guest.kernel import Kernel, module_content

APPLETS = "/bin/busybox mount -t proc proc /proc; /bin/busybox --install -s /applets"
"""First words of an init: the names of busybox's programs, which it finds out by /proc."""


class Archive:
    """The kernel's initramfs format (Documentation/driver-api/early-userspace/buffer-format.rst).

    Names are paths in the guest without the leading slash; the first entry of a name counts.
    """

    def __init__(self, file: io.BufferedIOBase) -> None:
        self._file = file
        self._known: set[str] = set()

    def folder(self, name: str) -> None:
        """A folder and those above it."""
        parts = name.split("/")
        for depth in range(1, len(parts) + 1):
            self._entry("/".join(parts[:depth]), stat.S_IFDIR | 0o755)

    def file(self, name: str, content: bytes, mode: int = 0o644) -> None:
        """A file."""
        self._parent(name)
        self._entry(name, stat.S_IFREG | mode, content)

    def program(self, path: Path, name: str) -> None:
        """A program or shared object and the libraries it is linked to, these where they are on this machine."""
        self.file(name, path.resolve().read_bytes(), 0o755)
        for library in tools.libraries(path):
            self.file(str(library)[1:], library.resolve().read_bytes(), 0o755)

    def link(self, name: str, target: str) -> None:
        """A symbolic link."""
        self._parent(name)
        self._entry(name, stat.S_IFLNK | 0o777, target.encode())

    def node(self, name: str, major: int, minor: int) -> None:
        """A character device."""
        self._entry(name, stat.S_IFCHR | 0o600, device=(major, minor))

    def busybox(self, path: Path) -> None:
        """A shell as /bin/sh; an init makes busybox's other programs with `APPLETS`."""
        self.program(path, "bin/busybox")
        self.link("bin/sh", "busybox")
        self.folder("applets")

    def modules(self, kernel: Kernel, names: Sequence[str | Path]) -> None:
        """Kernel modules and what they need in /lib; /modules lists them in their order.  Raises NoGuest."""
        paths = {f"/lib/{path.name.partition('.ko')[0]}.ko": path for path in kernel.modules(names)}
        for name, path in paths.items():
            self.file(name[1:], module_content(path))
        self.file("modules", "".join(f"{name}\n" for name in paths).encode())

    def close(self) -> None:
        """End the archive."""
        self._entry("TRAILER!!!", 0)

    def _parent(self, name: str) -> None:
        if "/" in name:
            self.folder(name.rpartition("/")[0])

    def _entry(self, name: str, mode: int, content: bytes = b"", device: tuple[int, int] = (0, 0)) -> None:
        if name in self._known:
            return
        self._known.add(name)
        path = name.encode() + b"\0"
        numbers = (len(self._known), mode, 0, 0, 1, 0, len(content), 0, 0, *device, len(path), 0)
        head = b"070701" + b"".join(b"%08X" % number for number in numbers) + path
        self._file.write(head + bytes(-len(head) % 4) + content + bytes(-len(content) % 4))
