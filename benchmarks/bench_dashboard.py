"""How soon the dashboard shows something: a folder of 10,000 runs, and a run with a million block requests.

The times are the server's: what a browser waits for before it draws.  A fresh process serves each repeat, and finds
its bytecode as an installed edgeprof does; one that is not measured comes first.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from common import EDGEPROF, ROOT, machine, progress, spread, table

sys.path.insert(0, str(ROOT))
from edgeprof.dashboards.app.pages import PAGES
from edgeprof.dashboards.app.view import link
from tests.synthetic_run import Shape, write_run

STARTED = "20261121T{:02d}{:02d}{:02d}Z-bench-{:06x}"
ZOOMS = ((0.0, 1.0), (0.40, 0.60), (0.49, 0.51))
"""Windows of the large run, as parts of it."""


def make_folder(folder: Path, runs: int) -> None:
    """Many small runs: copies of one, each with a manifest of its own."""
    model = write_run(folder.parent / "model", Shape(seconds=2, steps=4, requests=100), only=("system",))
    manifest = json.loads((model / "manifest.json").read_text())
    metrics, system = (model / "metrics.parquet").read_bytes(), (model / "tables" / "system.parquet").read_bytes()
    for number in range(runs):
        minutes, seconds = divmod(number, 60)
        hours, minutes = divmod(minutes, 60)
        run = folder / STARTED.format(hours % 24, minutes, seconds, number)
        (run / "tables").mkdir(parents=True)
        manifest["run"] |= {
            "name": f"bench {number}",
            "started": f"2026-11-21T{hours % 24:02d}:{minutes:02d}:{seconds:02d}Z",
        }
        manifest["factors"]["model"] = f"model{number % 7}"
        (run / "manifest.json").write_text(json.dumps(manifest))
        (run / "metrics.parquet").write_bytes(metrics)
        (run / "tables" / "system.parquet").write_bytes(system)


@contextmanager
def dashboard(folder: Path, cache: Path) -> Iterator[tuple[subprocess.Popen[str], str, float]]:
    """A dashboard over a folder: its process, its address, and when it was started."""
    began = time.perf_counter()
    environment = {**os.environ, "XDG_CACHE_HOME": str(cache), "PYTHONPATH": str(ROOT)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    command = [EDGEPROF, "dashboard", str(folder), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        try:
            assert process.stdout is not None
            yield process, process.stdout.readline().split()[0].rstrip("/"), began
        finally:
            process.terminate()


def posted(address: str, body: dict[str, Any]) -> bytes:
    """The answer to a callback."""
    headers = {"Content-Type": "application/json", "Origin": address}
    request = urllib.request.Request(f"{address}/_dash-update-component", json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, timeout=300) as answer:
        return bytes(answer.read())


def page(address: str, view: str) -> bytes:
    """A page's components."""
    inputs = [{"id": "address", "property": "data", "value": view}]
    return posted(
        address, {"output": "page.children", "outputs": {"id": "page", "property": "children"}, "inputs": inputs}
    )


def figures(address: str, path: str, view: str) -> int:
    """All figures of a page for a view, one after the other; their bytes."""
    total = 0
    for figure in next(item for item in PAGES if item.path == path).figures:
        place = {"type": "drawing", "key": figure.key, "kind": "time" if figure.time else "plain"}
        parts = (("drawing", "data"), ("words", "children"))
        names = [f'{{"key":["MATCH"],"kind":["MATCH"],"type":"{kind}"}}.{name}' for kind, name in parts]
        body = {
            "output": f"..{names[0]}...{names[1]}..",
            "outputs": [{"id": {**place, "type": kind}, "property": name} for kind, name in parts],
            "inputs": [{"id": "view", "property": "data", "value": view}],
            "state": [{"id": place, "property": "id", "value": place}],
        }
        total += len(posted(address, body))
    return total


