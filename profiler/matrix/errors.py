"""What can be wrong with a matrix; each is one sentence that says what to do next."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from edgeprof.profiler.errors import EdgeprofError


class WrongMatrix(EdgeprofError):
    """A specification that cannot be run as it stands."""


class NoMatrix(EdgeprofError):
    """A folder without the state of a matrix."""

    def __init__(self, folder: object) -> None:
        super().__init__(f"{folder} holds no matrix; make one with `edgeprof matrix run SPEC.yaml`")


class MatrixBusy(EdgeprofError):
    """Another process works on the same folder."""

    def __init__(self, folder: object, owner: str) -> None:
        by = f" by process {owner}" if owner else ""
        super().__init__(f"the matrix in {folder} is being run{by} already; wait for it, or end it first")


def near(word: str, known: Iterable[str]) -> str:
    """``, did you mean 'x'?`` without the question mark, where a known word is like it; else nothing."""
    found = difflib.get_close_matches(word, list(known), n=1)
    return f", did you mean {found[0]!r}" if found else ""
