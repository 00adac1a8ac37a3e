"""The root of the emulated arm64 board: Debian 12 made by debootstrap, once, and kept in the guests' cache."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgeprof.profiler.guest import packages, tools
from edgeprof.profiler.guest.architecture import ARM64
from edgeprof.profiler.guest.archive import APPLETS, Archive
from edgeprof.profiler.guest.busybox import busybox
from edgeprof.profiler.guest.errors import GuestFailed, NoGuest
from edgeprof.profiler.guest.kernel import Kernel
from edgeprof.profiler.guest.qemu import Machine, Running, escaped, last_words
from tests.guest.machine import CACHE, release_kernel

SUITE, KERNEL = "bookworm", "6.1"
PACKAGES = ("openssh-server", "python3", "fio", "busybox")
USER = "board"
"""An ordinary user, beside root."""
NAME = "arm64-board"
"""Of the host, for its own `uname -n` and in the SSH configuration of the desk."""

_IMAGE_BYTES = 1 << 30  # of which a third is used; the file is sparse
_BUILDING = "building-board-"
_BUILD_SECONDS = 400.0
_MODULES = ("virtio_pci", "virtio_blk", "virtio_net", "overlay")

_INITRAMFS = """#!/bin/sh
export PATH=/applets:/bin
{applets}
mount -t devtmpfs devtmpfs /dev
for module in $(cat /modules); do insmod "$module"; done
mount -t ext4 -o noatime /dev/vda /root
mount --move /dev /root/dev
umount /proc
exec switch_root /root {program}
"""

_INITTAB = """\
::sysinit:/etc/board-start
::respawn:/usr/sbin/sshd -D -e
::shutdown:/bin/busybox umount -a -r
"""

_START = """#!/bin/busybox sh
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
cd /
set -- /bin/busybox
"$@" mount -t proc proc /proc
"$@" mount -t sysfs sysfs /sys
"$@" mount -t cgroup2 cgroup2 /sys/fs/cgroup
"$@" mount -t tracefs tracefs /sys/kernel/tracing
"$@" mount -t debugfs debugfs /sys/kernel/debug
"$@" mkdir -p /dev/shm /dev/pts
"$@" mount -t devpts devpts /dev/pts
"$@" mount -t tmpfs -o mode=1777 tmpfs /dev/shm
"$@" mount -t tmpfs -o mode=755 tmpfs /run
"$@" mkdir -p -m 1777 /run/lock
"$@" mkdir -p -m 755 /run/sshd
"$@" hostname {name}
"$@" ip link set lo up
"$@" ip addr add 10.0.2.15/24 dev eth0
"$@" ip link set eth0 up
"""

_UNUSED = "/(test|idlelib|lib2to3|config-)"
"""Of Python's library."""
_COMPILED = "board: compiled"
_COMPILE = f"""\
#!/bin/busybox sh
/usr/bin/python3 -m compileall -q -x '{_UNUSED}' /usr/lib/python3.11 && echo "{_COMPILED}"
/bin/busybox mount -o remount,ro /dev/vda /
/bin/busybox sync
/bin/busybox poweroff -f
"""

_SSHD = """\
HostKey /etc/ssh/host_key
AuthorizedKeysFile /etc/ssh/authorized_keys
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
UseDNS no
PrintMotd no
PrintLastLog no
KexAlgorithms curve25519-sha256
"""
"""Without what takes an emulated processor long."""


def missing() -> str | None:
    """Why there can be no such board here; None when there can."""
    wanted = {"debootstrap": "debootstrap", "qemu-system-aarch64": "qemu-system-arm"}
    wanted |= {"ssh": "openssh-client", "mke2fs": "e2fsprogs"}
    absent = {package for tool, package in wanted.items() if tools.find_tool(tool) is None}
    return f"an emulated arm64 board needs more: apt-get install {' '.join(sorted(absent))}" if absent else None


