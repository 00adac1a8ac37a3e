"""A guest's block requests are laid beside those of the host for the same image, and drawn."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from edgeprof import open_run
from edgeprof.collectors import schema
from edgeprof.dashboards.report import build_report
from edgeprof.dashboards.report.data import RunData
from edgeprof.dashboards.report.figures import guest as figure
from edgeprof.dashboards.report.figures.base import Absent, Picture
from edgeprof.profiler.isolation.vm_requests import NotTogether, both_sides, lined_up, offsets_in_image
from edgeprof.profiler.run import Run
from tests.synthetic_run import NS, START_NS, Shape, write_run

SMALL = Shape(seconds=10, steps=4, requests=50)
GUEST_DISK, HOST_DISK = 254 << 20, 8 << 20
OFFSET = 90 * NS
"""Guest's clock - host's."""
EXTENTS = [[0, 1000, 8192], [8192, 50, 4096], [16384, 2000, 65536]]


def block_io(rows: list[tuple[int, int, int, int, int, str]]) -> Any:
    """Rows of (device, issued, completed, sector, bytes, operation)."""
    dev, issued, completed, sector, size, op = (list(column) for column in zip(*rows, strict=True))
    count = len(rows)
    columns: dict[str, Any] = {name: [None] * count for name in schema.SCHEMAS["block_io"].names}
    columns.update(dev=dev, issued_ns=issued, completed_ns=completed, sector=sector, bytes=size, op=op)
    columns.update(queued_ns=issued, device=["vda"] * count, owner=["run"] * count)
    return schema.table("block_io", columns)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A host's run with a guest's in it: three requests inside, of which the last finds nobody on the host."""
    path = write_run(tmp_path / "run", SMALL, only=(), metrics=False)
    inside = write_run(path / "guest", SMALL, only=(), metrics=False)
    begin = START_NS + NS
    guest = [
        (GUEST_DISK, begin, begin + 1_000_000, 0, 4096, "read"),
        (GUEST_DISK, begin + 2_000_000, begin + 4_000_000, 14, 8192, "write"),  # two extents on the host
        (GUEST_DISK, begin + 5_000_000, begin + 6_000_000, 40, 4096, "read"),
        (GUEST_DISK + 1, begin, begin + 1, 0, 4096, "read"),
    ]
    guest = [(dev, issued + OFFSET, completed + OFFSET, *rest) for dev, issued, completed, *rest in guest]
    host = [
        (HOST_DISK, begin - 50_000, begin + 900_000, 1000, 4096, "read"),  # before it was asked, but within the error
        (HOST_DISK, begin + 2_100_000, begin + 3_000_000, 1014, 1024, "write"),
        (HOST_DISK, begin + 2_200_000, begin + 3_500_000, 50, 7168, "write"),
        (HOST_DISK, begin + 5_100_000, begin + 7_000_000, 2008, 4096, "read"),  # ends after the guest had its answer
        (HOST_DISK, begin, begin + 1, 10, 4096, "read"),  # another file's
        (HOST_DISK + 16, begin, begin + 1, 1000, 4096, "read"),
    ]
    pq.write_table(block_io(guest), inside / "tables" / "block_io.parquet")
    pq.write_table(block_io(host), path / "tables" / "block_io.parquet")
    tell(path)
    return open_run(path)


def tell(path: Path, **changes: Any) -> None:
    """Write what the host found of the guest."""
    result: dict[str, Any] = {
        "status": "finished",
        "clock": {"host_ns": START_NS, "offset_ns": OFFSET, "drift": 0.0, "error_ns": 100_000},
        "guest": {"disks": [{"serial": "edgeprof-data", "name": "vda", "dev": GUEST_DISK}]},
        "image": {"dev": HOST_DISK, "extents": EXTENTS},
        **changes,
    }
    (path / "vm").mkdir(exist_ok=True)
    (path / "vm" / "result.json").write_text(json.dumps(result))


def test_places_on_the_disk_are_offsets_in_the_image() -> None:
    places = np.array([1000, 1007, 1016, 50, 57, 58, 2000, 2127, 2128, 0, 49, 10**9], np.int64) * 512
    found = offsets_in_image(places, np.array(EXTENTS, np.int64))
    assert found.tolist() == [0, 3584, -1, 8192, 11776, -1, 16384, 81408, -1, -1, -1, -1]
    assert offsets_in_image(places, np.zeros((0, 3), np.int64)).tolist() == [-1] * len(places)


def test_requests_line_up_when_the_hosts_lie_within_the_guests(run: Run) -> None:
    sides = both_sides(run)
    assert sides.guest.offset.tolist() == [0, 14 * 512, 40 * 512]
    assert sides.host.offset.tolist() == [0, 14 * 512, 8192, 16384 + 4096]
    assert sides.guest.issued.tolist() == [START_NS + NS + at for at in (0, 2_000_000, 5_000_000)]
    assert lined_up(sides).tolist() == [True, True, False]


def test_a_host_that_served_a_part_only_does_not_line_up(run: Run) -> None:
    sides = both_sides(run)
    sides.host.bytes[2] = 7168 - 512
    assert lined_up(sides).tolist() == [True, False, False]


def test_the_other_operation_does_not_line_up(run: Run) -> None:
    sides = both_sides(run)
    sides.host.op[0] = 1
    assert lined_up(sides).tolist() == [False, True, False]


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"clock": {}}, "did not come back"),
        ({"guest": {"disks": []}}, "shared folder"),
        ({"image": {"reason": "the image lies on tmpfs"}}, "the image lies on tmpfs"),
    ],
)
def test_what_is_missing_is_said_and_not_drawn(run: Run, changes: dict[str, Any], word: str) -> None:
    tell(run.path, **changes)
    with pytest.raises(NotTogether, match=word):
        both_sides(run)
    outcome = figure.build(RunData(run))
    assert isinstance(outcome, Absent)
    assert word in outcome.reason


def test_no_table_of_requests_is_a_reason(run: Run) -> None:
    (run.path / "guest" / "tables" / "block_io.parquet").unlink()
    with pytest.raises(NotTogether, match="the guest's block requests were not captured"):
        both_sides(run)


def test_the_report_lays_both_on_one_clock(run: Run) -> None:
    outcome = figure.build(RunData(run))
    assert isinstance(outcome, Picture)
    read_inside, _, read_outside, _ = outcome.figure.data
    assert read_inside.x.tolist() == pytest.approx([1.0, 1.005])
    assert read_outside.x.tolist() == pytest.approx([0.99995, 1.0051])
    assert read_inside.y.tolist() == [0, 40 * 512]
    assert outcome.figure.layout.xaxis.matches == "x2"
    assert "±100 µs" in outcome.caption
    assert "66.7 %" in outcome.caption
    page = build_report(run).read_text()
    assert "figure-guest" in page
    assert (run.path / "guest" / "report.html").is_file()
    assert "figure-guest" not in (run.path / "guest" / "report.html").read_text()
