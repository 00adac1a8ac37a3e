"""Looking into objects of KMLib's C code: which instructions, imports and stack they have, for any processor."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest

from edgeprof.profiler.guest.architecture import ARM64, X86_64, Architecture
from tests.source_tree import ROOT

KML = ROOT / "kmodule"
FLAGS = ("-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror", "-fno-pic", "-fno-stack-protector", "-ffp-contract=off")
INCLUDES = tuple(f"-I{KML / folder}" for folder in ("include", "port/user", "core", "tests"))
FLOAT_REGISTERS = {
    X86_64.name: re.compile(r"%[xyz]?mm\d|%st\b|%k[0-7]\b"),
    ARM64.name: re.compile(r"\b[vqdshbz](?:[12]?\d|3[01])\b"),
}
"""Floating-point and vector registers, as objdump writes them."""


def skip_without_tools(architecture: Architecture) -> None:
    """Skips a test where objects for that processor cannot be made or read."""
    if any(shutil.which(architecture.cross + tool) is None for tool in ("gcc", "objdump", "nm")):
        package = "gcc" if architecture.is_here else f"gcc-{architecture.name.replace('_', '-')}-linux-gnu"
        pytest.skip(f"no compiler for {architecture.kernel} here: apt-get install {package}")


def compiled(
    architecture: Architecture, sources: Iterable[Path], folder: Path, flags: Sequence[str] = ()
) -> list[Path]:
    """An object of each C file, in that folder."""
    objects = []
    for source in sources:
        made = folder / f"{source.stem}.o"
        words = [f"{architecture.cross}gcc", *FLAGS, *INCLUDES, *flags, "-c", str(source), "-o", str(made)]
        subprocess.run(words, check=True, timeout=120)
        objects.append(made)
    return objects


def float_instructions(architecture: Architecture, made: Path) -> list[tuple[str, str]]:
    """Function and instruction, for each that names a floating-point or vector register."""
    registers = FLOAT_REGISTERS[architecture.name]
    function, found = "", []
    for line in _output(architecture, "objdump", "-d", "--no-show-raw-insn", str(made)).splitlines():
        header = re.fullmatch(r"[0-9a-f]+ <(.+)>:", line)
        if header:
            function = header[1]
        instruction = re.sub(r"[0-9a-f]+ <.*", "", line.partition(":\t")[2])  # where a branch goes to is no register
        if registers.search(instruction):
            found.append((function, instruction))
    return found


def symbols(architecture: Architecture, objects: Sequence[Path]) -> list[tuple[str, str]]:
    """Name and kind of every symbol, as nm gives them."""
    lines = _output(architecture, "nm", "-P", *map(str, objects)).splitlines()
    return [(fields[0], fields[1]) for fields in map(str.split, lines) if len(fields) >= 2]


def imports(architecture: Architecture, objects: Sequence[Path]) -> set[str]:
    """Symbols that the objects need and none of them has."""
    found = symbols(architecture, objects)
    return {name for name, kind in found if kind == "U"} - {name for name, kind in found if kind != "U"}


def reserved_stack(made: Path) -> list[tuple[str, int, str]]:
    """For each function of an object made with -fstack-usage: its name, bytes, and whether that is all ("static")."""
    lines = (line.split("\t") for line in made.with_suffix(".su").read_text().splitlines())
    return [(name, int(count), kind) for name, count, kind in lines]


def _output(architecture: Architecture, tool: str, *arguments: str) -> str:
    words = [architecture.cross + tool, *arguments]
    return subprocess.run(words, check=True, capture_output=True, text=True, timeout=60).stdout
