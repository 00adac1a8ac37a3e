"""A small QEMU guest: a distribution's kernel, an initramfs made of this machine's own programs, one script.

Nothing is installed: the kernel package is unpacked into a cache folder
(``.cache/guest`` of the source tree, or EDGEPROF_GUEST_CACHE).  What the script
writes below /out comes back as files.
"""

from __future__ import annotations

import io
import os
import re
import shutil
import stat
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import find_tool
from tests.source_tree import FOLDERS, ROOT

CACHE = Path(os.environ.get("EDGEPROF_GUEST_CACHE", ROOT / ".cache" / "guest"))
"""Downloads and unpacked kernels; may be deleted at any time."""

META_PACKAGE = "linux-image-cloud-amd64"
"""Debian's package that depends on the newest cloud kernel."""

_RESULT_BYTES = 64 << 20
_UNUSED = ("test", "config-", "idlelib", "lib2to3", "pydoc_data", "distutils", "tkinter", "ensurepip")
"""Parts of Python's library that no guest needs."""
_PACKAGES = {"blkparse": "blktrace", "busybox": "busybox-static", "mke2fs": "e2fsprogs", "perf": "linux-perf"}
_PACKAGES.update(dict.fromkeys(("blkdiscard", "setpriv", "unshare"), "util-linux"))
"""Of Debian, for programs that are named otherwise."""
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


class NoGuest(Exception):
    """A guest cannot be had here; the sentence says why and what would help."""


class GuestFailed(Exception):
    """The guest hung, crashed, or its script failed; holds the end of its console."""


@dataclass(frozen=True)
class Kernel:
    """An unpacked kernel package: image, and the tree that holds ``lib/modules/VERSION``."""

    image: Path
    tree: Path
    version: str

    def modules(self, names: Sequence[str]) -> list[Path]:
        """Files of the named modules and all they need, in the order in which they load.

        Raises:
            NoGuest: the kernel has no such module.
        """
        folder = self.tree / "lib" / "modules" / self.version
        files = {path.stem.replace("-", "_"): path for path in folder.rglob("*.ko")}
        built_in = {Path(line).stem.replace("-", "_") for line in (folder / "modules.builtin").read_text().split()}
        ordered: list[Path] = []

        def add(name: str) -> None:
            if name not in files:
                raise NoGuest(f"the kernel {self.version} has no module {name}")
            needs = re.search(rb"\0depends=([^\0]*)\0", files[name].read_bytes())  # of the section .modinfo
            for other in needs[1].decode().split(",") if needs and needs[1] else ():
                add(other.replace("-", "_"))
            if files[name] not in ordered:
                ordered.append(files[name])

        for name in names:
            if name not in built_in:
                add(name)
        return ordered


def debian_kernel() -> Kernel:
    """The newest cloud kernel of this machine's Debian release, fetched by apt unless it is in the cache.

    Raises:
        NoGuest: neither the cache nor apt has it.
    """
    CACHE.mkdir(parents=True, exist_ok=True)
    package = _kernel_package()
    tree = CACHE / package
    if not tree.is_dir():
        _unpack(package, tree)
    version = package.removeprefix("linux-image-")
    return Kernel(tree / "boot" / f"vmlinuz-{version}", tree, version)


def _kernel_package() -> str:
    cached = sorted(path.name for path in CACHE.glob("linux-image-*") if path.is_dir())
    if cached:
        return cached[-1]
    if shutil.which("apt-cache") is None:
        raise NoGuest("no apt here to fetch a guest's kernel: run this test on Debian 12")
    answer = subprocess.run(["apt-cache", "depends", META_PACKAGE], capture_output=True, text=True, check=False)
    found = re.search(r"Depends: (linux-image-[\w.+-]+)", answer.stdout)
    if found is None:
        raise NoGuest(f"apt knows no {META_PACKAGE}: run this test on Debian 12, after apt-get update")
    return found[1]


def _unpack(package: str, tree: Path) -> None:
    with tempfile.TemporaryDirectory(dir=CACHE) as name:
        folder = Path(name)
        folder.chmod(0o755)  # apt's own user writes here
        fetched = subprocess.run(
            ["apt-get", "download", package], cwd=folder, capture_output=True, text=True, timeout=120, check=False
        )
        files = list(folder.glob("*.deb"))
        if fetched.returncode or not files:
            raise NoGuest(f"apt-get could not download {package}: {fetched.stderr.strip().splitlines()[-1:]}")
        subprocess.run(["dpkg", "-x", files[0], folder / "tree"], check=True)
        (folder / "tree").rename(tree)


