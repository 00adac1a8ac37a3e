"""Parquet: encoded images and texts as binary columns, in row groups of 100 images or 1000 smaller samples.

These sizes of row groups are what the Hugging Face datasets library writes.  Images are not compressed once more; other
columns are (Snappy, pyarrow's default).  Reading goes row group by row group, as Petastorm and Hugging Face's streaming
do it: one sample alone costs a whole group.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from edgeprof.workloads.data.describe import DataSet
from edgeprof.workloads.data.errors import DataError
from edgeprof.workloads.data.formats import Layout, Shard
from edgeprof.workloads.data.sample import FIELDS, Field, Sample

ROWS_OF_IMAGES, ROWS = 100, 1000
FILE_BYTES = 128 << 20


class Writer:
    """Writes row groups, and begins a new file when one is full."""

    def __init__(self, folder: Path, kind: str, expected: int) -> None:
        import pyarrow as pa

        self._folder, self._kind = folder, kind
        self._schema = pa.schema([(field.name, _type(field)) for field in FIELDS[kind]])
        # A small data set still has about ten groups, which workers share.
        self._most = ROWS_OF_IMAGES if any(field.type == "jpeg" for field in FIELDS[kind]) else ROWS
        self._group_bytes = max(1, expected // 10)
        self._held: list[Sample] = []
        self._held_bytes = 0
        self._writer: Any = None
        self._files: list[str] = []
        self._counts: list[int] = []
        self._before = 0
        self._raw, self._stored = 1, 1

    def add(self, sample: Sample) -> None:
        """Keep a sample, and write a row group when there are enough."""
        self._held.append(sample)
        self._held_bytes += sum(
            len(value) if isinstance(value, bytes) else np.asarray(value).nbytes for value in sample.values()
        )
        if len(self._held) >= self._most or self._held_bytes >= self._group_bytes:
            self._flush()

    @property
    def written(self) -> int:
        """Bytes of all files, and about those of the rows that wait, as the rows before were compressed."""
        return self._before + self._in_file() + self._held_bytes * self._stored // self._raw

    def close(self) -> Layout:
        """Write the rest."""
        if self._held:
            self._flush()
        self._finish()
        return Layout(self._files, self._counts)

    def abandon(self) -> None:
        """Close the file, whatever state it is in."""
        try:
            self._finish()
        except OSError:
            pass  # a full disk is told already

    def _in_file(self) -> int:
        return (self._folder / self._files[-1]).stat().st_size if self._writer is not None else 0

    def _flush(self) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        if self._writer is None or self._in_file() >= FILE_BYTES:
            self._finish()
            self._files.append(f"{self._kind}-{len(self._files):05d}.parquet")
            self._counts.append(0)
            small = [field.name for field in FIELDS[self._kind] if field.type not in ("jpeg", "png")]
            self._writer = pq.ParquetWriter(
                self._folder / self._files[-1],
                self._schema,
                compression={name: "snappy" if name in small else "none" for name in self._schema.names},
                use_dictionary=False,
                write_statistics=False,
            )
        before = self._in_file()
        columns = []
        for field in FIELDS[self._kind]:
            values = [sample[field.name] for sample in self._held]
            if field.shape:
                flat = pa.array(np.concatenate([np.asarray(value).ravel() for value in values]))
                columns.append(pa.FixedSizeListArray.from_arrays(flat, int(np.prod(field.shape))))
            else:
                columns.append(pa.array(values, _type(field)))
        self._writer.write_table(pa.table(columns, schema=self._schema), row_group_size=len(self._held))
        self._raw += self._held_bytes
        self._stored += max(0, self._in_file() - before)
        self._counts[-1] += len(self._held)
        self._held, self._held_bytes = [], 0

    def _finish(self) -> None:
        if self._writer is not None:
            writer, self._writer = self._writer, None
            writer.close()
            self._before += (self._folder / self._files[-1]).stat().st_size


def shards(dataset: DataSet) -> list[Shard]:
    """Each row group is one.  Raises DataError."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    found = []
    for name in dataset.files:
        try:
            with pq.ParquetFile(dataset.path / name) as file:
                groups = file.metadata.num_row_groups
                found += [Shard(name, file.metadata.row_group(group).num_rows, group) for group in range(groups)]
        except (OSError, pa.ArrowException) as error:
            raise _damaged(dataset, name, error) from None
    if sum(shard.samples for shard in found) != dataset.samples:
        raise DataError(
            f"{dataset.path} does not hold the samples that were written; remove it so that it is made anew"
        )
    return found


def read_shard(dataset: DataSet, shard: Shard) -> Iterator[Sample]:
    """The samples of a row group.  Raises DataError."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    fields = FIELDS[dataset.kind]
    try:
        with pq.ParquetFile(dataset.path / shard.file) as file:
            table = file.read_row_group(shard.group, [field.name for field in fields], use_threads=False)
        columns = {}
        for field in fields:
            column = table.column(field.name).combine_chunks()
            if column.type != _type(field) or column.null_count:
                raise DataError(
                    f"{dataset.path / shard.file} has another column {field.name!r}; remove {dataset.path} so that it "
                    "is made anew"
                )
            if field.shape:
                columns[field.name] = column.flatten().to_numpy().reshape(-1, *field.shape)
            else:
                columns[field.name] = column
    except (OSError, KeyError, ValueError, pa.ArrowException) as error:
        raise _damaged(dataset, shard.file, error) from None
    for row in range(table.num_rows):
        yield {
            field.name: columns[field.name][row] if field.shape else columns[field.name][row].as_py()
            for field in fields
        }


def _type(field: Field) -> Any:
    import pyarrow as pa

    if field.type in ("jpeg", "png", "text"):
        return pa.binary()
    number = pa.int64() if field.type in ("int", "ints") else pa.float32()
    return pa.list_(number, int(np.prod(field.shape))) if field.shape else number


def _damaged(dataset: DataSet, name: str, error: Exception) -> DataError:
    why = str(error).partition("\n")[0]
    return DataError(f"{dataset.path / name} is damaged ({why}); remove {dataset.path} so that it is made anew")
