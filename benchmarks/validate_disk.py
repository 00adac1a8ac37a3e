"""How near the test disk's model comes to a real disk: fitted to one run, compared with another.

    python benchmarks/validate_disk.py FOLDER [--runs RUNS] [--rounds 100] [--json FILE]

fio's jobs on a file in FOLDER are captured with ``edgeprof run`` (as root): once jobs of one kind after the other, to
which the model's parameters are fitted, and once a mix that the fit has not seen.  Requests are then played to the
model, each as long after the end of the one before as it came then (closed loop), and the distributions of latencies
from issue to completion are compared, also with what a line for each operation (base + slope * size) makes of them.
RUNS keeps the captured runs, and one that holds them is used again.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from common import EDGEPROF, ROOT, machine, progress, table
from scipy.optimize import differential_evolution
from slow_disk import need_root

from edgeprof.kmodule import build

FILE_BYTES = 512 << 20
SECONDS = 4
"""Of each of fio's jobs."""
ALONE = {
    "random reads of 4k": ["--rw=randread", "--bs=4k"],
    "random reads of 64k": ["--rw=randread", "--bs=64k"],
    "sequential reads": ["--rw=read", "--bs=128k"],
    "random reads of 4k, queued": ["--rw=randread", "--bs=4k", "--iodepth=16"],
    "random writes of 4k": ["--rw=randwrite", "--bs=4k"],
    "random writes of 64k": ["--rw=randwrite", "--bs=64k"],
    "sequential writes": ["--rw=write", "--bs=128k"],
    "random writes of 4k, queued": ["--rw=randwrite", "--bs=4k", "--iodepth=16"],
    "random writes of 4k, synced": ["--rw=randwrite", "--bs=4k", "--fsync=1"],
}
MIXED = {
    "mixed sizes": ["--rw=randrw", "--rwmixread=70", "--bssplit=4k/60:16k/20:64k/15:128k/5", "--iodepth=4"],
    "mixed sizes, synced": ["--rw=randrw", "--bssplit=4k/70:32k/30", "--iodepth=8", "--fsync=64"],
}
OPERATIONS = {"read": 0, "write": 1, "flush": 2}
QUANTILES = (0.1, 0.5, 0.9, 0.99)
FITTED = np.concatenate([np.arange(0.02, 0.99, 0.04), [0.99, 0.995]])
"""Quantiles that the fit looks at."""
LEAST = 100
"""Requests of a kind that are compared."""
LEAST_FITTED = 20
MOST = 8_000
"""Requests that are fitted to."""
NO_CAUSE = 0xFFFFFFFF
BOUNDS = {  # parameter -> least and most in the fit; log2, except where it can be 0
    "units": (0, 6),
    "command_ns": (9, 18),
    "bus_ns_per_kib": (3, 15),
    "read_sequential_ns": (9, 21),
    "read_random_ns": (9, 21),
    "write_ns": (9, 21),
    "program_ns_per_kib": (3, 18),
    "program_random_ns": (9, 21),
    "granule_ns": (10, 21),
    "buffer_kib": (2, 16),
    "flush_ns": (9, 23),
    "gc_kib": (9, 20),
    "gc_ns": (12, 26),
    "jitter_permille": (3, 9.96),
}
CONSTANT = {"queues": 1, "depth": 1024, "stripe_kib": 16, "streams": 8, "gc_units": 1}
PARAMETERS = re.findall(r"^\s*P\((\w+),", (ROOT / "kmodule/disk/disk_model.h").read_text(), re.MULTILINE)
"""All, in the order of disk_model.h."""


@dataclass(frozen=True)
class Requests:
    """A run's requests, in the order in which they were issued: what was asked, when (ns), and of which kind it is."""

    offset: np.ndarray
    bytes: np.ndarray
    operation: np.ndarray
    issued: np.ndarray
    completed: np.ndarray
    kind: np.ndarray

    @property
    def latency(self) -> np.ndarray:
        """Nanoseconds."""
        latencies: np.ndarray = (self.completed - self.issued).astype(float)
        return latencies

    def only(self, chosen: np.ndarray) -> Requests:
        """Some of them."""
        return Requests(*(getattr(self, field.name)[chosen] for field in fields(self)))

    def played(self) -> np.ndarray:
        """As replay_disk.c's struct played: the cause of a request is the last that had ended when it was issued."""
        order = np.argsort(self.completed, kind="stable")
        before = np.searchsorted(self.completed[order], self.issued, side="right")
        cause = np.where(before > 0, order[before - 1], NO_CAUSE)
        since = np.where(before > 0, self.completed[order[before - 1]], self.issued[0])
        names = {"after": "<u8", "offset": "<u8", "bytes": "<u4", "operation": "<u4", "cause": "<u4", "unused": "<u4"}
        made = np.zeros(len(self.issued), dtype=list(names.items()))
        made["after"], made["cause"] = self.issued - since, cause
        made["offset"], made["bytes"], made["operation"] = self.offset, self.bytes, self.operation
        return made

    def kinds(self, least: int) -> list[str]:
        """Those with so many requests."""
        names, counts = np.unique(self.kind, return_counts=True)
        return [str(name) for name, count in zip(names, counts, strict=True) if count >= least]


