"""Known truths of storage, on the running kernel: each comes out of a capture as textbooks say it must."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.helpers import Places

pytestmark = pytest.mark.root

READER = str(Path(__file__).with_name("storage_reader.py"))
SIZE = 64 << 20
RECORD = 4096
Capture = Callable[..., Mapping[str, Any]]


@pytest.fixture
def capture(places: Places, tmp_path: Path) -> Capture:
    """Runs the reader on a data set of 64 MiB that lies on a new ext4; returns what `edgeprof show --json` says."""

    def run(options: str, *what: str, files: int = 8) -> Mapping[str, Any]:
        data = tmp_path / "data"
        data.mkdir()
        for number in range(files):
            (data / f"part-{number}").write_bytes(os.urandom(SIZE // files))
        words = ["run", "--quiet", "--no-report", "--collect", "procfs,cgroup,phases,block", "--file-system", "ext4"]
        words += [*options.split(), "--data", str(data), "--", sys.executable, READER, "{data}", *what]
        environment = places.environment(EDGEPROF_DATA_CACHE=str(tmp_path / "cache"))
        done = places.edgeprof(*words, env=environment)
        assert done.returncode == 0, done.stderr
        assert list((tmp_path / "cache").iterdir()) == []
        found = places.edgeprof("show", str(places.only()), "--json", env=environment)
        answer: Mapping[str, Any] = json.loads(found.stdout)
        lost = answer["metrics"]["lost_records"]["value"]
        if lost:
            pytest.skip(f"the kernel dropped {lost} records: the machine is too busy to count requests")
        return answer

    return run


def read_bytes(shown: Mapping[str, Any]) -> dict[str, float]:
    """Phase -> bytes of the run's read requests in it."""
    return {item["name"]: item["metrics"]["block_read_bytes"]["value"] for item in shown["phases"]}


def test_a_memory_limit_below_the_data_set_reads_it_from_storage_in_every_epoch(capture: Capture) -> None:
    shown = capture("--cache cold --memory-limit 32M", "epochs", "3")
    assert shown["factors"]["storage"]["memory_limit"] == 32 << 20
    # Reading in the same order, least recently used first out: what comes next has always just gone.
    for epoch, found in read_bytes(shown).items():
        assert found == pytest.approx(SIZE, rel=0.2), epoch


def test_without_a_limit_the_second_epoch_reads_nothing(capture: Capture) -> None:
    epochs = read_bytes(capture("--cache cold", "epochs", "2"))
    assert epochs["epoch-0"] == pytest.approx(SIZE, rel=0.1)
    assert epochs["epoch-1"] < 0.02 * SIZE


@pytest.mark.parametrize("limit", ["", " --memory-limit 32M"])
def test_a_warm_cache_removes_storage_reads(limit: str, capture: Capture) -> None:
    """With a memory limit, too: pages count for whoever brought them in, and that was not the run."""
    shown = capture("--cache warm" + limit, "epochs", "1")
    assert shown["factors"]["storage"]["cache"] == "warm"
    assert read_bytes(shown)["epoch-0"] < 0.02 * SIZE


@pytest.mark.parametrize(("read_ahead", "least", "most"), [("4K", 1.0, 2.0), ("512K", 20.0, 200.0)])
def test_read_ahead_beyond_the_record_size_amplifies_random_reads(
    capture: Capture, read_ahead: str, least: float, most: float
) -> None:
    """The records are memory-mapped: a fault on a page that is not there reads the pages around it, as many as the
    read-ahead has, whatever the order of access (mm/filemap.c, do_sync_mmap_readahead), until about a hundred faults
    more have missed than hit.  A random pread would read what it asks for and no more (page_cache_sync_ra).
    """
    count = 150
    shown = capture(f"--cache cold --read-ahead {read_ahead}", "mapped", str(count), files=1)
    assert shown["factors"]["storage"]["read_ahead"] == int(read_ahead[:-1]) << 10
    assert least <= read_bytes(shown)["mapped"] / (count * RECORD) <= most
