"""Builds the C sources: libkml.so, kml.ko and its users for a kernel, and static programs for guests.

What was built is kept in a cache folder under a hash of all that it came from, so it is built anew only when the
sources, the compiler or the kernel changed.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path

from edgeprof.kmodule.errors import CannotBuild, ToolMissing
from edgeprof.profiler.guest.architecture import Architecture
from edgeprof.profiler.guest.headers import BuildTree, block_headers

SOURCES = Path(__file__).resolve().parent
MODULES = {"kml": "driver", "mq_kmlib": "elevator", "kml_readahead": "readahead", "kml_disk": "disk"}
"""Kernel modules, and the folders of their Kbuild below `SOURCES`."""
SYMBOLS = "Module.symvers"
"""Beside each module: what it exports, for the build of other modules (KBUILD_EXTRA_SYMBOLS)."""

_SHARED_PARTS = ("core", "include", "port/kernel")
"""What all modules are compiled with, below `SOURCES`."""
_USERS_OF_KML = ("mq_kmlib", "kml_readahead")
_USERS_OF_BLOCK_HEADERS = ("mq_kmlib",)

_FLAGS = ("-std=gnu11", "-O2", "-Wall", "-Wextra", "-ffp-contract=off")
"""Without contraction: a fused multiply-add rounds once instead of twice, and x86-64 would differ from arm64."""
_LIBRARY_FLAGS = ("-fPIC", "-shared", "-fno-semantic-interposition", "-fno-asynchronous-unwind-tables")
"""Without unwind tables: no exception passes through it, and they are a tenth of its size."""
_PROGRAM_FLAGS = ("-static", "-pthread")
_MODULE_SECONDS = 600


def cache_folder() -> Path:
    """Where what was built is kept; may be deleted at any time.  ``EDGEPROF_KML_CACHE`` overrides it."""
    chosen = os.environ.get("EDGEPROF_KML_CACHE")
    if chosen:
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "edgeprof" / "kml"


def library(architecture: Architecture | None = None) -> Path:
    """``libkml.so`` for programs here, or for another processor.  Raises CannotBuild, ToolMissing."""
    return _compiled("libkml.so", _core(), _LIBRARY_FLAGS, architecture)


def program(source: Path, architecture: Architecture | None = None) -> Path:
    """A static program: one C file and the core; it may include headers of its own folder and of the one above.

    Raises:
        CannotBuild: the source is wrong.
        ToolMissing: there is no compiler for it.
    """
    source = source.resolve()
    flags = (*_PROGRAM_FLAGS, f"-I{source.parent}")
    return _compiled(
        source.stem, [source, *_core()], flags, architecture, ["-lm"], [source.parent, source.parent.parent]
    )


def module(tree: BuildTree, name: str = "kml", source: Path | None = None) -> Path:
    """One of `MODULES` for a kernel, without debug information, and `SYMBOLS` beside it.

    Args:
        tree: what it is built against.
        name: of the module.
        source: the kernel's sources, for a module that takes more than its headers; None: `block_headers` finds them.

    Raises:
        CannotBuild: the kernel's makefiles end with an error; the sentence names their log.
        NoGuest: the kernel's sources cannot be had.
        ToolMissing: a tool is not here.
    """
    _need("make", "make")
    compiler = _compiler(tree.architecture)
    files = [path for part in _parts(name) for path in sorted((SOURCES / part).rglob("*")) if _is_source(path)]
    files += [tree.path / ".config", tree.path / "Module.symvers"]
    given: list[str] = []
    if name in _USERS_OF_KML:
        files.append(module(tree).with_name(SYMBOLS))
        given.append(f"KBUILD_EXTRA_SYMBOLS={files[-1]}")
    if name in _USERS_OF_BLOCK_HEADERS:
        headers = block_headers(tree, source)
        files += sorted(headers.glob("*.h"))
        given.append(f"KML_BLOCK_HEADERS={headers}")
    key = _hash(files, [name, tree.version, _version(compiler)])
    target = cache_folder() / f"{tree.version}-{key}" / f"{name}.ko"
    if not (target.is_file() and target.with_name(SYMBOLS).is_file()):
        _make_module(tree, target, compiler, given)
    return target


def copy_module_sources(target: Path, name: str = "kml") -> None:
    """All that a module is built from, as a tree of its own."""
    for part in _parts(name):
        shutil.copytree(SOURCES / part, target / part, ignore=_not_sources)


def _parts(name: str) -> tuple[str, ...]:
    return (*_SHARED_PARTS, MODULES[name])


def _make_module(tree: BuildTree, target: Path, compiler: str, given: Sequence[str]) -> None:
    """Run the kernel's makefiles in a copy; ``given``: what they are told besides."""
    name, cross = target.stem, tree.architecture.cross
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as place:
        copy = Path(place) / "kml"
        copy_module_sources(copy, name)
        folder = copy / MODULES[name]
        words = ["make", "-C", str(tree.path), f"M={folder}", f"-j{os.cpu_count() or 1}"]
        words += [f"ARCH={tree.architecture.kernel}", f"CROSS_COMPILE={cross}", f"CC={compiler}", *given]
        words += ["CONFIG_DEBUG_INFO_BTF_MODULES=", "modules"]  # type information takes pahole, and nothing reads it
        log = target.with_name("build.log")
        with log.open("w") as file:
            try:
                done = subprocess.run(
                    words, stdout=file, stderr=subprocess.STDOUT, timeout=_MODULE_SECONDS, env=_without_make()
                )
            except subprocess.TimeoutExpired:
                raise CannotBuild(f"{name}.ko was not built within {_MODULE_SECONDS} s; {log} tells how far") from None
        made, symbols = folder / target.name, folder / SYMBOLS
        if done.returncode or not (made.is_file() and symbols.is_file()):
            raise CannotBuild(f"{name}.ko cannot be built for {tree.version}: {_first_error(log)}; {log} has all of it")
        strip = _need(f"{cross}strip", _package(tree.architecture))
        subprocess.run([strip, "--strip-debug", made], check=True)
        symbols.replace(target.with_name(SYMBOLS))
        made.replace(target)


