"""Frame files: what is written is read back, wherever the file is cut and whatever stands in it."""

from __future__ import annotations

import errno
import os
import struct
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeprof.collectors.base import FRAME_HEADER, SOURCE_DEFINITION, FileSampler, FrameWriter
from edgeprof.collectors.frames import parse_frames, read_frames


def frame(time_ns: int, source: int, payload: bytes) -> bytes:
    return FRAME_HEADER.pack(time_ns, source, len(payload)) + payload


def definition(number: int, name: bytes) -> bytes:
    return frame(1, SOURCE_DEFINITION, struct.pack("<I", number) + name)


def written(path: Path, samples: list[tuple[str, bytes]]) -> bytes:
    writer = FrameWriter(str(path))
    for time_ns, (name, payload) in enumerate(samples):
        writer.frame(time_ns, writer.source(name), payload)
    writer.close()
    assert writer.records == len(samples)
    assert writer.bytes == path.stat().st_size
    assert (writer.lost, writer.notes()) == (0, [])
    return path.read_bytes()


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "samples.frames"
    written(path, [("system/stat", b"cpu 1"), ("process/7/stat", b""), ("system/stat", b"cpu 2")])
    frames = read_frames(path)
    assert frames.damage is None
    assert frames.get("system/stat").times == [0, 2]
    assert frames.get("system/stat").payloads == [b"cpu 1", b"cpu 2"]
    assert [series.name for series in frames.matching("process/")] == ["process/7/stat"]
    assert frames.get("never").payloads == []


@settings(deadline=None)
@given(st.lists(st.tuples(st.text(max_size=8), st.binary(max_size=40)), max_size=12), st.integers(min_value=0))
def test_a_cut_file_gives_its_whole_frames(samples: list[tuple[str, bytes]], cut: int) -> None:
    whole = b"".join(
        definition(number, name.encode("utf-8", "surrogatepass")) + frame(number, number, payload)
        for number, (name, payload) in enumerate(samples, 1)
    )
    shorter = whole[: cut % (len(whole) + 1)]
    frames = parse_frames(shorter)
    read = sum(len(series.payloads) for series in frames.series.values())
    ends, position = [], 0
    for name, payload in samples:
        position += len(definition(1, name.encode("utf-8", "surrogatepass"))) + FRAME_HEADER.size + len(payload)
        ends.append(position)
    assert read == sum(end <= len(shorter) for end in ends)
    if shorter == whole:
        assert frames.damage is None


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"\0" * 5, "cut inside a frame header at byte 0"),
        (FRAME_HEADER.pack(1, 1, 17 << 20), "impossible frame header at byte 0"),
        (FRAME_HEADER.pack(1 << 63, 1, 0), "impossible frame header at byte 0"),
        (definition(1, b"a") + frame(1, 1, b"xx")[:-1], "cut inside a frame at byte 21"),
        (frame(1, 9, b"x"), "frame of an undefined source 9 at byte 0"),
        (frame(1, 0, b"xy"), "impossible source definition at byte 0"),
    ],
)
def test_damage_is_named_with_its_place(data: bytes, sentence: str) -> None:
    assert parse_frames(data).damage == sentence


@settings(deadline=None, max_examples=300)
@given(st.binary(max_size=400), st.booleans())
def test_no_bytes_raise(data: bytes, begin_well: bool) -> None:
    frames = parse_frames(definition(1, b"a") + data if begin_well else data)
    assert all(len(series.times) == len(series.payloads) for series in frames.series.values())


def test_a_million_tiny_frames_take_memory_in_proportion() -> None:
    data = definition(1, b"a") + frame(7, 1, b"") * 1_000_000
    tracemalloc.start()
    try:
        frames = parse_frames(data)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(frames.get("a").times) == 1_000_000
    assert peak < 10 * len(data)


def test_a_claimed_length_is_never_allocated() -> None:
    tracemalloc.start()
    try:
        parse_frames(definition(1, b"a") + FRAME_HEADER.pack(1, 1, 16 << 20) + b"little")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1 << 20


