"""Makes one data set in a process of its own: ``python -m edgeprof.workloads.data SPEC-AS-JSON FOLDER``.

Progress goes to standard error, line by line; the last line on standard output is the data set's path.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from edgeprof.workloads.data.errors import DataError
from edgeprof.workloads.data.make import make
from edgeprof.workloads.data.spec import DataSpec
from edgeprof.workloads.errors import WorkloadError


def main(arguments: Sequence[str]) -> int:
    """Make it; 2: it could not be made, and standard error ends with the reason."""

    def say(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    try:
        path = make(DataSpec(**json.loads(arguments[0])), Path(arguments[1]), say)
    except (DataError, WorkloadError) as error:
        say(str(error))
        return 2
    except KeyboardInterrupt:
        return 130
    print(path, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
