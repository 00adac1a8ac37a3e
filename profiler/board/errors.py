"""What goes wrong between the desk and a board: each failure says which board it was and what to do next."""

from __future__ import annotations

from pathlib import Path

from edgeprof.profiler.errors import EdgeprofError

LOST, RESERVED = 123, 124
"""Exit codes: the board could not be reached, or was lost, or answers nonsense; somebody else's run holds it."""

_SHOWN = 400
"""Characters of a board's own words that are shown."""


def told(text: object) -> str:
    """A board's words as one short line that cannot steer a terminal."""
    line = " ".join(str(text)[: 4 * _SHOWN].split())
    shown = "".join(char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in line)
    return shown if len(shown) <= _SHOWN else shown[:_SHOWN] + " ..."


class BoardError(EdgeprofError):
    """A failure of one board; ``board`` is its name, or its address where it has none yet."""

    def __init__(self, board: str, sentence: str) -> None:
        super().__init__(f"board {board}: {sentence}")
        self.board = board


class WrongEntry(EdgeprofError):
    """A name, an address or a program that no board can have."""


class UnknownBoard(EdgeprofError):
    """A name that the address book does not have."""

    def __init__(self, name: str, known: list[str]) -> None:
        there = f"there are: {', '.join(known)}" if known else "there is none yet"
        super().__init__(f"no board {told(name)!r}; {there}; add one with `edgeprof board add NAME user@host`")


class DamagedBook(EdgeprofError):
    """An address book that is not what edgeprof wrote."""

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(
            f"the address book {path} cannot be read ({why}); mend it, or remove it and add the boards anew"
        )


class FullBook(EdgeprofError):
    """An address book that would be too large to be read again."""

    def __init__(self, path: Path) -> None:
        super().__init__(f"the address book {path} has no room for this; take boards out with `edgeprof board remove`")


class NoSsh(EdgeprofError):
    """There is no ssh at the desk."""

    exit_code = 121

    def __init__(self, program: str, why: str) -> None:
        super().__init__(
            f"{program} cannot be started ({why}); install OpenSSH's client (apt-get install openssh-client),"
            " or name another program in EDGEPROF_SSH"
        )


class Lost(BoardError):
    """The board cannot be reached, or the connection to it ended."""

    exit_code = LOST

    @property
    def why(self) -> str:
        """What happened, without the board's name and what to do."""
        return str(self).removeprefix(f"board {self.board}: ").partition("; ")[0]

    def advising(self, advice: str) -> Lost:
        """The same with other advice on what to do."""
        return Lost(self.board, f"{self.why}; {advice}")


class Unreachable(Lost):
    """No connection could be made."""


class UnknownHostKey(Lost):
    """The board's key is not among the known hosts."""

    def __init__(self, board: str, address: str) -> None:
        super().__init__(
            board,
            f"its host key is not known here; connect once with `ssh {address}`, compare the fingerprint with the one "
            "that `ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub` prints on the board, and accept it",
        )


class ChangedHostKey(Lost):
    """The board's key is another one than before: it was set up anew, or somebody stands between."""

    def __init__(self, board: str, address: str) -> None:
        super().__init__(
            board,
            "its host key has CHANGED: it was set up anew, or another machine answers in its place; nothing was sent. "
            "Only if you know why, remove the old key with `ssh-keygen -R` and connect once with "
            f"`ssh {address}` to compare the new one",
        )


class NotLetIn(Lost):
    """The board refuses the user."""

    def __init__(self, board: str, address: str, why: str) -> None:
        super().__init__(
            board,
            f"it does not let you in ({told(why)}); edgeprof never asks for a password: set up a key that works "
            f"without one (`ssh-copy-id {address}`, and ssh-agent for its passphrase)",
        )


class ConnectionCut(Lost):
    """The connection ended while it was in use."""

    def __init__(self, board: str, doing: str, advice: str = "") -> None:
        super().__init__(board, f"the connection ended during {doing}" + (f"; {advice}" if advice else ""))


class NoAnswer(Lost):
    """The board is silent for longer than it may be."""

    def __init__(self, board: str, doing: str, seconds: float) -> None:
        super().__init__(
            board, f"no answer to {doing} within {seconds:.0f} s; `edgeprof board check {board}` tries again"
        )


class Nonsense(BoardError):
    """The board's answer is not what an agent of this edgeprof gives; nothing more is taken from it."""

    exit_code = LOST

    def __init__(self, board: str, why: str) -> None:
        super().__init__(
            board,
            f"its answer was refused ({told(why)}); if the board is yours, remove ~/.edgeprof/agents there"
            " and try again",
        )


class CannotPrepare(BoardError):
    """The board lacks what the agent needs."""

    exit_code = 121


class NoPython(CannotPrepare):
    """There is no such Python on the board."""

    def __init__(self, board: str, program: str) -> None:
        super().__init__(
            board,
            f"there is no {program} on its PATH; install Python 3.8 or later there (apt-get install python3), or name "
            "one: `edgeprof board add NAME ADDRESS --python /path/to/python3`",
        )


class OldPython(CannotPrepare):
    """The board's Python is too old."""

    def __init__(self, board: str, program: str, version: str) -> None:
        super().__init__(
            board,
            f"{program} there is {told(version)}, and the agent needs Python 3.8 or later; name another one: "
            "`edgeprof board add NAME ADDRESS --python python3.8`",
        )


class BoardFull(CannotPrepare):
    """Nothing can be written on the board."""

    exit_code = 122

    def __init__(self, board: str, place: str, why: str) -> None:
        super().__init__(
            board,
            f"{told(place)} there cannot be written ({told(why)}); free some space on it, "
            "or set EDGEPROF_BOARD_HOME there to a folder of yours",
        )


class Refused(BoardError):
    """The agent on the board says why it does not do what it was asked for."""

    def __init__(self, board: str, sentence: str, exit_code: int) -> None:
        super().__init__(board, told(sentence))
        self.exit_code = exit_code if 120 <= exit_code <= 125 else 120


class NewerAgent(BoardError):
    """What is on the board was left by a newer edgeprof."""

    def __init__(self, board: str, what: str, found: object) -> None:
        super().__init__(
            board, f"{what} is of protocol {told(found)}, newer than this edgeprof's; upgrade edgeprof at the desk"
        )


class TooLarge(BoardError):
    """There is no room at the desk for what the board has."""

    exit_code = 122
