"""HDF5: a data set for each field; encoded images and texts as variable-length bytes, numbers as chunked arrays.

Users store decoded arrays of small images, and encoded ones of large images, where arrays would be ten times as large:
these are large.
"""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np

from edgeprof.workloads.data.describe import DataSet
from edgeprof.workloads.data.errors import DataError
from edgeprof.workloads.data.formats import Layout
from edgeprof.workloads.data.sample import FIELDS, Sample

NAME = "data.h5"
BLOCK = 256
"""Samples that are written at once, at most; in a small data set a twentieth of it."""
CHUNK_BYTES = 64 << 10
"""Of a chunk of numbers; h5py's own guess is between 16 KB and 1 MB."""


class Writer:
    """Writes blocks of samples."""

    def __init__(self, folder: Path, kind: str, expected: int) -> None:
        self._path, self._kind = folder / NAME, kind
        self._file = h5py.File(self._path, "w")
        self._held: list[Sample] = []
        self._count = 0
        self._waiting = 0
        self._most_waiting = expected // 20
        self._raw = 0
        for field in FIELDS[kind]:
            encoded = field.type in ("jpeg", "png", "text")
            numbers = np.dtype(np.int64 if field.type in ("int", "ints") else np.float32)
            row = 16 if encoded else numbers.itemsize * int(np.prod(field.shape))
            rows = max(1, min(CHUNK_BYTES, expected // 50) // row)
            self._file.create_dataset(
                field.name,
                (0, *field.shape),
                h5py.vlen_dtype(np.uint8) if encoded else numbers,
                maxshape=(None, *field.shape),
                chunks=(rows, *field.shape),
                track_times=False,
            )

    def add(self, sample: Sample) -> None:
        """Keep a sample, and write them when there are enough."""
        self._held.append(sample)
        self._waiting += sum(
            len(value) if isinstance(value, bytes) else np.asarray(value).nbytes for value in sample.values()
        )
        if len(self._held) == BLOCK or self._waiting > self._most_waiting:
            self._flush()

    @property
    def written(self) -> int:
        """Bytes of the file, and about those of what waits: with the overhead of what was written before."""
        stored = int(self._file.id.get_filesize())
        return stored + (self._waiting * stored // self._raw if self._raw else self._waiting)

    def close(self) -> Layout:
        """Write the rest."""
        self._flush()
        self._file.close()
        return Layout([NAME])

    def abandon(self) -> None:
        """Close the file, whatever state it is in."""
        try:
            self._file.close()
        except (OSError, RuntimeError):
            pass  # a full disk is told already

    def _flush(self) -> None:
        end = self._count + len(self._held)
        try:
            for field in FIELDS[self._kind] if self._held else ():
                values = [sample[field.name] for sample in self._held]
                target = self._file[field.name]
                target.resize(end, axis=0)
                if field.type in ("jpeg", "png", "text"):
                    for place, value in enumerate(values, self._count):
                        target[place] = np.frombuffer(value, np.uint8)  # type: ignore[arg-type]
                else:
                    target[self._count : end] = np.array(values)
            self._file.flush()
        except RuntimeError as error:
            raise OSError(str(error)) from None
        self._raw += self._waiting
        self._count, self._waiting = end, 0
        self._held.clear()


class Store:
    """Reads a sample's row of each data set."""

    def __init__(self, dataset: DataSet) -> None:
        self._dataset, self._path = dataset, dataset.path / NAME
        try:
            self._file = h5py.File(self._path, "r")
            self._columns = {field: self._file[field.name] for field in FIELDS[dataset.kind]}
            for field, column in self._columns.items():
                if column.shape != (dataset.samples, *field.shape):
                    raise ValueError(f"{field.name!r} has the shape {column.shape}")
        except (OSError, KeyError, ValueError, RuntimeError, AttributeError) as error:
            raise DataError(self._damaged(str(error))) from None

    def __getitem__(self, index: int) -> Sample:
        sample: Sample = {}
        try:
            for field, column in self._columns.items():
                value = column[index]
                sample[field.name] = value.tobytes() if field.type in ("jpeg", "png", "text") else value
        except (OSError, ValueError, RuntimeError, AttributeError) as error:
            raise DataError(self._damaged(f"sample {index}: {error}")) from None
        return sample

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _damaged(self, why: str) -> str:
        return f"{self._path} is damaged ({why}); remove {self._dataset.path} so that it is made anew"
