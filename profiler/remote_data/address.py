"""A folder at an fsspec address (``s3://bucket/runs``): opened, listed, read; its failures told in a sentence.

Credentials come from where the fsspec implementation finds them (the environment, its configuration files), and
from nowhere else: an address that bears a password is refused, since addresses are shown and kept.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgeprof.profiler.errors import EdgeprofError

if TYPE_CHECKING:
    from pathlib import Path

_ADDRESS = re.compile(r"([a-z][a-z0-9+.-]*)://(.*)", re.DOTALL)
LOCAL = "file"
INSTALL = "pip install 'edgeprof[remote]'"
_AT_ONCE = 32
"""Files that are asked for together: implementations that can then transfer them side by side."""
_AT_ONCE_BYTES = 64 << 20
_S3: dict[str, Any] = {"default_block_size": 1 << 20, "use_listings_cache": False}
"""s3fs reads 50 MiB ahead by itself, of which a column of a table is a small part."""
_S3_CONFIG: dict[str, Any] = {
    "connect_timeout": 10,
    "read_timeout": 20,
    "retries": {"max_attempts": 3, "mode": "standard"},
}


_opened: dict[tuple[Any, ...], Any] = {}
"""File systems by all that they were made from; one takes long to make, and fsspec does not look at the environment."""


class RemoteError(EdgeprofError):
    """An address that cannot be used as asked."""


@dataclass(frozen=True)
class Found:
    """A file at an address: its size in bytes, and a text that changes when its content does ('' if not known)."""

    size: int
    version: str


def is_address(text: object) -> bool:
    """Whether a text is an fsspec address rather than a path."""
    return isinstance(text, str) and "://" in text


def local_path(address: str) -> str | None:
    """The path that a ``file://`` address means; None for any other."""
    matched = _ADDRESS.fullmatch(address)
    return matched[2] if matched is not None and matched[1] == LOCAL else None


def child(address: str, name: str) -> str:
    """The address of a file or folder below ``address``."""
    return f"{address.rstrip('/')}/{name}"


def split(address: str) -> tuple[str, str]:
    """An address' folder and the last part of its path.

    Raises:
        RemoteError: its path has one part only.
    """
    folder, _, name = address.rstrip("/").rpartition("/")
    if not name or not _ADDRESS.fullmatch(folder) or folder.endswith(":/"):
        raise RemoteError(f"{address} names no run; write FOLDER/RUN, as `edgeprof runs --folder FOLDER` lists them")
    return folder, name


