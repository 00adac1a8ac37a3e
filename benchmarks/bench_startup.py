"""How long `edgeprof --help` takes, beside a bare Python and one that imports click."""

from __future__ import annotations

import subprocess
import sys
import time

from common import EDGEPROF, machine, spread, table

COMMANDS = {
    "python -c pass": [sys.executable, "-c", "pass"],
    "python -c 'import click'": [sys.executable, "-c", "import click"],
    "edgeprof --help": [EDGEPROF, "--help"],
    "edgeprof run --help": [EDGEPROF, "run", "--help"],
}


def main() -> None:
    """Measure in turns and print the table."""
    walls: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(20):
        for name, command in COMMANDS.items():
            began = time.perf_counter()
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            walls[name].append(time.perf_counter() - began)
    print(f"Measured on: {machine()}.\n")
    print(table(["command", "wall time, ms"], [[name, spread(values, 0, 1e3)] for name, values in walls.items()]))


if __name__ == "__main__":
    main()
