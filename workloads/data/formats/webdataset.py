"""WebDataset: tar shards in which the files of a sample follow each other and share the name up to its first dot.

Written, and read for frameworks other than PyTorch, with Python's tarfile; PyTorch reads through the webdataset
library, which would bring PyTorch into processes that do not use it.
"""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from edgeprof.workloads.data.describe import DataSet
from edgeprof.workloads.data.errors import DataError
from edgeprof.workloads.data.formats import Layout, Shard, shard_bytes
from edgeprof.workloads.data.formats.tfrecord import shards
from edgeprof.workloads.data.sample import FIELDS, Array, Field, Sample, Value

__all__ = ["Writer", "from_members", "read_shard", "shards"]


class Writer:
    """Begins a new shard when one is full."""

    def __init__(self, folder: Path, kind: str, expected: int) -> None:
        self._folder, self._kind = folder, kind
        self._limit = shard_bytes(expected)
        self._tar: tarfile.TarFile | None = None
        self._files: list[str] = []
        self._counts: list[int] = []
        self._before = 0

    def add(self, sample: Sample) -> None:
        """Append the sample's files."""
        if self._tar is None or self._tar.offset >= self._limit:
            self._finish()
            self._files.append(f"{self._kind}-{len(self._files):06d}.tar")
            self._counts.append(0)
            self._tar = tarfile.open(self._folder / self._files[-1], "w", format=tarfile.USTAR_FORMAT)  # noqa: SIM115
        key = f"{sum(self._counts):08d}"
        for field in FIELDS[self._kind]:
            content = _to_bytes(sample[field.name])
            member = tarfile.TarInfo(f"{key}.{field.suffix}")
            member.size, member.mode = len(content), 0o644
            self._tar.addfile(member, io.BytesIO(content))
        _forget_members(self._tar)
        self._counts[-1] += 1

    @property
    def written(self) -> int:
        """Bytes of all shards."""
        return self._before + (self._tar.offset if self._tar is not None else 0)

    def close(self) -> Layout:
        """Finish the last shard."""
        self._finish()
        return Layout(self._files, self._counts)

    def abandon(self) -> None:
        """Close the shard's file without an end mark."""
        tar, self._tar = self._tar, None
        if tar is not None and tar.fileobj is not None:
            try:
                tar.fileobj.close()
            except OSError:
                pass  # a full disk is told already

    def _finish(self) -> None:
        if self._tar is not None:
            self._tar.close()
            self._tar = None
            self._before += (self._folder / self._files[-1]).stat().st_size


def read_shard(dataset: DataSet, shard: Shard) -> Iterator[Sample]:
    """The samples of a tar file.  Raises DataError."""
    path = dataset.path / shard.file
    try:
        size = os.stat(path).st_size  # noqa: PTH116
        with tarfile.open(path, "r:") as tar:
            key, members = "", {}  # type: str, dict[str, Any]
            while (member := tar.next()) is not None:
                _forget_members(tar)
                if not member.isreg() or member.size > size:
                    raise DataError(
                        f"{path} is damaged ({member.name!r}); remove {dataset.path} so that it is made anew"
                    )
                name, _, suffix = member.name.partition(".")
                if name != key and members:
                    yield from_members(members, dataset, shard.file)
                    members = {}
                key = name
                file = tar.extractfile(member)
                members[suffix] = file.read() if file is not None else b""
            if members:
                yield from_members(members, dataset, shard.file)
    except (tarfile.TarError, EOFError) as error:
        raise DataError(f"{path} is damaged ({error}); remove {dataset.path} so that it is made anew") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error}); make the data set anew") from None


def from_members(members: dict[str, Any], dataset: DataSet, file: str) -> Sample:
    """A sample from the contents of its files, by suffix.  Raises DataError."""
    sample: Sample = {}
    for field in FIELDS[dataset.kind]:
        try:
            sample[field.name] = _from_bytes(members[field.suffix], field)
        except (KeyError, ValueError, EOFError, OSError) as error:
            raise DataError(
                f"{dataset.path / file} is damaged (a sample's .{field.suffix}: {error!r}); remove {dataset.path} so "
                "that it is made anew"
            ) from None
    return sample


def _forget_members(tar: tarfile.TarFile) -> None:
    """tarfile keeps every member for a second look that never comes."""
    tar.members = []  # type: ignore[attr-defined]  # documented in tarfile's own source only


def _to_bytes(value: Value) -> bytes:
    if isinstance(value, bytes):
        return value
    if isinstance(value, np.ndarray):
        file = io.BytesIO()
        np.save(file, value, allow_pickle=False)
        return file.getvalue()
    return repr(value).encode()


def _from_bytes(content: bytes, field: Field) -> Value:
    """Raises ValueError."""
    if field.type in ("jpeg", "png", "text"):
        return content
    if field.type == "int":
        return int(content)
    if field.type == "float":
        return float(content)
    array: Array = np.load(io.BytesIO(content), allow_pickle=False)
    if array.shape != field.shape:
        raise ValueError(f"its shape is {array.shape}")
    return array