@dataclass(frozen=True)
class Place:
    """An opened address.

    Attributes:
        fs: the fsspec file system.
        root: the folder, as the file system names it.
        address: as it was given.
    """

    fs: Any
    root: str
    address: str

    def path(self, name: str) -> str:
        """A file of the folder, as the file system names it."""
        return f"{self.root.rstrip('/')}/{name}"

    def url(self, name: str) -> str:
        """A file of the folder as an address."""
        return child(self.address, name)

    def find(self, below: str = "") -> dict[str, Found]:
        """All files below the folder (or a part of it) by their path relative to it; none where there is nothing.

        Raises:
            RemoteError
        """
        root = self.path(below) if below else self.root
        with telling(self.address):
            self.fs.invalidate_cache()
            try:
                listed: Mapping[str, Any] = self.fs.find(root, detail=True)
            except FileNotFoundError:
                return {}
        start = len(self.root.rstrip("/")) + 1
        found = {path[start:]: Found(int(about.get("size") or 0), _version(about)) for path, about in listed.items()}
        return {name: about for name, about in found.items() if _is_plain(name)}

    def read(self, files: Mapping[str, int]) -> Iterator[tuple[str, bytes | None]]:
        """The content of files, given with their sizes; None for one that has gone.  Raises RemoteError."""
        yield from ((name, b"") for name, size in files.items() if size == 0)
        for names in _batches({name: size for name, size in files.items() if size}):
            with telling(self.address):
                # Ranges, and no plain reads: those ask for the size first.
                sizes = [files[name] for name in names]
                found = self.fs.cat_ranges(
                    [self.path(name) for name in names], [0] * len(names), sizes, on_error="return"
                )
                wrong = next((data for data in found if isinstance(data, Exception) and not _is_missing(data)), None)
                if wrong is not None:
                    raise wrong
            yield from (
                (name, data if isinstance(data, bytes) else None) for name, data in zip(names, found, strict=True)
            )

    def read_one(self, name: str) -> bytes | None:
        """The content of a small file; None where there is none.  Raises RemoteError."""
        with telling(self.url(name)):
            try:
                data: bytes = self.fs.cat_file(self.path(name))
            except FileNotFoundError:
                return None
        return data

    def download(self, name: str, target: Path) -> None:
        """Copy a file here.  Raises RemoteError; OSError where it cannot be written here."""
        with telling(self.url(name)), self.fs.open(self.path(name), "rb") as source, target.open("wb") as sink:
            while block := source.read(4 << 20):
                sink.write(block)

    def upload(self, files: Mapping[str, Path]) -> None:
        """Copy local files there, by their names there; several at once.  Raises RemoteError."""
        with telling(self.address):
            self._make_folders(files)
            self.fs.put([str(path) for path in files.values()], [self.path(name) for name in files])

    def write(self, name: str, data: bytes) -> None:
        """Write a small file there.  Raises RemoteError."""
        with telling(self.address):
            self._make_folders([name])
            self.fs.pipe_file(self.path(name), data)

    def remove(self, names: Sequence[str]) -> None:
        """Delete files; those that are not there are passed over.  Raises RemoteError."""
        for name in names:
            with telling(self.address):
                try:
                    self.fs.rm_file(self.path(name))
                except FileNotFoundError:
                    pass

    def _make_folders(self, names: Sequence[str] | Mapping[str, Path]) -> None:
        """Object stores have none; asked for one, some of them would make the bucket."""
        from fsspec.asyn import AsyncFileSystem

        if not isinstance(self.fs, AsyncFileSystem):
            for folder in dict.fromkeys(self.path(name).rpartition("/")[0] for name in names):
                self.fs.makedirs(folder, exist_ok=True)


def _batches(files: Mapping[str, int]) -> Iterator[list[str]]:
    names: list[str] = []
    total = 0
    for name, size in files.items():
        if names and (len(names) == _AT_ONCE or total + size > _AT_ONCE_BYTES):
            yield names
            names, total = [], 0
        names.append(name)
        total += size
    if names:
        yield names


def _is_missing(error: Exception) -> bool:
    return isinstance(error, FileNotFoundError)


def _version(about: Mapping[str, Any]) -> str:
    for key in ("ETag", "etag", "md5Hash", "contentHash", "LastModified", "last_modified", "mtime", "modified"):
        if about.get(key):
            return str(about[key])
    return str(about.get("created") or "")


def _is_plain(name: str) -> bool:
    """Whether a name can be that of a file below a folder: who writes a bucket must not choose other places here."""
    return all(part not in ("", ".", "..") for part in name.split("/")) and "\0" not in name and "\\" not in name


