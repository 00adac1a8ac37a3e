"""A board that is real but for its hardware: Debian 12 for arm64 on an emulated Cortex-A57, reached by SSH.

Its root is made by debootstrap, once, and kept in the guests' cache; each board runs on a layer above it, which is
gone when the board is.  For a person: ``python tests/guest/arm64_board.py`` boots one and prints how to reach it.
"""

from __future__ import annotations

import argparse
import shlex
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

if __name__ == "__main__":  # as a program it is not below the folder that its imports start from
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))

from edgeprof.profiler.guest import tools
from edgeprof.profiler.guest.architecture import ARM64
from edgeprof.profiler.guest.errors import GuestFailed, NoGuest
from edgeprof.profiler.guest.qemu import Running, last_words
from tests.guest.arm64_root import KERNEL, NAME, USER, Image, machine, root, write_initramfs
from tests.guest.machine import release_kernel

_BOOT_SECONDS = 90.0
_SHARED = ("-o", "ControlMaster=auto", "-o", "ControlPersist=yes")
"""One connection for all commands: to set one up takes an emulated processor a second."""

_CONFIG = """\
Host {name} {name}-user
    HostName 127.0.0.1
    Port {port}
    IdentityFile {keys}/user_key
    IdentitiesOnly yes
    UserKnownHostsFile {folder}/known_hosts
Host {name}
    User root
Host {name}-user
    User {user}
"""


class Board:
    """A board that runs, from entering the context to leaving it.

    Args:
        folder: an own folder for its console, disk and SSH configuration.
        disk_bytes: of an empty disk, the board's /dev/vdb.
        cpus, memory: of the board; MiB.

    Attributes:
        port: of its SSH server on 127.0.0.1.
        config: an SSH configuration that knows it as `NAME` (root) and as ``NAME-user``.

    Raises:
        NoGuest: something is missing here that it is made of.
        GuestFailed: it does not come up.
    """

    def __init__(self, folder: Path, disk_bytes: int = 64 << 20, cpus: int = 1, memory: int = 1024) -> None:
        self.folder, self._cpus, self._memory = folder, cpus, memory
        self.config, self.console = folder / "ssh_config", folder / "console"
        self._disk = folder / "disk"
        self._root = root()
        self._running: Running | None = None
        self.port = 0
        with self._disk.open("wb") as file:
            file.truncate(disk_bytes)

    def __enter__(self) -> Board:
        """Boot it, and wait until its SSH server answers."""
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Switch it off."""
        self.stop()

    def start(self) -> None:
        """Switch it on.  What an earlier start wrote to its root is gone; its port stays."""
        initramfs = self.folder / "initramfs"
        kernel = release_kernel(KERNEL, ARM64)
        write_initramfs(initramfs, kernel, "/sbin/init")
        self.port = self.port or _free_port()
        key = (self._root / "host_key.pub").read_text().split()[:2]
        (self.folder / "known_hosts").write_text(f"[127.0.0.1]:{self.port} {' '.join(key)}\n")
        facts = {"name": NAME, "user": USER, "port": self.port, "keys": self._root, "folder": self.folder}
        self.config.write_text(_CONFIG.format(**facts))
        self.ssh.write_text(f'#!/bin/sh\nexec {tools.program("ssh")} -F {shlex.quote(str(self.config))} "$@"\n')
        self.ssh.chmod(0o755)
        network = f"user,id=network,restrict=on,hostfwd=tcp:127.0.0.1:{self.port}-10.0.2.15:22"  # the desk alone
        options = ("-netdev", network, "-device", "virtio-net-pci,netdev=network,romfile=")
        images = (Image(self._root / "root.ext4", kept=False), Image(self._disk))
        board = machine(kernel, initramfs, images, options, self._cpus, self._memory)
        self._running = Running(board, self.console)
        try:
            _await_ssh(self._running, self.port)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Switch it off, as by pulling its plug; harmless when it is off."""
        if self._running is not None:
            self._running.stop()
            self._running = None

    @property
    def ssh(self) -> Path:
        """A program that is ssh with `config`."""
        return self.folder / "ssh"

    def run(
        self, command: str | Sequence[str], user: str = "root", content: bytes = b"", timeout: float = 120
    ) -> subprocess.CompletedProcess[str]:
        """Run a shell line, or words, on the board.

        Args:
            content: of its standard input.
        """
        line = command if isinstance(command, str) else shlex.join(command)
        name = NAME if user == "root" else f"{NAME}-user"
        words = [str(self.ssh), "-o", "BatchMode=yes", *_SHARED, "-o", f"ControlPath={self.folder}/%r", name, line]
        done = subprocess.run(words, input=content, capture_output=True, timeout=timeout, check=False)
        return subprocess.CompletedProcess(line, done.returncode, done.stdout.decode(), done.stderr.decode())

    def output(
        self, command: str | Sequence[str], user: str = "root", content: bytes = b"", timeout: float = 120
    ) -> str:
        """What a command prints that must succeed.  Raises GuestFailed."""
        done = self.run(command, user, content, timeout)
        if done.returncode:
            raise GuestFailed(f"{command!r} on the board ended with {done.returncode}: {done.stderr}")
        return done.stdout


def _await_ssh(running: Running, port: int) -> None:
    """Raises GuestFailed where the machine ends, or nothing answers in time."""
    deadline = time.monotonic() + _BOOT_SECONDS
    while time.monotonic() < deadline and running.alive():
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
                if connection.recv(4) == b"SSH-":  # QEMU accepts long before the board does
                    return
        except OSError:
            pass
        running.wait(0.1)
    ending = last_words(running.console())
    raise GuestFailed(f"the emulated board's SSH server did not answer; the board's last words:\n{ending}", ending)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def booted(**options: int) -> Iterator[Board]:
    """A board with a temporary folder."""
    with tempfile.TemporaryDirectory(prefix="edgeprof-board-") as name, Board(Path(name), **options) as board:
        yield board


def main() -> None:
    """Boot one for a person."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cpus", type=int, default=1)
    parser.add_argument("--memory", type=int, default=1024, help="MiB")
    parser.add_argument("--disk", type=int, default=64 << 20, help="bytes of its empty disk, /dev/vdb")
    chosen = parser.parse_args()
    try:
        with booted(cpus=chosen.cpus, memory=chosen.memory, disk_bytes=chosen.disk) as board:
            print(f"{board.ssh} {NAME}          # root\n{board.ssh} {NAME}-user     # an ordinary user, {USER}")
            print(f"EDGEPROF_SSH={board.ssh} edgeprof board add arm64 {NAME}")
            print(f"its console: {board.console}\nIt runs until this program is ended (Ctrl-C).", flush=True)
            while True:
                time.sleep(3600)
    except KeyboardInterrupt:
        pass
    except (NoGuest, GuestFailed) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
