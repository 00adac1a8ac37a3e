"""A container engine for tests: the machine's own where it can be used as it is, else one started here.

    python tests/integration/docker_daemon.py COMMAND...

runs a command with DOCKER_HOST set to it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from edgeprof.profiler.agent.engine import DEFAULT_HOST, Engine, socket_of

_SECONDS_TO_START = 60.0
_SECONDS_TO_STOP = 30.0
_PATH = f"{os.environ.get('PATH', '')}:/usr/local/sbin:/usr/sbin:/sbin"


def missing_docker() -> str | None:
    """Why there can be no container engine here; None when there can."""
    try:
        import docker  # noqa: F401
    except ImportError:
        return "no Docker SDK for Python here: make install"
    if usable(os.environ.get("DOCKER_HOST") or DEFAULT_HOST):
        return None
    if os.geteuid() != 0:
        return "needs root to start a container engine: run the tests with sudo, or start Docker"
    if not any(line.split()[4] == "/" for line in Path("/proc/self/mountinfo").read_text().splitlines()):
        return "no mount holds / here, as in a chroot, where an engine unpacks no image: run the tests outside of it"
    absent = [tool for tool in ("dockerd", "iptables") if shutil.which(tool, path=_PATH) is None]
    return f"no {', '.join(absent)} here: apt-get install docker.io iptables" if absent else None


def usable(host: str) -> bool:
    """Whether an engine answers there that keeps cgroups itself, as these tests need it."""
    try:
        info = Engine(socket_of(host), timeout=5.0).call("GET", "/info")
    except (OSError, ValueError):
        return False
    return bool(info and info.get("CgroupDriver") == "cgroupfs")


@contextmanager
def engine() -> Iterator[str]:
    """The address of an engine; one that was started here is ended, with all that it kept."""
    host = os.environ.get("DOCKER_HOST") or DEFAULT_HOST
    if usable(host):
        yield host
        return
    folder = Path(tempfile.mkdtemp(prefix="edgeprof-docker-"))
    host = f"unix://{folder}/socket"
    command = [
        *(shutil.which("dockerd", path=_PATH) or "dockerd", f"--data-root={folder}/data"),
        *(f"--exec-root={folder}/exec", f"--pidfile={folder}/pid", f"--host={host}"),
        *("--bridge=none", "--iptables=false", "--exec-opt=native.cgroupdriver=cgroupfs"),
    ]
    with (folder / "log").open("wb") as log:
        daemon = subprocess.Popen(
            command, stdout=log, stderr=log, env={**os.environ, "PATH": _PATH}, start_new_session=True
        )
    try:
        deadline = time.monotonic() + _SECONDS_TO_START
        while not usable(host):
            assert daemon.poll() is None and time.monotonic() < deadline, (folder / "log").read_text()[-4000:]
            time.sleep(0.1)
        yield host
    finally:
        daemon.terminate()
        try:
            daemon.wait(_SECONDS_TO_STOP)
        except subprocess.TimeoutExpired:
            daemon.kill()
            daemon.wait()
        _unmount_below(folder)
        shutil.rmtree(folder, ignore_errors=True)


def _unmount_below(folder: Path) -> None:
    """What the engine left mounted."""
    points = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    for point in sorted((item for item in points if item.startswith(f"{folder}/")), reverse=True):
        subprocess.run(["umount", "--lazy", point], check=False)


@pytest.fixture(scope="session")
def docker_host() -> Iterator[str]:
    """The engine's address; DOCKER_HOST names it while the tests run.  Skips where there can be none."""
    reason = missing_docker()
    if reason:
        pytest.skip(reason)
    before = os.environ.get("DOCKER_HOST")
    with engine() as host:
        os.environ["DOCKER_HOST"] = host
        try:
            yield host
        finally:
            if before is None:
                del os.environ["DOCKER_HOST"]
            else:
                os.environ["DOCKER_HOST"] = before


if __name__ == "__main__":
    with engine() as address:
        sys.exit(subprocess.run(sys.argv[1:], env={**os.environ, "DOCKER_HOST": address}).returncode)
