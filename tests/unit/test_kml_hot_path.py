"""What may run on an I/O path: no floating-point instruction, no import but plain copies, little stack."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from edgeprof.kmodule import tables
from edgeprof.profiler.guest.architecture import ARM64, X86_64, Architecture, here
from tests.kml_objects import KML, compiled, float_instructions, imports, reserved_stack, skip_without_tools

STACK_LIMIT = 512
LOADING = {"model_file", "request"}
"""Units that only run for a process which loads a model or asks for something."""
ALLOWED_IMPORTS = {"memcmp", "memcpy", "memmove", "memset"}
"""What a compiler may call for plain C, and the kernel has."""


@pytest.fixture(scope="module", params=[X86_64, ARM64], ids=lambda architecture: architecture.kernel)
def architecture(request: pytest.FixtureRequest) -> Architecture:
    chosen: Architecture = request.param
    skip_without_tools(chosen)
    return chosen


@pytest.fixture(scope="module")
def hot_objects(architecture: Architecture, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The core without its unit for floating point, which the module only runs in FPU sections.

    Any float would be an error of the compiler already; the tests look at what came out.
    """
    units = [path for path in sorted((KML / "core").glob("*.c")) if not path.name.startswith("float_")]
    folder = tmp_path_factory.mktemp(architecture.name)
    return compiled(architecture, units, folder, ["-mgeneral-regs-only", "-fstack-usage"])


def test_fixed_point_objects_have_no_floating_point_instruction(
    architecture: Architecture, hot_objects: list[Path]
) -> None:
    found = {made.name: float_instructions(architecture, made) for made in hot_objects}
    assert len(found) >= 10
    assert {name: instructions for name, instructions in found.items() if instructions} == {}


def test_fixed_point_objects_import_nothing_but_plain_copies(
    architecture: Architecture, hot_objects: list[Path]
) -> None:
    assert imports(architecture, hot_objects) <= ALLOWED_IMPORTS


def test_no_function_of_the_io_path_reserves_more_stack_than_allowed(hot_objects: list[Path]) -> None:
    reserved = [function for made in hot_objects if made.stem not in LOADING for function in reserved_stack(made)]
    assert len(reserved) >= 50
    assert [function for function in reserved if function[1] > STACK_LIMIT or function[2] != "static"] == []


def test_a_floating_point_instruction_and_an_import_would_be_found(architecture: Architecture, tmp_path: Path) -> None:
    source = tmp_path / "intruder.c"
    source.write_text("double half(double *x); double half(double *x) { *x /= 2; return __builtin_pow(*x, *x); }\n")
    made = compiled(architecture, [source], tmp_path)
    assert {function for function, _ in float_instructions(architecture, made[0])} == {"half"}
    assert imports(architecture, made) == {"pow"}


def test_hot_functions_touch_little_stack(tmp_path: Path) -> None:
    if shutil.which("gcc") is None:
        pytest.skip("no C compiler here: apt-get install gcc")
    units = [*sorted((KML / "core").glob("*.c")), KML / "tests/stack.c"]
    program = tmp_path / "stack"
    words = ["gcc", "-no-pie", *map(str, compiled(here(), units, tmp_path)), "-o", str(program)]
    subprocess.run(words, check=True, timeout=60)
    lines = subprocess.run([str(program)], check=True, capture_output=True, text=True, timeout=60).stdout.splitlines()
    used = {name: int(count) for count, name in (line.split("\t") for line in lines)}
    assert len(used) >= 15
    assert used["kml_infer, network"] > used["kml_fx_exp"] > 0
    assert {name: count for name, count in used.items() if count > STACK_LIMIT} == {}


def test_the_committed_tables_are_those_of_their_script() -> None:
    assert tables.HEADER.read_text() == tables.text()
