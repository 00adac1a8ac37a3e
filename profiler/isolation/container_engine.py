"""The container engine of this machine: whether it is there, and what it is; one sentence where it is not."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass
from typing import Any

from edgeprof.profiler.agent.engine import DEFAULT_HOST, socket_of
from edgeprof.profiler.errors import EdgeprofError


@dataclass(frozen=True)
class Found:
    """An engine that answers.

    Attributes:
        client: the SDK's ``docker.DockerClient``.
        socket: path of its Unix socket.
        info: its own description (``GET /info``).
    """

    client: Any
    socket: str
    info: dict[str, Any]

    @property
    def below(self) -> bool:
        """Whether it makes a container's cgroup wherever it is told, and so inside the run's."""
        return bool(self.info.get("CgroupDriver") == "cgroupfs")

    def facts(self) -> dict[str, Any]:
        """What could explain a difference between two runs."""
        names = {
            "engine": "ServerVersion",
            "storage_driver": "Driver",
            "cgroup_driver": "CgroupDriver",
            "cgroup_version": "CgroupVersion",
            "runtime": "DefaultRuntime",
            "data_root": "DockerRootDir",
        }
        return {name: self.info.get(key) for name, key in names.items()}


def find() -> Found:
    """Connect to the engine that DOCKER_HOST names, or to the usual one.

    Raises:
        EdgeprofError: there is none, it does not answer, it refuses this user, or the SDK is missing.
    """
    try:
        import docker
        import docker.errors
        import requests.exceptions
    except ImportError:
        raise EdgeprofError("containers need the Docker SDK for Python: pip install 'edgeprof[container]'") from None
    host = os.environ.get("DOCKER_HOST") or DEFAULT_HOST
    try:
        path = socket_of(host)
    except ValueError:
        raise EdgeprofError(
            f"DOCKER_HOST is {host}, but edgeprof can only watch containers of this machine's own engine: "
            "name its socket, as in DOCKER_HOST=unix:///var/run/docker.sock"
        ) from None
    problem = _socket_problem(path)
    if problem:
        raise EdgeprofError(problem)
    try:
        client = docker.from_env(timeout=60, environment={**os.environ, "DOCKER_HOST": host})
        client.ping()
        return Found(client, path, client.info())
    except (docker.errors.DockerException, requests.exceptions.RequestException, OSError) as error:
        raise EdgeprofError(f"the container engine at {path} refuses: {sentence(error)}") from None


def _socket_problem(path: str) -> str:
    """What keeps this user from the engine; empty where nothing does.  The SDK's own words bury it."""
    from edgeprof.profiler.agent.engine import Connection

    connection = Connection(path, timeout=10.0)
    try:
        connection.connect()
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EPERM):
            return f"you may not use the container engine at {path}: run as root, or join its group (docker)"
        if error.errno == errno.ENOENT:
            return (
                f"there is no container engine at {path}: install Docker (apt-get install docker.io) and start it, or "
                "name its socket in DOCKER_HOST"
            )
        return f"{error.strerror}; start it (systemctl start docker), or name another socket in DOCKER_HOST"
    finally:
        connection.close()
    return ""


def sentence(error: BaseException) -> str:
    """The engine's own words in an error of the SDK, in one line."""
    words = getattr(error, "explanation", None) or str(error)
    return " ".join(str(words).split()).rstrip(".")
