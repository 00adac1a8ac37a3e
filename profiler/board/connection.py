"""A board that is ready for commands: connected, the agent in its place and of the right content, its Python known."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from edgeprof.profiler.agent.remote_protocol import ERROR_EXIT, PROTOCOL
from edgeprof.profiler.board import zipapp
from edgeprof.profiler.board.book import Board
from edgeprof.profiler.board.channel import ANSWER_SECONDS, CUT, LINE_BYTES, Channel
from edgeprof.profiler.board.errors import (
    BoardError,
    BoardFull,
    CannotPrepare,
    ConnectionCut,
    Lost,
    NoAnswer,
    Nonsense,
    NoPython,
    OldPython,
    Refused,
    Unreachable,
    told,
)
from edgeprof.profiler.board.fields import Fields
from edgeprof.profiler.board.ssh import Ssh

if TYPE_CHECKING:
    from edgeprof.profiler.board.clock import Reading

OLDEST_PYTHON = (3, 8)

PAUSES = (1.0, 5.0, 15.0)
"""Seconds before each try to make a connection that was lost anew: a network that fails is seldom back at once."""

_HOME = 'h="${EDGEPROF_BOARD_HOME:-$HOME/.edgeprof}"; '
_SUM = (
    's() { if command -v sha256sum >/dev/null 2>&1; then sha256sum "$1"; '
    'elif command -v shasum >/dev/null 2>&1; then shasum -a 256 "$1"; '
    'else openssl dgst -sha256 -r "$1"; fi; }; '
)
"""The SHA-256 of a file, by what systems have for it; nothing is printed where there is none of them."""

_LOOK = (
    _HOME + _SUM + 'if command -v "$1" >/dev/null 2>&1; then echo "python $("$1" -V 2>&1)"; else echo "python"; fi; '
    '[ -e "$h/agents" ] && { [ -O "$h/agents" ] || echo "foreign $h"; }; '
    'echo "agent $(s "$h/agents/$2" 2>/dev/null)"'
)
"""$1: Python; $2: the agent's name.  Says what there is of both, and whether another user could change the agent."""

_PUSH = (
    _HOME + _SUM + 'umask 077; a="$h/agents"; t="$a/.$1.$$"; mkdir -p "$a" || { echo "cannot"; exit 0; }; '
    'trap "rm -f \\"\\$t\\"" EXIT; trap "exit 1" HUP INT TERM PIPE; '
    'cat >"$t" || { echo "cannot"; exit 0; }; '
    'case "$(s "$t" 2>/dev/null)" in "$2"*) mv -f "$t" "$a/$1" && echo "done" || echo "cannot";; "") echo "nosum";; '
    '*) echo "damaged";; esac'
)
"""$1: the agent's name; $2: its SHA-256.  Takes the file from standard input; it gets its name when it is whole."""

_CALL = _HOME + 'p="$1"; a="$2"; shift 2; exec "$p" -I -B "$h/agents/$a" "$@"'
"""$1: Python; $2: the agent's name; the rest: command and arguments."""


@dataclass(frozen=True)
class Hello:
    """What a board says of itself; ``free_bytes`` where the agent keeps its files."""

    protocol: int
    edgeprof: str
    python: str
    machine: str
    kernel: str
    hostname: str
    uid: int
    home: str
    free_bytes: int | None
    boot_id: str
    realtime_ns: int

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


