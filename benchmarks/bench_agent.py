"""What the agent costs a board: the zipapp's size, its start, and its memory and CPU time while it captures.

Here by default; on a board with ``--ssh``, the words that reach it (``--ssh 'ssh -F config board'``), or on an emulated
arm64 board with ``--arm64``.
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from common import ROOT, machine, progress, spread, table

sys.path.insert(0, str(ROOT))
from edgeprof.profiler.board import zipapp

COSTS = Path(__file__).parent / "agent_costs.py"


def measure(
    prefix: Sequence[str] = (), python: str = "python3", repeats: int = 10, seconds: float = 30.0
) -> dict[str, Any]:
    """What the agent costs, measured where ``prefix`` leads: words before a shell line, as of ssh; none: here.

    Returns what `agent_costs.main` prints, and ``size``: the zipapp's bytes.
    """
    agent = zipapp.build()
    shell = list(prefix) or ["sh", "-c"]
    folder = _run(shell, "mktemp -d").decode().strip()
    try:
        for path in (agent.path, COSTS):
            _run(shell, f"cat > {shlex.quote(f'{folder}/{path.name}')}", path.read_bytes())
        words = [python, "-I", "-B", f"{folder}/{COSTS.name}", f"{folder}/{agent.name}", str(repeats), str(seconds)]
        found: dict[str, Any] = json.loads(_run(shell, shlex.join(words)))
    finally:
        _run(shell, f"rm -r {shlex.quote(folder)}")
    return {**found, "size": agent.size}


def _run(shell: Sequence[str], line: str, stdin: bytes = b"") -> bytes:
    return subprocess.run([*shell, line], input=stdin, stdout=subprocess.PIPE, check=True, timeout=900).stdout


def report(found: dict[str, Any]) -> str:
    """The figures as a table, with what they should be."""
    starts, cost = found["starts"], found["capture"]
    beyond = [hello[0] - bare[0] for bare, hello in zip(starts["python"], starts["hello"], strict=True)]
    cpu = [hello[1] - bare[1] for bare, hello in zip(starts["python"], starts["hello"], strict=True)]
    by_cgroup = cost["cgroup_cpu_share"]
    rows = [
        ["zipapp", f"{found['size'] / 1000:.0f} kB", "at most 300 kB"],
        ["Python's own start", f"{spread([wall for wall, _ in starts['python']], 0, 1e3)} ms", ""],
        ["the agent's start beyond that", f"{spread(beyond, 0, 1e3)} ms", "below 500 ms on an emulated Cortex-A57"],
        ["its CPU time", f"{spread(cpu, 0, 1e3)} ms", ""],
        ["from `start` to the reservation", f"{cost['start_seconds'] * 1e3:.0f} ms", ""],
        ["CPU time before the workload's exec", f"{cost['setup_cpu_seconds'] * 1e3:.0f} ms", ""],
        ["memory while capturing (peak RSS)", f"{cost['peak_rss_bytes'] / 2**20:.1f} MiB", "at most 40 MB"],
        ["CPU at 10 Hz, its own account", f"{cost['own_cpu_share']:.2%} of a core", "at most 0.5 %"],
        [
            "CPU at 10 Hz, its cgroup's account",
            cost["cgroup_reason"] if by_cgroup is None else f"{by_cgroup:.2%} of a core",
            "at most 0.5 %",
        ],
    ]
    where = f"{found['machine']}, {found['cpus']} CPUs, Linux {found['kernel']}, Python {found['python']}"
    names = ", ".join(cost["collectors"])
    stretch = "" if cost["sampling_stretch"] == 1 else f"; the interval was stretched {cost['sampling_stretch']} times"
    return f"On {where}; capturing {names}{stretch}.\n\n{table(['what', 'measured', 'goal'], rows)}"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ssh", default="", help="words that reach a board, such as 'ssh board'")
    parser.add_argument("--arm64", action="store_true", help="boot an emulated arm64 board and measure there")
    parser.add_argument("--python", default="", help="the Python to use there")
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=30.0, help="of capture")
    options = parser.parse_args()
    here = not (options.ssh or options.arm64)
    python = options.python or (sys.executable if here else "python3")
    print(f"Measured on: {machine()}.\n")
    if options.arm64:
        from tests.guest.arm64_board import NAME, booted

        with booted() as board:
            progress("the emulated board is up")
            prefix = [str(board.ssh), NAME]
            print(report(measure(prefix, python, options.repeats, options.seconds)))
    else:
        print(report(measure(shlex.split(options.ssh), python, options.repeats, options.seconds)))


if __name__ == "__main__":
    main()
