"""Reads the ends of growing raw files, wherever a write has just got to."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from edgeprof.collectors.frames import FrameReader
from edgeprof.collectors.phases.recorder import BEGIN, HEADER, MAGIC, RECORD, STEP, STEP_BEGIN, VERSION
from edgeprof.collectors.phases.step_names import BEFORE_STEPS, PROLONGS, RANKS

READ_BYTES = 8 << 20
"""Read at once: one who comes late catches up over several looks."""
_RECORD_BYTES = 64
_BLOCK_BYTES = 1 << 16
"""Of a record file: most of it is room in reserve."""


class Tail:
    """A regular file that grows; ``taken``: bytes that need not be read again, ``behind``: those still to be read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.taken = 0
        self.behind = 0

    def more(self, most: int = READ_BYTES) -> bytes:
        """Up to ``most`` of what follows the bytes taken; nothing where there is no such regular file."""
        try:
            file = os.open(self.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return b""
        try:
            facts = os.fstat(file)
            if not stat.S_ISREG(facts.st_mode) or facts.st_size <= self.taken:
                self.behind = 0
                return b""
            data = os.pread(file, most, self.taken)
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
            try:
                yield from self._reader.frames(self.more())
            finally:
                self.taken = self._reader.taken


class StepTail(Tail):
    """The steps in one process's record file, as they end; which records are steps, `matching.steps` says.

    ``count``: how many have ended.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.count = 0
        self._known: bool | None = None
        self._rank = 0
        self._start_ns: int | None = None
        self._end_ns = 0
        self._last = bytes(_RECORD_BYTES)

    def ends(self) -> list[tuple[int, int, int]]:
        """Since the last look: end of a step (CLOCK_MONOTONIC ns), its length (ns), and 1; 0 where one is prolonged."""
        found: list[tuple[int, int, int]] = []
        for _ in range(READ_BYTES // _BLOCK_BYTES):
            before = self.taken
            found += self._block(self.more(_BLOCK_BYTES))
            if self.taken - before < _BLOCK_BYTES:
                break
        return found

    def _block(self, data: bytes) -> list[tuple[int, int, int]]:
        if self._known is None and len(data) >= HEADER.size:
            magic, version, size, *_ = HEADER.unpack_from(data)
            self._known = magic == MAGIC and version == VERSION and size == _RECORD_BYTES
            data, self.taken = data[_RECORD_BYTES:], _RECORD_BYTES
        if not self._known:
            return []
        # A record's last byte is its kind, stored last: what is 0 there is reserved, or not finished.
        kinds = data[_RECORD_BYTES - 1 :: _RECORD_BYTES].rstrip(b"\0")
        if not kinds:
            return []
        self.taken += len(kinds) * _RECORD_BYTES
        data = self._last + data[: len(kinds) * _RECORD_BYTES]
        self._last = data[-_RECORD_BYTES:]
        if self._start_ns is None:
            self._find_first_phase(data, kinds)
        found = []
        at = kinds.find(STEP)
        while at >= 0:
            if (ended := self._step(data[at * _RECORD_BYTES : (at + 2) * _RECORD_BYTES])) is not None:
                found.append(ended)
            at = kinds.find(STEP, at + 1)
        return found

    def _find_first_phase(self, data: bytes, kinds: bytes) -> None:
        at = kinds.find(BEGIN)
        while at >= 0:
            time_ns, _, _, name, length, _ = RECORD.unpack_from(data, (at + 1) * _RECORD_BYTES)
            if name[:length].decode("utf-8", "replace") not in BEFORE_STEPS:
                self._start_ns = time_ns
                return
            at = kinds.find(BEGIN, at + 1)

    def _step(self, records: bytes) -> tuple[int, int, int] | None:
        """A step by its record and the one before it; None: it counts for nothing."""
        end, _, thread, raw, length, _ = RECORD.unpack_from(records, _RECORD_BYTES)
        name = raw[:length].decode("utf-8", "replace")
        rank = RANKS.get(name, 0)
        if not rank or rank < self._rank:
            return None
        if rank > self._rank:
            self._rank, self.count = rank, 0
        if name.endswith(PROLONGS):
            longer = end - self._end_ns
            self._end_ns = max(end, self._end_ns)
            return (end, longer, 0) if self.count and longer > 0 else None
        begun, _, same, before, before_length, kind = RECORD.unpack_from(records)
        dated = kind == STEP_BEGIN and same == thread and before[:before_length] == raw[:length]
        start = begun if dated else self._start_ns
        self._start_ns = self._end_ns = end
        if start is None or start > end:
            return None
        self.count += 1
        return end, end - start, 1
