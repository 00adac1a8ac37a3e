"""``python3 -m edgeprof.profiler.guest.agent FOLDER``: edgeprof's agent, inside a guest.

FOLDER has the run's ``spec.json`` and ``job.json``.  As `edgeprof.profiler.agent`; before it, the data are read into
the guest's page cache if that is asked for, and how much of them is there is measured, for ``data.json``.  What the
agent itself cannot do is written to ``failure.json``, for the host to tell: standard error is the workload's alone.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from edgeprof import __version__
from edgeprof.profiler.agent.capture import capture
from edgeprof.profiler.agent.spec import CaptureError, RunSpec


def main(folder: Path) -> int:
    """Run one capture; the workload's exit code, or the agent's."""
    job = json.loads((folder / "job.json").read_text())
    try:
        spec = RunSpec.from_json((folder / "spec.json").read_text("utf-8"))
        facts = _begin(Path(job["data"]), job["warm"], spec.memory_limit) if job["data"] else {}
        code = capture(spec, version=__version__).code()
        if job["data"]:
            facts["residency_after"] = _residency(Path(job["data"]))
            _write(folder / "data.json", facts)
    except CaptureError as error:
        _write(folder / "failure.json", {"error": str(error), "exit_code": error.exit_code})
        return error.exit_code
    return code


def _begin(data: Path, warm: bool, memory_limit: int | None) -> dict[str, Any]:
    from edgeprof.profiler.storage.cache import make_warm
    from edgeprof.profiler.storage.residency import files_below

    notes: list[str] = []
    if warm:
        make_warm(files_below(data), memory_limit, notes.append)
    return {"residency_before": _residency(data), "notes": notes}


def _residency(data: Path) -> dict[str, Any]:
    from edgeprof.profiler.storage.residency import files_below, residency

    return residency(files_below(data)).facts()


def _write(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content))


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
