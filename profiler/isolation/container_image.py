"""The image that a container is made from: the host's own files, one that is named, or the project's, built here."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import edgeprof
from edgeprof.profiler.errors import EdgeprofError
from edgeprof.profiler.isolation.container_engine import Found, sentence

HOST = "host"
"""The name that stands for an image of the host's files."""
_HOST_REPOSITORY = "edgeprof-host"
_PROJECT = "edgeprof"
_PASSED_TO_BUILD = ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL")
"""Unless there is a password in them: an image's history shows them."""
_DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True)
class Image:
    """An image that the engine has.

    Attributes:
        name: as the user, or this module, calls it.
        id: its content's digest, ``sha256:...``.
        digest: its digest in the registry it came from; None: it came from none.
        host: whether it is empty and the host's folders are to be mounted in it.
        path: its PATH.
    """

    name: str
    id: str
    digest: str | None
    host: bool
    path: list[str]


def choose(found: Found, name: str, say: Callable[[str], None]) -> Image:
    """The image of that name; empty: the project's own, built where it is missing.

    Raises:
        EdgeprofError: it is not here and cannot be had.
    """
    if name == HOST:
        return _host_image(found)
    wanted = name or f"{_PROJECT}:{edgeprof.__version__}"
    image = _local(found, wanted)
    if image is None:
        image = _pulled(found, wanted, say) if name else _built(found, wanted, say)
    attributes = image.attrs
    if attributes.get("Os") not in (None, "", "linux"):
        raise EdgeprofError(
            f"the image {wanted} is made for {attributes['Os']}, not Linux; choose another with --image"
        )
    variables = dict(item.partition("=")[::2] for item in (attributes.get("Config") or {}).get("Env") or [])
    digests = attributes.get("RepoDigests") or [None]
    path = (variables.get("PATH") or _DEFAULT_PATH).split(":")
    return Image(wanted, image.id, digests[0], host=False, path=path)


def _local(found: Found, name: str) -> Any:
    import docker.errors

    try:
        return found.client.images.get(name)
    except docker.errors.ImageNotFound:
        return None
    except docker.errors.APIError as error:
        raise EdgeprofError(f"the container engine does not take {name!r} for an image: {sentence(error)}") from None


def _pulled(found: Found, name: str, say: Callable[[str], None]) -> Any:
    import docker.errors
    import requests.exceptions

    say(f"pulling the image {name}")
    repository, tag = name, None
    if "@" not in name and ":" not in name.rpartition("/")[2]:
        tag = "latest"
    try:
        return found.client.images.pull(repository, tag=tag)
    except (docker.errors.DockerException, requests.exceptions.RequestException) as error:
        raise EdgeprofError(
            f"the image {name} is not here and cannot be pulled ({sentence(error)}); choose one that `docker images` "
            f"lists, or --image {HOST} for the host's own files"
        ) from None


def _built(found: Found, name: str, say: Callable[[str], None]) -> Any:
    import docker.errors
    import requests.exceptions

    root = Path(edgeprof.__file__).resolve().parent.parent
    if not (root / "Dockerfile").is_file():
        raise EdgeprofError(
            f"there is no image {name}, and this installation has no Dockerfile to build it from: name an image with "
            f"--image, or take --image {HOST} for the host's own files"
        )
    say(f"building the image {name} (some minutes the first time)")
    try:
        arguments = {key: value for key in _PASSED_TO_BUILD if "@" not in (value := os.environ.get(key, "@"))}
        image, _ = found.client.images.build(path=str(root), tag=name, rm=True, forcerm=True, buildargs=arguments)
        return image
    except (docker.errors.DockerException, requests.exceptions.RequestException, TypeError) as error:
        raise EdgeprofError(
            f"the image {name} cannot be built ({sentence(error)}); name another with --image, or take --image {HOST} "
            "for the host's own files"
        ) from None


def _host_image(found: Found) -> Image:
    """An image of folders and links alone; a few kilobytes, kept by the engine for the next run."""
    import hashlib

    content = _skeleton()
    tag = hashlib.sha256(content).hexdigest()[:12]
    name = f"{_HOST_REPOSITORY}:{tag}"
    image = _local(found, name)
    if image is None:
        import docker.errors

        try:
            found.client.api.import_image_from_data(content, repository=_HOST_REPOSITORY, tag=tag)
            image = found.client.images.get(name)
        except docker.errors.DockerException as error:
            raise EdgeprofError(f"the container engine takes no image of the host: {sentence(error)}") from None
    return Image(HOST, image.id, None, host=True, path=os.environ.get("PATH", _DEFAULT_PATH).split(":"))


def _skeleton() -> bytes:
    """A tar of empty folders, and of the host's links such as /lib; the same bytes for the same host."""
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for entry in _entries():
            archive.addfile(entry)
    return target.getvalue()


def _entries() -> Iterator[tarfile.TarInfo]:
    # /sbin is a folder even where it is a link on the host: the engine mounts its init there.
    for name, mode in (("etc", 0o755), ("root", 0o700), ("sbin", 0o755), ("home", 0o1777), ("tmp", 0o1777)):
        entry = tarfile.TarInfo(name)
        entry.type, entry.mode = tarfile.DIRTYPE, mode
        yield entry
    var = tarfile.TarInfo("var/tmp")
    var.type, var.mode = tarfile.DIRTYPE, 0o1777
    yield var
    for path in sorted(Path("/").glob("*")):
        if path.name != "sbin" and path.is_symlink() and path.name.startswith(("bin", "lib")):
            entry = tarfile.TarInfo(path.name)
            entry.type, entry.linkname = tarfile.SYMTYPE, str(path.readlink())
            yield entry
