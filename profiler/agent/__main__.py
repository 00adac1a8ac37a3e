"""``python3 -m edgeprof.profiler.agent SPEC.json``: capture on a machine that has nothing but Python.

Prints the capture directory's path as the last line of its standard error and exits with the workload's code.
"""

import sys
from typing import List

from edgeprof import __version__
from edgeprof.profiler.agent.capture import capture
from edgeprof.profiler.agent.spec import USAGE, CaptureError, RunSpec


def main(arguments: List[str]) -> int:
    """Run one capture from a spec file."""
    if len(arguments) != 1:
        print("usage: python3 -m edgeprof.profiler.agent SPEC.json", file=sys.stderr)
        return USAGE
    try:
        with open(arguments[0], encoding="utf-8") as file:
            text = file.read()
    except (OSError, UnicodeDecodeError) as error:
        print("edgeprof: cannot read {}: {}".format(arguments[0], error), file=sys.stderr)
        return USAGE
    try:
        outcome = capture(RunSpec.from_json(text), version=__version__)
    except CaptureError as error:
        print("edgeprof: {}".format(error), file=sys.stderr)
        return error.exit_code
    print(outcome.path, file=sys.stderr)
    return outcome.code()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