def _without_make() -> dict[str, str]:
    """The environment without what an outer make tells its own children."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}


def _core() -> list[Path]:
    return sorted((SOURCES / "core").glob("*.c"))


def _compiled(
    name: str,
    sources: Sequence[Path],
    flags: Sequence[str],
    architecture: Architecture | None,
    libraries: Sequence[str] = (),
    more: Sequence[Path] = (),
) -> Path:
    compiler = _compiler(architecture)
    folders = [SOURCES / "include", SOURCES / "port" / "user", SOURCES / "core"]
    headers = [path for folder in folders for path in sorted(folder.rglob("*.h"))]
    headers += [path for folder in more for path in sorted(folder.glob("*.h"))]
    words = [*_FLAGS, *flags, *(f"-I{folder}" for folder in folders)]
    key = _hash([*sources, *headers], [*words, _version(compiler)])
    target = cache_folder() / key / name
    if target.is_file():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        made = Path(folder) / name
        command = [compiler, *words, *map(str, sources), *libraries, "-o", str(made)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            log = target.with_name("build.log")
            log.write_text(done.stderr)
            raise CannotBuild(f"{name} cannot be built: {_first_error(log)}; {log} has all of it")
        made.replace(target)
    return target


def _compiler(architecture: Architecture | None) -> str:
    """For this machine the one that CC names, else ``gcc`` or ``cc``."""
    if architecture is not None and architecture.cross:
        return _need(f"{architecture.cross}gcc", _package(architecture))
    chosen = os.environ.get("CC") or next((name for name in ("gcc", "cc") if shutil.which(name)), "gcc")
    return _need(chosen, "gcc libc6-dev")


def _package(architecture: Architecture) -> str:
    if not architecture.cross:
        return "gcc libc6-dev binutils"
    return f"gcc-{architecture.name}-linux-gnu libc6-dev-{architecture.debian}-cross".replace("_", "-")


def _need(tool: str, package: str) -> str:
    if shutil.which(tool) is None:
        raise ToolMissing(tool, package)
    return tool


@lru_cache
def _version(compiler: str) -> str:
    return subprocess.run([compiler, "--version"], capture_output=True, text=True, check=True).stdout


def _hash(files: Iterable[Path], words: Iterable[str]) -> str:
    found = hashlib.sha256()
    for word in words:
        found.update(word.encode() + b"\0")
    for path in files:
        found.update(path.name.encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    return found.hexdigest()[:20]


def _is_source(path: Path) -> bool:
    return path.suffix in (".c", ".h") or path.name == "Kbuild"


def _not_sources(folder: str, names: list[str]) -> list[str]:
    return [name for name in names if not (_is_source(Path(name)) or Path(folder, name).is_dir())]


def _first_error(log: Path) -> str:
    lines = log.read_text(errors="replace").splitlines()
    wrong = [line for line in lines if "error" in line.lower() or "***" in line] or lines[-1:]
    return wrong[0].strip() if wrong else "the compiler gave no reason"