class FullDisk:
    """Makes writing fail after some bytes, as a full disk does."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, room: int) -> None:
        self.room = room
        self._write = os.write
        monkeypatch.setattr(os, "write", self.write)

    def write(self, descriptor: int, data: bytes) -> int:
        if self.room <= 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        count = self._write(descriptor, data[: self.room])
        self.room -= count
        return count


def test_a_full_disk_leaves_whole_frames_and_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "samples.frames"
    writer = FrameWriter(str(path))
    source = writer.source("a")
    writer.frame(0, source, b"first")
    writer.flush()
    before = path.read_bytes()
    full = FullDisk(monkeypatch, room=20)
    writer.frame(2_000_000_000, source, b"second" * 10)
    with pytest.raises(OSError, match="No space left"):
        writer.flush()
    assert path.read_bytes() == before
    full.room = 0
    writer.frame(3_000_000_000, source, b"third")
    writer.close()
    writer.close()
    assert path.read_bytes() == before
    assert (writer.records, writer.bytes, writer.lost) == (1, len(before), 2)
    assert writer.notes() == ["2 samples could not be written: No space left on device"]


def test_frames_are_gathered_but_never_for_long(tmp_path: Path) -> None:
    path = tmp_path / "samples.frames"
    writer = FrameWriter(str(path))
    source = writer.source("a")
    writer.frame(5_000_000_000, source, b"x")
    writer.flush()
    first = path.stat().st_size
    assert first > 0
    writer.frame(5_500_000_000, source, b"x")
    writer.flush()
    assert path.stat().st_size == first
    writer.frame(6_000_000_000, source, b"x")
    writer.flush()
    assert path.stat().st_size > first
    writer.frame(6_000_000_001, source, b"x" * (1 << 18))
    writer.flush()
    assert path.stat().st_size > 1 << 18
    writer.close()


def test_files_are_copied_whole_and_missing_ones_are_named(tmp_path: Path) -> None:
    """A longer file needs several reads: the kernel gives lists a page at a time."""
    (tmp_path / "short").write_bytes(b"abc")
    (tmp_path / "long").write_bytes(bytes(range(256)) * 100)
    (tmp_path / "endless").write_bytes(bytes(1 << 20))
    writer = FrameWriter(str(tmp_path / "samples.frames"))
    sampler = FileSampler(writer)
    assert sampler.add(str(tmp_path / "short"), "short")
    assert sampler.add(str(tmp_path / "long"), "long")
    assert sampler.add(str(tmp_path / "endless"), "endless")
    assert not sampler.add(str(tmp_path / "none"), "none")
    assert sampler.missing == {"none": "No such file or directory"}
    sampler.sample(1)
    (tmp_path / "short").write_bytes(b"defgh")
    sampler.sample(2)
    sampler.close()
    writer.close()
    frames = read_frames(tmp_path / "samples.frames")
    assert frames.get("short").payloads == [b"abc", b"defgh"]
    assert frames.get("long").payloads[0] == bytes(range(256)) * 100
    assert len(frames.get("endless").payloads[0]) == 65536


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="no /proc here: needs Linux")
def test_a_list_of_the_kernels_that_is_longer_than_a_page_is_copied_whole(tmp_path: Path) -> None:
    """/proc/kallsyms and /proc/self/maps are such lists, as diskstats and a cgroup's threads are."""
    path = "/proc/kallsyms"
    with Path(path).open("rb") as file:
        expected = file.read(60000)
    if len(expected) < 60000:
        pytest.skip("this kernel shows no symbols: boot one with CONFIG_KALLSYMS")
    assert len(os.pread(os.open(path, os.O_RDONLY), 65536, 0)) < 5000, "one reading gives a page"
    writer = FrameWriter(str(tmp_path / "samples.frames"))
    sampler = FileSampler(writer)
    sampler.add(path, "list")
    sampler.sample(1)
    sampler.close()
    writer.close()
    assert read_frames(tmp_path / "samples.frames").get("list").payloads[0][:60000] == expected
