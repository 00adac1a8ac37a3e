"""Holds the reader of blktrace files to what blkparse prints: records first, then the times within requests."""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np

from edgeprof.collectors.block import blktrace, records
from edgeprof.collectors.block.kinds import DISCARD, READ, WRITE
from edgeprof.collectors.block.requests import pair

_DELTA = re.compile(rb" (?P<time>\d+\.\d{9}) +\d+  (?P<action>[IC]) +[RWDFNASM]+ \d+ \+ \d+ \( *(?P<delta>\d+)\)")


def recording_of(files: Mapping[str, bytes]) -> blktrace.Recording:
    """The recording among files as `tests.guest.record_blktrace` makes them."""
    return blktrace.read([(name, content) for name, content in sorted(files.items()) if ".blktrace." in name])


def as_blkparse_prints(recording: blktrace.Recording) -> list[list[str]]:
    """All records as the words of the format in `tests.guest.record_blktrace`."""
    kept = ~records.is_note(recording.rows["action"])
    rows, comms = recording.rows[kept], recording.comm[kept].tolist()
    begin = int(rows["time"][0])
    lines = []
    for row, comm in zip(rows, comms, strict=True):
        action, length, time = int(row["action"]), int(row["bytes"]), int(row["time"]) - begin
        lines.append(
            [
                f"{row['device'] >> 20},{row['device'] & 0xFFFFF}",
                str(row["cpu"]),
                str(row["sequence"]),
                f"{time // 1_000_000_000}.{time % 1_000_000_000:09}",
                str(row["pid"]),
                records.LETTERS[action & 0xFF],
                records.printed_rwbs(action, length),
                str(row["sector"]),
                str(length),
                str(row["error"]),
                recording.names[comm].decode(),
            ]
        )
    return lines


def blkparse_lines(text: bytes) -> list[list[str]]:
    """blkparse's lines as words, without those that are about itself."""
    return [line.split() for line in text.decode().splitlines() if line.strip() and not line.startswith("Input file")]


def blkparse_times(text: bytes) -> dict[str, dict[int, int]]:
    """For insertions and completions of data: time of the action -> ns since the request's action before it."""
    times: dict[str, dict[int, int]] = {"I": {}, "C": {}}
    for match in _DELTA.finditer(text):
        time = int(match["time"].replace(b".", b""))
        times[match["action"].decode()][time] = int(match["delta"])
    return times


def our_times(recording: blktrace.Recording) -> dict[str, dict[int, int]]:
    """The same from requests as this project pairs them: allocation to insertion, issue to completion."""
    found = pair(recording.actions())
    begin = int(recording.rows["time"][~records.is_note(recording.rows["action"])][0])
    data = np.isin(found.kind, (READ, WRITE, DISCARD))
    times = {}
    for action, earlier, later in (("I", "queued", "inserted"), ("C", "issued", "completed")):
        rows = data & getattr(found, "has_" + earlier) & getattr(found, "has_" + later)
        first, second = getattr(found, earlier)[rows], getattr(found, later)[rows]
        times[action] = dict(zip((second - begin).tolist(), (second - first).tolist(), strict=True))
    return times
