"""A small guest: a kernel, an initramfs made of this machine's own programs, one script.

Nothing of the host is shared; what the script writes below /out comes back as files.
"""

from __future__ import annotations

import io
import tarfile
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgeprof.profiler.guest import tools
from edgeprof.profiler.guest.archive import Archive
from edgeprof.profiler.guest.errors import GuestFailed, NoGuest
from edgeprof.profiler.guest.kernel import Kernel
from edgeprof.profiler.guest.qemu import TCG, Disk, Machine, Running, last_words

_RESULT_BYTES = 64 << 20
_UNUSED = ("test", "config-", "idlelib", "lib2to3", "pydoc_data", "distutils", "tkinter", "ensurepip")
"""Parts of Python's library that no guest needs."""
_READY, _DONE = "guest: begin", "guest: end "

_INIT = """#!/bin/sh
export PATH=/programs:/applets:/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mount -t tmpfs tmpfs /tmp
mount -t tmpfs tmpfs /out
mount -t debugfs debugfs /sys/kernel/debug
mount -t tracefs tracefs /sys/kernel/tracing
mkdir -p /dev/shm
for module in $(cat /modules); do insmod "$module" || echo "guest: no module $module"; done
echo "{ready}"
cd /out
sh -e /script
code=$?
cd /
tar -c -f /dev/vda -C /out .
sync
echo "{done}$code"
poweroff -f
"""


@dataclass
class Guest:
    """What to boot.

    Attributes:
        programs: copied to /programs with the libraries they are linked to.  Busybox's shell prefers its own applets
            of the same name: call a shadowed one (mke2fs) by its path.
        modules: loaded before the script, besides those of the disks.
        files: path in the guest -> content.
        python: whether to copy in this machine's /usr/bin/python3 with its standard library.
        project: folder of the project's packages as ``edgeprof``, copied in as /project/edgeprof; None: left out.
        disks: sizes in bytes of empty disks, /dev/vdb and on.
        memory: MiB.
        cpus: of the guest.
        accelerator: of QEMU.
        options: of QEMU, put behind the others.
    """

    kernel: Kernel
    programs: Sequence[str] = ()
    modules: Sequence[str] = ()
    files: Mapping[str, bytes] | None = None
    python: bool = False
    project: Path | None = None
    disks: Sequence[int] = ()
    memory: int = 1024
    cpus: int = 1
    accelerator: str = TCG
    options: Sequence[str] = ()

    def run(self, script: str, timeout: float, attempts: int = 2, log: Path | None = None) -> dict[str, bytes]:
        """Boot, run a shell script as root in /out, and return the files it left there.

        Args:
            timeout: seconds of each attempt.
            attempts: how often a guest that hung or crashed is booted.
            log: keeps the console of all attempts.

        Raises:
            NoGuest: a program or module is not here.
            GuestFailed: each attempt hung, crashed, or ended with an error.
        """
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            with (folder / "initramfs").open("wb") as file:
                self._write_initramfs(file, script)
            console = ""
            for _ in range(attempts):
                console = self._boot(folder, timeout, log or folder / "console.log")
                if f"{_DONE}0" in console:
                    with tarfile.open(folder / "disk0") as archive:
                        return dict(_files(archive))
                if _DONE in console:  # the script failed: it would again
                    break
            ending = last_words(console)
            raise GuestFailed(f"the guest did not come to its end; its last words:\n{ending}", ending, log)

    def _boot(self, folder: Path, timeout: float, log: Path) -> str:
        disks = []
        for number, size in enumerate((_RESULT_BYTES, *self.disks)):
            disk = folder / f"disk{number}"
            with disk.open("wb") as file:
                file.truncate(size)
            disks.append(Disk(disk))
        machine = Machine(
            self.kernel,
            folder / "initramfs",
            memory=self.memory,
            cpus=self.cpus,
            accelerator=self.accelerator,
            disks=disks,
            options=self.options,
        )
        running = Running(machine, log)
        try:
            running.wait(timeout)
        finally:
            running.stop()
        return running.console()

    def _write_initramfs(self, file: io.BufferedIOBase, script: str) -> None:
        archive = Archive(file)
        for folder in ("proc", "sys", "dev", "tmp", "out", "root", "etc"):
            archive.folder(folder)
        archive.node("dev/console", 5, 1)
        archive.busybox()
        for program in self.programs:
            archive.program(tools.program(program), f"programs/{program}")
        if self.python:
            _add_python(archive)
        if self.project is not None:
            _add_project(archive, self.project)
        archive.modules(self.kernel, ["virtio_pci", "virtio_blk", *self.modules])
        archive.file("script", script.encode(), 0o755)
        archive.file("init", _INIT.format(ready=_READY, done=_DONE).encode(), 0o755)
        for name, content in (self.files or {}).items():
            archive.file(name.lstrip("/"), content)
        archive.close()


def _add_python(archive: Archive) -> None:
    python = Path("/usr/bin/python3")
    if not python.exists():
        raise NoGuest("the guest needs /usr/bin/python3, which is not here: apt-get install python3")
    archive.program(python, "programs/python3")
    library = Path("/usr/lib") / python.resolve().name
    for path in sorted(library.rglob("*")):
        unused = path.relative_to(library).parts[0].startswith(_UNUSED)
        if path.is_file() and not unused:
            if path.suffix == ".so":
                archive.program(path, str(path)[1:])
            else:
                archive.file(str(path)[1:], path.read_bytes())


def _add_project(archive: Archive, package: Path) -> None:
    """The package's modules; folders that are links (as in a source tree) become folders."""
    for item in sorted(package.iterdir()):
        for path in sorted(item.rglob("*.py")) if item.is_dir() else [item]:
            if path.suffix == ".py":
                archive.file(f"project/edgeprof/{path.relative_to(package)}", path.read_bytes())


def _files(archive: tarfile.TarFile) -> Iterator[tuple[str, bytes]]:
    for member in archive:
        content = archive.extractfile(member)
        if content is not None:
            yield str(Path(member.name)), content.read()
