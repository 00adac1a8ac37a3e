"""Reads the frame files that ``base.FrameWriter`` writes (parse half; any machine).

The file may be cut anywhere or damaged: reading stops at the first frame that
is not whole, and ``FrameFile.damage`` says where and why.
"""

from __future__ import annotations

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


def parse_frames(data: bytes) -> FrameFile:
    """Split captured bytes into series; see `FrameFile` for what happens to damaged input."""
    names: dict[int, Series] = {}
    series: dict[str, Series] = {}
    unpack, size = FRAME_HEADER.unpack_from, FRAME_HEADER.size
    position, end = 0, len(data)
    damage: str | None = None
    while position < end:
        if end - position < size:
            damage = f"cut inside a frame header at byte {position}"
            break
        time_ns, source, length = unpack(data, position)
        start = position + size
        if length > MAX_FRAME_BYTES or time_ns >> 63:
            damage = f"impossible frame header at byte {position}"
            break
        if length > end - start:
            damage = f"cut inside a frame at byte {position}"
            break
        payload = data[start : start + length]
        position = start + length
        if source == SOURCE_DEFINITION:
            if length < 4 or len(names) >= MAX_SOURCES:
                damage = f"impossible source definition at byte {position - length - size}"
                break
            name = payload[4:].decode("utf-8", "replace")
            names[int.from_bytes(payload[:4], "little")] = series.setdefault(name, Series(name))
            continue
        target = names.get(source)
        if target is None:
            damage = f"frame of an undefined source {source} at byte {position - length - size}"
            break
        target.times.append(time_ns)
        target.payloads.append(payload)
    return FrameFile(series, damage)
