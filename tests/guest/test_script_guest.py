"""`edgeprof kml guest`: what a script in a guest prints, leaves and ends with comes back, and counted time repeats."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.guest.machine import CACHE, NoGuest, debian_kernel
from tests.helpers import Places

SCRIPT = """
echo first
for round in 1 2 3 4; do time sh -c 'i=0; while [ $i -lt 10000 ]; do i=$((i + 1)); done'; done
cat /given
mkdir folder
echo kept >folder/file
sleep 1000 &
echo complaint >&2
sh -c 'exit 7'
echo never
"""


@pytest.mark.guest
@pytest.mark.timeout(240)
def test_what_a_script_gives_comes_back_and_counted_time_repeats(tmp_path: Path) -> None:
    try:
        debian_kernel()
    except NoGuest as reason:
        pytest.skip(str(reason))
    places = Places(tmp_path)
    (tmp_path / "script").write_text(SCRIPT)
    (tmp_path / "given").write_text("handed in\n")
    words = ("--file", str(tmp_path / "given"), "--memory", "512M", "--count-instructions", "--output", "out", "script")
    environment = places.environment(EDGEPROF_GUEST_CACHE=str(CACHE))
    done = places.edgeprof("kml", "guest", *words, env=environment, timeout=220)
    assert (done.returncode, done.stderr) == (7, "")
    lines = done.stdout.splitlines()
    assert (lines[0], lines[-2:]) == ("first", ["handed in", "complaint"])
    came = {str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert came == {"console.log", "folder/file"}
    assert (tmp_path / "out/folder/file").read_text() == "kept\n"
    assert "first" in (tmp_path / "out/console.log").read_text()
    seconds = [float(value) for value in re.findall(r"^real\s+0m ([\d.]+)s$", done.stdout, re.MULTILINE)]
    assert len(seconds) == 4
    assert min(seconds) > 0.5
    assert max(seconds) - min(seconds) <= 0.02, seconds  # two of the clock's steps