@dataclass(frozen=True)
class Image:
    """A raw disk; what is written to one that is not ``kept`` is gone afterwards."""

    path: Path
    kept: bool = True

    def options(self, name: str) -> list[str]:
        """Of QEMU."""
        drive = f"file={escaped(self.path)},format=raw,if=none,id={name},cache=unsafe,discard=unmap"
        drive += "" if self.kept else ",snapshot=on"
        return ["-drive", drive, "-device", f"virtio-blk-pci,drive={name},request-merging=off"]


def machine(
    kernel: Kernel,
    initramfs: Path,
    images: Sequence[Image],
    options: Sequence[str] = (),
    cpus: int = 1,
    memory: int = 1024,
) -> Machine:
    """With the images as /dev/vda and on."""
    drives = [word for number, image in enumerate(images) for word in image.options(f"disk{number}")]
    return Machine(kernel, initramfs, memory, cpus, options=[*drives, *options])


def write_initramfs(path: Path, kernel: Kernel, program: str) -> None:
    """A first file system that starts a program of the root on /dev/vda."""
    with path.open("wb") as file:
        archive = Archive(file)
        for folder in ("proc", "dev", "root"):
            archive.folder(folder)
        archive.node("dev/console", 5, 1)
        archive.busybox(busybox(kernel.architecture, CACHE))
        archive.modules(kernel, _MODULES)
        archive.file("init", _INITRAMFS.format(applets=APPLETS, program=program).encode(), 0o755)
        archive.close()


def root() -> Path:
    """The folder with the root's image and the keys: from the cache, else made, which takes two minutes.

    Raises:
        NoGuest: a program, or the network's mirror of Debian, is missing.
        GuestFailed: the new root does not boot.
    """
    recipe = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:12]
    target = CACHE / f"board-arm64-{recipe}"
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "board-arm64.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.is_dir():
            if reason := missing():
                raise NoGuest(reason)
            for older in (*CACHE.glob("board-arm64-*"), *CACHE.glob(f"{_BUILDING}*")):
                shutil.rmtree(older, ignore_errors=True)
            with tempfile.TemporaryDirectory(dir=CACHE, prefix=_BUILDING) as name:
                folder = Path(name) / "made"
                folder.mkdir()
                _make_root(folder, Path(name))
                folder.rename(target)
    return target


def _make_root(folder: Path, work: Path) -> None:
    tree = work / "root"
    _debootstrap(tree)
    _finish(tree)
    for name in ("host_key", "user_key"):
        _call("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", folder / name)
    shutil.copy(folder / "host_key", tree / "etc/ssh/host_key")
    shutil.copy(folder / "user_key.pub", tree / "etc/ssh/authorized_keys")
    compiled = _compile_here(tree)
    image = folder / "root.ext4"
    features = ("-O", "^has_journal", "-E", "root_owner=0:0")
    _call("mke2fs", "-q", "-t", "ext4", *features, "-d", tree, image, _IMAGE_BYTES >> 10)
    if not compiled:
        _compile_there(image, work)


def _debootstrap(tree: Path) -> None:
    """Unpack Debian.

    The second stage, which would run every package's own scripts on an emulated processor, takes many minutes.
    It is left out: nothing that is used here needs more than the files, and the few lines of `_finish`.
    """
    mirror = packages.Apt().own_mirror(packages.codename())
    if mirror is None:
        raise NoGuest(
            "the board's root is Debian's, and this machine's apt has no source of Debian's packages: add one"
        )
    words = ("--foreign", "--variant=minbase", f"--arch={ARM64.debian}", f"--include={','.join(PACKAGES)}")
    _call("debootstrap", *words, SUITE, tree, mirror)
    stage = tree / "debootstrap"
    archives = dict(line.split() for line in (stage / "debpaths").read_text().splitlines())
    for name in (stage / "base").read_text().split():  # those of "required" are unpacked
        # not dpkg-deb --extract, which puts folders into the place of links such as /lib
        package = subprocess.run(
            ["dpkg-deb", "--fsys-tarfile", f"{tree}{archives[name]}"], stdout=subprocess.PIPE, check=True
        )
        subprocess.run(["tar", "-x", "--keep-directory-symlink", "-C", tree], input=package.stdout, check=True)
    for used in ("debootstrap", "var/cache/apt/archives", "usr/share/doc", "usr/share/locale", "usr/share/man"):
        shutil.rmtree(tree / used, ignore_errors=True)


