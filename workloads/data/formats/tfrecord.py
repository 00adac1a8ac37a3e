"""TFRecord: records of tf.train.Example in shards, written and read without TensorFlow.

A record: its length (uint64), the masked CRC-32C of that (uint32), the data, the masked CRC-32C of the data; little
endian (tensorflow/core/lib/io/record_writer.h).
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from edgeprof.workloads.data.describe import DataSet
from edgeprof.workloads.data.errors import DataError
from edgeprof.workloads.data.formats import Layout, Shard, shard_bytes
from edgeprof.workloads.data.formats.crc32c import masked
from edgeprof.workloads.data.formats.example import decode_sample, encode_sample
from edgeprof.workloads.data.sample import Sample


class Writer:
    """Begins a new shard when one is full."""

    def __init__(self, folder: Path, kind: str, expected: int) -> None:
        self._folder, self._kind = folder, kind
        self._limit = shard_bytes(expected)
        self._file: IO[bytes] | None = None
        self._files: list[str] = []
        self._counts: list[int] = []
        self._in_shard = 0
        self.written = 0

    def add(self, sample: Sample) -> None:
        """Append a record."""
        if self._file is None or self._in_shard >= self._limit:
            self.abandon()
            self._files.append(f"{self._kind}-{len(self._files):05d}.tfrecord")
            self._counts.append(0)
            self._in_shard = 0
            self._file = (self._folder / self._files[-1]).open("wb")
        record = encode_record(encode_sample(sample))
        self._file.write(record)
        self._counts[-1] += 1
        self._in_shard += len(record)
        self.written += len(record)

    def close(self) -> Layout:
        """Finish the last shard."""
        self.abandon()
        return Layout(self._files, self._counts)

    def abandon(self) -> None:
        """Close the shard."""
        if self._file is not None:
            file, self._file = self._file, None
            file.close()


def shards(dataset: DataSet) -> list[Shard]:
    """Each file is one."""
    if dataset.counts is None:
        raise DataError(f"{dataset.path} does not say how many samples its files hold; make it anew")
    return [Shard(name, count) for name, count in zip(dataset.files, dataset.counts, strict=True)]


def read_shard(dataset: DataSet, shard: Shard) -> Iterator[Sample]:
    """The samples of a file.  Raises DataError."""
    path = dataset.path / shard.file
    for record in read_records(path):
        try:
            yield decode_sample(record, dataset.kind)
        except DataError as error:
            raise DataError(f"{path} is damaged: {error}; remove {dataset.path} so that it is made anew") from None


def encode_record(data: bytes) -> bytes:
    """Data with its length and checksums."""
    length = struct.pack("<Q", len(data))
    return b"".join((length, struct.pack("<I", masked(length)), data, struct.pack("<I", masked(data))))


def read_records(path: Path) -> Iterator[bytes]:
    """The data of each record of a file; no more is read than the file holds.

    Raises:
        DataError: it is cut, or a checksum is wrong.
    """
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            while head := file.read(12):
                place = file.tell() - len(head)
                if len(head) < 12:
                    raise DataError(_damaged(path, place, "it is cut"))
                length, crc = struct.unpack("<QI", head)
                if masked(head[:8]) != crc:
                    raise DataError(_damaged(path, place, "the checksum of the length is wrong"))
                if length + 4 > size - file.tell():
                    raise DataError(_damaged(path, place, "it is cut"))
                data, tail = file.read(length), file.read(4)
                if len(data) < length or len(tail) < 4:
                    raise DataError(_damaged(path, place, "it is cut"))
                if masked(data) != struct.unpack("<I", tail)[0]:
                    raise DataError(_damaged(path, place, "the checksum of the data is wrong"))
                yield data
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}); make the data set anew") from None


def _damaged(path: Path, place: int, why: str) -> str:
    return f"{path} is damaged in the record at byte {place} ({why}); remove the data set so that it is made anew"
