"""An fsspec file system of files whose sizes are known: no request but for their content.

DuckDB asks for a file's existence, size and time a dozen times before it reads, and opens it several times; of an
object store each of these would be a request.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from typing import Any

from fsspec.spec import AbstractBufferedFile, AbstractFileSystem

from edgeprof.profiler.remote_data.address import Found, Place

SMALL = 1 << 20
"""Files up to this size in bytes are read at once, and kept while there is room."""
_KEPT_BYTES = 128 << 20


class ListedFile(AbstractBufferedFile):  # type: ignore[misc]
    """A file that is read by ranges of bytes."""

    def _fetch_range(self, start: int, end: int) -> bytes:
        data: bytes = self.fs.read_range(self.path, start, end)
        return data


class ListedFiles(AbstractFileSystem):  # type: ignore[misc]
    """Some files of a place, for reading; there are no others in it.

    Args:
        place: the opened address.
        files: by their name in the place.
    """

    cachable = False

    def __init__(self, place: Place, files: Mapping[str, Found]) -> None:
        super().__init__()
        self.protocol = place.fs.protocol
        self._inner = place.fs
        self._place = place
        self._files = {self._strip_protocol(place.path(name)): (name, about.size) for name, about in files.items()}
        self._kept: OrderedDict[str, bytes] = OrderedDict()
        self._lock = threading.Lock()

    def _strip_protocol(self, path: Any) -> Any:
        return self._inner._strip_protocol(path)

    def unstrip_protocol(self, name: str) -> str:
        """A path with its protocol, as the place's own file system spells it."""
        return str(self._inner.unstrip_protocol(name))

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        """Name, size and type of a file.  Raises FileNotFoundError."""
        path = self._strip_protocol(path)
        if path not in self._files:
            raise FileNotFoundError(path)
        return {"name": path, "size": self._files[path][1], "type": "file", "mtime": 0.0}

    def glob(self, path: str, **_: Any) -> list[str]:
        """The files that a pattern names."""
        from fnmatch import fnmatchcase

        pattern = self._strip_protocol(path)
        return [name for name in self._files if name == pattern or fnmatchcase(name, pattern)]

    def modified(self, path: str) -> Any:
        """Not known, and the same always: what is read does not change while it is."""
        from datetime import datetime, timezone

        self.info(path)
        return datetime.fromtimestamp(0, timezone.utc)

    def _open(self, path: str, mode: str = "rb", **_: Any) -> ListedFile:
        size = self.info(path)["size"]
        return ListedFile(self, path, mode, block_size=SMALL, size=size)

    def read_range(self, path: str, start: int, end: int) -> bytes:
        """Bytes of a file."""
        if self._files[path][1] > SMALL:
            data: bytes = self._inner.cat_file(path, start=start, end=end)
            return data
        with self._lock:
            kept = self._kept.get(path)
        if kept is None:
            kept = self._inner.cat_file(path)
            self._keep(path, kept)
        return kept[start:end]

    def fetch_small(self, paths: list[str]) -> None:
        """Read the small ones of some files, several at once where the place can, before they are asked for.

        Raises:
            RemoteError
        """
        wanted: dict[str, int] = {}
        for path in map(self._strip_protocol, paths):
            name, size = self._files[path]
            if size <= SMALL and path not in self._kept and sum(wanted.values()) + size <= _KEPT_BYTES // 2:
                wanted[name] = size
        for name, data in self._place.read(wanted):
            if data is not None:
                self._keep(self._strip_protocol(self._place.path(name)), data)

    def _keep(self, path: str, data: bytes) -> None:
        with self._lock:
            self._kept[path] = data
            while sum(map(len, self._kept.values())) > _KEPT_BYTES:
                self._kept.popitem(last=False)

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)
