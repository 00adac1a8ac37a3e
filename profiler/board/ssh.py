"""OpenSSH as the way to a board: one connection that all commands share, with the user's own configuration and keys.

``EDGEPROF_SSH`` names another program than ``ssh``, called with the same arguments.  Host keys are always verified,
and nobody is ever asked for anything.  The first session holds the connection: it ends when the desk's process does.
No keepalives are sent: an idle connection is silent.
"""

from __future__ import annotations

import ctypes
import os
import re
import secrets
import shlex
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Sequence

from edgeprof.profiler.board.book import Board
from edgeprof.profiler.board.channel import ANSWER_SECONDS, Channel
from edgeprof.profiler.board.errors import (
    ChangedHostKey,
    ConnectionCut,
    Lost,
    NoSsh,
    NotLetIn,
    UnknownHostKey,
    Unreachable,
    told,
)

CONNECT_SECONDS = 15
OPTIONS = (
    "BatchMode=yes",
    "StrictHostKeyChecking=yes",
    f"ConnectTimeout={CONNECT_SECONDS}",
    "ServerAliveInterval=0",
    "ForwardAgent=no",
    "ForwardX11=no",
    "ClearAllForwardings=yes",
    "PermitLocalCommand=no",
    "RemoteCommand=none",
    "RequestTTY=no",
    "ControlPersist=no",
    "NoHostAuthenticationForLocalhost=no",
    "LogLevel=ERROR",
)
"""Set whatever the user's configuration says; the rest is the user's."""

HOLD = "exec cat"
"""What the session that holds the connection runs: it ends with its standard input."""

_PR_SET_PDEATHSIG = 1  # prctl(2)

_SHORT = 60
"""Bytes of a folder's name below which a socket in it, with ssh's own ending, stays within sun_path's 108: unix(7)."""


def program() -> str:
    """The ssh to use."""
    return os.environ.get("EDGEPROF_SSH") or "ssh"


def remote_line(script: str, words: Sequence[str]) -> str:
    """The line for the far side's login shell, of whatever kind: ``script`` run by its ``sh`` with ``words`` as $1...

    The only place where something is quoted for a board.  ``script`` is one line of ours.
    """
    assert "\n" not in script and "!" not in script and "'" not in script  # csh would read them
    return " ".join(["exec", "sh", "-c", shlex.quote(script), "sh", *map(shlex.quote, words)])


class Ssh:
    """A connection to a board; close it, or use it in a ``with`` statement.

    Raises (on entering):
        NoSsh: there is no such program.
        Unreachable, UnknownHostKey, ChangedHostKey, NotLetIn: see `failure`.
    """

    def __init__(self, board: Board) -> None:
        self.board = board
        self._folder: str | None = None
        self._master: Channel | None = None

    def __enter__(self) -> Ssh:
        self.open()
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def open(self) -> None:
        """Connect; where a connection was open before, it is closed."""
        self.close()
        self._folder = tempfile.mkdtemp(prefix="edgeprof-", dir=_runtime_folder())
        try:
            self._master = self._start("connecting", ["-o", "ControlMaster=yes"], HOLD, ())
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End the connection and everything on it."""
        if self._master is not None:
            self._master.close()
            self._master = None
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None

    def channel(self, doing: str, script: str, *words: str, seconds: float = ANSWER_SECONDS) -> Channel:
        """Run a script on the board; its output begins where the start-up files of the shell there have ended.

        ``doing`` says in an error what was being done; it must begin within ``seconds``.

        Raises:
            Lost: its children, as on connecting.
        """
        return self._start(doing, ["-o", "ControlMaster=no"], script, words, seconds)

    def _start(
        self,
        doing: str,
        options: Sequence[str],
        script: str,
        words: Sequence[str],
        seconds: float = ANSWER_SECONDS,
    ) -> Channel:
        mark = f"edgeprof-{secrets.token_hex(8)}"
        command = [program()]
        for option in OPTIONS:
            command += ["-o", option]
        command += ["-o", f"ControlPath={self._folder}/c", *options, "-T", "--", self.board.address]
        command.append(remote_line('printf "\\n%s\\n" "$1"; shift; ' + script, [mark, *words]))
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                bufsize=0,
                start_new_session=True,  # Ctrl-C is for edgeprof to answer
                preexec_fn=_end_with(os.getpid()),
            )
        except OSError as error:
            raise NoSsh(program(), error.strerror or str(error)) from None
        channel = Channel(self.board.name, doing, process)
        try:
            if not channel.skip_to(mark.encode(), seconds):
                code = channel.end()  # first: all complaints have come then
                found = failure(self.board, channel.complaint(), code)
                if self._master is not None and isinstance(found, Unreachable):
                    raise ConnectionCut(self.board.name, doing)  # whether there can be another is to be seen
                raise found
        except BaseException:
            channel.close()
            raise
        return channel


def _end_with(parent: int) -> Callable[[], None]:
    """For a child before its exec: SIGTERM comes when the thread that started it ends, as that of a killed edgeprof."""
    libc = ctypes.CDLL(None)

    def ask() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # it has ended already
            os._exit(127)

    return ask


def failure(board: Board, complaint: str, code: int) -> Lost:
    """The error that ssh's own words on standard error stand for."""
    lines = [line for line in complaint.splitlines() if line.strip()]
    last = told(lines[-1]) if lines else f"ssh ended with {code}"
    if re.search(
        r"HOST IDENTIFICATION HAS CHANGED|[Hh]ost key for .* (has changed|was revoked)|REVOKED HOST KEY", complaint
    ):
        return ChangedHostKey(board.name, board.address)
    if re.search(r"No \S+ host key is known|[Hh]ost key verification failed", complaint):
        return UnknownHostKey(board.name, board.address)
    if re.search(r"Permission denied|Too many authentication failures|authentication methods|sign_and_send", complaint):
        return NotLetIn(board.name, board.address, last)
    return Unreachable(
        board.name, f"no connection to {board.address} ({last}); is it on, and does `ssh {board.address}` reach it?"
    )


def _runtime_folder() -> str:
    """A folder for sockets: the user's own where there is one, and its name short and plain."""
    chosen = os.environ.get("XDG_RUNTIME_DIR", "")
    usable = re.fullmatch(r"/[\w./-]+", chosen) and len(chosen) < _SHORT and os.access(chosen, os.W_OK | os.X_OK)
    return chosen if usable else "/tmp"  # noqa: S108  mkdtemp's folder in it is private
