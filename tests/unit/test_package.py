"""What people install: the wheel, made from the source distribution, holds the whole project and nothing beside it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from tests.source_tree import FOLDERS, ROOT, project_imports, project_modules

NOT_PYTHON = (".json", ".css", ".js", ".html", ".yaml", "py.typed")


@pytest.fixture(scope="module")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A source distribution of what git would check out (and has not ignored), and the wheel built from it."""
    folder = tmp_path_factory.mktemp("package")
    tree, built = folder / "tree", folder / "built"
    tree.mkdir()
    copy_sources(tree)
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(built), str(tree)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return next(built.glob("*.tar.gz")), next(built.glob("*.whl"))


def copy_sources(target: Path) -> None:
    """Copy the project without build outputs, links as links, so that a build here cannot disturb the checkout."""
    leave = shutil.ignore_patterns("__pycache__", "*.egg-info", ".*", "build", "dist", "edgeprof-runs", "tests")
    shutil.copytree(ROOT, target, symlinks=True, ignore=leave, dirs_exist_ok=True)


def expected_files() -> set[str]:
    """Every module, and every other file that the package needs, by its path in the wheel."""
    modules = {str(path.relative_to(ROOT)) for path in project_modules().values()}
    others = {
        str(path.relative_to(ROOT))
        for folder in FOLDERS
        for path in (ROOT / folder).rglob("*")
        if path.name.endswith(NOT_PYTHON) and "__pycache__" not in path.parts
    }
    kernel = {
        str(path.relative_to(ROOT))
        for part in ("core", "driver", "include", "port")
        for path in (ROOT / "kmodule" / part).rglob("*")
        if path.suffix in (".c", ".h") or path.name == "Kbuild"
    } | {"kmodule/dkms.conf", "kmodule/LICENSE.md"}
    return {path if path.startswith("edgeprof/") else f"edgeprof/{path}" for path in modules | others | kernel} | {
        "edgeprof/py.typed"
    }


def test_the_wheel_holds_every_module_and_data_file(distributions: tuple[Path, Path]) -> None:
    with zipfile.ZipFile(distributions[1]) as wheel:
        names = set(wheel.namelist())
    assert expected_files() - names == set()


def test_every_imported_package_is_declared(distributions: tuple[Path, Path]) -> None:
    with zipfile.ZipFile(distributions[1]) as wheel:
        metadata = wheel.read(next(name for name in wheel.namelist() if name.endswith("/METADATA"))).decode()
    declared = {name.lower() for name in re.findall(r"^Requires-Dist: ([\w-]+)", metadata, re.MULTILINE)}
    ours = {*sys.stdlib_module_names, "edgeprof", "sitecustomize"}
    imported = {
        item.name.partition(".")[0]
        for found in project_imports(project_modules()).values()
        for item in found
        if not item.typing_only
    }
    foreign = {name for name in imported - ours if not name.startswith("_edgeprof")}
    named_otherwise = {
        "PIL": "pillow",
        "prometheus_client": "prometheus-client",
        "ai_edge_litert": "ai-edge-litert",
        "pynvml": "nvidia-ml-py",
        "sklearn": "scikit-learn",
        "yaml": "pyyaml",
    }
    assert {named_otherwise.get(name, name) for name in foreign} - declared == set()


def test_the_wheel_holds_nothing_outside_the_package(distributions: tuple[Path, Path]) -> None:
    with zipfile.ZipFile(distributions[1]) as wheel:
        tops = {name.partition("/")[0] for name in wheel.namelist()}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"edgeprof"}


def test_the_source_distribution_has_licence_and_readme(distributions: tuple[Path, Path]) -> None:
    with tarfile.open(distributions[0]) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"LICENSE", "README.md", "pyproject.toml", "edgeprof/collectors/base.py"} <= names


def test_the_installed_wheel_imports_from_where_it_was_put(distributions: tuple[Path, Path], tmp_path: Path) -> None:
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--disable-pip-version-check"]
    done = subprocess.run([*pip, "--target", str(tmp_path), str(distributions[1])], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    # -I -S: neither this checkout nor the editable install can be found, only the folder given.
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "import edgeprof, edgeprof.collectors.base as base, edgeprof.profiler.run as run\n"
        "with edgeprof.phase('load'): edgeprof.step()\n"
        "print(base.__file__, run.__file__, sep='\\n')"
    )
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code, str(tmp_path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [
        str(tmp_path / "edgeprof" / path) for path in ("collectors/base.py", "profiler/run.py")
    ]


@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler here: apt-get install gcc libc6-dev")
def test_the_wheel_builds_kmlib_from_its_own_sources(distributions: tuple[Path, Path], tmp_path: Path) -> None:
    with zipfile.ZipFile(distributions[1]) as wheel:
        wheel.extractall(tmp_path / "site")
    code = "import sys; sys.path.insert(0, sys.argv[1])\nfrom edgeprof.kmodule import build; print(build.library())"
    command = [sys.executable, "-I", "-S", "-c", code, str(tmp_path / "site")]
    environment = {**os.environ, "EDGEPROF_KML_CACHE": str(tmp_path / "cache")}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()).is_relative_to(tmp_path / "cache")