class Model:
    """The C model of the disk, playing the requests of a run."""

    def __init__(self, requests: Requests, folder: Path, seed: int) -> None:
        path = folder / f"requests-{seed}"
        requests.played().tofile(path)
        program = build.program(ROOT / "benchmarks" / "replay_disk.c")
        self._count = len(requests.issued)
        self._process = subprocess.Popen(
            [str(program), str(path), str(seed)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def latencies(self, parameters: dict[str, int]) -> np.ndarray:
        """Nanoseconds of each request."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write((" ".join(str(parameters[name]) for name in PARAMETERS) + "\n").encode())
        self._process.stdin.flush()
        return np.frombuffer(self._process.stdout.read(8 * self._count), dtype=np.uint64).astype(float)

    def close(self) -> None:
        """End its process."""
        self._process.communicate()


def fio(path: Path, jobs: dict[str, list[str]], seed: int) -> list[str]:
    """The command that plays the jobs, one after the other."""
    words = ["fio", f"--filename={path}", f"--size={FILE_BYTES}", "--direct=1", "--ioengine=libaio", "--time_based"]
    words += [f"--runtime={SECONDS}", f"--randseed={seed}", "--overwrite=1"]
    for name, options in jobs.items():
        words += [f"--name={name}", "--stonewall", *options]
    return words


def capture(folder: Path, runs: Path) -> None:
    """Those runs that are not there yet, as RUNS/alone and RUNS/mixed."""
    need_root()
    path = folder / "validate-disk.data"
    with path.open("wb") as file:
        for _ in range(FILE_BYTES >> 20):
            file.write(os.urandom(1 << 20))
        file.flush()
        os.fsync(file.fileno())
    try:
        for seed, (name, jobs) in enumerate({"alone": ALONE, "mixed": MIXED}.items(), 1):
            if captured(runs / name):
                continue
            progress(f"capturing {name}: {len(jobs) * SECONDS} s")
            words = [EDGEPROF, "run", "--no-report", "--output", str(runs / name), "--", *fio(path, jobs, seed)]
            subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
    finally:
        path.unlink()


def captured(folder: Path) -> list[Path]:
    """The table of the run in a folder; nothing where there is none, or it was interrupted."""
    return sorted(folder.glob("*/tables/block_io.parquet"))


def read_run(folder: Path, device: int) -> Requests:
    """The requests of the only run in a folder to a device, by what was asked for and what the disk was doing."""
    [path] = captured(folder)
    found = pd.read_parquet(path)
    found = found[(found["dev"] == device) & found["op"].isin(OPERATIONS) & found["issued_ns"].notna()]
    found = found[found["completed_ns"].notna() & (found["error"].fillna(0) == 0)].sort_values("issued_ns")
    issued, completed = (found[name].to_numpy(dtype=np.int64) for name in ("issued_ns", "completed_ns"))
    size = np.where(found["op"] == "flush", 0, found["bytes"].clip(upper=1 << 20).to_numpy())
    busy = np.arange(len(issued)) - np.searchsorted(np.sort(completed), issued)
    sizes = np.where(size <= 4096, "to 4 KiB", np.where(size <= 65536, "to 64 KiB", "larger"))
    depths = np.where(busy == 0, "alone", np.where(busy < 4, "beside 1 to 3", "beside more"))
    kind = [f"{op}, {most}, {depth}" for op, most, depth in zip(found["op"], sizes, depths, strict=True)]
    offset = found["sector"].clip(lower=0).fillna(0).to_numpy(dtype=np.int64) * 512
    operation = found["op"].map(OPERATIONS).to_numpy(dtype=np.int64)
    return Requests(offset, size, operation, issued, completed, np.array(kind))


def beginnings(requests: Requests) -> Requests:
    """About `MOST` of them: the same share of each job, from its beginning."""
    share = MOST / len(requests.issued)
    since = (requests.issued - requests.issued[0]) % (SECONDS * 10**9)
    return requests.only(since < share * SECONDS * 10**9)


def parameters_of(point: Sequence[float]) -> dict[str, int]:
    """Of a point of the fit."""
    chosen = {name: round(2**value) for name, value in zip(BOUNDS, point, strict=True)}
    return CONSTANT | chosen


def misfit(real: Requests, modelled: np.ndarray) -> float:
    """Mean distance of the quantiles of all kinds, as a power of two."""
    apart = []
    for kind in real.kinds(LEAST_FITTED):
        chosen = real.kind == kind
        quantiles = (np.quantile(values[chosen], FITTED) for values in (real.latency, modelled))
        apart.append(np.abs(np.diff(np.log2(np.maximum(1, list(quantiles))), axis=0)).mean())
    return float(np.mean(apart))


@contextmanager
def model_of(requests: Requests, seed: int) -> Iterator[Model]:
    """The model, ready to play the requests."""
    with tempfile.TemporaryDirectory() as folder:
        model = Model(requests, Path(folder), seed)
        try:
            yield model
        finally:
            model.close()


def fit(requests: Requests, rounds: int) -> dict[str, int]:
    """The parameters with which the model's latencies come nearest."""
    chosen = beginnings(requests)
    with model_of(chosen, 1) as model:
        found = differential_evolution(
            lambda point: misfit(chosen, model.latencies(parameters_of(point))),
            list(BOUNDS.values()),
            maxiter=rounds,
            popsize=6,
            init="sobol",
            seed=1,
            polish=False,
        )
    progress(f"fitted within a factor of 2^{found.fun:.2f}")
    return parameters_of(found.x)


def line(fitted: Requests, asked: Requests) -> np.ndarray:
    """Latencies of base + slope * size, by operation, as least squares fit them."""
    latencies = np.full(len(asked.issued), np.nan)
    for operation in np.unique(asked.operation):
        known, wanted = (requests.operation == operation for requests in (fitted, asked))
        if known.any():
            several = len(np.unique(fitted.bytes[known])) > 1
            found = np.polyfit(fitted.bytes[known], fitted.latency[known], 1 if several else 0)
            latencies[wanted] = np.polyval(found, asked.bytes[wanted])
    return latencies


def distance(one: np.ndarray, other: np.ndarray) -> float:
    """Kolmogorov and Smirnov's: the largest difference of the shares below a value."""
    values = np.concatenate([one, other])
    below = (np.searchsorted(np.sort(sample), values, side="right") / len(sample) for sample in (one, other))
    return float(np.abs(np.subtract(*below)).max())


def compare(real: Requests, modelled: np.ndarray, lined: np.ndarray) -> list[dict[str, Any]]:
    """Of each operation, and of each kind of request."""
    groups = {name: real.operation == number for name, number in OPERATIONS.items()}
    groups = {name: chosen for name, chosen in groups.items() if chosen.sum() >= LEAST}
    groups |= {kind: real.kind == kind for kind in real.kinds(LEAST)}
    return [
        {
            "kind": name,
            "requests": int(chosen.sum()),
            "real_us": [float(np.quantile(real.latency[chosen], q)) / 1e3 for q in QUANTILES],
            "model_us": [float(np.quantile(modelled[chosen], q)) / 1e3 for q in QUANTILES],
            "distance": distance(real.latency[chosen], modelled[chosen]),
            "distance_of_line": distance(real.latency[chosen], lined[chosen]),
        }
        for name, chosen in groups.items()
    ]


def printed(rows: Sequence[dict[str, Any]]) -> str:
    """As a table."""
    header = ["requests", "number", *(f"p{q * 100:g}, us: disk / model" for q in QUANTILES), "KS", "KS of a line"]
    return table(
        header,
        [
            [
                row["kind"],
                str(row["requests"]),
                *(f"{a:.0f} / {b:.0f}" for a, b in zip(row["real_us"], row["model_us"], strict=True)),
                f"{row['distance']:.2f}",
                f"{row['distance_of_line']:.2f}",
            ]
            for row in rows
        ],
    )


def main() -> None:
    """Capture, fit, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="on the disk")
    parser.add_argument("--runs", type=Path, help="keep the captured runs here, or use those that are")
    parser.add_argument("--rounds", type=int, default=100, help="of the fit")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as temporary:
        runs = options.runs or Path(temporary)
        if not all(captured(runs / name) for name in ("alone", "mixed")):
            capture(options.folder, runs)
        device = options.folder.stat().st_dev
        number = os.major(device) << 20 | os.minor(device)
        alone, mixed = (read_run(runs / name, number) for name in ("alone", "mixed"))
    parameters = fit(alone, options.rounds)
    results = {}
    for name, requests in {"alone": alone, "mixed": mixed}.items():
        with model_of(requests, 2) as model:
            results[name] = compare(requests, model.latencies(parameters), line(alone, requests))
    print(machine())
    print("\n" + " ".join(f"{name}={value}" for name, value in parameters.items()))
    for name, rows in results.items():
        print(f"\n{name}\n\n{printed(rows)}")
    if options.json:
        options.json.write_text(json.dumps({"machine": machine(), "parameters": parameters, **results}, indent=1))


if __name__ == "__main__":
    main()
