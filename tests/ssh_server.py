"""Real SSH servers on 127.0.0.1, each one a "board": own port, own host key, own home of edgeprof's on it.

    with shelf() as boards:
        board = boards.add("a")                     # an sshd of its own
        places.edgeprof("run", "--board", ..., env=places.environment(**boards.environment()))

The client's side is a folder of its own, too: a user key, known hosts, a configuration that names each board as a
``Host``, and a program for ``EDGEPROF_SSH`` that calls ``ssh`` with it.  Nothing of the user's is read or changed.
"""

from __future__ import annotations

import getpass
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from edgeprof.profiler.agent.undo import clean
from tests.helpers import alive, children_of, end, wait_until

HOME_VARIABLE = "EDGEPROF_BOARD_HOME"
LOCKS_VARIABLE = "EDGEPROF_BOARD_LOCKS"
"""Where the reservation's file is: several boards on one machine must not share it."""

_PATH = "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin"


def missing_sshd() -> str | None:
    """Why there can be no server here; None when there can."""
    absent = [name for name in ("ssh", "ssh-keygen", "setpriv") if shutil.which(name) is None]
    if _sshd() is None:
        absent.append("sshd")
    return f"no {', '.join(absent)} here: apt-get install openssh-server openssh-client util-linux" if absent else None


def _sshd() -> str | None:
    return shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


@dataclass
class SshBoard:
    """One server.

    Attributes:
        name: its ``Host`` in the client's configuration, which is an address for ``edgeprof board add``.
        port: where it listens on 127.0.0.1.
        home: ``EDGEPROF_BOARD_HOME`` of what runs there.
        address: where it listens, if not on 127.0.0.1.
        prefix: program and words that start the server elsewhere, such as in a namespace, and end it with themselves.
    """

    name: str
    port: int
    folder: Path
    variables: dict[str, str]
    process: subprocess.Popen[bytes] | None = None
    address: str = "127.0.0.1"
    prefix: tuple[str, ...] = ()

    @property
    def home(self) -> Path:
        return Path(self.variables[HOME_VARIABLE])

    @property
    def url(self) -> str:
        """The address that needs no ``Host`` of the configuration."""
        return f"ssh://{getpass.getuser()}@{self.address}:{self.port}"

    @property
    def host_key(self) -> str:
        """Kind and key, as in known_hosts."""
        return " ".join((self.folder / "host_key.pub").read_text().split()[:2])

    def new_host_key(self) -> None:
        """Give it another host key, as a machine set up anew has; for connections from now on."""
        for name in ("host_key", "host_key.pub"):
            (self.folder / name).unlink(missing_ok=True)
        _keygen(self.folder / "host_key")
        if self.process is not None:
            self.stop()
            self.start()

    def start(self) -> None:
        """Begin to listen, and wait until it does."""
        server = _sshd()
        assert server is not None
        if os.getuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # sshd's folder for privilege separation
        lines = [
            f"Port {self.port}",
            f"ListenAddress {self.address}",
            f"HostKey {self.folder}/host_key",
            "PidFile none",
            f"AuthorizedKeysFile {self.folder}/authorized_keys",
            "AuthenticationMethods publickey",
            "PasswordAuthentication no",
            "KbdInteractiveAuthentication no",
            "PermitRootLogin prohibit-password",
            "StrictModes no",
            "UsePAM no",
            "PrintMotd no",
            "MaxSessions 32",
            "MaxStartups 64:30:128",
            "SetEnv " + " ".join(f'{name}="{value}"' for name, value in self.variables.items()),
        ]
        (self.folder / "sshd_config").write_text("\n".join(lines) + "\n")
        command = [server, "-D", "-e", "-f", str(self.folder / "sshd_config")]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL" if self.prefix else "TERM", *self.prefix, *command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        wait_until(self._listens, f"the ssh server of {self.name}: {self.folder}/log")

    def _listens(self) -> bool:
        assert self.process is not None and self.process.poll() is None, (self.folder / "log").read_text()
        with socket.socket() as probe:
            return probe.connect_ex((self.address, self.port)) == 0

    def sessions(self) -> list[int]:
        """The server's processes that hold connections."""
        if self.process is None:
            return []
        servers = children_of(self.process.pid) if self.prefix else [self.process.pid]  # that in a namespace is a child
        return [pid for server in servers for pid in children_of(server)]

    def cut(self) -> None:
        """End all connections at once, as a pulled cable does; what was detached on the board goes on."""
        for pid in [inner for outer in self.sessions() for inner in (*children_of(outer), outer)]:
            if _is_sshd(pid):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    def freeze(self) -> None:
        """All connections fall silent and stay open, as when a board hangs or a link goes down."""
        for pid in [inner for outer in self.sessions() for inner in (*children_of(outer), outer)]:
            if _is_sshd(pid):
                os.kill(pid, signal.SIGSTOP)

    def stop(self) -> None:
        """Stop to listen, and end all connections; what was detached on the board goes on."""
        if self.process is None:
            return
        sessions = self.sessions()
        if self.prefix:
            self.process.kill()
        else:
            self.process.terminate()
        self.process.wait(10)
        self.process = None
        for pid in [inner for outer in sessions for inner in (*children_of(outer), outer)]:
            if _is_sshd(pid):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    def processes(self) -> list[int]:
        """What runs on the "board": it bears the board's own home in its environment."""
        wanted = f"{HOME_VARIABLE}={self.home}".encode()
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if wanted in (entry / "environ").read_bytes().split(b"\0") and alive(int(entry.name)):
                    found.append(int(entry.name))
        return found

    def end_all(self) -> None:
        """End the server and all that runs on the board, as when its power goes."""
        self.stop()
        end(self.processes())

    def undo(self) -> None:
        """Remove what runs that were ended left on this machine, as `edgeprof clean` and a board's reboot do."""
        state = self.variables["EDGEPROF_STATE"]
        if Path(state).is_dir():
            assert clean(state, kill=True).failed == []


