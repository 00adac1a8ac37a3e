"""An engine's own volume, filled with a run's data set; removed at the end."""

from __future__ import annotations

import os
import tarfile
import threading
from collections.abc import Callable
from pathlib import Path

from edgeprof.profiler.agent.engine import LABEL
from edgeprof.profiler.errors import EdgeprofError
from edgeprof.profiler.isolation.container_engine import Found, sentence
from edgeprof.profiler.storage.changes import Changes


def filled_volume(
    found: Found, image: str, name: str, data: Path, made: Changes, say: Callable[[str], None]
) -> Path | None:
    """Make a volume with what is in ``data``, through a container that is never started.

    Returns:
        Where this host finds its files; None: it may not look there.

    Raises:
        EdgeprofError: the engine cannot.
    """
    import docker.errors
    import docker.types
    import requests.exceptions

    say(f"copying {data} to a volume of the container engine")
    filler = f"{name}-filler"
    made.record("volume", socket=found.socket, name=name, label=name)
    entry = made.record("container", socket=found.socket, name=filler, label=name)
    try:
        volume = found.client.volumes.create(name, labels={LABEL: name})
        container = found.client.containers.create(
            image,
            ["none"],
            name=filler,
            labels={LABEL: name},
            network_disabled=True,
            mounts=[docker.types.Mount("/data", name, type="volume")],
        )
        try:
            _send(container, data)
        finally:
            container.remove(force=True)
            made.done(entry)
        mountpoint = Path(volume.attrs["Mountpoint"])
    except (docker.errors.DockerException, requests.exceptions.RequestException, OSError) as error:
        raise EdgeprofError(f"the container engine makes no volume of the data set: {sentence(error)}") from None
    os.sync()  # what is still to be written must not disturb the run
    return mountpoint if os.access(mountpoint, os.R_OK | os.X_OK) else None


def _send(container: object, data: Path) -> None:
    """Stream the folder as a tar into the container's ``/data``.  Raises OSError when it cannot be read."""
    reading, writing = os.pipe()
    problem: list[BaseException] = []

    def pack() -> None:
        try:
            with os.fdopen(writing, "wb") as target, tarfile.open(fileobj=target, mode="w|") as archive:
                archive.add(data, arcname=".")
        except (OSError, tarfile.TarError) as error:
            problem.append(error)

    packer = threading.Thread(target=pack, daemon=True)
    packer.start()
    with os.fdopen(reading, "rb") as source:
        container.put_archive("/data", source)  # type: ignore[attr-defined]
    packer.join()
    if problem:
        raise OSError(0, str(problem[0]))