def memory(process: subprocess.Popen[str], what: str) -> float:
    """Bytes that a process has (``VmRSS``) or had at most (``VmHWM``)."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith(what))
    return float(line.split()[1]) * 1024


def timed(work: Any, *arguments: Any) -> float:
    """Seconds that a call takes."""
    began = time.perf_counter()
    work(*arguments)
    return time.perf_counter() - began


def measure_folder(folder: Path, runs: int, repeats: int) -> list[list[str]]:
    """From the start of the command to the first page, without a stored index and with one; then other views."""
    found: dict[str, list[float]] = {}
    for repeat in range(repeats):
        with tempfile.TemporaryDirectory() as cache:
            for kind in ("cold", "stored"):
                with dashboard(folder, Path(cache)) as (process, address, began):
                    first = page(address, "/")
                    found.setdefault(f"first page, {kind} index", []).append(time.perf_counter() - began)
                    assert b"run?run=" in first
                    while b"Reading the runs" in page(address, "/"):
                        time.sleep(0.2)
                    if kind == "cold":
                        found.setdefault("all runs read", []).append(time.perf_counter() - began)
                    found.setdefault("a filter", []).append(timed(page, address, "/?q=model%3Dmodel3%20wall_time%3E1s"))
                    found.setdefault("a sort", []).append(timed(page, address, "/?sort=-throughput"))
                    found.setdefault("memory at most, MB", []).append(memory(process, "VmHWM") / 1e6)
        progress(f"folder of {runs}: {repeat + 1} of {repeats}")
    return [
        [name, spread(values, 0) if name.endswith("MB") else f"{spread(values, 3)} s"] for name, values in found.items()
    ]


def measure_run(folder: Path, run: str, seconds: float, repeats: int) -> list[list[str]]:
    """A run's pages: opened first, opened again, and zoomed, with all figures of the page."""
    rows = []
    for path in [item.path for item in PAGES if item.of_run]:
        found: dict[str, list[float]] = {}
        for _ in range(repeats):
            with tempfile.TemporaryDirectory() as cache, dashboard(folder, Path(cache)) as (process, address, _):
                page(address, "/")
                for number, (begin, end) in enumerate(ZOOMS):
                    window = f"{begin * seconds:g},{end * seconds:g}" if number else None
                    view = link(path, run=run, t=window)
                    took = timed(page, address, view) if number == 0 else 0.0
                    took += timed(figures, address, path, view)
                    found.setdefault(str(number), []).append(took)
                found.setdefault("memory", []).append(memory(process, "VmHWM") / 1e6)
        rows.append([path, *(spread(found[str(n)], 3) for n in range(len(ZOOMS))), spread(found["memory"], 0)])
        progress(f"{path}: done")
    return rows


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--requests", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="Where the runs are made.  [default: a temporary folder]")
    options = parser.parse_args(arguments)
    place = options.folder or Path(tempfile.mkdtemp(prefix="edgeprof-bench-"))
    try:
        many, large = place / "many", place / "large"
        progress(f"making {options.runs} runs, and one of {options.requests} requests")
        make_folder(many, options.runs)
        with tempfile.TemporaryDirectory() as cache, dashboard(many, Path(cache)) as (_, address, _):
            page(address, "/")
        name = STARTED.format(12, 0, 0, 1)
        seconds = 600.0
        write_run(large / name, Shape(seconds=seconds, steps=4000, requests=options.requests))
        print(f"Measured on: {machine()}.\n\n### A folder of {options.runs:,} runs\n")
        print(
            table(
                ["what", "time from the request, or from the command's start"],
                measure_folder(many, options.runs, options.repeats),
            )
        )
        print(f"\n### A run of {seconds:g} s with {options.requests:,} block requests: all figures of a page, s\n")
        heads = [
            "page",
            "opened",
            *(f"zoomed to {100 * (end - begin):.0f} %" for begin, end in ZOOMS[1:]),
            "memory at most, MB",
        ]
        print(table(heads, measure_run(large, name, seconds, options.repeats)))
    finally:
        if options.folder is None:
            shutil.rmtree(place)


if __name__ == "__main__":
    main()
