"""Memory-mapped NumPy: a .npy file for each field, of decoded samples; texts as ids of words (int32)."""

from __future__ import annotations

from pathlib import Path
from typing import IO, Any

import numpy as np

from edgeprof.workloads.data.describe import DataSet
from edgeprof.workloads.data.errors import DataError
from edgeprof.workloads.data.formats import Layout
from edgeprof.workloads.data.sample import FIELDS, TOKENS, Array, Sample, decode_image, decode_text

HEADER = 128
"""Bytes kept for the header of a .npy file, which says the number of rows and is written last."""


class Writer:
    """Appends rows behind room for the header."""

    def __init__(self, folder: Path, kind: str, expected: int) -> None:
        self._folder, self._kind = folder, kind
        self._files: dict[str, IO[bytes]] = {}
        self._rows: dict[str, tuple[np.dtype[Any], tuple[int, ...]]] = {}
        self._count = 0
        self.written = 0

    def add(self, sample: Sample) -> None:
        """Append a sample's row to each file."""
        for field in FIELDS[self._kind]:
            row = _decoded(field.type, sample[field.name])
            if field.name not in self._files:
                self._files[field.name] = (self._folder / file_name(field.name)).open("wb")
                self._files[field.name].write(bytes(HEADER))
                self._rows[field.name] = (row.dtype, row.shape)
            self._files[field.name].write(row.tobytes())
            self.written += row.nbytes
        self._count += 1

    def close(self) -> Layout:
        """Write the headers."""
        for name, file in self._files.items():
            dtype, shape = self._rows[name]
            file.seek(0)
            file.write(_header(dtype, (self._count, *shape)))
        self.abandon()
        return Layout([file_name(field.name) for field in FIELDS[self._kind]])

    def abandon(self) -> None:
        """Close the files."""
        for file in self._files.values():
            file.close()


class Store:
    """Reads rows of the mapped files."""

    def __init__(self, dataset: DataSet) -> None:
        self._columns: dict[str, Array] = {}
        for field in FIELDS[dataset.kind]:
            path = dataset.path / file_name(field.name)
            try:
                column = np.load(path, mmap_mode="r", allow_pickle=False)
                if len(column) != dataset.samples or column.dtype.kind not in "iuf":
                    raise ValueError(f"it holds {column.shape} of {column.dtype}")
            except (OSError, ValueError, EOFError, TypeError) as error:
                raise DataError(f"{path} is damaged ({error}); remove {dataset.path} so that it is made anew") from None
            self._columns[field.name] = column

    def __getitem__(self, index: int) -> Sample:
        return {name: column[index] for name, column in self._columns.items()}

    def close(self) -> None:
        """The maps go with the last array."""
        self._columns = {}


def file_name(field: str) -> str:
    """The file of a field."""
    return f"{'tokens' if field == 'text' else field}.npy"


def _decoded(kind: str, value: Any) -> Array:
    if kind in ("jpeg", "png"):
        return decode_image(value, None, "RGB" if kind == "jpeg" else "L")
    if kind == "text":
        return decode_text(value, TOKENS).astype(np.int32)
    return np.asarray(value, np.int64 if kind in ("int", "ints") else np.float32)


def _header(dtype: np.dtype[Any], shape: tuple[int, ...]) -> bytes:
    """A header of format 1.0, of `HEADER` bytes (numpy.lib.format)."""
    text = str({"descr": dtype.newbyteorder("<").str, "fortran_order": False, "shape": shape})
    start = b"\x93NUMPY\x01\x00" + (HEADER - 10).to_bytes(2, "little")
    return start + text.encode().ljust(HEADER - 11) + b"\n"
