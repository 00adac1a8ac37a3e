"""A small guest: a kernel, an initramfs made of this machine's own programs, one script.

Nothing of the host is shared; what the script prints, and what it writes below /out, comes back.
"""

from __future__ import annotations

import io
import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgeprof.profiler.guest import tools
from edgeprof.profiler.guest.archive import APPLETS, Archive
from edgeprof.profiler.guest.busybox import busybox
from edgeprof.profiler.guest.errors import GuestFailed, NoGuest
from edgeprof.profiler.guest.kernel import Kernel
from edgeprof.profiler.guest.qemu import TCG, Disk, Machine, Running, last_words

_RESULT_BYTES = 64 << 20
_UNUSED = ("test", "config-", "idlelib", "lib2to3", "pydoc_data", "distutils", "tkinter", "ensurepip")
"""Parts of Python's library that no guest needs."""
_READY, _DONE = "guest: begin", "guest: end "

_INIT = """#!/bin/sh
export PATH=/programs:/applets:/bin
{applets}
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mount -t tmpfs tmpfs /tmp
mount -t tmpfs tmpfs /out
mount -t debugfs debugfs /sys/kernel/debug
mount -t tracefs tracefs /sys/kernel/tracing
mkdir -p /dev/shm
for module in $(cat /modules); do insmod "$module" || echo "guest: no module $module"; done
echo "{ready}"
mkfifo /printed
tee /output </printed &
reader=$!
cd /out
sh -e /script >/printed 2>&1
echo $? >/code
cd /
{{ sleep 2; kill $reader; }} & # what the script left running may hold its output open
wait $reader
tar -c -f /dev/vda -C / code output out || echo "guest: what is in /out does not fit in {bytes} bytes"
sync
echo "{done}$(cat /code)"
poweroff -f
"""


@dataclass(frozen=True)
class Outcome:
    """What came of a script.

    Attributes:
        exit_code: of the script.
        output: what it printed, standard output and error in one.
        files: what it left in /out, by their paths there.
        console: what the guest printed altogether, the kernel's messages among it.
    """

    exit_code: int
    output: str
    files: Mapping[str, bytes]
    console: str


@dataclass
class Guest:
    """What to boot.

    Attributes:
        programs: copied to /programs with the libraries they are linked to: names, looked up on this machine, or
            files.  Busybox's shell prefers its own applets of the same name: call a shadowed one (mke2fs) by its path.
        modules: loaded before the script, besides those of the disks: names of the kernel's, or files.
        files: path in the guest -> content.
        python: whether to copy in this machine's /usr/bin/python3 with its standard library.
        project: folder of the project's packages as ``edgeprof``, copied in as /project/edgeprof; None: left out.
        disks: sizes in bytes of empty disks, /dev/vdb and on.
        memory: MiB.
        cpus: of the guest.
        accelerator: of QEMU.
        counted: whether its time follows the instructions that it executes, see `Machine`.
        arguments: of the kernel, behind the others.
        options: of QEMU, put behind the others.
        cache: for what must be fetched; None: the user's.
    """

    kernel: Kernel
    programs: Sequence[str | Path] = ()
    modules: Sequence[str | Path] = ()
    files: Mapping[str, bytes] | None = None
    python: bool = False
    project: Path | None = None
    disks: Sequence[int] = ()
    memory: int = 1024
    cpus: int = 1
    accelerator: str = TCG
    counted: bool = False
    arguments: Sequence[str] = ()
    options: Sequence[str] = ()
    cache: Path | None = None

    def run(self, script: str, timeout: float, attempts: int = 2, log: Path | None = None) -> dict[str, bytes]:
        """Like `execute`, for a script that must succeed: the files that it left in /out.

        Raises:
            GuestFailed: also where the script ended with an error.
        """
        outcome = self.execute(script, timeout, attempts, log)
        if outcome.exit_code != 0:
            ending = last_words(outcome.console)
            raise GuestFailed(
                f"the guest's script failed ({outcome.exit_code}); its last words:\n{ending}", ending, log
            )
        return dict(outcome.files)

    def execute(self, script: str, timeout: float, attempts: int = 2, log: Path | None = None) -> Outcome:
        """Boot, and run a shell script as root in /out; it ends at the first command that fails.

        Args:
            timeout: seconds of each attempt.
            attempts: how often a guest that hung or crashed is booted.
            log: keeps the console of all attempts.

        Raises:
            NoGuest: a program or module is not here.
            GuestFailed: each attempt hung or crashed.
        """
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            with (folder / "initramfs").open("wb") as file:
                self._write_initramfs(file, script)
            console = ""
            for _ in range(attempts):
                console = self._boot(folder, timeout, log or folder / "console.log")
                if _DONE in console:
                    return _outcome(folder / "disk0", console)
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
            counted=self.counted,
            disks=disks,
            arguments=self.arguments,
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
        archive.busybox(busybox(self.kernel.architecture, self.cache))
        for program in self.programs:
            path = program if isinstance(program, Path) else self._own(program)
            archive.program(path, f"programs/{path.name}")
        if self.python:
            self._own("python3")
            _add_python(archive)
        if self.project is not None:
            _add_project(archive, self.project)
        archive.modules(self.kernel, ["virtio_pci", "virtio_blk", *self.modules])
        archive.file("script", script.encode(), 0o755)
        init = _INIT.format(applets=APPLETS, ready=_READY, done=_DONE, bytes=_RESULT_BYTES)
        archive.file("init", init.encode(), 0o755)
        for name, content in (self.files or {}).items():
            archive.file(name.lstrip("/"), content)
        archive.close()

    def _own(self, program: str) -> Path:
        architecture = self.kernel.architecture
        if not architecture.is_here:
            raise NoGuest(f"this machine's {program} does not run on {architecture.kernel}: give a static program")
        return tools.program(program)


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


def _outcome(disk: Path, console: str) -> Outcome:
    code, output, files = b"", b"", {}
    try:
        with tarfile.open(disk) as archive:
            for member in archive:
                content = archive.extractfile(member)
                if content is None:
                    continue
                if member.name == "code":
                    code = content.read()
                elif member.name == "output":
                    output = content.read()
                else:
                    files[str(_inside(Path(member.name)))] = content.read()
        return Outcome(int(code), output.decode("utf-8", "replace"), files, console)
    except (tarfile.TarError, ValueError) as error:
        ending = last_words(console)
        raise GuestFailed(f"what the guest left cannot be read ({error}); its last words:\n{ending}", ending) from None


def _inside(name: Path) -> Path:
    """A path in /out; the guest is not believed that it leads nowhere else."""
    if ".." in name.parts:
        raise ValueError(f"{name} leads out of /out")
    return name.relative_to("out")
