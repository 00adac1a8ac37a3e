"""`edgeprof dashboard`: what it serves, to whom, and how it ends."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from edgeprof.cli.main import main
from tests.synthetic_run import Shape, write_run

pytest.importorskip("dash", reason="the dashboard's packages are not installed; run `make install`")

RUN = "20261121T120001Z-demo-0000a1"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["{folder}/" + RUN], "is one run; name the folder it lies in"),
        (["{folder}/file"], "is no folder"),
        (["{folder}/missing"], "there is no folder"),
        (["{folder}", "--token", "short"], "guessed"),
        (["{folder}", "--port", "70000"], "70000"),
        (["{folder}", "--host", "no.such.host.invalid"], "cannot be used"),
    ],
)
def test_what_cannot_be_served_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    write_run(tmp_path / RUN, Shape(seconds=1, steps=2, requests=10), only=("system",))
    (tmp_path / "file").write_text("")
    assert main(["dashboard", *(text.format(folder=tmp_path) for text in arguments)]) == 120
    assert said in capsys.readouterr().err


@contextmanager
def dashboard(folder: Path, *options: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A dashboard of its own process, and the address that it prints."""
    command = [sys.executable, "-m", "edgeprof.cli.main", "dashboard", str(folder), "--port", "0", *options]
    environment = {**os.environ, "XDG_CACHE_HOME": str(folder / ".cache")}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        try:
            assert process.stdout is not None
            yield process, process.stdout.readline().split()[0]
        finally:
            process.kill()


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_it_serves_until_it_is_ended(tmp_path: Path, ending: signal.Signals) -> None:
    with dashboard(tmp_path) as (process, address):
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/", address)
        with urllib.request.urlopen(address, timeout=60) as answer:
            assert b"edgeprof" in answer.read()
        process.send_signal(ending)
        _, said = process.communicate(timeout=60)
        assert (process.returncode, said) == (0, "")


def test_where_others_can_reach_it_a_token_is_made(tmp_path: Path) -> None:
    with dashboard(tmp_path, "--host", "0.0.0.0") as (_, address):
        place, _, token = address.partition("?token=")
        assert len(token) >= 32
        port = re.search(r":(\d+)/$", place)
        assert port is not None
        with pytest.raises(urllib.error.HTTPError, match="401"):
            urllib.request.urlopen(f"http://127.0.0.1:{port[1]}/", timeout=60)
