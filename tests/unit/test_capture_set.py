"""The capture set runs on a board's own Python 3.8 with nothing installed: standard library, and itself.

The capture set is what runs beside the workload: the collectors' capture halves with the modules they share,
and the agent.  What goes into the agent's zipapp is this set.
"""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from edgeprof.profiler.board.zipapp import capture_set
from tests.source_tree import ROOT, Import, module_name, project_imports, project_modules

NEWER_THAN_3_8 = {
    "annotationlib",
    "compression",
    "concurrent.interpreters",
    "graphlib",
    "string.templatelib",
    "tomllib",
    "zoneinfo",
}
STANDARD_LIBRARY = {*sys.stdlib_module_names, "sitecustomize"} - NEWER_THAN_3_8
"""With ``sitecustomize``, the user's own one: the hook that stands in its place passes on to it."""

MODULES = project_modules()
IMPORTS = project_imports(MODULES)


def runtime_imports(name: str) -> list[Import]:
    """What importing and running a module imports; edgeprof itself promises only what it imports at its start."""
    return [item for item in IMPORTS[name] if not item.typing_only and not (name == "edgeprof" and item.lazy)]


CAPTURE_SET = sorted(module_name(ROOT / "edgeprof" / path) for path in capture_set())
HOOKS = {f"edgeprof.collectors.phases.{name}" for name in ("facts", "loading", "pytorch", "tracker")}
"""Loaded by their path into the user's Python, beside its PyTorch; here they only have to compile."""


def old_pythons() -> list[str]:
    """Pythons 3.8 and 3.9 on PATH and where pyenv and uv put theirs."""
    folders = [
        Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv", "versions"),
        Path.home() / ".local/share/uv/python",
    ]
    candidates = [shutil.which(f"python{version}") for version in ("3.8", "3.9")]
    candidates += [str(path) for folder in folders for path in sorted(folder.glob("*/bin/python3.[89]"))]
    return sorted({os.path.realpath(path) for path in candidates if path and answers(path)})


def answers(python: str) -> bool:
    """Whether a Python is a real 3.8 or 3.9 (a pyenv shim for a version that is not chosen fails)."""
    code = "import sys; sys.exit(sys.version_info[:2] not in ((3, 8), (3, 9)))"
    return subprocess.run([python, "-c", code], capture_output=True).returncode == 0


def test_the_capture_set_is_found() -> None:
    assert {"edgeprof.collectors.base", "edgeprof.collectors.phases.recorder", *HOOKS} <= set(CAPTURE_SET)
    assert sum(name.endswith(".capture") for name in CAPTURE_SET) >= 2


@pytest.mark.parametrize("name", CAPTURE_SET)
def test_it_is_written_in_the_syntax_of_python_3_8(name: str) -> None:
    ast.parse(MODULES[name].read_text(), feature_version=(3, 8))


@pytest.mark.parametrize("name", sorted({*CAPTURE_SET} - HOOKS))
def test_it_imports_the_standard_library_and_itself(name: str) -> None:
    wrong = [
        f"line {item.line} imports {item.name}"
        for item in runtime_imports(name)
        if item.name not in CAPTURE_SET
        and (item.name in NEWER_THAN_3_8 or item.name.partition(".")[0] not in STANDARD_LIBRARY)
    ]
    assert not wrong


@pytest.mark.parametrize("python", old_pythons() or [None], ids=lambda path: path and Path(path).name)
def test_an_old_python_compiles_and_imports_it(python: str | None) -> None:
    if python is None:
        pytest.skip("no Python 3.8 or 3.9 here: pyenv install 3.8 or uv python install 3.8")
    # `-I -S`: no site-packages and no current folder; only the standard library can be found beside the project.
    # A hook of the test frameworks' start (sitecustomize) acts on import: it only has to compile.
    code = (
        "import importlib, sys; sys.dont_write_bytecode = True; sys.path.insert(0, sys.argv[1])\n"
        "for path in sys.argv[2].split(): compile(open(path, 'rb').read(), path, 'exec')\n"
        "for name in sys.argv[3:]: importlib.import_module(name)\n"
        "print(*sys.modules)"
    )
    importable = [
        name for name in CAPTURE_SET if not name.endswith(("__main__", "sitecustomize")) and name not in HOOKS
    ]
    paths = " ".join(str(MODULES[name]) for name in CAPTURE_SET)
    done = subprocess.run(
        [python, "-I", "-S", "-c", code, str(ROOT), paths, *importable], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert set(importable) <= set(done.stdout.split())
