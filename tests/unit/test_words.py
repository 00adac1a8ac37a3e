"""The tracked files hold nothing that belongs to one machine or one place: paths, hosts, trackers."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.source_tree import ROOT

# Written in two parts each, so that this file does not hold what it looks for.
PARTS = (
    (r"(?<![\w.])/wo", r"rk/"),  # folders of one machine
    (r"/root/\.py", "env"),
    (r"/opt/", r"(wheels|pypi)"),
    (r"/var/tm", r"p/deb12"),
    (r"/ho", r"me/(?!user\b|pi\b)\w+/\w"),
    (r"(?<!\w)\.\./sha", "red"),
    (r"(?<!\w)sha", r"red/(design|data|hooks)\b"),
    (r"(py", r"pi\.org|thonhosted\.org)"),  # package registries
    (r"(deb\.deb", r"ian\.org|snapshot\.deb" r"ian\.org|archive\.ubun" r"tu\.com)"),
    (r"download\.py", r"torch\.org"),
    (r"\bissues? ", r"(show|#?\d+\b)"),  # trackers
)
FORBIDDEN = re.compile("|".join(first + second for first, second in PARTS), re.IGNORECASE)


def tracked_files() -> list[Path]:
    """The files git tracks (links left out); empty outside a checkout, or without git."""
    if shutil.which("git") is None:
        return []
    done = subprocess.run(["git", "-c", "safe.directory=*", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    paths = [ROOT / name for name in done.stdout.split("\0") if name]
    return [path for path in paths if path.is_file() and not path.is_symlink()]


def forbidden_in(text: str) -> list[str]:
    """The lines of ``text`` that hold something forbidden, with their numbers."""
    return [f"{number}: {line[:120]}" for number, line in enumerate(text.splitlines(), 1) if FORBIDDEN.search(line)]


def test_tracked_files_name_no_machine_host_or_tracker() -> None:
    files = tracked_files()
    if not files:
        pytest.skip("not a git checkout, or no git: run the tests from a clone, with git installed")
    found = {
        str(path.relative_to(ROOT)): lines
        for path in files
        if (lines := forbidden_in(path.read_text(errors="replace")))
    }
    assert not found


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("see /wo" + "rk/main/x.py", 1),
        ("https://py" + "pi.org/simple", 1),
        ("as in issue" + " #12", 1),
        ("the network/work/load", 0),
        ("issued requests 12", 0),
        ("shared/cache", 0),
    ],
)
def test_the_search_finds_what_it_should(text: str, count: int) -> None:
    assert len(forbidden_in(text)) == count
