"""What of the host a container sees, each at the path it has on the host, so that a command means the same in both."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import edgeprof

_PROGRAMS = ("/usr", "/bin", "/lib", "/lib32", "/lib64", "/libx32", "/opt")
_ETC = (
    *("alternatives", "fonts", "group", "ld.so.cache", "ld.so.conf", "ld.so.conf.d", "localtime", "mime.types"),
    *("nsswitch.conf", "nv_tegra_release", "OpenCL", "os-release", "passwd", "pki", "protocols", "services", "ssl"),
    "timezone",
)
"""What programs look up in /etc; nothing secret, and not what the engine makes itself (hosts, resolv.conf)."""


class Mounts:
    """Folders and files of the host; one that was asked for twice may be written if it may once."""

    def __init__(self) -> None:
        self._binds: dict[Path, bool] = {}
        self._volumes: dict[Path, str] = {}

    def add(self, path: Path | str, writable: bool = False) -> None:
        """Mount a path of the host; what is not there is left out, and so is the root folder."""
        target = Path(os.path.normpath(path))
        if target != Path("/") and target.exists():
            self._binds[target] = writable or self._binds.get(target, False)

    def add_missing(self, path: Path | str) -> None:
        """Mount a path for reading unless a folder above it is mounted already."""
        if not self.covers(path):
            self.add(path)

    def volume(self, name: str, target: Path) -> None:
        """Mount an engine's volume, for reading."""
        self._volumes[target] = name

    def covers(self, path: Path | str) -> bool:
        """Whether a path of the host can be seen in the container."""
        wanted = Path(os.path.normpath(path))
        return any(wanted == target or target in wanted.parents for target in self._binds)

    def body(self) -> list[dict[str, Any]]:
        """As the engine wants them (HostConfig.Mounts)."""
        binds = [
            {"Type": "bind", "Source": str(target), "Target": str(target), "ReadOnly": not writable}
            for target, writable in self._binds.items()
            if target not in self._volumes
        ]
        volumes = [
            {"Type": "volume", "Source": name, "Target": str(target), "ReadOnly": True}
            for target, name in self._volumes.items()
        ]
        return binds + volumes


def add_host(mounts: Mounts, command: Sequence[str]) -> None:
    """The host's programs and libraries, this Python with all it imports, and the files that the command names."""
    for path in map(Path, _PROGRAMS):
        if not path.is_symlink():
            mounts.add(path)
    for name in _ETC:
        mounts.add_missing(f"/etc/{name}")
    imported = [folder for folder in sys.path if Path(folder).is_absolute()]
    for folder in (sys.prefix, sys.base_prefix, *package_folders(), *imported, *map(str, _program_folders())):
        mounts.add_missing(folder)
    for path in _named([shutil.which(command[0]) or "", *command[1:]]):
        mounts.add_missing(path)


def _program_folders() -> Iterator[Path]:
    """The folders on PATH, each with what lies around it: programs of pyenv or conda look for their own files there."""
    for name in filter(None, os.environ.get("PATH", "").split(os.pathsep)):
        folder = Path(name).resolve()
        yield folder if folder.parent in (Path("/"), Path.home()) else folder.parent


def _named(words: Sequence[str]) -> Iterator[Path]:
    """The files and folders among the words of a command, and what they link to."""
    for word in words:
        if word.startswith("/") and "\0" not in word and len(word) < os.pathconf("/", "PC_PATH_MAX"):
            path = Path(word)
            try:
                if path.exists():
                    yield path
                    yield path.resolve()
            except OSError:  # a word that only looks like a path
                continue


def package_folders() -> list[str]:
    """The folders of the package edgeprof: its own, and in a source tree those that its links lead to."""
    package = Path(edgeprof.__file__).parent
    linked = [item.resolve() for item in sorted(package.iterdir()) if item.is_symlink() and item.is_dir()]
    return [str(package), *map(str, linked)]


def python_path() -> str:
    """The folder from which a Python imports edgeprof."""
    return str(Path(edgeprof.__file__).parent.parent)
