"""What can keep a disk from being tuned, as sentences for a person."""

from __future__ import annotations

from edgeprof.profiler.errors import EdgeprofError


class CannotTune(EdgeprofError):
    """The machine, or the disk, has not what tuning takes; the sentence says what."""


class Gone(CannotTune):
    """The disk is no longer there."""

    def __init__(self, name: str) -> None:
        super().__init__(f"{name} has gone and is no longer tuned")


class ChangedByOthers(CannotTune):
    """Somebody else set what the tuner had set: it keeps its hands off from then on."""

    def __init__(self, name: str, what: str, found: str, left: str) -> None:
        super().__init__(
            f"{what} of {name} was left at {left} and is {found}: somebody else set it, so {name} is no longer tuned"
        )
