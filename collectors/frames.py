"""Reads the frame files that ``base.FrameWriter`` writes (parse half; any machine).

The file may be cut anywhere or damaged: reading stops at the first frame that
is not whole, and ``FrameFile.damage`` says where and why.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from edgeprof.collectors.base import FRAME_HEADER, MAX_FRAME_BYTES, SOURCE_DEFINITION
from edgeprof.collectors.parsing import read_raw

MAX_SOURCES = 1 << 20
"""More source numbers than any run has; a stream that defines more is damaged."""


@dataclass
class Series:
    """The frames of one source, in file order: CLOCK_MONOTONIC ns and payloads of equal length."""

    name: str
    times: list[int] = field(default_factory=list)
    payloads: list[bytes] = field(default_factory=list)


@dataclass
class FrameFile:
    """All series of one raw file by source name; ``damage`` is None for a whole file."""

    series: dict[str, Series]
    damage: str | None

    def get(self, name: str) -> Series:
        """The series of a source; an empty one when nothing was captured from it."""
        return self.series.get(name) or Series(name)

    def matching(self, prefix: str) -> list[Series]:
        """All series whose name starts with ``prefix``, in order of first appearance."""
        return [series for name, series in self.series.items() if name.startswith(prefix)]


def read_frames(path: Path) -> FrameFile:
    """Read a frame file up to its last whole frame."""
    return parse_frames(read_raw(path))


class FrameReader:
    """Splits captured bytes into frames; what follows them later may be given to it later.

    Attributes:
        names: the sources by their numbers, in the order in which they were defined.
        taken: bytes of whole frames so far; what lies behind them is to be given again with what follows it.
        cut: where the bytes end inside a frame, which may yet become whole; None: they do not.
        damage: why no further frame can be read; None: nothing is wrong.
    """

    def __init__(self) -> None:
        self.names: dict[int, str] = {}
        self.taken = 0
        self.cut: str | None = None
        self.damage: str | None = None

    def frames(self, data: bytes) -> Iterator[tuple[int, str, bytes]]:
        """CLOCK_MONOTONIC ns, source's name and payload of each whole frame; stops for good at a damaged one."""
        unpack, size, names = FRAME_HEADER.unpack_from, FRAME_HEADER.size, self.names
        origin, position, end = self.taken, 0, len(data)
        self.cut = None
        while position < end and self.damage is None:
            if end - position < size:
                self.cut = f"cut inside a frame header at byte {origin + position}"
                return
            time_ns, source, length = unpack(data, position)
            start = position + size
            if length > MAX_FRAME_BYTES or time_ns >> 63:
                self.damage = f"impossible frame header at byte {origin + position}"
                return
            if length > end - start:
                self.cut = f"cut inside a frame at byte {origin + position}"
                return
            payload = data[start : start + length]
            if source == SOURCE_DEFINITION:
                if length < 4 or len(names) >= MAX_SOURCES:
                    self.damage = f"impossible source definition at byte {origin + position}"
                    return
                names[int.from_bytes(payload[:4], "little")] = payload[4:].decode("utf-8", "replace")
            elif source in names:
                yield time_ns, names[source], payload
            else:
                self.damage = f"frame of an undefined source {source} at byte {origin + position}"
                return
            position = start + length
            self.taken = origin + position


def parse_frames(data: bytes) -> FrameFile:
    """Split captured bytes into series; see `FrameFile` for what happens to damaged input."""
    reader = FrameReader()
    found: dict[str, Series] = {}
    for time_ns, name, payload in reader.frames(data):
        if name not in found:
            found[name] = Series(name)
        found[name].times.append(time_ns)
        found[name].payloads.append(payload)
    series = {name: found.get(name) or Series(name) for name in reader.names.values()}
    return FrameFile({**series, **found}, reader.damage or reader.cut)
