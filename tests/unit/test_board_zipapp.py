"""The agent's zipapp: small, the same bytes from the same texts, nothing but the capture set, and all of that."""

from __future__ import annotations

import ast
import hashlib
import io
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from edgeprof import __version__
from edgeprof.profiler.board import zipapp
from edgeprof.profiler.files import CannotWrite

CONTENT = zipapp.pack()


def names() -> list[str]:
    with zipfile.ZipFile(io.BytesIO(CONTENT)) as archive:
        assert archive.testzip() is None
        return archive.namelist()


def test_it_is_at_most_300_kilobytes() -> None:
    assert 50_000 < len(CONTENT) <= 300_000


def test_it_holds_the_capture_set_and_nothing_else() -> None:
    expected = {"__main__.py", *(f"edgeprof/{name}" for name in zipapp.capture_set())}
    assert set(names()) == expected
    assert names() == sorted(expected)
    assert not [name for name in names() if name.endswith(("parse.py", ".pyc")) or "/cli/" in name]


def test_all_of_it_is_python_3_8() -> None:
    with zipfile.ZipFile(io.BytesIO(CONTENT)) as archive:
        for name in archive.namelist():
            ast.parse(archive.read(name), feature_version=(3, 8))


def test_its_bytes_depend_on_the_texts_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Copies of the package at another place, with other times and permissions, give the same file."""
    package = tmp_path / "edgeprof"
    for name, path in zipapp.capture_set().items():
        target = package / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
        target.chmod(0o600)
        os.utime(target, (1e9, 1e9))
    monkeypatch.setattr(zipapp.edgeprof, "__file__", str(package / "__init__.py"))
    assert zipapp.pack() == CONTENT
    (package / "profiler" / "agent" / "host.py").write_text("pass\n")
    assert zipapp.pack() != CONTENT


def test_it_is_built_once_and_named_after_its_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    agent = zipapp.build()
    assert agent.sha256 == hashlib.sha256(CONTENT).hexdigest()
    assert agent.path.name == agent.name == f"edgeprof-agent-{agent.sha256[:16]}.pyz"
    assert (agent.path.read_bytes(), agent.size) == (CONTENT, len(CONTENT))
    before = agent.path.stat()
    assert zipapp.build() == agent
    assert agent.path.stat().st_mtime_ns == before.st_mtime_ns
    agent.path.write_bytes(CONTENT[:1000])  # as a crash or a hand might leave it
    assert zipapp.build().path.read_bytes() == CONTENT


def test_a_place_that_cannot_be_written_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(CannotWrite, match="cannot be written"):
        zipapp.build()
    with pytest.raises(CannotWrite, match="cannot be written"):
        zipapp.write(tmp_path / "missing" / "agent.pyz")


def test_it_runs_and_says_how_it_is_called(tmp_path: Path) -> None:
    path = tmp_path / "agent.pyz"
    zipapp.write(path)
    for words in ([], ["reboot"], ["hello", "there"], ["wait"]):
        done = subprocess.run([sys.executable, "-I", "-B", path, *words], capture_output=True, text=True, timeout=30)
        assert done.returncode == 2
        assert done.stderr.startswith("usage: python3 AGENT.pyz COMMAND")
        assert done.stdout == ""
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import edgeprof; print(edgeprof.__version__, edgeprof.__file__)"
    )
    done = subprocess.run([sys.executable, "-I", "-S", "-B", "-c", code, path], capture_output=True, text=True)
    assert done.stdout.split() == [__version__, f"{path}/edgeprof/__init__.py"]
