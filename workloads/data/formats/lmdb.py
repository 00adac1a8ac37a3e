"""LMDB: one memory-mapped B+ tree; the key is the sample's number, the value a serialized tf.train.Example.

A message of protobuf as the value is what Caffe began with (its Datum); the key ``length`` holds the number of samples.
"""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path
from typing import Any

import lmdb

from edgeprof.workloads.data.describe import DataSet
from edgeprof.workloads.data.errors import DataError
from edgeprof.workloads.data.formats import Layout
from edgeprof.workloads.data.formats.example import decode_sample, encode_sample
from edgeprof.workloads.data.sample import Sample

NAME = "data.lmdb"
LENGTH = b"length"
COMMIT_EVERY = 64 << 20
"""Bytes of a transaction, which LMDB holds in memory."""


class Writer:
    """Appends in the order of the keys."""

    def __init__(self, folder: Path, kind: str, expected: int) -> None:
        self._folder = folder
        # Address space, not disk: the file grows as it is filled.
        room = 4 * expected + (1 << 30)
        # The lock file would be one more file to read; nobody else can know of the data set yet.
        try:
            self._environment = lmdb.open(
                str(folder / NAME), map_size=room, subdir=False, lock=False, sync=False, metasync=False
            )
            self._transaction = self._environment.begin(write=True)
        except lmdb.Error as error:
            raise OSError(str(error)) from None
        self._count = 0
        self._uncommitted = 0
        self._page = self._environment.stat()["psize"]
        self._room = 0
        self.written = 0

    def add(self, sample: Sample) -> None:
        """Put a sample."""
        value = encode_sample(sample)
        key = f"{self._count:08d}".encode()
        self._put(key, value)
        self._count += 1
        self._account(len(key), len(value))
        self._uncommitted += len(value)
        if self._uncommitted > COMMIT_EVERY:
            self._commit()
            self._transaction = self._environment.begin(write=True)

    def close(self) -> Layout:
        """Commit the rest."""
        self._put(LENGTH, str(self._count).encode(), append=False)
        self._commit()
        self._environment.close()
        self.written = (self._folder / NAME).stat().st_size
        return Layout([NAME])

    def abandon(self) -> None:
        """Let go of the database."""
        self._environment.close()

    def _account(self, key: int, value: int) -> None:
        """Count the pages of an entry as LMDB lays it out (mdb.c: NODESIZE 8, PAGEHDRSZ 16, me_nodemax)."""
        entry = 8 + key + value
        if entry > self._page // 2 - 10:  # the value takes pages of its own, and the entry their number
            self.written += -(-(16 + value) // self._page) * self._page
            entry = 8 + key + 8
        entry += entry % 2 + 2
        if entry > self._room:
            self.written += self._page
            self._room = self._page - 16
        self._room -= entry

    def _put(self, key: bytes, value: bytes, append: bool = True) -> None:
        try:
            self._transaction.put(key, value, append=append)
        except lmdb.Error as error:
            raise self._explained(error) from None

    def _commit(self) -> None:
        try:
            self._transaction.commit()
        except lmdb.Error as error:
            raise self._explained(error) from None
        self._uncommitted = 0
        self.written = self._page * (1 + self._environment.info()["last_pgno"])
        self._room = 0

    def _explained(self, error: Exception) -> OSError:
        """LMDB calls a write that a full disk cut short an I/O error."""
        if shutil.disk_usage(self._folder).free < self._uncommitted:
            return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self._folder))
        return OSError(str(error))


class Store:
    """Reads as data loaders do: without locks, and without read-ahead for it would be random."""

    def __init__(self, dataset: DataSet) -> None:
        self._dataset, self._path = dataset, dataset.path / NAME
        try:
            self._environment = _acquire(self._path)
            with self._environment.begin() as transaction:
                count = transaction.get(LENGTH)
        except lmdb.Error as error:
            raise DataError(self._damaged(str(error))) from None
        if count is None or not count.isdigit() or int(count) != dataset.samples:
            self.close()
            raise DataError(self._damaged("it does not hold the number of samples"))

    def __getitem__(self, index: int) -> Sample:
        try:
            with self._environment.begin() as transaction:
                value = transaction.get(f"{index:08d}".encode())
        except lmdb.Error as error:
            raise DataError(self._damaged(str(error))) from None
        if value is None:
            raise DataError(self._damaged(f"sample {index} is missing"))
        try:
            return decode_sample(value, self._dataset.kind)
        except DataError as error:
            raise DataError(self._damaged(f"sample {index}: {error}")) from None

    def close(self) -> None:
        """Unmap it when no other store of this process reads it."""
        _release(self._path)

    def _damaged(self, why: str) -> str:
        return f"{self._path} is damaged ({why}); remove {self._dataset.path} so that it is made anew"


_opened: dict[tuple[int, Path], tuple[Any, int]] = {}
"""By process and path: the environment and how many stores use it.  LMDB forbids to open one twice in a process."""


def _acquire(path: Path) -> Any:
    key = (os.getpid(), path.resolve())
    environment, users = _opened.get(key, (None, 0))
    if environment is None:
        environment = lmdb.open(str(path), subdir=False, readonly=True, lock=False, readahead=False, meminit=False)
    _opened[key] = (environment, users + 1)
    return environment


def _release(path: Path) -> None:
    key = (os.getpid(), path.resolve())
    environment, users = _opened.pop(key, (None, 0))
    if users > 1:
        _opened[key] = (environment, users - 1)
    elif environment is not None:
        environment.close()
