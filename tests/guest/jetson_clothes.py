"""Recorded Jetson boards laid over the emulated arm64 board: its /sys, its tools, its release files.

The recorded files lie over the board's real /sys (overlayfs, read-only), so that whatever a recording lacks is the
guest's own.  Cgroups and tracing, which a run writes to, stay the real ones.
"""

from __future__ import annotations

import io
import shlex
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.board_trees import plant
from tests.guest.arm64_board import Board

PLACE = "/run/jetson"
"""On the board: what is laid over it."""

_KEPT = ("fs/cgroup", "kernel/tracing")
"""Mounts below /sys."""


@contextmanager
def dressed(
    board: Board, tree: str = "", tree_files: Mapping[str, str] | None = None, files: Mapping[str, str] | None = None
) -> Iterator[None]:
    """The board looks like a Jetson for the time of the block.

    Args:
        tree: a recording in tests/data/boards; empty: /sys stays as it is.
        tree_files: further files of /sys.
        files: other files of the board by their absolute paths; a text that begins with ``#!`` makes a program.
            None of them may be there before.
    """
    files = dict(files or {})
    board.output(f"mkdir -p {PLACE} && tar -x -C / -f -", content=_archive(tree, dict(tree_files or {}), files))
    if tree:
        board.output(_ON)
    try:
        yield
    finally:
        board.output((_OFF if tree else "") + shlex.join(["rm", "-rf", PLACE, *files]))


_KEEP = " && ".join(f"mkdir -p {PLACE}/kept/{name} && mount --bind /sys/{name} {PLACE}/kept/{name}" for name in _KEPT)
_BRING = " && ".join(f"mount --bind {PLACE}/kept/{name} /sys/{name}" for name in _KEPT)
_ON = f"{_KEEP} && mount -t overlay -o ro,lowerdir={PLACE}/sys:/sys jetson /sys && {_BRING}"
_OFF = "".join(
    f"umount {path} && "
    for path in [*(f"/sys/{name}" for name in _KEPT), "/sys", *(f"{PLACE}/kept/{name}" for name in _KEPT)]
)


def _archive(tree: str, tree_files: Mapping[str, str], files: Mapping[str, str]) -> bytes:
    out = io.BytesIO()
    with tempfile.TemporaryDirectory() as name, tarfile.open(fileobj=out, mode="w") as archive:
        if tree:
            here = plant(tree, Path(name)).sys

            def at_home(item: tarfile.TarInfo) -> tarfile.TarInfo:
                item.uid = item.gid = 0
                item.linkname = item.linkname.replace(here, "/sys", 1)
                return item

            archive.add(here, f"{PLACE[1:]}/sys", filter=at_home)
        everything = {f"{PLACE}/sys/{path}": text for path, text in tree_files.items()} | dict(files)
        for path, text in everything.items():
            item = tarfile.TarInfo(path[1:])
            item.size, item.mode = len(text.encode()), 0o755 if text.startswith("#!") else 0o644
            archive.addfile(item, io.BytesIO(text.encode()))
    return out.getvalue()
