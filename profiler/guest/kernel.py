"""Kernels for guests: the distribution's, unpacked into a cache folder and never installed, or one that is given."""

from __future__ import annotations

import gzip
import lzma
import os
import platform
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from edgeprof.profiler.guest.architecture import Architecture, here
from edgeprof.profiler.guest.errors import NoGuest
from edgeprof.profiler.guest.packages import Apt

_DEBIAN = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
CLOUD, GENERIC = f"linux-image-cloud-{_DEBIAN}", f"linux-image-{_DEBIAN}"
"""Debian's packages that depend on the newest kernel for virtual machines (small; no 9p), and for all machines."""

_PATTERNS = {
    CLOUD: re.compile(rf"linux-image-\d[\w.+]*-\d+-cloud-{_DEBIAN}"),
    GENERIC: re.compile(rf"linux-image-\d[\w.+]*-\d+-{_DEBIAN}"),
}


def cache_folder() -> Path:
    """Downloads, unpacked kernels and what was found out about them; may be deleted at any time.

    ``EDGEPROF_GUEST_CACHE`` overrides it.

    Raises:
        NoGuest: it is not there, and cannot be made.
    """
    chosen = os.environ.get("EDGEPROF_GUEST_CACHE")
    usual = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "edgeprof" / "guest"
    folder = Path(chosen) if chosen else usual
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise NoGuest(
            f"{folder}, where what guests are made of is kept, cannot be made ({error.strerror});"
            " set EDGEPROF_GUEST_CACHE to a folder of yours"
        ) from None
    return folder


@dataclass(frozen=True)
class Kernel:
    """A kernel that can be booted.

    Attributes:
        image: bzImage (x86) or Image (arm64).
        tree: the folder that holds ``lib/modules/VERSION``; None: no modules are known, all it needs is built in.
        version: as ``uname -r`` gives it; empty: not known.
        architecture: of the machine that it runs on.
    """

    image: Path
    tree: Path | None
    version: str
    architecture: Architecture = field(default_factory=here)

    def has(self, name: str) -> bool:
        """Whether a module is there or built in; without a tree that is taken for granted."""
        return self.tree is None or _plain(name) in self._files() or _plain(name) in self._built_in()

    def modules(self, names: Iterable[str | Path]) -> list[Path]:
        """Files of modules and all they need, in the order in which they load.

        Args:
            names: of the kernel's own modules, or files of others that were built for it.

        Raises:
            NoGuest: the kernel has no such module.
        """
        names = list(names)
        given = {_stem(name): name for name in names if isinstance(name, Path)}
        files, built_in = {**self._files(), **given}, self._built_in()
        ordered: list[Path] = []

        def add(name: str) -> None:
            if name in built_in:
                return
            if name not in files:
                if self.tree is None:
                    return
                raise NoGuest(f"the kernel {self.version} has no module {name}")
            needs = re.search(rb"\0depends=([^\0]*)\0", module_content(files[name]))  # of the section .modinfo
            for other in needs[1].decode().split(",") if needs and needs[1] else ():
                add(_plain(other))
            if files[name] not in ordered:
                ordered.append(files[name])

        for name in names:
            add(_stem(name) if isinstance(name, Path) else _plain(name))
        return ordered

    def _folder(self) -> Path | None:
        if self.tree is None:
            return None
        folder = self.tree / "lib" / "modules" / self.version
        return folder if folder.is_dir() else self.tree / "usr" / folder.relative_to(self.tree)

    def _files(self) -> dict[str, Path]:
        folder = self._folder()
        return {} if folder is None else {_stem(path): path for path in folder.rglob("*.ko*")}

    def _built_in(self) -> set[str]:
        folder = self._folder()
        try:
            listed = "" if folder is None else (folder / "modules.builtin").read_text()
        except OSError:
            return set()
        return {_plain(Path(line).stem) for line in listed.split()}


def _stem(path: Path) -> str:
    return _plain(path.name.partition(".ko")[0])


def _plain(module: str) -> str:
    return module.replace("-", "_")


def module_content(path: Path) -> bytes:
    """A module's bytes, unpacked."""
    content = path.read_bytes()
    if path.suffix == ".xz":
        return lzma.decompress(content)
    if path.suffix == ".gz":
        return gzip.decompress(content)
    if path.suffix == ".zst":
        import io

        import pyarrow as pa

        with pa.CompressedInputStream(pa.PythonFile(io.BytesIO(content)), "zstd") as stream:
            return bytes(stream.read())
    return content


def distribution_kernel(cache: Path | None = None, package: str = CLOUD) -> Kernel:
    """The newest kernel of this machine's distribution: from the cache, by apt on Debian, else the installed one.

    Args:
        cache: where kernels are unpacked; None: `cache_folder`.
        package: `CLOUD` or `GENERIC`.

    Raises:
        NoGuest: there is none to be had.
    """
    cache = cache or cache_folder()
    cache.mkdir(parents=True, exist_ok=True)
    cached = [path.name for path in cache.glob("linux-image-*") if path.is_dir() and _is(path.name, package)]
    name = max(cached, key=_by_number, default="")
    if not name:
        try:
            name = newest_image(Apt(), package)
            Apt().unpack([name], cache / name)
        except NoGuest:
            installed = _installed_kernel()
            if installed is None:
                raise
            return installed
    version = name.removeprefix("linux-image-")
    return Kernel(cache / name / "boot" / f"vmlinuz-{version}", cache / name, version)


def given_kernel(image: Path, architecture: Architecture | None = None) -> Kernel:
    """A kernel image, with the modules of its version where they lie beside it or are installed here.

    Raises:
        NoGuest: there is no such file.
    """
    if not image.is_file():
        raise NoGuest(f"there is no kernel image {image}; name a file such as /boot/vmlinuz-{os.uname().release}")
    version = _version_of(image)
    for tree in (image.resolve().parent.parent, Path("/")):
        if version and (tree / "lib" / "modules" / version).is_dir():
            return Kernel(image.resolve(), tree, version, architecture or here())
    return Kernel(image.resolve(), None, version, architecture or here())


def _version_of(image: Path) -> str:
    """From the file's name, else from the header of a bzImage (Documentation/arch/x86/boot.rst: kernel_version)."""
    named = re.fullmatch(r"(?:vmlinuz|vmlinux|bzImage|Image)-(\S+)", image.resolve().name)
    if named:
        return named[1]
    with image.open("rb") as file:
        head = file.read(0x210)
        if head[0x202:0x206] != b"HdrS":
            return ""
        file.seek(int.from_bytes(head[0x20E:0x210], "little") + 0x200)
        words = file.read(256).split(b"\0")[0].split()
    return words[0].decode("ascii", "replace") if words else ""


def _installed_kernel() -> Kernel | None:
    found = [
        path for path in Path("/boot").glob("vmlinuz-*") if Path("/lib/modules", path.name.partition("-")[2]).is_dir()
    ]
    if not found:
        return None
    image = max(found, key=lambda path: _by_number(path.name))
    return Kernel(image, Path("/"), image.name.partition("-")[2])


def _is(name: str, package: str) -> bool:
    pattern = _PATTERNS.get(package)
    return pattern is not None and pattern.fullmatch(name) is not None


def _by_number(name: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", name)]


def newest_image(apt: Apt, package: str) -> str:
    """The package with the kernel that Debian's ``package`` stands for.  Raises NoGuest."""
    for name in apt.depends(package):
        if name.startswith("linux-image-"):
            return name.partition(":")[0]
    raise NoGuest(f"apt knows no {package}: run apt-get update, or give a kernel image of your own")
