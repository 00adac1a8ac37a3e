"""The agent alone on a board's own Python 3.8: it captures with nothing installed, and this machine ingests."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from edgeprof import __version__
from edgeprof.profiler.ingest import ingest
from tests.helpers import Places


def find_python() -> str | None:
    """A Python 3.8 that runs."""
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv", "versions")
    candidates = [shutil.which("python3.8"), *map(str, sorted(pyenv.glob("3.8*/bin/python3.8")))]
    code = "import sys; sys.exit(sys.version_info[:2] != (3, 8))"
    return next((path for path in candidates if path and not subprocess.run([path, "-c", code]).returncode), None)


PYTHON = find_python()
pytestmark = pytest.mark.skipif(PYTHON is None, reason="no Python 3.8 here: pyenv install 3.8")


def agent(places: Places, spec: object) -> subprocess.CompletedProcess[str]:
    """Run the agent on a spec."""
    file = places.base / "spec.json"
    file.write_text(spec if isinstance(spec, str) else json.dumps(spec))
    # -S: no site-packages at all.
    argv = [str(PYTHON), "-S", "-m", "edgeprof.profiler.agent", str(file)]
    environment = places.environment(PYTHONDONTWRITEBYTECODE="1")
    return subprocess.run(argv, capture_output=True, text=True, timeout=60, cwd=places.base, env=environment)


def test_a_run_captured_there_is_ingested_here(places: Places) -> None:
    spec: dict[str, Any] = {"command": ["sh", "-c", "sleep 0.4; echo out; exit 6"], "folder": str(places.runs)}
    done = agent(places, spec)
    assert (done.returncode, done.stdout) == (6, "out\n"), done.stderr
    path = Path(done.stderr.splitlines()[-1])
    assert path == places.only()
    content = places.manifest()
    assert content["edgeprof"] == __version__
    assert content["host"]["python"].startswith("3.8.")
    by_name = {item["name"]: item for item in content["collectors"]}
    assert by_name["procfs"]["available"]
    broken = [item for item in content["collectors"] if "cannot be loaded" in item["reason"] or "bug" in item["reason"]]
    assert broken == []
    assert not [note for item in content["collectors"] for note in item["notes"] if "bug" in note]
    assert content["overhead"]["peak_rss_bytes"] < 40 << 20
    run = ingest(path)
    assert run.arrow("process").num_rows > 2
    assert run.manifest["ingest"]["notes"] == [
        note for note in run.manifest["ingest"]["notes"] if "could not be read" not in note
    ]
    assert places.journals() == []


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("", "is not JSON"),
        ("[]", "needs a 'command' list"),
        ({"command": "true"}, "wrong 'command'"),
        ({"command": []}, "nothing to run"),
        ({"command": ["true"], "colour": 1}, "unknown field 'colour'"),
        ({"command": ["true"], "rate": "fast"}, "wrong 'rate'"),
        ({"command": ["true"], "collect": ["nothing"]}, "there is no collector 'nothing'"),
        ({"command": ["true"], "roots": {"usr": "/"}}, "wrong 'roots'"),
        ({"command": ["/etc"]}, "it is a folder"),
    ],
)
def test_a_wrong_spec_is_one_sentence(places: Places, spec: object, expected: str) -> None:
    if isinstance(spec, dict):
        spec = {**spec, "folder": str(places.runs)}
    done = agent(places, spec)
    assert 120 <= done.returncode <= 125
    (line,) = done.stderr.splitlines()
    assert line.startswith("edgeprof: ")
    assert expected in line
    assert places.directories() == []


def test_a_missing_spec_is_one_sentence(places: Places) -> None:
    argv = [str(PYTHON), "-S", "-m", "edgeprof.profiler.agent", str(places.base / "missing.json")]
    environment = places.environment(PYTHONDONTWRITEBYTECODE="1")
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, cwd=places.base, env=environment)
    assert done.returncode == 120
    assert done.stderr.startswith("edgeprof: cannot read ")
    assert len(done.stderr.splitlines()) == 1