@dataclass
class Guest:
    """What to boot.

    Attributes:
        programs: copied to /programs with the libraries they are linked to.  Busybox's shell prefers its own applets
            of the same name: call a shadowed one (mke2fs) by its path.
        modules: loaded before the script, besides those of the disks.
        files: path in the guest -> content.
        python: whether to copy in this machine's /usr/bin/python3 with its standard library, and the project's
            packages as /project.
        disks: sizes in bytes of empty disks, /dev/vdb and on.
        memory: MiB.
        options: of QEMU, put behind the others.
    """

    kernel: Kernel
    programs: Sequence[str] = ()
    modules: Sequence[str] = ()
    files: Mapping[str, bytes] | None = None
    python: bool = False
    disks: Sequence[int] = ()
    memory: int = 1024
    options: Sequence[str] = ()

    def run(self, script: str, timeout: float, attempts: int = 2) -> dict[str, bytes]:
        """Boot, run a shell script as root in /out, and return the files it left there.

        Raises:
            NoGuest: a program or module is not here.
            GuestFailed: each attempt hung, crashed, or ended with an error.
        """
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            with (folder / "initramfs").open("wb") as file:
                self._write_initramfs(file, script)
            failure = ""
            for _ in range(attempts):
                console = self._boot(folder, timeout)
                if f"{_DONE}0" in console:
                    with tarfile.open(folder / "disk0") as archive:
                        return dict(_files(archive))
                failure = console
                if _DONE in console:  # the script failed: it would again
                    break
            raise GuestFailed(f"the guest did not come to its end; its last words:\n{failure[-3000:]}")

    def _boot(self, folder: Path, timeout: float) -> str:
        command = ["qemu-system-x86_64", "-nodefaults", "-nographic", "-no-reboot", "-serial", "stdio"]
        # Hardware acceleration hangs with stock kernels where /dev/kvm is itself virtual.
        command += ["-accel", "tcg", "-cpu", "max", "-smp", "1", "-m", str(self.memory)]
        command += ["-kernel", str(self.kernel.image), "-initrd", str(folder / "initramfs")]
        command += ["-append", "console=ttyS0 quiet panic=-1 random.trust_cpu=on"]
        for number, size in enumerate((_RESULT_BYTES, *self.disks)):
            disk = folder / f"disk{number}"
            with disk.open("wb") as file:
                file.truncate(size)
            command += ["-drive", f"file={disk},format=raw,if=virtio,cache=unsafe,discard=unmap"]
        with (folder / "console").open("w+b") as console:
            process = subprocess.Popen(
                [*command, *self.options], stdin=subprocess.DEVNULL, stdout=console, stderr=console
            )
            try:
                process.wait(timeout)
            except subprocess.TimeoutExpired:
                pass
            finally:
                process.kill()
                process.wait()
            console.seek(0)
            return console.read().decode("utf-8", "replace")

    def _write_initramfs(self, file: io.BufferedIOBase, script: str) -> None:
        archive = _Cpio(file)
        for folder in ("proc", "sys", "dev", "tmp", "out", "root", "etc"):
            archive.folder(folder)
        archive.node("dev/console", 5, 1)
        busybox = _program("busybox")
        archive.file("bin/busybox", busybox.read_bytes(), 0o755)
        listed = subprocess.run([busybox, "--list"], capture_output=True, text=True, check=True)
        archive.link("bin/sh", "busybox")
        for applet in listed.stdout.split():
            archive.link(f"applets/{applet}", "/bin/busybox")
        for program in self.programs:
            archive.program(_program(program), f"programs/{program}")
        if self.python:
            _add_python(archive)
        modules = self.kernel.modules(["virtio_pci", "virtio_blk", *self.modules])
        for module in modules:
            archive.file(f"lib/{module.name}", module.read_bytes())
        archive.file("modules", "".join(f"/lib/{module.name}\n" for module in modules).encode())
        archive.file("script", script.encode(), 0o755)
        archive.file("init", _INIT.format(ready=_READY, done=_DONE).encode(), 0o755)
        for name, content in (self.files or {}).items():
            archive.file(name.lstrip("/"), content)
        archive.close()


def _add_python(archive: _Cpio) -> None:
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
    for package in FOLDERS:
        for path in sorted((ROOT / package).rglob("*.py")):
            archive.file(f"project/{path.relative_to(ROOT)}", path.read_bytes())
        archive.link(f"project/edgeprof/{package}", f"../{package}")
    for path in sorted((ROOT / "edgeprof").glob("*.py")):
        archive.file(f"project/edgeprof/{path.name}", path.read_bytes())


def _files(archive: tarfile.TarFile) -> Iterator[tuple[str, bytes]]:
    for member in archive:
        content = archive.extractfile(member)
        if content is not None:
            yield str(Path(member.name)), content.read()


def _program(name: str) -> Path:
    found = find_tool(name)
    if found is None:
        raise NoGuest(f"the guest needs {name}, which is not here: apt-get install {_PACKAGES.get(name, name)}")
    return Path(found).resolve() if name == "busybox" else Path(found)


def _libraries(program: Path) -> list[Path]:
    answer = subprocess.run(["ldd", program], capture_output=True, text=True, check=False)
    return sorted({Path(word) for word in re.findall(r"(/[^ \n]+)", answer.stdout) if Path(word).is_file()})


class _Cpio:
    """Writes the kernel's initramfs format (Documentation/driver-api/early-userspace/buffer-format.rst)."""

    def __init__(self, file: io.BufferedIOBase) -> None:
        self._file = file
        self._known: set[str] = set()

    def folder(self, name: str) -> None:
        """A folder and those above it."""
        parts = name.split("/")
        for depth in range(1, len(parts) + 1):
            self._entry("/".join(parts[:depth]), stat.S_IFDIR | 0o755)

    def file(self, name: str, content: bytes, mode: int = 0o644) -> None:
        """A file; the first of a name counts."""
        self._parent(name)
        self._entry(name, stat.S_IFREG | mode, content)

    def program(self, path: Path, name: str) -> None:
        """A program or shared object and the libraries it is linked to, these where they are on this machine."""
        self.file(name, path.resolve().read_bytes(), 0o755)
        for library in _libraries(path):
            self.file(str(library)[1:], library.resolve().read_bytes(), 0o755)

    def link(self, name: str, target: str) -> None:
        """A symbolic link."""
        self._parent(name)
        self._entry(name, stat.S_IFLNK | 0o777, target.encode())

    def node(self, name: str, major: int, minor: int) -> None:
        """A character device."""
        self._entry(name, stat.S_IFCHR | 0o600, device=(major, minor))

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