class Connection:
    """Use it in a ``with`` statement.

    Attributes:
        board: of the address book.
        agent: the zipapp that was pushed, or was there.
        pushed: whether it had to be pushed.
        hello: what the board said.

    Raises (on entering, and all methods):
        BoardError: its children say what is wrong; see `edgeprof.profiler.board.errors`.
    """

    def __init__(self, board: Board) -> None:
        self.board = board
        self.agent = zipapp.build()
        self.pushed = False
        self.hello: Hello
        self._ssh = Ssh(board)

    def __enter__(self) -> Connection:
        self.open()
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def open(self) -> None:
        """Connect, or connect anew."""
        self._ssh.open()
        try:
            self._prepare()
            self.hello = self._read_hello()
        except BaseException:
            self.close()
            raise

    def open_again(self, error: Lost, say: Callable[[str], None]) -> None:
        """Connect anew after ``error``, in as many tries as there are `PAUSES`.

        Raises:
            BoardError: the last try's, or one that no further try mends, such as another host key.
        """
        for pause in PAUSES:
            say(f"board {self.board.name}: {error.why}; connecting again in {pause:g} s")
            time.sleep(pause)
            try:
                self.open()
            except (ConnectionCut, NoAnswer, Unreachable) as still:
                error = still
            else:
                return
        raise error

    def close(self) -> None:
        """End the connection; what was started on the board goes on."""
        self._ssh.close()

    # -- commands of the agent -------------------------------------------------------------------------------------

    def channel(self, doing: str, *words: str, seconds: float = ANSWER_SECONDS) -> Channel:
        """Start a command of the agent's, to be talked to; ``doing`` says in errors what it is for."""
        return self._ssh.channel(doing, _CALL, self.board.python, self.agent.name, *words, seconds=seconds)

    def ask(self, doing: str, *words: str, data: bytes = b"", seconds: float | None = ANSWER_SECONDS) -> Fields:
        """A command that answers with one line; ``seconds``: None waits for ever."""
        with self.channel(doing, *words, seconds=min(ANSWER_SECONDS, seconds or ANSWER_SECONDS)) as channel:
            if data:
                channel.write(data)
            channel.close_input()
            return self.answer(channel, seconds)

    def answers(self, doing: str, *words: str, most: int, seconds: float = ANSWER_SECONDS) -> Iterator[Fields]:
        """A command that answers with lines, at most ``most`` of them."""
        with self.channel(doing, *words) as channel:
            channel.close_input()
            count = 0
            while (line := channel.line(seconds)) is not None:
                count += 1
                if count > most:
                    raise Nonsense(self.board.name, f"more than {most} lines for {doing}")
                yield self.read(line)
            self.check_end(channel)

    def answer(self, channel: Channel, seconds: float | None = ANSWER_SECONDS, most: int = LINE_BYTES) -> Fields:
        """The next line of a command, which must come."""
        line = channel.line(seconds, most)
        if line is None:
            self.check_end(channel)
            raise Nonsense(self.board.name, f"nothing for {channel.doing}")
        return self.read(line)

    def read(self, line: bytes) -> Fields:
        """A line of the agent's.  Raises Refused where it says that it does not do what it was asked for."""
        fields = Fields.of(self.board.name, line)
        if "error" in fields.values and "exit_code" in fields.values and "job" not in fields.values:
            raise Refused(self.board.name, fields.text("error", LINE_BYTES), fields.whole("exit_code", 255))
        return fields

    def check_end(self, channel: Channel) -> None:
        """Wait for a command to end; raises where it did not end well."""
        code = channel.end()
        if code == CUT or code < 0:
            raise ConnectionCut(self.board.name, channel.doing)
        if code not in (0, ERROR_EXIT):
            raise channel.broken()

    def read_clock(self) -> Reading:
        """Compare the clocks of board and desk.  Raises BoardClockError, too."""
        from edgeprof.profiler.board.clock import exchange

        with self.channel("comparing the clocks", "clock") as channel:

            def ask() -> tuple[int, int, int]:
                channel.write(b"\n")
                line = channel.line(most=100)
                if line is None:
                    self.check_end(channel)
                found = re.fullmatch(rb"(\d{1,19}) (\d{1,19}) (\d{1,19})", line or b"")
                if not found:
                    raise Nonsense(self.board.name, f"no clocks: {(line or b'')[:60]!r}")
                return int(found[1]), int(found[2]), int(found[3])

            return exchange(ask, boot_id=self.hello.boot_id)

    # -- preparing -------------------------------------------------------------------------------------------------

    def _prepare(self) -> None:
        """The agent is there, and a Python that runs it."""
        name, python = self.board.name, self.board.python
        with self._ssh.channel("looking for Python", _LOOK, python, self.agent.name) as channel:
            channel.close_input()
            found = {"python": "", "agent": "", "foreign": ""}
            for _ in range(20):
                line = channel.line(most=4096)
                if line is None:
                    break
                key, _, value = line.decode("utf-8", "replace").partition(" ")
                if key in found:
                    found[key] = value.strip()
        self._check_python(found["python"])
        if found["foreign"]:
            raise CannotPrepare(
                name,
                f"{told(found['foreign'])} there belongs to another user; set EDGEPROF_BOARD_HOME there to a folder of"
                " yours",
            )
        if not found["agent"].startswith(self.agent.sha256):
            self._push(name)

    def _check_python(self, text: str) -> None:
        name, python = self.board.name, self.board.python
        if not text:
            raise NoPython(name, python)
        version = re.match(r"Python (\d{1,3})\.(\d{1,3})", text)
        if not version:
            raise CannotPrepare(name, f"`{python} -V` says {text[:80]!r} there, which is no Python; name another one")
        if (int(version[1]), int(version[2])) < OLDEST_PYTHON:
            raise OldPython(name, python, text[:40])

    def _push(self, name: str) -> None:
        with self._ssh.channel("sending the agent", _PUSH, self.agent.name, self.agent.sha256) as channel:
            with suppress(Nonsense):  # it ended early: its answer says why
                channel.write(self.agent.path.read_bytes())
            channel.close_input()
            answer = channel.line(most=4096)
            channel.end()  # its complaints may come later than its answer
            why = channel.complaint().strip().splitlines()
        if answer is None:
            raise ConnectionCut(name, "sending the agent")
        if answer == b"nosum":
            raise CannotPrepare(name, "it has no sha256sum, shasum or openssl; install one (apt-get install coreutils)")
        if answer == b"damaged":
            raise BoardFull(name, "the agent's folder", "what arrived there is not what was sent")
        if answer != b"done":
            raise BoardFull(name, "the agent's folder", why[-1] if why else "no reason given")
        self.pushed = True

    def _read_hello(self) -> Hello:
        fields = self.ask("greeting", "hello")
        found = fields.whole("protocol", 1 << 31)
        if found != PROTOCOL:
            raise BoardError(self.board.name, f"its agent speaks protocol {found}, and this edgeprof {PROTOCOL}")
        version = fields.values.get("python")
        if not isinstance(version, list) or len(version) != 3 or not all(type(part) is int for part in version):
            raise fields.wrong("python")
        return Hello(
            protocol=found,
            edgeprof=fields.text("edgeprof", 64),
            python=".".join(map(str, version)),
            machine=fields.text("machine", 64),
            kernel=fields.text("kernel", 256),
            hostname=fields.text("hostname", 256),
            uid=fields.whole("uid"),
            home=fields.text("home"),
            free_bytes=fields.maybe_whole("free_bytes"),
            boot_id=fields.text("boot_id", 64),
            realtime_ns=fields.whole("realtime_ns", 1 << 63),
        )
