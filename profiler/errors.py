"""Errors that a person sees: one sentence that says what to do next."""

from __future__ import annotations

from pathlib import Path


class EdgeprofError(Exception):
    """Base of all expected failures; the command line prints it and exits with ``exit_code``."""

    exit_code = 120


class NotARun(EdgeprofError):
    """A path that holds no capture directory."""

    def __init__(self, path: Path | str) -> None:
        super().__init__(f"{path} is not a capture directory; `edgeprof runs` lists those there are")


class NotIngested(EdgeprofError):
    """A run whose tables were not made yet."""

    def __init__(self, path: Path | str) -> None:
        super().__init__(f"{path} has no tables yet; make them with `edgeprof ingest {path}`")


class NewerSchema(EdgeprofError):
    """A capture made by a newer edgeprof."""

    def __init__(self, path: Path | str, found: object, known: int) -> None:
        super().__init__(
            f"{path} has schema version {found}, and this edgeprof reads up to {known}; upgrade it to read the run"
        )


class DamagedManifest(EdgeprofError):
    """A manifest that is not what edgeprof wrote."""

    def __init__(self, path: Path | str, why: str) -> None:
        super().__init__(
            f"{path} cannot be read ({why});"
            " if raw/ is intact, remove the manifest and run `edgeprof ingest` on the folder"
        )


class NoSuchTable(EdgeprofError):
    """A table that the run does not have."""

    def __init__(self, name: str, present: list[str]) -> None:
        super().__init__(f"the run has no table {name!r}; it has: {', '.join(present) or 'none'}")


class NoSuchRun(EdgeprofError):
    """A text that names no run of a folder."""

    def __init__(self, text: str, folder: Path | str) -> None:
        super().__init__(
            f"no run {text!r} in {folder}; `edgeprof runs` lists those there are, --folder names another folder"
        )


class AmbiguousRun(EdgeprofError):
    """A text that names several runs."""

    def __init__(self, text: str, names: list[str]) -> None:
        shown = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
        super().__init__(f"{text!r} names several runs; say which: {shown}")


class NoRuns(EdgeprofError):
    """A folder without a run that could be read."""

    def __init__(self, folder: Path | str) -> None:
        super().__init__(f"no run that can be read in {folder}; capture one with `edgeprof run -- COMMAND`")


class QueryFailed(EdgeprofError):
    """SQL that cannot be run, or may not be."""

    def __init__(self, why: str) -> None:
        super().__init__(f"the query failed: {why}")


class DamagedMetrics(EdgeprofError):
    """A run whose metrics file is not what was written."""

    def __init__(self, path: Path | str) -> None:
        super().__init__(f"the metrics of {path} cannot be read; make them anew with `edgeprof ingest --force {path}`")
