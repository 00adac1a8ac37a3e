"""Tells the path of a file from the device and inode that the kernel's events name.

Sources, the surer first: memory maps of the run's processes, then folders listed
at the run's end.  A file that was removed during the run has no name.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from edgeprof.collectors.frames import read_frames
from edgeprof.collectors.page_cache.capture_paths import ENTRY

_MAP_LINE = re.compile(rb"^\S+ \S+ \S+ ([0-9a-f]+):([0-9a-f]+) ([1-9]\d*) +(/.*)$", re.MULTILINE)
_DELETED = b" (deleted)"
_MINOR_BITS = 20


def read_names(path: Path, notes: list[str]) -> dict[tuple[int, int], str]:
    """(dev, inode) -> path from a ``paths.bin``; empty, with a note, when it cannot be read."""
    try:
        frames = read_frames(path)
    except OSError as error:
        notes.append(f"page cache: files cannot be named ({error.strerror or error})")
        return {}
    if frames.damage is not None:
        notes.append(f"page cache: the list of file names is damaged: {frames.damage}")
    devices = Devices(b"".join(frames.get("mounts").payloads[-1:]))
    names: dict[tuple[int, int], str] = {}
    for payload in frames.get("maps").payloads:
        names.update(names_in_maps(payload, devices))
    for payload in frames.get("folder").payloads:
        for key, name in names_in_folder(payload, devices).items():
            names.setdefault(key, name)
    return names


def names_in_maps(text: bytes, devices: Devices) -> dict[tuple[int, int], str]:
    """The files of a /proc/PID/maps (proc_pid_maps(5)); its device is the kernel's, in hexadecimal."""
    names = {}
    for major, minor, inode, path in set(_MAP_LINE.findall(text)):
        if path.endswith(_DELETED) or len(inode) > 20 or len(major) > 3 or len(minor) > 5:
            continue
        device = devices.below(int(major, 16) << _MINOR_BITS | int(minor, 16))
        if device is not None:
            names[device, int(inode)] = _decode(path.replace(b"\\012", b"\n"))
    return names


def names_in_folder(payload: bytes, devices: Devices) -> dict[tuple[int, int], str]:
    """The files of a ``folder`` frame; a damaged one gives those before the damage."""
    names: dict[tuple[int, int], str] = {}
    if len(payload) < ENTRY.size:
        return names
    stat_device, length = ENTRY.unpack_from(payload)
    position = ENTRY.size + length
    folder = payload[ENTRY.size : position]
    if stat_device >= 1 << 32:
        return names
    device = devices.of(folder, stat_device)
    if device is None:
        return names
    prefix = folder.rstrip(b"/") + b"/"
    while position + ENTRY.size <= len(payload):
        inode, length = ENTRY.unpack_from(payload, position)
        begin = position + ENTRY.size
        position = begin + length
        if position > len(payload):
            break
        names[device, inode] = _decode(prefix + payload[begin:position])
    return names


class Devices:
    """Device numbers as the kernel's events give them, from a /proc/PID/mountinfo (proc_pid_mountinfo(5)).

    stat(2) gives each btrfs subvolume a device of its own, the page cache knows the file system's only: mountinfo
    has that one.  Of a file of an overlay the cache knows the device below; its inode is the same if all layers are
    of one file system (Documentation/filesystems/overlayfs.rst, "Inode properties").
    """

    def __init__(self, mountinfo: bytes) -> None:
        self._mounts: list[tuple[bytes, int]] = []
        layers: dict[int, list[bytes]] = {}
        for line in mountinfo.splitlines():
            mount, _, source = line.partition(b" - ")
            words, rest = mount.split(b" "), source.split(b" ")
            numbers = words[2].split(b":") if len(words) > 4 else []
            if len(numbers) == 2 and all(number.isdigit() and len(number) < 8 for number in numbers):
                device = int(numbers[0]) << _MINOR_BITS | int(numbers[1])
                self._mounts.append((_unescape(words[4]).rstrip(b"/"), device))
                if rest[0] == b"overlay":
                    layers[device] = _layers(rest[-1])
        self._below = {device: self._common(folders) for device, folders in layers.items()}

    def of(self, folder: bytes, stat_device: int) -> int | None:
        """The device of the files in ``folder``, for which stat(2) says ``stat_device``; None: it cannot be told."""
        return self.below(stat_device if stat_device >> _MINOR_BITS else self._mounted(folder, stat_device))

    def below(self, device: int) -> int | None:
        """The device itself, or that of an overlay's layers; None when these are on several."""
        return self._below.get(device, device)

    def _mounted(self, folder: bytes, otherwise: int) -> int:
        best, device = -1, otherwise
        for place, number in self._mounts:
            inside = folder == place or folder.startswith(place + b"/")
            if inside and len(place) >= best:  # of two mounts at one place the later one is seen
                best, device = len(place), number
        return device

    def _common(self, folders: list[bytes]) -> int | None:
        found = {self._mounted(folder, -1) for folder in folders}
        only = found.pop() if len(found) == 1 else -1
        return only if only >> _MINOR_BITS > 0 else None


def _layers(options: bytes) -> list[bytes]:
    """Folders of an overlay's layers, from its mount options, without relative ones, which are beside the others."""
    folders: list[bytes] = []
    for option in options.split(b","):
        name, _, value = option.partition(b"=")
        if name.startswith((b"upperdir", b"lowerdir")):
            folders += [_unescape(folder) for folder in value.split(b":") if folder.startswith(b"/")]
    return folders


def _unescape(text: bytes) -> bytes:
    return re.sub(rb"\\([0-3][0-7]{2})", lambda match: bytes([int(match[1], 8)]), text)


def _decode(path: bytes) -> str:
    return os.fsdecode(path).encode("utf-8", "surrogateescape").decode("utf-8", "replace")
