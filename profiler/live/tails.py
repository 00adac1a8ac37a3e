"""Reads the ends of growing raw files, wherever a write has just got to."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from edgeprof.collectors.frames import FrameReader
from edgeprof.collectors.phases.recorder import HEADER, MAGIC, RECORD, STEP, STEP_BEGIN, VERSION

READ_BYTES = 8 << 20
"""Read at once: one who comes late catches up over several looks."""
_RECORD_BYTES = 64


class Tail:
    """A regular file that grows; ``taken``: bytes that need not be read again, ``behind``: those still to be read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.taken = 0
        self.behind = 0

    def more(self) -> bytes:
        """What follows the bytes taken; nothing where there is no such file, or it is no regular one."""
        try:
            file = os.open(self.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return b""
        try:
            facts = os.fstat(file)
            if not stat.S_ISREG(facts.st_mode) or facts.st_size <= self.taken:
                self.behind = 0
                return b""
            data = os.pread(file, READ_BYTES, self.taken)
            self.behind = max(0, facts.st_size - self.taken - len(data))
            return data
        except OSError:
            return b""
        finally:
            os.close(file)


class FrameTail(Tail):
    """The frames of a growing file; ``damage``: why it cannot be read further."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._reader = FrameReader()

    @property
    def damage(self) -> str | None:
        """Why nothing more is read; None while all is well."""
        return self._reader.damage

    def frames(self) -> Iterator[tuple[int, str, bytes]]:
        """Time, source and payload of each frame that has become whole."""
        if self.damage is None:
            yield from self._reader.frames(self.more())
            self.taken = self._reader.taken


class StepTail(Tail):
    """The steps in one process's record file, as they end."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._before_ns = 0
        self._known: bool | None = None

    def steps(self) -> list[tuple[int, int]]:
        """Start and end (CLOCK_MONOTONIC ns) of each step that has ended; see `recorder.step` for where one starts."""
        data = self.more()
        if self._known is None and len(data) >= HEADER.size:
            magic, version, size, *_ = HEADER.unpack_from(data)
            self._known = magic == MAGIC and version == VERSION and size == _RECORD_BYTES
        if not self._known:
            return []
        # A record's last byte is its kind, stored last: what is 0 there is reserved, or not finished.
        kinds = data[_RECORD_BYTES - 1 :: _RECORD_BYTES].rstrip(b"\0")
        first = 1 if self.taken == 0 else 0
        if first and len(kinds) > 1:
            self._before_ns = RECORD.unpack_from(data, _RECORD_BYTES)[0]
        found = []
        at = kinds.find(STEP, first)
        while at >= 0:
            found.append(self._step(data, kinds, at))
            at = kinds.find(STEP, at + 1)
        self.taken += max(len(kinds), first if data else 0) * _RECORD_BYTES
        return found

    def _step(self, data: bytes, kinds: bytes, at: int) -> tuple[int, int]:
        end, _, thread, *_ = RECORD.unpack_from(data, at * _RECORD_BYTES)
        start = self._before_ns
        if at and kinds[at - 1] == STEP_BEGIN:
            dated, _, same, *_ = RECORD.unpack_from(data, (at - 1) * _RECORD_BYTES)
            start = dated if same == thread else start
        self._before_ns = end
        return min(start, end), end
