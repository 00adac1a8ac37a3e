"""What an inference costs, in instructions: unlike nanoseconds, the same on a busy machine."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

from edgeprof.kmodule import build
from edgeprof.kmodule.errors import KmlError
from edgeprof.kmodule.library import FloatArray, to_fixed
from edgeprof.kmodule.model import Model

ROWS = 8
"""Inputs that it is counted with: a tree takes another way with each."""
_SECONDS = 60


class CannotCount(KmlError):
    """Instructions cannot be counted here."""

    def __init__(self, why: str) -> None:
        super().__init__(f"the instructions of an inference cannot be counted: {why}")


def instructions(model: Model, inputs: FloatArray) -> int:
    """The most that one inference took, over `ROWS` of the inputs (real numbers), on this processor.

    Raises:
        CannotCount: this machine lets no process step another, as some containers do.
        CannotBuild: there is no compiler.
    """
    program = build.program(build.SOURCES / "tests" / "instructions.c")
    chosen = to_fixed(inputs[:: max(1, len(inputs) // ROWS)][:ROWS])
    with tempfile.TemporaryDirectory() as folder:
        files = Path(folder, "model.kml"), Path(folder, "inputs")
        files[0].write_bytes(model.save())
        files[1].write_bytes(chosen.tobytes())
        try:
            done = subprocess.run([program, *files], capture_output=True, text=True, timeout=_SECONDS)
        except subprocess.TimeoutExpired:
            raise CannotCount(f"it took longer than {_SECONDS} s") from None
    if done.returncode:
        raise CannotCount(done.stderr.strip() or f"the counting program ended with {done.returncode}")
    return max(int(line) for line in done.stdout.split())
