"""What edgeprof and the usual tools cost the same load: wall time added, CPU of the tool, records lost.

Two loads, each the same work whoever watches it: a CNN training (the demo's, with one loader process and one thread,
so that its own time is steady on two CPUs), and direct 4 KiB reads at 20,000 a second.  Tools take turns in random
order, round after round, so that a machine's slow moments meet all of them; ratios are taken within a round, against
the run without any tool.

Run as root on an otherwise idle machine: ``python benchmarks/bench_overhead.py [--rounds 5]``.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shlex
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from common import EDGEPROF, ROOT, loop_device, machine, progress, spread, table

BLOCK_EVENTS = ("block:block_getrq", "block:block_rq_issue", "block:block_rq_complete")
IOPS, SECONDS = 20000, 10


@dataclass
class Measured:
    """Repeats of one tool on one load.

    Wall time ratios, CPU as share of a core while the load ran, CPU seconds before and after, bytes a second, lost.
    """

    ratios: list[float] = field(default_factory=list)
    shares: list[float] = field(default_factory=list)
    fixed: list[float] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)
    lost: list[int | None] = field(default_factory=list)
    memory: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Tool:
    """How a tool watches a command: ``wrap`` puts it around, ``beside`` starts it before and ends it after."""

    name: str
    wrap: Callable[[list[str], Path], list[str]] | None = None
    beside: Callable[[Path], list[str]] | None = None
    needs: str = ""


def edgeprof_run(*options: str) -> Callable[[list[str], Path], list[str]]:
    """``edgeprof run`` around a command, without reading the capture afterwards."""
    return lambda command, out: [
        EDGEPROF,
        "run",
        "-q",
        "--no-ingest",
        "-o",
        str(out / "runs"),
        *options,
        "--",
        *command,
    ]


def perf_record(out: Path) -> list[str]:
    """perf writing the block events of the whole machine to a file."""
    return ["perf", "record", "-q", "-a", "-o", str(out / "perf.data"), *(f"-e{event}" for event in BLOCK_EVENTS)]


def bpftrace(out: Path) -> list[str]:
    """bpftrace printing the block events of the whole machine to a file."""
    program = "".join(
        f'tracepoint:{event} {{ printf("%llu %d %llu\\n", nsecs, args->dev, args->sector); }} '
        for event in BLOCK_EVENTS
    )
    return ["bpftrace", "-q", "-o", str(out / "bpf.txt"), "-e", program]


def psrecord(command: list[str], out: Path) -> list[str]:
    """psrecord sampling the workload and its children as often as edgeprof does."""
    program = str(Path(sys.executable).parent / "psrecord")
    options = ["--include-children", "--include-io", "--interval", "0.1", "--log", str(out / "psrecord.txt")]
    return [program, *options, shlex.join(command)]


def strace(command: list[str], out: Path) -> list[str]:
    """strace counting the system calls of the workload and its children."""
    return ["strace", "-f", "-c", "-o", str(out / "strace.txt"), *command]


TOOLS = (
    Tool("nothing"),
    Tool("edgeprof run", wrap=edgeprof_run()),
    Tool("edgeprof run --collect deep", wrap=edgeprof_run("--collect", "deep")),
    Tool("perf record -a, block events", beside=perf_record, needs="perf"),
    Tool("bpftrace, block events", beside=bpftrace, needs="bpftrace"),
    Tool("pidstat -u -d -r 1", beside=lambda out: ["pidstat", "-u", "-d", "-r", "1"], needs="pidstat"),
    Tool("psrecord --include-children", wrap=psrecord),
    Tool("strace -f -c", wrap=strace, needs="strace"),
)


def run_once(tool: Tool, command: list[str], out: Path) -> tuple[float, dict[str, float]]:
    """Run ``command`` under a tool; returns its wall time and the tool's figures.

    ``total``: CPU seconds of the tool from its start to its end, as the kernel told when it was waited for; ``during``:
    the part while the load ran, as edgeprof says of itself, or read from /proc at the load's start and end.  What
    wraps a load without telling the two apart has only the total.
    """
    result = out / "timed.json"
    timed = [sys.executable, str(ROOT / "benchmarks" / "timed.py"), str(result), *command]
    figures: dict[str, float] = {}
    beside = None
    if tool.beside:
        beside = subprocess.Popen(tool.beside(out), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        time.sleep(2)  # until it has attached; bpftrace does not say when it has
        before = cpu_of_tree(beside.pid)
    whole = tool.wrap(timed, out) if tool.wrap else timed
    process = subprocess.Popen(whole, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if os.waitstatus_to_exitcode(status) != 0 and not result.exists():
        raise SystemExit(f"{tool.name}: the workload failed; run it by hand: {whole}")
    measured = json.loads(result.read_text())
    figures["total"] = usage.ru_utime + usage.ru_stime - measured["cpu"] - python_cost()
    if beside is not None:
        figures["during"] = cpu_of_tree(beside.pid) - before
        beside.send_signal(signal.SIGINT)
        message = beside.stderr.read().decode("utf-8", "replace") if beside.stderr else ""
        _, _, own = os.wait4(beside.pid, 0)
        figures["total"] = own.ru_utime + own.ru_stime
        lost = [int(word) for line in message.splitlines() if "ost" in line for word in line.split() if word.isdigit()]
        figures["lost"] = float(sum(lost))
    if tool.name.startswith("edgeprof"):
        figures.update(own_account(out))
    else:
        files = [path for path in out.iterdir() if path.is_file() and path.name not in ("timed.json", "model.pt")]
        figures["bytes"] = float(sum(path.stat().st_size for path in files))
        for path in files:
            path.unlink()
    result.unlink()
    return measured["wall"], figures


def own_account(out: Path) -> dict[str, float]:
    """What edgeprof's manifest says of its cost; the capture is removed."""
    manifest = json.loads(next((out / "runs").glob("*/manifest.json")).read_text())
    overhead = manifest["overhead"]
    figures = {
        "during": overhead["cpu_share"] * manifest["run"]["wall_time"],
        "bytes": float(overhead["bytes_written"]),
        "memory": float(overhead["peak_rss_bytes"]),
    }
    if overhead["lost_records"] is not None:
        figures["lost"] = float(overhead["lost_records"])
    shutil.rmtree(out / "runs")
    return figures