@dataclass
class Shelf:
    """Boards, and the client's side that all of them share."""

    folder: Path
    boards: dict[str, SshBoard] = field(default_factory=dict)

    def add(
        self,
        name: str,
        variables: Mapping[str, str] | None = None,
        home: Path | None = None,
        address: str = "127.0.0.1",
        prefix: tuple[str, ...] = (),
    ) -> SshBoard:
        """Start one more server; ``variables`` are further ones of the environment there."""
        place = self.folder / name
        place.mkdir()
        _keygen(place / "host_key")
        shutil.copy(self.folder / "key.pub", place / "authorized_keys")
        (place / "locks").mkdir()
        values = {
            HOME_VARIABLE: str(home or place / "home"),
            LOCKS_VARIABLE: str(place / "locks"),
            "EDGEPROF_STATE": str(place / "state"),
            "HOME": str(place),  # its shell reads no start-up files of the user's
            "PATH": f"{_PATH}:{Path(sys.executable).resolve().parent}",
            **(variables or {}),
        }
        board = self.boards[name] = SshBoard(name, _free_port(), place, values, None, address, prefix)
        board.start()
        self.know(board)
        self._write_config()
        return board

    def know(self, board: SshBoard) -> None:
        """Add the board's host key to the known hosts, as a user does who has compared the fingerprint."""
        with self.known_hosts.open("a") as file:
            file.write(f"[{board.address}]:{board.port} {board.host_key}\n")

    @property
    def known_hosts(self) -> Path:
        """The client's file of known hosts."""
        return self.folder / "known_hosts"

    @property
    def program(self) -> Path:
        """The program for ``EDGEPROF_SSH``."""
        return self.folder / "ssh"

    def environment(self) -> dict[str, str]:
        """Variables for edgeprof at the desk: this program, and an address book of its own."""
        return {"EDGEPROF_SSH": str(self.program), "EDGEPROF_BOARDS": str(self.folder / "boards.json")}

    def _write_config(self) -> None:
        lines = []
        for board in self.boards.values():
            lines += [f"Host {board.name}", "  HostName 127.0.0.1", f"  Port {board.port}"]
        lines += [
            "Host *",
            f"  IdentityFile {self.folder}/key",
            "  IdentitiesOnly yes",
            "  IdentityAgent none",
            f"  UserKnownHostsFile {self.known_hosts}",
            "  GlobalKnownHostsFile /dev/null",
            f"  User {getpass.getuser()}",
        ]
        (self.folder / "config").write_text("\n".join(lines) + "\n")


@contextmanager
def shelf() -> Iterator[Shelf]:
    """An empty shelf in a folder of its own, whose name is short; all that was started on it ends with the block."""
    with tempfile.TemporaryDirectory(prefix="ebs", ignore_cleanup_errors=True) as name:
        found = Shelf(Path(name))
        _keygen(found.folder / "key")
        found.known_hosts.touch()
        found.program.write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} -F {name}/config "$@"\n')
        found.program.chmod(0o755)
        found._write_config()
        try:
            yield found
        finally:
            for board in found.boards.values():
                board.end_all()
                board.undo()


def _keygen(path: Path) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "test", "-f", path], check=True)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _is_sshd(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/comm").read_text().startswith("sshd")
    except OSError:
        return False
