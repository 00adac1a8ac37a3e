"""What is inside of kml.ko, as a kernel's own makefiles build it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from edgeprof.kmodule import build
from edgeprof.kmodule.errors import ToolMissing
from edgeprof.profiler.guest.architecture import ARM64, X86_64, Architecture
from tests.guest.machine import NoGuest, build_tree, release_kernel
from tests.kml_objects import KML, compiled, float_instructions, skip_without_tools, symbols


def without_suffix(name: str) -> str:
    """``loss_of.isra.0`` -> ``loss_of``: compilers name so what they made of a function."""
    return name.partition(".")[0]


@pytest.mark.guest
@pytest.mark.timeout(300)
@pytest.mark.parametrize("architecture", [X86_64, ARM64], ids=lambda architecture: architecture.kernel)
def test_only_the_float_trainer_has_floating_point_instructions(architecture: Architecture, tmp_path: Path) -> None:
    skip_without_tools(architecture)
    try:
        module = build.module(build_tree(release_kernel("6.1", architecture)))
    except (NoGuest, ToolMissing) as reason:
        pytest.skip(str(reason))
    unit = compiled(architecture, [KML / "core/float_train.c"], tmp_path, ["-fno-inline"])
    float_unit = {name for name, kind in symbols(architecture, unit) if kind in "tT"}
    found = Counter(without_suffix(function) for function, _ in float_instructions(architecture, module))
    assert found["kml_float_train"] > 0
    assert set(found) <= float_unit
