"""``python3 -m edgeprof.profiler.agent SPEC.json``: capture on a machine that has nothing but Python.

Prints the capture directory's path as the last line of its standard error and exits with the workload's code.
"""

import sys
from typing import List

from edgeprof.profiler.agent.capture import capture
from edgeprof.profiler.agent.spec import USAGE, CaptureError, RunSpec


def main(arguments: List[str]) -> int:
    """Run one capture from a spec file."""
    if len(arguments) != 1:
        print("usage: python3 -m edgeprof.profiler.agent SPEC.json", file=sys.stderr)
        return USAGE
    try:
        with open(arguments[0]) as file:
            spec = RunSpec.from_json(file.read())
        outcome = capture(spec)
    except OSError as error:
        print("edgeprof: cannot read {}: {}".format(arguments[0], error.strerror), file=sys.stderr)
        return USAGE
    except CaptureError as error:
        print("edgeprof: {}".format(error), file=sys.stderr)
        return error.exit_code
    print(outcome.path, file=sys.stderr)
    return outcome.code()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
