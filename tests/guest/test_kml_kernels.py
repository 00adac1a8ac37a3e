"""kml.ko is built for other kernels and another processor, loads there, and computes the very bits of the library."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from edgeprof.kmodule import build, dkms
from edgeprof.kmodule.errors import ToolMissing
from edgeprof.profiler.guest.architecture import ARM64, X86_64, Architecture
from edgeprof.profiler.guest.kernel import module_content
from tests.guest.machine import BAD_NEWS, Guest, NoGuest, build_tree, debian_kernel, release_kernel
from tests.source_tree import ROOT

CHECK = ROOT / "kmodule/tests/guest/kml_check.c"
GOLDEN = ROOT / "tests/data/kml/golden.bin"
SCRIPT = """
dmesg -c >/dev/null
insmod /kml.ko
kml_check golden /golden.bin
rmmod kml
dmesg >log
uname -rm >kernel
"""


@pytest.mark.guest
@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("release", "architecture"),
    [("5.10", X86_64), ("6.1", X86_64), ("6.12", X86_64), ("5.10", ARM64), ("6.12", ARM64)],
    ids=lambda value: value if isinstance(value, str) else value.kernel,
)
def test_the_module_gives_golden_bits(release: str, architecture: Architecture) -> None:
    try:
        kernel = release_kernel(release, architecture)
        files = {"kml.ko": build.module(build_tree(kernel)).read_bytes(), "golden.bin": GOLDEN.read_bytes()}
        check = build.program(CHECK, architecture)
        outcome = Guest(kernel, programs=[check], files=files, memory=512).execute(SCRIPT, timeout=120)
    except (NoGuest, ToolMissing) as reason:
        pytest.skip(str(reason))
    assert outcome.exit_code == 0, outcome.output
    assert re.search(r"^[1-9]\d* checks, 0 failed$", outcome.output, re.MULTILINE), outcome.output
    assert outcome.files["kernel"].decode().split() == [kernel.version, architecture.name]
    log = outcome.files["log"].decode()
    assert not BAD_NEWS.search(log), log


@pytest.mark.guest
@pytest.mark.skipif(shutil.which("dkms") is None, reason="no dkms here: apt-get install dkms")
def test_dkms_builds_the_module_from_the_sources_that_it_is_given(tmp_path: Path) -> None:
    try:
        tree = build_tree(debian_kernel())
    except NoGuest as reason:
        pytest.skip(str(reason))
    (tmp_path / "built").mkdir()
    dkms.copy_sources(tmp_path / "sources")
    words = ["dkms", "build", "--dkmstree", tmp_path / "built", "--sourcetree", tmp_path / "sources"]
    words += ["-k", tree.version, "--kernelsourcedir", tree.path, f"kml/{dkms.version()}"]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (module,) = (tmp_path / "built").rglob("kml.ko*")
    assert module_content(module)[:4] == b"\x7fELF"
