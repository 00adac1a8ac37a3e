"""What every parse half is given and gives back.

Each collector's ``parse.py`` has one entry point::

    def parse(raw: Path, facts: RunFacts) -> Parsed

``raw`` is the capture directory's ``raw`` folder; a missing or cut file is an
empty or shorter table and a note, never an exception.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class RunFacts:
    """What a parser may need to know of the run besides its own bytes.

    Times are CLOCK_MONOTONIC ns; ``start_ns`` is the workload's exec, ``end_ns`` its exit
    (None: the run was interrupted).  ``tables`` holds what was parsed before (``process``
    and ``phases`` come first).  ``held_back``: device (``major:minor``) -> the operations (``read``, ``write``) that
    a limit of the run's own holds back there.
    """

    start_ns: int
    end_ns: int | None
    main_pid: int
    profiler_pids: frozenset[int] = frozenset()
    clocks: tuple[Mapping[str, Any], ...] = ()
    host: Mapping[str, Any] = field(default_factory=dict)
    tables: Mapping[str, pa.Table] = field(default_factory=dict)
    run_pids: frozenset[int] = frozenset()
    held_back: Mapping[str, frozenset[str]] = field(default_factory=dict)

    def realtime_to_monotonic(self) -> int:
        """Nanoseconds to add to CLOCK_REALTIME to get CLOCK_MONOTONIC (0 when no clocks were captured)."""
        if not self.clocks:
            return 0
        return int(self.clocks[0]["monotonic_ns"]) - int(self.clocks[0]["realtime_ns"])


@dataclass
class Parsed:
    """Tables by name (keys of `schema.SCHEMAS`), notes for the report, and records known to be lost."""

    tables: dict[str, pa.Table]
    notes: list[str] = field(default_factory=list)
    lost: int | None = 0


def read_raw(path: Path) -> bytes:
    """The bytes of a raw file, or of its compressed form ``NAME.zst`` that ingest leaves behind.

    Raises:
        FileNotFoundError: neither is there.
        OSError: it cannot be read, is no regular file, or its compressed form is damaged.
    """
    for name in (path, path.with_name(path.name + ".zst")):
        try:
            mode = name.lstat().st_mode
        except FileNotFoundError:
            continue
        if not stat.S_ISREG(mode):  # a link or a device in a capture from elsewhere: never followed
            raise OSError(errno.EINVAL, "not a regular file", str(name))
        if name == path:
            return path.read_bytes()
        import pyarrow as pa

        with pa.OSFile(str(name)) as file, pa.CompressedInputStream(file, "zstd") as stream:
            return bytes(stream.read())
    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
