"""Has a model's file made before the run that loads it, so that no run is measured making it.

python -m edgeprof.workloads.ahead '{"workload": "resnet18", "framework": "litert", "data": "FOLDER"}'
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from edgeprof.workloads.catalog import WORKLOADS
from edgeprof.workloads.data.describe import describe
from edgeprof.workloads.data.errors import DataError
from edgeprof.workloads.errors import WorkloadError, WrongSpec
from edgeprof.workloads.models.export import CONVERTERS, ready
from edgeprof.workloads.spec import WorkloadSpec


def main(arguments: Sequence[str]) -> int:
    """Make what the spec's framework loads; returns the exit code, and an error's sentence is the last line."""
    try:
        spec = WorkloadSpec.from_json(arguments[0])
        if spec.framework in CONVERTERS:
            ready(spec, WORKLOADS[spec.workload], describe(Path(spec.data)))
    except (WorkloadError, WrongSpec, DataError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
