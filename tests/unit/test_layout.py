"""Imports run one way, and start-up stays light."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.source_tree import FOLDERS, ROOT, find_circle, imports_of, project_imports, project_modules

MODULES = project_modules()
IMPORTS = project_imports(MODULES)

BELOW = {
    "collectors": {"collectors"},
    "workloads": {"workloads", "collectors"},  # the recorder only
    "profiler": {"profiler", "collectors", "workloads"},
    "dashboards": {"dashboards", "profiler", "collectors", "workloads"},
    "kmodule": {"kmodule", "profiler", "collectors"},
    "cli": {"cli", "dashboards", "kmodule", "profiler", "collectors", "workloads"},
}
"""Which folders each one may import."""

HEAVY = {
    *("dask", "distributed", "docker", "duckdb", "jax", "keras", "numpy", "onnxruntime", "pandas", "plotly"),
    *("PIL", "psutil", "pyarrow", "scipy", "sklearn", "tensorflow", "torch", "transformers"),
}
"""Packages that a command imports only when it needs them."""


def folder_of(module: str) -> str | None:
    """``edgeprof.profiler.run`` -> ``profiler``; None for edgeprof itself and for what is not ours."""
    parts = module.split(".")
    return parts[1] if parts[0] == "edgeprof" and len(parts) > 1 else None


@pytest.mark.parametrize("folder", sorted(BELOW))
def test_a_folder_imports_only_what_lies_below_it(folder: str) -> None:
    wrong = [
        f"{name}:{item.line} imports {item.name}"
        for name, found in IMPORTS.items()
        if folder_of(name) == folder
        for item in found
        if (target := folder_of(item.name)) and target not in BELOW[folder]
    ]
    assert not wrong


def test_nobody_imports_a_root_folder_directly() -> None:
    wrong = [
        f"{name}:{item.line} imports {item.name}"
        for name, found in IMPORTS.items()
        for item in found
        if item.name.partition(".")[0] in FOLDERS
    ]
    assert not wrong


def test_no_modules_import_each_other_in_a_circle() -> None:
    graph = {
        name: {item.name for item in found if item.name in MODULES and not item.typing_only and item.name != name}
        for name, found in IMPORTS.items()
    }
    graph["edgeprof"] = {item.name for item in IMPORTS["edgeprof"] if item.name in MODULES and not item.lazy}
    assert find_circle(graph) == []


def test_commands_import_heavy_packages_only_inside_functions() -> None:
    wrong = [
        f"{name}:{item.line} imports {item.name}"
        for name, found in IMPORTS.items()
        if folder_of(name) == "cli"
        for item in found
        if item.name.partition(".")[0] in HEAVY and not item.lazy and not item.typing_only
    ]
    assert not wrong


@pytest.mark.parametrize("module", ["edgeprof", "edgeprof.profiler.run", "edgeprof.cli.main"])
def test_importing_it_loads_no_heavy_package(module: str, tmp_path: Path) -> None:
    code = f"import sys, {module}; print(*sorted({{name.partition('.')[0] for name in sys.modules}} & {HEAVY}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert (done.returncode, done.stdout.split()) == (0, []), done.stderr


def test_every_module_says_what_it_is_for() -> None:
    import ast

    silent = [
        name
        for name, path in MODULES.items()
        if path.stat().st_size and not ast.get_docstring(ast.parse(path.read_text()))
    ]
    assert not silent


@pytest.mark.parametrize("folder", FOLDERS)
def test_links_lead_to_the_folders(folder: str) -> None:
    link = ROOT / "edgeprof" / folder
    assert link.is_symlink()
    assert link.readlink() == Path("..", folder)


def test_imports_are_found_wherever_they_stand() -> None:
    source = (
        "import os.path\n"
        "from typing import TYPE_CHECKING\n"
        "from . import b\n"
        "from ..x.y import z\n"
        "if TYPE_CHECKING:\n    import torch\nelse:\n    import json\n"
        "def f():\n    if True:\n        from a.c import d, e\n"
    )
    found = imports_of(source, "a.k.m", modules={"a.k.b": Path(), "a.c.d": Path()})
    assert {(item.name, item.line, item.lazy, item.typing_only) for item in found} == {
        ("os.path", 1, False, False),
        ("typing", 2, False, False),
        ("a.k.b", 3, False, False),
        ("a.x.y", 4, False, False),
        ("torch", 6, False, True),
        ("json", 8, False, False),
        ("a.c.d", 11, True, False),
        ("a.c", 11, True, False),
    }


def test_circles_are_found() -> None:
    assert find_circle({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []
    assert find_circle({"a": {"b"}, "b": {"c"}, "c": {"d"}, "d": {"b"}}) == ["b", "c", "d", "b"]