def open_address(address: str) -> Place:
    """Open an fsspec address; nothing is asked of its server yet.

    Raises:
        RemoteError: no such protocol, a package is missing, or the address bears a password.
    """
    matched = _ADDRESS.fullmatch(address)
    if matched is None or "::" in address:
        raise RemoteError(f"{address} is no address of a folder; write one like s3://bucket/folder")
    protocol, rest = matched[1], matched[2]
    if ":" in rest.split("/")[0].rpartition("@")[0]:
        raise RemoteError(
            f"there is a password in the {protocol}:// address; take it out and set it where the {protocol}"
            " implementation of fsspec looks (its environment variables or configuration)"
        )
    try:
        from fsspec import filesystem, get_filesystem_class
    except ModuleNotFoundError:
        raise RemoteError(f"{protocol}:// addresses need the package fsspec; install it with `{INSTALL}`") from None
    try:
        kind = get_filesystem_class(protocol)
    except ImportError as error:
        advice = f"install it with `{INSTALL}`" if protocol in ("s3", "s3a") else "install it with pip"
        raise RemoteError(f"{protocol}:// addresses need another package ({_first(error)}); {advice}") from None
    except ValueError:
        raise RemoteError(f"fsspec knows no protocol {protocol}://; write an address like s3://bucket/folder") from None
    with telling(address):
        options = {**_options(protocol), **kind._get_kwargs_from_urls(address)}
        settings = tuple(sorted((name, value) for name, value in os.environ.items() if name.startswith("AWS_")))
        known = (protocol, repr(options), settings, os.getpid())
        fs = _opened.get(known) or filesystem(protocol, **options, skip_instance_cache=True)
        if protocol in ("s3", "s3a"):
            fs.retries = 1  # botocore tries again by itself: five times three attempts would take a quarter of an hour
        _opened[known] = fs
        root = str(kind._strip_protocol(address))
    if not root.strip("/"):
        raise RemoteError(f"{address} names no folder; write one like {protocol}://bucket/folder")
    return Place(fs, root, address.rstrip("/"))


def _options(protocol: str) -> dict[str, Any]:
    """Ours where the user's fsspec configuration has none: bounded waiting, small blocks."""
    from fsspec.config import conf

    mine: dict[str, Any] = {}
    if protocol in ("s3", "s3a"):
        own = conf.get(protocol) or {}
        mine = {**_S3, "config_kwargs": {**_S3_CONFIG, **(own.get("config_kwargs") or {})}}
        mine = {name: value for name, value in mine.items() if name == "config_kwargs" or name not in own}
    if protocol == LOCAL:
        mine = {"auto_mkdir": True}
    return mine


@contextmanager
def telling(address: str) -> Iterator[None]:
    """Turns whatever an implementation of fsspec raises into one sentence.  Raises RemoteError."""
    try:
        yield
    except EdgeprofError:
        raise
    except Exception as error:  # each implementation has its own kinds
        raise RemoteError(f"{address}: {_why(error)}") from None


def _why(error: Exception) -> str:
    names = {kind.__name__ for kind in type(error).__mro__}
    if isinstance(error, FileNotFoundError) or "NoSuchBucket" in str(error):
        return "there is nothing of that name; check the address, and that its bucket or folder exists"
    if {"NoCredentialsError", "PartialCredentialsError", "ProfileNotFound"} & names:
        return (
            "no credentials were found; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, in the"
            " environment"
        )
    if isinstance(error, PermissionError) or "AuthenticationException" in names:
        return (
            f"the server refuses access ({_first(error)}); check the credentials in the environment and what they"
            " may do there"
        )
    if (isinstance(error, ConnectionError | TimeoutError) and not isinstance(error, BrokenPipeError)) or names & {
        "EndpointConnectionError",
        "ConnectTimeoutError",
        "ReadTimeoutError",
        "ConnectionClosedError",
        "HTTPClientError",
        "FSTimeoutError",
        "ClientConnectorError",
        "gaierror",
        "NoValidConnectionsError",
    }:
        endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
        where = f" at {_without_password(endpoint)}" if endpoint and "s3" in address_kinds(error) else ""
        return f"the server{where} cannot be reached ({_first(error)}); check the endpoint and the network"
    return f"it cannot be used ({type(error).__name__}: {_first(error)})"


def address_kinds(error: Exception) -> str:
    """Whose error it is: the name of its package; botocore's and aiobotocore's are of S3."""
    module = type(error).__module__.split(".")[0]
    return "s3" if module in ("botocore", "aiobotocore", "s3fs", "aiohttp") else module


def _without_password(url: str) -> str:
    return re.sub(r"//[^/@]*@", "//", url)


def _first(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 200 else f"{text[:197]}..."
