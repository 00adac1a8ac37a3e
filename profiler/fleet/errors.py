"""What can be wrong with a fleet; each is one sentence that says what to do next."""

from __future__ import annotations

from edgeprof.profiler.errors import EdgeprofError


class WrongFleet(EdgeprofError):
    """A file of boards, or a scheduler, that no matrix can be run with."""


class NoDask(WrongFleet):
    """The library that fleets rest on is not installed."""

    def __init__(self) -> None:
        super().__init__("fleets need Dask's distributed: pip install 'edgeprof[fleet]'")
