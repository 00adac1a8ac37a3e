"""kmodule/loader, the loaders of deep-learning programs at fixed work, on this machine's own file system."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from edgeprof.kmodule import build
from edgeprof.kmodule.errors import ToolMissing

JOBS = {
    "sequential": "sequential,size=1m,shards=2,record=64k,ops=24",
    "shuffled": "shuffled,size=10k,files=20,ops=30,workers=3",
    "mmap": "mmap,size=1m,row=8k,ops=50",
    "checkpoint": "checkpoint,size=1m,record=64k,every=8,write=3m",
    "camera": "camera,frame=30k,rate=200,ops=40,sync=20",
    "inference": "inference,size=1m,read=16k,rate=0,ops=30",
}
DONE = {  # bytes read, bytes written, operations
    "sequential": (24 << 16, 0, {"read": 24}),
    "shuffled": (30 * 10 * 1024, 0, {"read": 30}),
    "mmap": (50 * 8 * 1024, 0, {"read": 50}),
    "checkpoint": (1 << 20, 6 << 20, {"read": 16, "write": 2, "fsync": 2}),
    "camera": (0, 40 * 30 * 1024, {"write": 40, "fsync": 2}),
    "inference": (30 << 14, 0, {"read": 30}),
}
QUANTILES = ("p50_us", "p90_us", "p99_us", "p999_us", "max_us")


@pytest.fixture(scope="module")
def loader() -> Path:
    try:
        return build.program(build.SOURCES / "loader" / "loader.c")
    except ToolMissing as reason:
        pytest.skip(str(reason))


def run(loader: Path, *words: str | Path) -> dict[str, Any]:
    done = subprocess.run([loader, *words], capture_output=True, text=True, timeout=60, check=True)
    found: dict[str, Any] = json.loads(done.stdout) if done.stdout else {}
    return found


def refused(loader: Path, *words: str | Path) -> str:
    done = subprocess.run([loader, *words], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert not done.stdout
    return done.stderr


def test_each_job_does_its_work_and_tells_what_it_took(loader: Path, tmp_path: Path) -> None:
    assert run(loader, "--prepare", tmp_path, *JOBS.values()) == {}
    found = run(loader, "--seed", "7", tmp_path, *JOBS.values())
    assert found["seed"] == 7
    assert [job["kind"] for job in found["jobs"]] == list(JOBS)
    for job in found["jobs"]:
        operations = job["operations"]
        counts = {name: latencies["count"] for name, latencies in operations.items()}
        assert (job["bytes_read"], job["bytes_written"], counts) == DONE[job["kind"]]
        assert 0 < job["seconds"] <= found["seconds"]
        for latencies in operations.values():
            quantiles = [latencies[name] for name in QUANTILES]
            assert quantiles[0] > 0
            assert quantiles == sorted(quantiles)
            assert latencies["mean_us"] <= quantiles[-1]
    camera = found["jobs"][list(JOBS).index("camera")]
    assert camera["seconds"] > 39 / 200
    assert (tmp_path / "4-camera/frames-000000").stat().st_size == 40 * 30 * 1024
    assert [path.name for path in sorted((tmp_path / "3-checkpoint").glob("[!d]*"))] == ["checkpoint-000000"]


def test_every_file_of_a_pass_is_read(loader: Path, tmp_path: Path) -> None:
    job = "shuffled,size=4k,files=12"
    run(loader, "--prepare", tmp_path, job)
    for path in sorted((tmp_path / "0-shuffled").iterdir()):
        path.rename(tmp_path / "away")
        assert f"{path}: open: No such file" in refused(loader, tmp_path, job)
        (tmp_path / "away").rename(path)
    path.write_bytes(b"short")
    assert f"{path}: shorter than what was prepared" in refused(loader, tmp_path, job)


def test_what_was_prepared_is_random_or_zeros(loader: Path, tmp_path: Path) -> None:
    path = tmp_path / "0-mmap/data-000000"
    run(loader, "--prepare", tmp_path, "mmap,size=64k")
    assert len(set(path.read_bytes())) == 256
    run(loader, "--prepare", "--zeros", tmp_path, "mmap,size=64k")
    assert path.read_bytes() == bytes(64 << 10)


def test_late_operations_count_from_when_they_were_due(loader: Path, tmp_path: Path) -> None:
    """Each pause of 20 ms makes the next operations, due every ms, later still."""
    job = "inference,size=64k,read=4k,rate=1000,ops=10,think=20000"
    run(loader, "--prepare", tmp_path, job)
    read = run(loader, tmp_path, job)["jobs"][0]["operations"]["read"]
    assert read["max_us"] >= 9 * 19_000


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["tape"], "tape: no such job; there are sequential, shuffled,"),
        (["mmap,files=3"], "mmap,files=3: mmap has no option files"),
        (["mmap,ops"], "ops is no OPTION=VALUE"),
        (["mmap,ops=-1"], "-1 is no number"),
        (["mmap,size=1t"], "1t is no number"),
        (["mmap,size=99999999999g"], "99999999999g is no number"),
        (["mmap,row=0"], "row is from 1 to"),
        (["mmap,size=4k,row=8k"], "size must be 8192 at least"),
        (["sequential,size=1m,shards=4,record=512k"], "size must be 2097152 at least"),
        (["camera,ops=2,workers=3"], "more workers than operations"),
        ([], "usage: loader"),
        (["mmap"], "0-mmap/data-000000: open: No such file"),
    ],
)
def test_what_is_wrong_is_said(loader: Path, tmp_path: Path, words: list[str], reason: str) -> None:
    assert reason in refused(loader, tmp_path, *words)
