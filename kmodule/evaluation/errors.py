"""What can go wrong with an evaluation, as sentences for a person."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from edgeprof.kmodule.errors import KmlError


class NoSuchChoice(KmlError):
    """A word names nothing that there is."""

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        super().__init__(f"there is no {kind} {name}; there are: {', '.join(known)}")


class NotAnEvaluation(KmlError):
    """A folder holds no evaluation, or another one than was asked for."""

    def __init__(self, folder: Path, why: str) -> None:
        super().__init__(f"{folder} {why}")


class NoTrace(KmlError):
    """A job's block trace cannot be believed; the sentence says why."""


class NoModel(KmlError):
    """A contender needs a trained model, and none was given."""

    def __init__(self, contender: str) -> None:
        super().__init__(f"{contender} needs a trained model: give one with --model, or name schedulers without one")


class NotInstalled(KmlError):
    """What a real disk is to be measured with is not on this machine."""

    def __init__(self, what: str, disk: str, there: Iterable[str]) -> None:
        super().__init__(f"{what} cannot be used for {disk} here; there is: {', '.join(there)}")
