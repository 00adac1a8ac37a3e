"""Output to terminals and files that do not know all characters: what they lack is written in ASCII."""

from __future__ import annotations

import codecs
import io
import sys

ERRORS = "edgeprof.ascii"
"""Name of the error handler of encoders."""

_IN_ASCII = {"µ": "u", "…": "...", "\u2013": "-", "\u2014": "-", "±": "+-", "°": " ", "“": '"', "”": '"', "→": "->"}
_SPACES = "\u00a0\u2009\u202f"


def is_utf8(encoding: str | None) -> bool:
    """Whether an encoding knows all characters."""
    try:
        return codecs.lookup(encoding or "ascii").name == "utf-8"
    except LookupError:
        return False


def in_ascii(text: str) -> str:
    """Text in ASCII: 3.4 us, and a question mark for what has no likeness there."""
    return (
        "".join(" " if char in _SPACES else _IN_ASCII.get(char, char) for char in text)
        .encode("ascii", "replace")
        .decode()
    )


def survive() -> None:
    """Let standard output and error write what their encoding lacks in ASCII, instead of failing."""
    codecs.register_error(ERRORS, _handle)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and not is_utf8(stream.encoding):
            stream.reconfigure(errors=ERRORS)


def _handle(error: UnicodeError) -> tuple[str | bytes, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return in_ascii(error.object[error.start : error.end]), error.end
