"""What can go wrong with a guest, as sentences for a person."""

from __future__ import annotations

from pathlib import Path

from edgeprof.profiler.errors import EdgeprofError


class NoGuest(EdgeprofError):
    """A guest cannot be had here; the sentence says why and what would help."""

    exit_code = 121


class GuestFailed(EdgeprofError):
    """The guest hung, crashed, or its script failed.

    Attributes:
        console: the end of what it printed.
        log: where all of it is kept; None: nowhere.
    """

    exit_code = 121

    def __init__(self, sentence: str, console: str = "", log: Path | None = None) -> None:
        super().__init__(sentence)
        self.console = console
        self.log = log
