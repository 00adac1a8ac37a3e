"""KMLib's core in C: its tests under sanitizers, its fuzzers from their corpus, and the ring's algorithm model-checked.

All of it is built by ``kmodule/tests/Makefile`` into .cache/kml, once.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
C_TESTS = ROOT / "kmodule" / "tests"
PROGRAMS = sorted(path.stem for path in C_TESTS.glob("test_*.c"))
FUZZERS = sorted(path.stem for path in C_TESTS.glob("fuzz_*.c"))
SECONDS = os.environ.get("EDGEPROF_FUZZ_SECONDS", "4")
"""For each fuzzer; `make -C kmodule/tests fuzz` gives each a minute."""

pytestmark = pytest.mark.timeout(600)  # the first test of a kind builds the core for it


def make(*words: str) -> subprocess.CompletedProcess[str]:
    """Run kmodule/tests/Makefile; both streams are in ``stdout``."""
    need("cc", "gcc libc6-dev")
    need("make", "make")
    command = ["make", "-s", "-j2", "-C", str(C_TESTS), *words]
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")


def need(tool: str, packages: str) -> None:
    if shutil.which(tool) is None:
        pytest.skip(f"no {tool} here: apt-get install {packages}")


def need_libfuzzer(tmp_path: Path) -> None:
    need("clang", "clang libclang-rt-dev")
    trial = ["clang", "-x", "c", "-", "-fsanitize=fuzzer", "-o", str(tmp_path / "trial")]
    source = "int LLVMFuzzerTestOneInput(void); int LLVMFuzzerTestOneInput(void) { return 0; }"
    if subprocess.run(trial, input=source, capture_output=True, text=True).returncode:
        pytest.skip("this clang has no libFuzzer: apt-get install libclang-rt-dev")


def checks(done: subprocess.CompletedProcess[str]) -> int:
    """How many checks a test program made, all of which held."""
    summary = re.search(r"^\S+: (\d+) checks, 0 failed$", done.stdout, re.MULTILINE)
    assert done.returncode == 0 and summary, done.stdout[-4000:]
    return int(summary[1])


@pytest.mark.parametrize("program", PROGRAMS)
def test_the_core_holds_under_address_and_undefined_behaviour_sanitizers(program: str) -> None:
    assert checks(make("check", f"TESTS={program}")) > 0


def test_the_ring_has_no_data_race() -> None:
    sources = f"SOURCES={ROOT / 'kmodule/core/ring.c'}"
    assert checks(make("check", "SANITIZER=thread", "TESTS=test_ring", sources)) > 0


def test_a_check_that_fails_fails_its_program(tmp_path: Path) -> None:
    need("cc", "gcc libc6-dev")
    source = tmp_path / "test_frame.c"
    source.write_text(
        '#include "check.h"\n'
        "TEST(right) { CHECK(1); CHECK_EQUAL(-1, -1); CHECK_NEAR(5, 7, 2); }\n"
        "TEST(wrong) { CHECK(2 > 3); CHECK_EQUAL(4 + 1, 6); CHECK_NEAR(5, 8, 2); }\n"
        "TEST_MAIN()\n"
    )
    program = tmp_path / "test_frame"
    subprocess.run(["cc", "-Wall", "-Wextra", "-Werror", f"-I{C_TESTS}", source, "-o", program], check=True)
    both = subprocess.run([program], capture_output=True, text=True)
    right = subprocess.run([program, "right"], capture_output=True, text=True)
    neither = subprocess.run([program, "other"], capture_output=True, text=True)
    assert [line.split(": ", 2)[1:] for line in both.stdout.splitlines()] == [
        ["wrong", "not 2 > 3"],
        ["wrong", "4 + 1 is 5, not 6 (6)"],
        ["wrong", "5 is 5, not within 2 of 8 (8)"],
        [],
    ]
    assert both.returncode == 1 and both.stdout.endswith("6 checks, 3 failed\n")
    assert right.returncode == 0 and right.stdout == "3 checks, 0 failed\n"
    assert neither.returncode == 1 and neither.stdout == "0 checks, 0 failed\n"


@pytest.mark.parametrize("fuzzer", FUZZERS)
def test_hostile_bytes_do_no_harm(fuzzer: str, tmp_path: Path) -> None:
    need_libfuzzer(tmp_path)
    assert any((C_TESTS / "corpus" / fuzzer).iterdir())
    done = make("fuzz", f"FUZZERS={fuzzer}", f"FUZZ_SECONDS={SECONDS}", f"FOUND={tmp_path / 'found'}")
    crashes = [path.read_bytes()[:400] for path in (tmp_path / "found").iterdir() if path.is_file()]
    assert done.returncode == 0 and "DONE" in done.stdout, f"{done.stdout[-4000:]}\n{crashes}"


@pytest.mark.parametrize("variant", ["", "BLOCKING"])
def test_no_interleaving_of_writer_and_reader_breaks_the_ring(variant: str) -> None:
    need("spin", "spin")
    done = make("model", f"VARIANT={variant}")
    assert done.returncode == 0, done.stdout
    assert "assertion violations	+" in done.stdout and "invalid end states	+" in done.stdout


@pytest.mark.parametrize(
    "variant",
    [
        "WRITER_WITHOUT_ACQUIRE",
        "WRITER_WITHOUT_RELEASE",
        "READER_WITHOUT_ACQUIRE",
        "READER_WITHOUT_RELEASE",
        "ROOM_FOR_ONE_MORE",
    ],
)
def test_the_model_finds_what_each_ordering_and_bound_is_for(variant: str) -> None:
    need("spin", "spin")
    done = make("model", f"VARIANT={variant}")
    assert done.returncode != 0 and "assertion violated" in done.stdout, done.stdout
