"""The agent as one file: the capture set as a zipapp that a board's own Python 3.8 or later runs.

Its bytes depend on the modules' texts alone, and its name on its bytes: a board needs each version once.
"""

from __future__ import annotations

import hashlib
import io
import os
import zipfile
from dataclasses import dataclass
from pathlib import Path

import edgeprof
from edgeprof.profiler.files import CannotWrite, replacing

CAPTURE_SET = (
    "__init__.py",
    "collectors/__init__.py",
    "collectors/base.py",
    "collectors/helper.py",
    "collectors/registry.py",
    "collectors/sysfs.py",
    "collectors/*/__init__.py",
    "collectors/*/capture*.py",
    "collectors/phases/recorder.py",
    "collectors/phases/facts.py",
    "collectors/phases/loading.py",
    "collectors/phases/tracker.py",
    "collectors/phases/pytorch.py",
    "collectors/phases/inject/*.py",
    "profiler/__init__.py",
    "profiler/agent/*.py",
)
"""What runs beside a workload, as patterns below the package: standard library and Python 3.8 only, nothing parsed."""

_MAIN = """\
import sys

from edgeprof.profiler.agent.remote import main

sys.exit(main(sys.argv[1:]))
"""
_PACKAGE = """\
__version__ = {!r}
"""
"""In the place of the package's own ``__init__``, which is for programs that mark phases: a small board would compile
all that for each command."""

_TIME = (1980, 1, 1, 0, 0, 0)  # a zip file knows no earlier one


@dataclass(frozen=True)
class Zipapp:
    """The agent in a file at the desk; ``name`` is what it is called on boards, too."""

    path: Path
    sha256: str
    size: int

    @property
    def name(self) -> str:
        """``edgeprof-agent-<first 16 hexadecimal digits of its SHA-256>.pyz``."""
        return _name(self.sha256)


def build() -> Zipapp:
    """The agent of this edgeprof, from the user's cache or made there.  Raises CannotWrite."""
    content = pack()
    digest = hashlib.sha256(content).hexdigest()
    path = cache_folder() / _name(digest)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        known = path.is_file() and path.read_bytes() == content
    except OSError as error:
        raise CannotWrite(path, error) from None
    if not known:
        write(path, content)
    return Zipapp(path, digest, len(content))


def write(path: Path, content: bytes | None = None) -> None:
    """Write the agent of this edgeprof to a file.  Raises CannotWrite."""
    with replacing(path) as temporary:
        temporary.write_bytes(pack() if content is None else content)


def pack() -> bytes:
    """The zipapp's bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, text in sorted(_contents().items()):
            info = zipfile.ZipInfo(name, _TIME)
            info.create_system = 3  # Unix: permissions count
            info.external_attr = 0o644 << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, text, compresslevel=9)
    return buffer.getvalue()


def capture_set() -> dict[str, Path]:
    """The capture set's files by their path below the package, such as ``collectors/base.py``."""
    package = Path(edgeprof.__file__).parent
    return {str(path.relative_to(package)): path for pattern in CAPTURE_SET for path in package.glob(pattern)}


def cache_folder() -> Path:
    """Where agents that were built are kept: ``$XDG_CACHE_HOME/edgeprof``, else ``~/.cache/edgeprof``."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "edgeprof" / "agents"


def _contents() -> dict[str, bytes]:
    modules = {f"edgeprof/{name}": path.read_bytes() for name, path in capture_set().items()}
    package = _PACKAGE.format(edgeprof.__version__).encode()
    return {**modules, "edgeprof/__init__.py": package, "__main__.py": _MAIN.encode()}


def _name(digest: str) -> str:
    return f"edgeprof-agent-{digest[:16]}.pyz"
