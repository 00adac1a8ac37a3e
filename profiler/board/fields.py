"""Takes values out of a board's answers, each only if it is of its kind and size."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from edgeprof.profiler.board.errors import Nonsense

MOST = 1 << 62
JOB = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
RUN = re.compile(r"[^\W.-][\w.-]{0,199}")
"""A capture directory's name, as `edgeprof.profiler.agent.capture` makes it."""


class Fields:
    """One answer, a JSON object.

    Raises (all methods):
        Nonsense: the value is missing or not of its kind.
    """

    def __init__(self, board: str, values: Mapping[str, Any]) -> None:
        self._board = board
        self.values = values

    @classmethod
    def of(cls, board: str, line: bytes) -> Fields:
        """Read a line."""
        try:
            values = json.loads(line)
        except (ValueError, RecursionError):
            raise Nonsense(board, f"no JSON: {line[:60]!r}") from None
        if not isinstance(values, dict):
            raise Nonsense(board, f"no JSON object: {line[:60]!r}")
        return cls(board, values)

    def wrong(self, name: str) -> Nonsense:
        """The error for a field."""
        return Nonsense(self._board, f"{name} is {str(self.values.get(name))[:60]!r}")

    def text(self, name: str, most: int = 4096) -> str:
        """A string of at most ``most`` characters."""
        value = self.values.get(name)
        if not isinstance(value, str) or len(value) > most or "\0" in value:
            raise self.wrong(name)
        return value

    def maybe_text(self, name: str, most: int = 4096) -> str | None:
        """As `text`; None where the board has none."""
        return None if self.values.get(name) is None else self.text(name, most)

    def matching(self, name: str, pattern: re.Pattern[str]) -> str:
        """A string that the pattern matches as a whole."""
        value = self.text(name)
        if not pattern.fullmatch(value):
            raise self.wrong(name)
        return value

    def whole(self, name: str, most: int = MOST, least: int = 0) -> int:
        """An integer."""
        value = self.values.get(name)
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            raise self.wrong(name)
        return value

    def maybe_whole(self, name: str, most: int = MOST, least: int = 0) -> int | None:
        """As `whole`; None where the board has none."""
        return None if self.values.get(name) is None else self.whole(name, most, least)

    def flag(self, name: str) -> bool:
        """True or false."""
        value = self.values.get(name)
        if not isinstance(value, bool):
            raise self.wrong(name)
        return value
