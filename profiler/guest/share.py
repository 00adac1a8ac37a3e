"""Shares folders of the host with a guest: by virtiofs (a daemon for each) or by 9p (inside QEMU)."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from dataclasses import dataclass
from pathlib import Path

from edgeprof.collectors.helper import HelperProcess
from edgeprof.profiler.guest.errors import NoGuest
from edgeprof.profiler.guest.kernel import Kernel
from edgeprof.profiler.guest.qemu import escaped
from edgeprof.profiler.guest.tools import find_tool

VIRTIOFS, NINE_P = "virtiofs", "9p"
MODULES = {VIRTIOFS: ("virtiofs",), NINE_P: ("9p", "9pnet_virtio")}
"""What a guest's kernel needs."""
_OPTIONS = {VIRTIOFS: "", NINE_P: "trans=virtio,version=9p2000.L,msize=512000,cache=loose,"}

_DAEMONS = ("/usr/lib/qemu/virtiofsd", "/usr/libexec/virtiofsd", "/usr/lib/virtiofsd")


@dataclass(frozen=True)
class Share:
    """A folder of the host; the guest mounts it by its tag."""

    tag: str
    folder: Path
    writable: bool = False


def find_daemon() -> Path | None:
    """virtiofsd, wherever this distribution keeps it."""
    for path in map(Path, _DAEMONS):
        if path.is_file():
            return path
    return find_tool("virtiofsd")


def choose(asked: str, kernel: Kernel) -> str:
    """How to share: as asked, else virtiofs, else 9p.  Raises NoGuest where neither can be had."""
    wrong = {}
    for kind in [asked] if asked else [VIRTIOFS, NINE_P]:
        missing = [name for name in MODULES[kind] if not kernel.has(name)]
        if missing:
            wrong[kind] = f"the kernel {kernel.version} has no module {missing[0]}"
        elif kind == VIRTIOFS and find_daemon() is None:
            wrong[kind] = "there is no virtiofsd (apt-get install virtiofsd, or qemu-system-common on Debian 12)"
        elif kind == VIRTIOFS and os.geteuid() != 0:
            wrong[kind] = "virtiofsd needs root here"
        else:
            return kind
    reasons = "; ".join(f"{kind}: {reason}" for kind, reason in wrong.items())
    raise NoGuest(
        f"this machine's folders cannot be shared with a guest ({reasons}); mend that, choose another --vm-share, or "
        "give a kernel that can with --vm-kernel"
    )


def mount_words(kind: str, share: Share, target: str) -> str:
    """The shell's line that mounts it in the guest."""
    options = _OPTIONS[kind] + ("rw" if share.writable else "ro")
    return f"mount -t {kind} -o {options} {share.tag} {target}"


class Shared:
    """Folders shared with one guest.

    Attributes:
        options: of QEMU.
        descriptors: that QEMU inherits.

    Raises:
        NoGuest: there is no virtiofsd.
        OSError: it cannot be started.
    """

    def __init__(self, kind: str, shares: list[Share], log: Path) -> None:
        self.options: list[str] = []
        self._daemons: list[HelperProcess] = []
        self._sockets: list[socket.socket] = []
        try:
            for share in shares:
                if kind == VIRTIOFS:
                    self._start_daemon(share, log)
                else:
                    self._add_9p(share)
        except BaseException:
            self.close()
            raise

    @property
    def descriptors(self) -> list[int]:
        """Of the connections to the daemons."""
        return [item.fileno() for item in self._sockets]

    def _add_9p(self, share: Share) -> None:
        way = "" if share.writable else ",readonly=on"
        folder = f"local,id={share.tag},path={escaped(share.folder)},security_model=none,multidevs=remap{way}"
        self.options += ["-fsdev", folder, "-device", f"virtio-9p-pci,fsdev={share.tag},mount_tag={share.tag}"]

    def _start_daemon(self, share: Share, log: Path) -> None:
        daemon = find_daemon()
        if daemon is None:
            raise NoGuest("there is no virtiofsd here: apt-get install virtiofsd")
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(f"\0edgeprof-{os.getpid()}-{share.tag}-{id(self):x}")  # of no file system: no path is left
            listening.listen(1)
            words = _daemon_words(daemon, listening.fileno(), share)
            with log.open("ab") as file:
                self._daemons.append(
                    HelperProcess(words, stdout=file.fileno(), stderr=file.fileno(), pass_fds=[listening.fileno()])
                )
            connection = socket.socket(socket.AF_UNIX)
            self._sockets.append(connection)
            connection.connect(listening.getsockname())
        chardev = f"socket,id={share.tag},fd={connection.fileno()}"
        device = f"vhost-user-fs-pci,chardev={share.tag},tag={share.tag},queue-size=1024"
        self.options += ["-chardev", chardev, "-device", device]

    def release(self) -> None:
        """Close this process's ends of the connections, once QEMU has them: their end then ends the daemons."""
        for item in self._sockets:
            item.close()
        self._sockets = []

    def close(self) -> None:
        """End the daemons."""
        self.release()
        for daemon in self._daemons:
            daemon.stop(signal.SIGTERM, timeout=2.0)


def _daemon_words(daemon: Path, descriptor: int, share: Share) -> list[str]:
    """The command line, for either of the two programs of this name: QEMU's own in C, and its successor in Rust."""
    answer = subprocess.run([daemon, "--help"], capture_output=True, text=True, timeout=10, check=False)
    help_text = answer.stdout + answer.stderr
    cache = "auto" if share.writable else "always"
    if "--shared-dir" in help_text:
        words = [str(daemon), f"--fd={descriptor}", f"--shared-dir={share.folder}", f"--cache={cache}"]
        words.append("--sandbox=chroot")
        return words if share.writable or "--readonly" not in help_text else [*words, "--readonly"]
    source = str(share.folder).replace("\\", "\\\\").replace(",", "\\,")
    options = f"source={source},cache={cache},sandbox=chroot,no_posix_lock,no_flock,log_level=err"
    return [str(daemon), f"--fd={descriptor}", "-o", options]
