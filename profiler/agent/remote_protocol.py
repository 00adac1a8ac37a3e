"""What the desk and the agent on a board say to each other: JSON lines, errors, names, and where things are kept.

Every command imports this, and a small board's processor takes a while for ``json``, ``re`` and ``typing``: they are
imported where they are needed, or not at all.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False  # as typing.TYPE_CHECKING
if TYPE_CHECKING:
    from typing import Any, BinaryIO, Dict

PROTOCOL = 1
"""Of commands and answers; a desk speaks to agents of its own one only."""

ERROR_EXIT = 3
"""Exit code of a command that answered with an error."""

LINE_BYTES = 1 << 20
"""The longest line that is read from the desk, but for the list of files of `receive`."""

BLOCK_BYTES = 1 << 20
"""How much of a file is in memory at once."""

USAGE, STORAGE, INTERNAL = 120, 122, 125  # as in `spec`, which takes long to import on a small board
_IN_NAMES = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-")
_NAME_LENGTH = 100
_PLAIN = frozenset(" !#$%&()*+,/:;<=>?@[]^`{|}~'") | _IN_NAMES


class Refused(Exception):
    """A command that is not done; one sentence, and the exit code that the desk's edgeprof should end with."""

    def __init__(self, message: str, exit_code: int = USAGE) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def home() -> str:
    """The folder of all that the agent keeps on a board: ``$EDGEPROF_BOARD_HOME``, else ``~/.edgeprof``."""
    chosen = os.environ.get("EDGEPROF_BOARD_HOME")
    return os.path.abspath(chosen or os.path.join(os.path.expanduser("~"), ".edgeprof"))


def private_folder(*parts: str) -> str:
    """A folder below `home`, made if it is missing, for this user only.  Raises OSError, Refused."""
    path = os.path.join(home(), *parts)
    os.makedirs(path, mode=0o700, exist_ok=True)
    if os.lstat(home()).st_uid != os.geteuid():
        raise Refused("{} belongs to another user; set EDGEPROF_BOARD_HOME to a folder of yours".format(home()))
    return path


def checked_name(name: Any, what: str) -> str:
    """The name of a job or folder, which may become a file's name.  Raises Refused."""
    if not isinstance(name, str) or not 0 < len(name) <= _NAME_LENGTH or not set(name) <= _IN_NAMES or name[0] in "._-":
        raise Refused("{!r:.80} is no name for a {}: letters, digits, '.', '_' and '-'".format(name, what))
    return name


def read_request(stream: BinaryIO, most: int = LINE_BYTES) -> Dict[str, Any]:
    """One line that holds a JSON object.  Raises Refused."""
    import json

    line = stream.readline(most + 1)
    if len(line) > most:
        raise Refused("the request is longer than {} bytes".format(most))
    try:
        request = json.loads(line)
    except (ValueError, RecursionError):
        raise Refused("the request is not a line of JSON") from None
    if not isinstance(request, dict):
        raise Refused("the request is no JSON object")
    return request


def answer(content: Dict[str, Any]) -> None:
    """Print one line of JSON, at once."""
    import json

    sys.stdout.buffer.write(json.dumps(content).encode() + b"\n")
    sys.stdout.buffer.flush()


def answer_at_once(content: Dict[str, Any]) -> None:
    """As `answer`, but without ``json``, whose import takes longer than all else; for flat contents."""
    items = (
        '"{}": {}'.format(name, _quoted(value) if isinstance(value, str) else value) for name, value in content.items()
    )
    sys.stdout.write("{" + ", ".join(items) + "}\n")
    sys.stdout.flush()


def _quoted(text: str) -> str:
    """A JSON string of ASCII (RFC 8259, section 7)."""
    return '"{}"'.format("".join(char if char in _PLAIN else _escaped(char) for char in text))


def _escaped(char: str) -> str:
    units = char.encode("utf-16-be", "surrogatepass")
    return "".join("\\u{}".format(units[at : at + 2].hex()) for at in range(0, len(units), 2))


def refusal(error: Exception) -> Dict[str, Any]:
    """The answer to a command that failed: a sentence and an exit code."""
    code = getattr(error, "exit_code", None)
    if isinstance(code, int):
        return {"error": str(error), "exit_code": code}
    if isinstance(error, OSError):
        return {"error": no_storage(error), "exit_code": STORAGE}
    return {"error": "a bug in edgeprof's agent: {!r:.500}; please report it".format(error), "exit_code": INTERNAL}


def no_storage(error: OSError) -> str:
    """Why the board's disk refuses, as a sentence."""
    import errno

    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "the board's disk that holds {} is full: free some space there, then try again".format(home())
    where = " ({})".format(error.filename) if error.filename else ""
    return "the board refused: {}{}".format(error.strerror or error, where)
