"""Errors of building and reading training sets."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edgeprof.profiler.errors import EdgeprofError


class Unusable(EdgeprofError):
    """A run that cannot give examples; the others still can."""


class NothingToLearn(EdgeprofError):
    """A folder in which no run gives an example."""

    def __init__(
        self, folder: Path | str, reasons: Sequence[str], example: str = "block request", collect: str = "all"
    ) -> None:
        kinds = list(dict.fromkeys(reasons))
        why = "; ".join(kinds[:3]) + ("; ..." if len(kinds) > 3 else "")
        super().__init__(
            f"no run in {folder} gives a {example} to learn from ({why or 'there are no runs in it'});"
            f" capture some as root with `edgeprof run --collect {collect} -- COMMAND`"
        )


class NotATrainingSet(EdgeprofError):
    """A file that is not what `edgeprof dataset build` wrote."""

    def __init__(self, path: Path, why: str, name: str = "latency") -> None:
        super().__init__(f"{path} is not a training set ({why}); make one with `edgeprof dataset build {name}`")
