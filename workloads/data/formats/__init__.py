"""The formats in which data sets are stored: a module each, with a Writer and a way to read."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import NamedTuple, Protocol, cast

from edgeprof.workloads.data.describe import DataSet
from edgeprof.workloads.data.errors import DataError
from edgeprof.workloads.data.sample import Sample
from edgeprof.workloads.errors import MissingFramework

BY_INDEX = ("folder", "lmdb", "hdf5", "numpy")
"""Read sample by sample, in any order."""
BY_SHARD = ("tfrecord", "webdataset", "parquet")
"""Read from the beginning of a shard to its end."""

_LIBRARIES = {"lmdb": ("lmdb", "lmdb"), "hdf5": ("h5py", "h5py"), "webdataset": ("webdataset", "webdataset")}


class Layout(NamedTuple):
    """What a writer has written: files relative to the folder; samples of each where they are shards."""

    files: list[str]
    counts: list[int] | None = None


class Writer(Protocol):
    """Writes samples in order; made with the folder, the kind and the data set's expected bytes.

    All may raise OSError, or the library's own error, when the disk is full.
    """

    def add(self, sample: Sample) -> None:
        """Append a sample."""

    @property
    def written(self) -> int:
        """Bytes so far, about; exact after `close`."""

    def close(self) -> Layout:
        """Finish the files."""

    def abandon(self) -> None:
        """Let go of the files without finishing them."""


class Store(Protocol):
    """Samples by index.  A process must open its own."""

    def __getitem__(self, index: int) -> Sample:
        """Raises DataError."""

    def close(self) -> None:
        """Let go of the files."""


class Shard(NamedTuple):
    """A part of a data set that is read at once: a file, or group ``group`` of its rows."""

    file: str
    samples: int
    group: int = 0


class _Format(Protocol):
    def Writer(self, folder: Path, kind: str, expected: int) -> Writer: ...  # noqa: N802  (a class)

    def Store(self, dataset: DataSet) -> Store: ...  # noqa: N802  (a class)

    def shards(self, dataset: DataSet) -> list[Shard]: ...

    def read_shard(self, dataset: DataSet, shard: Shard) -> Iterator[Sample]: ...


def make_writer(format_name: str, folder: Path, kind: str, expected: int) -> Writer:
    """A writer of a format.  Raises MissingFramework."""
    return _load(format_name).Writer(folder, kind, expected)


def open_store(dataset: DataSet) -> Store:
    """The samples of a data set whose format is in `BY_INDEX`.  Raises DataError, MissingFramework."""
    return _load(dataset.format).Store(dataset)


def shards_of(dataset: DataSet) -> list[Shard]:
    """The shards of a data set whose format is in `BY_SHARD`, in stored order.  Raises DataError."""
    return _load(dataset.format).shards(dataset)


def read_shard(dataset: DataSet, shard: Shard) -> Iterator[Sample]:
    """The samples of a shard in stored order.  Raises DataError, also when there are fewer than recorded."""
    count = 0
    for sample in _load(dataset.format).read_shard(dataset, shard):
        count += 1
        yield sample
    if count != shard.samples:
        raise DataError(
            f"{dataset.path / shard.file} holds {count} samples where {shard.samples} were written; remove "
            f"{dataset.path} so that it is made anew"
        )


def shard_bytes(expected: int) -> int:
    """Bytes of a shard: about ten shards, so that workers can share them, of 100 MB or a little more at most.

    TensorFlow's guide to the input pipeline advises 100 MB and more; small data sets still need several shards.
    """
    return min(max(expected // 10, 1), 128 << 20)


def _load(format_name: str) -> _Format:
    if format_name in _LIBRARIES:
        module, name = _LIBRARIES[format_name]
        try:
            import_module(module)
        except ImportError:
            raise MissingFramework(name, "data") from None
    return cast("_Format", import_module(f"edgeprof.workloads.data.formats.{format_name}"))