def _finish(tree: Path) -> None:
    """What the packages' own scripts would do, as far as it is needed here, and the start of the system."""
    for name in ("proc", "sys", "dev", "run", "tmp"):
        if (tree / name).is_symlink():  # to this machine's own, where debootstrap runs in a container
            (tree / name).unlink()
        (tree / name).mkdir(exist_ok=True)
    accounts = {name: (tree / f"usr/share/base-passwd/{name}.master").read_text() for name in ("passwd", "group")}
    accounts["passwd"] += f"sshd:x:100:65534::/run/sshd:/usr/sbin/nologin\n{USER}:x:1000:1000::/home/{USER}:/bin/sh\n"
    accounts["group"] += f"{USER}:x:1000:\n"
    names = [line.partition(":")[0] for line in accounts["passwd"].splitlines()]
    accounts["passwd"] = accounts["passwd"].replace(":*:", ":x:")
    accounts["shadow"] = "".join(f"{name}:*:20000:0:99999:7:::\n" for name in names)
    for name, text in accounts.items():
        (tree / "etc" / name).write_text(text)
    home = tree / "home" / USER
    home.mkdir()
    os.chown(home, 1000, 1000)
    (tree / "etc/hostname").write_text(f"{NAME}\n")
    (tree / "etc/hosts").write_text(f"127.0.0.1 localhost {NAME}\n")
    (tree / "etc/inittab").write_text(_INITTAB)
    for name, text in (("board-start", _START.format(name=NAME)), ("board-compile", _COMPILE)):
        (tree / "etc" / name).write_text(text)
        (tree / "etc" / name).chmod(0o755)
    (tree / "etc/ssh").mkdir(exist_ok=True)
    (tree / "etc/ssh/sshd_config").write_text(_SSHD)
    (tree / "usr/sbin/init").symlink_to("/bin/busybox")


def _compile_here(tree: Path) -> bool:
    """Compile Python's library, as the packages' scripts would: else each start on the board does it anew.

    False: this Python is another release and cannot.
    """
    library = f"/usr/lib/python{sys.version_info.major}.{sys.version_info.minor}"
    if not (tree / library[1:]).is_dir():
        return False
    _call(sys.executable, "-m", "compileall", "-q", "-x", _UNUSED, "-s", tree, f"{tree}{library}")
    return True


def _compile_there(image: Path, work: Path) -> None:
    """Have the board itself do it, in a boot of its own; it takes half a minute more."""
    kernel, initramfs, console = release_kernel(KERNEL, ARM64), work / "initramfs", work / "console"
    write_initramfs(initramfs, kernel, "/etc/board-compile")
    running = Running(machine(kernel, initramfs, [Image(image)]), console)
    try:
        ended = running.wait(_BUILD_SECONDS)
    finally:
        running.stop()
    if not ended or _COMPILED not in running.console():
        ending = last_words(running.console())
        raise GuestFailed(f"the emulated board could not compile its Python; its last words:\n{ending}", ending)


def _call(tool: str, *words: object) -> None:
    command = [str(tools.program(tool)), *map(str, words)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_BUILD_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise NoGuest(f"{tool} did not end within {_BUILD_SECONDS:g} s: try again") from None
    if done.returncode:
        words_left = (done.stderr.strip() or done.stdout.strip()).splitlines()[-3:]
        raise NoGuest(f"{tool} could not make the board's root: {' / '.join(words_left)}")
