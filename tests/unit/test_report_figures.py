"""The report's figures say what the tables hold."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from edgeprof import open_run
from edgeprof.collectors import schema
from edgeprof.dashboards.report.data import RunData
from edgeprof.dashboards.report.figures import latency, offsets, owners, phase_memory, sizes, steps, timeline
from edgeprof.dashboards.report.figures.base import Absent, Picture
from edgeprof.dashboards.report.figures.phasing import main_phases, phase_colours
from edgeprof.dashboards.report.figures.series import Series, line, process_rate, stack
from edgeprof.dashboards.report.figures.timeline.traffic import whole_devices
from edgeprof.dashboards.report.figures.zones import ZONE_BYTES, Zones
from edgeprof.dashboards.report.theme import BLUE
from tests.synthetic_run import MAIN_PID, NS, START_NS, Maker, Shape, write_run

SMALL = Shape(seconds=10, steps=40, requests=500)
Write = Callable[..., RunData]


@pytest.fixture
def tables(tmp_path: Path) -> Write:
    """A run that has just the tables given: name -> columns."""

    def make(shape: Shape = SMALL, **columns: dict[str, Any]) -> RunData:
        folder = write_run(tmp_path / "run", shape, only=(), metrics=False)
        for name, values in columns.items():
            extra = values.pop("extra", ())
            pq.write_table(schema.table(name, values, extra), folder / "tables" / f"{name}.parquet")
        return RunData(open_run(folder))

    return make


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> RunData:
    return RunData(open_run(write_run(tmp_path_factory.mktemp("whole") / "run", SMALL)))


def picture(outcome: Picture | Absent) -> Picture:
    assert isinstance(outcome, Picture), outcome
    return outcome


def phase_rows(*rows: tuple[float, float, str, int]) -> dict[str, Any]:
    start, end, name, depth = zip(*rows, strict=True)
    return {
        "start_ns": [START_NS + round(value * NS) for value in start],
        "end_ns": [START_NS + round(value * NS) for value in end],
        "name": list(name),
        "pid": [MAIN_PID] * len(rows),
        "tid": [MAIN_PID] * len(rows),
        "depth": list(depth),
        "main": [True] * len(rows),
    }


def test_time_in_a_phase_leaves_out_the_phases_inside_it(tables: Write) -> None:
    found = main_phases(
        tables(phases=phase_rows((0, 8, "epoch", 0), (1, 3, "load", 1), (3, 6, "forward", 1), (9, 9.5, "save", 0)))
    )
    assert found is not None
    assert found.time_by_name() == pytest.approx({"epoch": 3.0, "forward": 3.0, "load": 2.0, "save": 0.5})
    names = [found.names[code] if code >= 0 else None for code in found.innermost(np.array([-1.0, 0, 1, 3, 7, 8, 9.2]))]
    assert names == [None, "epoch", "load", "forward", "epoch", None, "save"]
    assert found.covered_by("load", np.array([0.0, 2, 10])) == pytest.approx([0, 1, 2])


def test_phases_of_workers_do_not_count_as_the_main_thread(tables: Write) -> None:
    rows = phase_rows((0, 1, "load", 0), (0, 9, "decode", 0))
    rows["main"], rows["tid"] = [True, False], [MAIN_PID, MAIN_PID + 1]
    found = main_phases(tables(phases=rows))
    assert found is not None
    assert list(found.time_by_name()) == ["load"]


def test_no_two_of_the_first_phases_share_a_colour() -> None:
    colours = phase_colours(["forward", "load", "a", "b", "c", "d"])
    assert len(set(colours.values())) == 6


def test_a_process_that_ends_does_not_lower_the_sum(tables: Write) -> None:
    seconds = [0, 0, 1, 1, 2, 3]
    rows = {
        "time_ns": [START_NS + s * NS for s in seconds],
        "pid": [1, 2, 1, 2, 1, 1],
        "read_bytes": [0, 0, 10, 100, 30, 60],
    }
    time, rates = process_rate(tables(process=rows), ["read_bytes"])
    assert time.tolist() == [1, 2, 3]
    assert rates.tolist() == [110, 20, 30]


def test_what_a_new_process_used_before_its_first_sample_counts(tables: Write) -> None:
    rows = {"time_ns": [START_NS, START_NS + NS, START_NS + NS], "pid": [1, 1, 2], "read_bytes": [0, 5, 70]}
    assert process_rate(tables(process=rows), ["read_bytes"])[1].tolist() == [75]


def test_partitions_are_not_drawn_beside_their_device() -> None:
    names = ["nvme0n1", "nvme0n1p2", "mmcblk0", "mmcblk0p1", "sda1", "loop0", "loop1", "vda", "vda15", "dm-0"]
    assert whole_devices(names) == ["nvme0n1", "mmcblk0", "sda1", "loop0", "loop1", "vda", "dm-0"]


def test_the_timeline_has_one_time_axis_and_a_row_for_each_source(whole: RunData) -> None:
    found = picture(timeline.build(whole))
    layout = found.figure.to_dict()["layout"]
    assert [key for key in layout if key.startswith("xaxis")] == ["xaxis"]
    titles = [title for title, _ in found.parts]
    assert titles[:7] == [
        "Phases",
        "Memory of the run",
        "Memory of the machine",
        "Storage reads",
        "Storage writes",
        "Pressure (PSI)",
        "CPU",
    ]
    assert sum(key.startswith("yaxis") for key in layout) == len(titles)
    assert {trace.xaxis for trace in found.figure.data} <= {None, "x"}
    assert all(len(trace.x) <= 4000 for trace in found.figure.data)


def test_rows_that_cannot_be_drawn_are_named_with_their_reasons(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", SMALL, only=("system", "process", "disk"))
    found = picture(timeline.build(RunData(open_run(run))))
    missing = {item.title: item for item in found.missing}
    assert set(missing) == {"Phases", "Power"}
    assert "recorded nothing" in missing["Phases"].reason
    assert "edgeprof.phase" in missing["Phases"].remedy
    assert any("counted by its processes" in words for _, words in found.parts)


@pytest.mark.parametrize("mode", ["v1", "v2"])
def test_buffered_writes_that_version_1_leaves_out_are_said(tmp_path: Path, mode: str) -> None:
    run = write_run(tmp_path / "run", SMALL, manifest={"cgroup": {"mode": mode}})
    said = any("version 1" in limit for limit in picture(timeline.build(RunData(open_run(run)))).limits)
    assert said == (mode == "v1")


def test_memory_is_counted_where_the_phase_was_innermost(tables: Write) -> None:
    cgroup = {
        "time_ns": [START_NS + round(s * NS) for s in (0.5, 1.5, 2.5, 3.5)],
        "stat_anon": [100, 200, 400, 50],
        "stat_file": [1, 2, 4, 0],
        "extra": [schema.column("stat_anon", pa.int64(), "bytes"), schema.column("stat_file", pa.int64(), "bytes")],
    }
    found = picture(phase_memory.build(tables(cgroup=cgroup, phases=phase_rows((0, 3, "epoch", 0), (1, 3, "load", 1)))))
    assert found.table is not None
    assert [list(row) for row in found.table.rows] == [
        ["load", "2 s", "300 B", "3 B", "404 B", "2"],
        ["epoch", "1 s", "100 B", "1 B", "101 B", "1"],
        ["outside phases", "7 s", "50 B", "0 B", "50 B", "1"],
    ]


def test_data_stall_is_the_load_phases_share_of_each_step(tables: Write) -> None:
    rows = {"step": [0, 1], "start_ns": [START_NS, START_NS + 2 * NS], "end_ns": [START_NS + 2 * NS, START_NS + 6 * NS]}
    data = tables(
        steps={**rows, "samples": [8.0, 8.0]},
        phases=phase_rows((0, 1, "load", 0), (1, 2, "forward", 0), (5, 7, "load", 0)),
    )
    found = picture(steps.build(data))
    stall = next(trace for trace in found.figure.data if trace.name == "waiting for input")
    assert stall.y.tolist() == [0.5, 0.25]
    assert "33.3 % overall" in found.caption
    assert any("too few" in limit for limit in found.limits)


def test_steps_without_phases_say_why_there_is_no_stall(tables: Write) -> None:
    rows = {"step": [0], "start_ns": [START_NS], "end_ns": [START_NS + NS]}
    assert any("no phase named" in limit for limit in picture(steps.build(tables(steps=rows))).limits)


BLOCK = {
    "queued_ns": [START_NS + i * NS for i in range(5)],
    "issued_ns": [START_NS + i * NS + 1_000_000 for i in range(5)],
    "completed_ns": [START_NS + i * NS + 4_000_000 for i in range(4)] + [None],
    "device": ["sda"] * 5,
    "sector": [0, 8, 16, 1000, None],
    "bytes": [4096, 4096, 8192, 65536, 0],
    "op": ["read", "read", "read", "write", "flush"],
    "owner": ["run", "run", "other", "kernel", "kernel"],
    "comm": ["python", "python", "apt", "kworker/0:1", "jbd2"],
}


def test_latency_is_split_into_queue_and_device(tables: Write) -> None:
    found = picture(latency.build(tables(block_io=dict(BLOCK))))
    assert found.table is not None
    rows = {row[0]: list(row[1:3]) for row in found.table.rows}
    assert rows == {
        "reads, whole request": ["2", "4 ms"],
        "reads, in the queue": ["2", "1 ms"],
        "reads, in the device": ["2", "3 ms"],
        "writes, whole request": ["1", "4 ms"],
        "writes, in the queue": ["1", "1 ms"],
        "writes, in the device": ["1", "3 ms"],
    }
    assert any("writeback" in limit for limit in found.limits)


def test_sizes_count_the_runs_requests_by_power_of_two(tables: Write) -> None:
    found = picture(sizes.build(tables(block_io=dict(BLOCK))))
    assert found.table is not None
    assert list(found.table.rows[0]) == ["4 KiB", "2", "8.19 kB", "0", "0 B"]
    assert list(found.table.rows[-1]) == ["64 KiB", "0", "0 B", "1", "65.5 kB"]


def test_bytes_are_told_apart_by_owner(tables: Write) -> None:
    found = picture(owners.build(tables(block_io=dict(BLOCK))))
    bars = {trace.name: dict(zip(trace.y, trace.x.tolist(), strict=True)) for trace in found.figure.data}
    assert bars == {
        "this run": {"sda, read": 8192.0, "sda, write": 0.0},
        "kernel threads": {"sda, read": 0.0, "sda, write": 65536.0},
        "other processes": {"sda, read": 8192.0, "sda, write": 0.0},
    }
    assert found.table is not None
    assert list(found.table.rows[0]) == ["kworker/0:1", "kernel threads", "1", "0 B", "65.5 kB"]


def test_a_capture_without_owners_counts_everyone_and_says_so(tables: Write) -> None:
    data = tables(block_io={key: value for key, value in BLOCK.items() if key != "owner"})
    assert any("all processes" in limit for limit in picture(latency.build(data)).limits)
    assert isinstance(owners.build(data), Absent)
    assert isinstance(offsets.build(data), Picture)


def test_few_requests_are_points_and_many_are_a_density_that_counts_them_all(tables: Write) -> None:
    found = picture(offsets.build(tables(block_io=dict(BLOCK))))
    assert [(trace.type, trace.name) for trace in found.figure.data][:2] == [
        ("scatter", "this run"),
        ("scatter", "other processes"),
    ]
    n = 3 * offsets.MOST_POINTS
    many = {"queued_ns": START_NS + np.arange(n) * 1_000_000, "sector": np.arange(n) * 8, "bytes": np.full(n, 4096)}
    many |= {"device": ["sda"] * n, "op": ["read"] * n, "owner": ["run"] * n}
    found = picture(offsets.build(tables(block_io=many)))
    (heatmap,) = found.figure.data
    assert heatmap.type == "heatmap"
    assert np.nansum(10 ** np.asarray(heatmap.z, float)) == pytest.approx(n, rel=1e-4)
    assert "density" in found.caption


def test_stretches_that_the_run_did_not_touch_are_left_out_of_the_axis() -> None:
    far = 200 * 10**9
    zones = Zones.of(np.array([0.0, 100.0, far, far + ZONE_BYTES]))
    assert not zones.contiguous()
    position = zones.position(np.array([100.0, far + 5.0, far + ZONE_BYTES, far / 2]))
    rest = far % ZONE_BYTES
    assert position[:3].tolist() == [100.0, ZONE_BYTES + rest + 5, 2 * ZONE_BYTES + rest]
    assert np.isnan(position[3])
    at, texts = zones.ticks(100.0, float(ZONE_BYTES + rest), 2)
    assert at == [100.0, ZONE_BYTES + rest]
    assert texts == ["100 B", "200.000 GB"]


def test_requests_of_others_outside_the_runs_zones_are_counted_in_words(tables: Write) -> None:
    block = {**BLOCK, "sector": [0, 8, 10**9, 1000, None]}
    found = picture(offsets.build(tables(block_io=block)))
    assert any(limit.startswith("1 requests of others lie where the run did not go") for limit in found.limits)


def test_a_source_read_more_seldom_than_its_table_has_rows_is_a_line() -> None:
    time, values = np.arange(10.0), np.where(np.arange(10) % 3 == 0, 5.0, np.nan)
    drawn = line(Series("a", time, values, "bytes", BLUE), "y", "legend")
    assert (drawn.x.tolist(), drawn.y.tolist(), drawn.mode) == ([0, 3, 6, 9], [5] * 4, "lines")


def test_a_stack_stands_on_samples_that_have_all_its_parts() -> None:
    time, some = np.arange(4.0), np.array([1.0, np.nan, 3, 4])
    parts = [Series("a", time, some, "bytes", BLUE), Series("b", time, np.ones(4), "bytes", BLUE)]
    assert [trace.x.tolist() for trace in stack(parts, "y", "legend")] == [[0, 2, 3]] * 2


def test_nothing_of_the_run_on_a_device_is_an_empty_state(tables: Write) -> None:
    block = {**BLOCK, "owner": ["other"] * 5}
    for module in (latency, sizes):
        found = module.build(tables(block_io=dict(block)))
        assert isinstance(found, Absent)
        assert "no read or write of the run" in found.reason


def test_every_figure_of_a_whole_run_has_words_and_data(whole: RunData) -> None:
    for module in (timeline, steps, phase_memory, latency, sizes, offsets, owners):
        found = picture(module.build(whole))
        assert found.caption
        assert found.label
        assert found.table is not None
        assert all(len(row) == len(found.table.columns) for row in found.table.rows)
        assert sum(len(trace.x) for trace in found.figure.data if trace.x is not None) > 0


def test_the_synthetic_run_is_made_of_whole_tables() -> None:
    block = Maker(SMALL).block_io()
    assert block.num_rows == SMALL.requests
    assert block.schema.names == schema.SCHEMAS["block_io"].names
