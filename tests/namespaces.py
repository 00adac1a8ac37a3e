"""Boards in namespaces: each with a network, an address and processes of its own, joined to the desk by a cable."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

_TOOLS = ("ip", "nsenter", "unshare")


def missing_namespaces() -> str | None:
    """Why there can be none here; None when there can."""
    if os.getuid() != 0:
        return "needs root, for network namespaces"
    absent = [name for name in _TOOLS if shutil.which(name) is None]
    if absent:
        return f"no {', '.join(absent)} here: apt-get install iproute2 util-linux"
    name = f"ep{os.getpid()}t"
    tried = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True)
    if tried.returncode:
        return f"no network namespaces here: {tried.stderr.strip()}"
    try:
        made = subprocess.run(
            ["ip", "-n", name, "link", "add", "v0", "type", "veth", "peer", "name", "v1"],
            capture_output=True,
            text=True,
        )
    finally:
        subprocess.run(["ip", "netns", "del", name], check=True)
    return f"no veth devices here: {made.stderr.strip()}" if made.returncode else None


@contextmanager
def namespace(number: int) -> Iterator[tuple[str, tuple[str, ...]]]:
    """A namespace: its address, and the words that start a program in it.

    The program is the first process in a process namespace of its own: all that it has started dies with it.
    """
    name, desk = f"ep{os.getpid()}n{number}", f"ep{os.getpid()}d{number}"
    base = f"10.{200 + os.getpid() % 50}.{os.getpid() // 50 % 250}"
    here, there = f"{base}.{4 * number + 1}", f"{base}.{4 * number + 2}"
    _ip("netns", "add", name)
    try:
        _ip("link", "add", desk, "type", "veth", "peer", "name", "eth0", "netns", name)
        _ip("address", "add", f"{here}/30", "dev", desk)
        _ip("link", "set", desk, "up")
        _ip("-n", name, "address", "add", f"{there}/30", "dev", "eth0")
        _ip("-n", name, "link", "set", "eth0", "up")
        _ip("-n", name, "link", "set", "lo", "up")
        enter = ("nsenter", f"--net=/run/netns/{name}", "unshare", "--pid", "--fork", "--kill-child", "--mount-proc")
        yield there, enter
    finally:
        subprocess.run(["ip", "netns", "del", name], check=False)  # its end of the cable goes, and so the other


def _ip(*words: str) -> None:
    done = subprocess.run(["ip", *words], capture_output=True, text=True)
    assert done.returncode == 0, f"ip {' '.join(words)}: {done.stderr}"
