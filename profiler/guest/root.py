"""The initramfs of a guest that lives on this machine's own root: shared read-only, under a layer in its memory."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from edgeprof.profiler.guest import share
from edgeprof.profiler.guest.archive import APPLETS, Archive
from edgeprof.profiler.guest.busybox import busybox
from edgeprof.profiler.guest.kernel import Kernel

PLACE = "/run/edgeprof-guest"
"""In the guest: the folder that goes back to the host, `inside` and its job in it."""
HOST_TAG, PLACE_TAG = "edgeprof-host", "edgeprof-place"

_MODULES = ("virtio_pci", "virtio_blk", "virtio_console", "overlay")

_INIT = """#!/bin/sh
export PATH=/applets:/bin
{applets}
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
for module in $(cat /modules); do insmod "$module" || echo "guest: no module $module"; done
set -e
{host}
mount -t tmpfs tmpfs /layer
mkdir /layer/upper /layer/work
mount -t overlay -o lowerdir=/host,upperdir=/layer/upper,workdir=/layer/work root /root
mount -t proc proc /root/proc
mount -t sysfs sysfs /root/sys
mount -t devtmpfs devtmpfs /root/dev
mkdir -p /root/dev/shm /root/dev/pts
mount -t tmpfs tmpfs /root/dev/shm
mount -t devpts devpts /root/dev/pts
mount -t tmpfs -o mode=755 tmpfs /root/run
mkdir /root{place}
{back}
mount -t cgroup2 cgroup2 /root/sys/fs/cgroup
mount -t debugfs debugfs /root/sys/kernel/debug || true
mount -t tracefs tracefs /root/sys/kernel/tracing || true
ip link set lo up || true
hostname guest
exec switch_root -c /dev/console /root {python} -I -S {place}/inside.py {place}
"""


def shares(place: Path) -> list[share.Share]:
    """What the guest mounts: the root, and the folder that becomes `PLACE`."""
    return [share.Share(HOST_TAG, Path("/")), share.Share(PLACE_TAG, place, writable=True)]


def write_initramfs(path: Path, kernel: Kernel, kind: str, python: str, modules: Sequence[str] = ()) -> None:
    """Write it.

    Args:
        kind: of the shares.
        python: absolute path of an interpreter on the root.
        modules: that are needed besides.

    Raises:
        NoGuest: busybox or a module is missing.
    """
    host, back = shares(Path())
    with path.open("wb") as file:
        archive = Archive(file)
        for folder in ("proc", "sys", "dev", "host", "layer", "root"):
            archive.folder(folder)
        archive.node("dev/console", 5, 1)
        archive.busybox(busybox(kernel.architecture))
        archive.modules(kernel, [*_MODULES, *share.MODULES[kind], *modules])
        text = _INIT.format(
            host=share.mount_words(kind, host, "/host"),
            back=share.mount_words(kind, back, f"/root{PLACE}"),
            applets=APPLETS,
            place=PLACE,
            python=shlex.quote(python),
        )
        archive.file("init", text.encode(), 0o755)
        archive.close()
