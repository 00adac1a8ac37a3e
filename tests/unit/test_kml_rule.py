"""The scheduler's rule against mq-deadline, simulated: what it gains, and that nobody pays too much for it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

KML = Path(__file__).parents[2] / "kmodule"
COLUMNS = ("all", "waited", "read", "sync", "back", "read_p99", "sync_p99", "back_p99", "end", "job", "late")
DISKS = ("sdcard", "emmc", "ssd", "nvme")

Changes = dict[tuple[str, str], dict[str, float]]
"""Disk and workload -> percent by column."""


@pytest.fixture(scope="module")
def simulate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("make") is None or shutil.which("cc") is None:
        pytest.skip("no make or no C compiler here: apt-get install make gcc libc6-dev")
    folder = tmp_path_factory.mktemp("simulate")
    program = folder / "simulate"
    words = ["make", "-C", str(KML / "tests"), f"BUILD={folder}", "SANITIZER=none", str(program)]
    words.append(f"SOURCES={KML / 'core/dispatch.c'} {KML / 'core/service.c'}")
    subprocess.run(words, check=True, timeout=120, capture_output=True)
    return program


@pytest.fixture(scope="module")
def changes(simulate: Path) -> Changes:
    return simulated(simulate)


def simulated(simulate: Path, *settings: str) -> Changes:
    done = subprocess.run([simulate, *settings], capture_output=True, text=True, check=True, timeout=60)
    rows = [line.replace("|", " ").split() for line in done.stdout.splitlines()[2:]]
    return {(disk, load): dict(zip(COLUMNS, map(float, values), strict=True)) for disk, load, *values in rows}


def test_no_work_takes_longer_and_nothing_is_later(changes: Changes) -> None:
    assert {disk for disk, _ in changes} == set(DISKS)
    assert len(changes) >= 48
    assert max(change["end"] for change in changes.values()) < 2
    assert max(change["late"] for change in changes.values()) <= 0


def test_long_waits_for_what_somebody_waits_for_become_short(changes: Changes) -> None:
    """Batches of writes before a read, bulk before a log record, one program's writes before another's reads."""
    for load, column in (
        *(("fsynced", "read_p99"), ("paced", "read_p99"), ("checkpoint", "read_p99"), ("camera", "read_p99")),
        *(("fsynced", "sync_p99"), ("direct", "sync_p99"), ("database", "sync_p99")),
    ):
        assert changes["sdcard", load][column] < -40, (load, column)
    assert changes["sdcard", "camera"]["sync"] < -40
    assert changes["emmc", "log"]["sync"] < -15
    assert changes["emmc", "database"]["sync_p99"] < -40


@pytest.mark.parametrize("load", ["shuffled", "writeback", "sizes"])
def test_where_no_order_is_better_none_is_worse(changes: Changes, load: str) -> None:
    for disk in DISKS:
        change = changes[disk, load]
        assert max(change[column] for column in ("all", "waited", "end", "job")) < 2


def test_means_of_what_is_waited_for_hardly_rise_anywhere(changes: Changes) -> None:
    """But two streams by turns, of which mq-deadline lets one wait for its deadline."""
    means = {key: change["waited"] for key, change in changes.items() if key != ("sdcard", "streams")}
    assert max(means.values()) < 2
    assert changes["sdcard", "streams"]["read_p99"] < -20


def test_settings_do_what_they_say(simulate: Path) -> None:
    """Without pacing a log's writes wait behind writeback in the device; without a share writeback is starved."""
    assert simulated(simulate, "ahead=10000000")["emmc", "log"]["sync"] > -5
    assert simulated(simulate, "share=0")["sdcard", "checkpoint"]["back"] > 150


def test_what_is_no_setting_is_refused(simulate: Path) -> None:
    for words in (["share=many"], ["nothing=1"], ["sdcard"], ["paced"], ["floppy", "paced"]):
        assert subprocess.run([simulate, *words], capture_output=True).returncode == 2