def cpu_of_tree(pid: int) -> float:
    """CPU seconds so far of a process and its children, dead ones included."""
    process = psutil.Process(pid)
    times = [item.cpu_times() for item in [process, *process.children(recursive=True)]]
    ended = process.cpu_times()
    return sum(item.user + item.system for item in times) + ended.children_user + ended.children_system


_PYTHON_COST: list[float] = []


def python_cost() -> float:
    """CPU seconds of ``timed.py`` itself, which runs beside the workload under every tool."""
    if not _PYTHON_COST:
        with tempfile.TemporaryDirectory() as folder:
            for _ in range(5):
                before = os.times()
                command = [sys.executable, str(ROOT / "benchmarks/timed.py"), folder + "/x.json", "true"]
                subprocess.run(command, check=True)
                after = os.times()
                used = after.children_user + after.children_system - before.children_user - before.children_system
                _PYTHON_COST.append(used - json.loads(Path(folder + "/x.json").read_text())["cpu"])
    return statistics.median(_PYTHON_COST)


def measure(load: str, command: list[str], tools: list[Tool], rounds: int, out: Path) -> str:
    """All tools on one load, round after round in random order; a Markdown table."""
    results = {tool.name: Measured() for tool in tools}
    order = random.Random(1)
    for number in range(rounds):
        walls: dict[str, float] = {}
        for tool in order.sample(tools, len(tools)):
            progress(f"{load}, round {number + 1} of {rounds}: {tool.name}")
            wall, figures = run_once(tool, command, out)
            walls[tool.name] = wall
            entry = results[tool.name]
            entry.shares.append(max(0.0, figures.get("during", figures["total"])) / wall)
            if "during" in figures:
                entry.fixed.append(max(0.0, figures["total"] - figures["during"]))
            entry.rates.append(figures.get("bytes", 0.0) / wall)
            entry.lost.append(int(figures["lost"]) if "lost" in figures else None)
            if "memory" in figures:
                entry.memory.append(figures["memory"])
        for name, wall in walls.items():
            results[name].ratios.append(wall / walls["nothing"])
    rows = [row(name, entry) for name, entry in results.items()]
    return table(HEADER, rows)


HEADER = (
    "tool",
    "wall time / without",
    "CPU while the load ran, % of one core",
    "CPU before and after, s",
    "MB/s written",
    "records lost",
    "peak memory, MB",
)


def row(name: str, entry: Measured) -> list[str]:
    """One tool's line."""
    lost = [item for item in entry.lost if item is not None]
    return [
        name,
        spread(entry.ratios, 3),
        "-" if name == "nothing" else spread(entry.shares, 2, 100),
        spread(entry.fixed, 2) if entry.fixed else "-",
        spread(entry.rates, 2, 1e-6) if max(entry.rates) > 1e4 else "-",
        str(sum(lost)) if lost else "-",
        spread(entry.memory, 1, 1e-6) if entry.memory else "-",
    ]


def main() -> None:
    """Measure and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--load", choices=["training", "reads"], action="append", help="default: both")
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    tools = [tool for tool in TOOLS if not tool.needs or shutil.which(tool.needs)]
    for tool in TOOLS:
        if tool not in tools:
            progress(f"left out: {tool.name}; {tool.needs} is not installed")
    print(f"Measured on: {machine()}.\n")
    loads = options.load or ["training", "reads"]
    if "training" in loads:
        with tempfile.TemporaryDirectory() as folder:
            images = ROOT / ".cache" / "demo" / "images"
            script = ROOT / "benchmarks" / "demo" / "train.py"
            subprocess.run(
                [sys.executable, str(script.with_name("make_images.py")), str(images)], check=True, stdout=sys.stderr
            )
            command = [
                sys.executable,
                str(script),
                str(images),
                "--epochs",
                "1",
                "--workers",
                "1",
                "--checkpoint",
                folder + "/model.pt",
            ]
            print("### A CNN training, one loader process and one thread\n")
            print(measure("training", command, tools, options.rounds, Path(folder)), "\n")
    if "reads" in loads:
        shm = "/dev/shm" if Path("/dev/shm").is_dir() else None
        with (
            tempfile.TemporaryDirectory(dir=shm) as disk,
            tempfile.TemporaryDirectory() as folder,
            loop_device(Path(disk), 512 << 20) as device,
        ):
            print(f"### Direct 4 KiB reads at {IOPS} a second for {SECONDS} s\n")
            print(measure("reads", reads(device), tools, options.rounds, Path(folder)), "\n")


def reads(device: str) -> list[str]:
    """fio reading a device at a fixed rate."""
    options = {
        "name": "reads", "filename": device, "direct": 1, "rw": "randread", "bs": "4k", "size": "512M",
        "ioengine": "libaio", "iodepth": 8, "rate_iops": IOPS, "runtime": SECONDS, "output": "/dev/null",
    }  # fmt: skip
    return ["fio", "--time_based", *(f"--{key}={value}" for key, value in options.items())]


if __name__ == "__main__":
    main()
