"""The figures that only the application draws, on runs whose figures are known."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from edgeprof.collectors import schema
from edgeprof.dashboards.app.cut import Columns, Cut, CutData
from edgeprof.dashboards.app.figures import (
    cached_files,
    energy,
    phase_shares,
    queue_depth,
    request_times,
    rereads,
    steps,
)
from edgeprof.dashboards.app.index import RunIndex
from edgeprof.dashboards.app.page import Context
from edgeprof.dashboards.app.pages import energy as energy_page
from edgeprof.dashboards.app.pages import memory as memory_page
from edgeprof.dashboards.app.pages import run as run_page
from edgeprof.dashboards.app.pages import storage as storage_page
from edgeprof.dashboards.app.view import View
from edgeprof.dashboards.report.figures.base import Absent, Outcome, Picture
from edgeprof.dashboards.report.figures.timeline import stacked
from edgeprof.profiler.run import open_run
from tests.synthetic_run import DEVICE, MAIN_PID, START_NS, Shape, pick, write_run
from tests.unit.test_report_build import hostile_run

SMALL = Shape(seconds=20, steps=60, requests=2000)
BUILDERS: dict[str, Callable[[CutData], Outcome]] = {
    steps.KEY: steps.build,
    request_times.KEY: request_times.build,
    queue_depth.KEY: queue_depth.build,
    rereads.KEY: rereads.build,
    cached_files.FILES_KEY: cached_files.files,
    cached_files.TIME_KEY: cached_files.over_time,
    energy.KEY: energy.build,
    phase_shares.KEY: phase_shares.build,
    phase_shares.FAULTS_KEY: phase_shares.faults,
    phase_shares.ENERGY_KEY: phase_shares.energy,
}
FIGURES = [figure for page in (run_page, storage_page, memory_page, energy_page) for figure in page.PAGE.figures]


def data(folder: Path, **cut: object) -> CutData:
    return CutData(open_run(folder), Cut(**cut), Columns())  # type: ignore[arg-type]


def picture(found: Outcome) -> Picture:
    assert isinstance(found, Picture), found
    return found


def table(found: Outcome) -> dict[str, list[str]]:
    shown = picture(found).table
    assert shown is not None
    return {row[0]: list(row[1:]) for row in shown.rows}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return with_page_cache(write_run(tmp_path_factory.mktemp("figures") / "run", SMALL))


def requests(folder: Path, rows: list[tuple[float, float, float, int, int, str]]) -> Path:
    """A run whose requests are (queued, issued, completed, sector, bytes, operation)."""
    write_run(folder, SMALL, only=())
    queued, issued, completed, sector, size, op = zip(*rows, strict=True)

    def ns(seconds: tuple[float, ...]) -> pa.Array:
        return pa.array([None if value != value else START_NS + round(value * 1e9) for value in seconds], pa.int64())

    columns = {
        "queued_ns": ns(queued),
        "issued_ns": ns(issued),
        "completed_ns": ns(completed),
        "device": [DEVICE] * len(rows),
        "sector": list(sector),
        "bytes": list(size),
        "op": list(op),
        "owner": ["run"] * len(rows),
        "pid": [MAIN_PID] * len(rows),
        "comm": ["python"] * len(rows),
    }
    pq.write_table(schema.table("block_io", columns), folder / "tables" / "block_io.parquet")
    return folder


def with_page_cache(folder: Path) -> Path:
    """Adds events of 60 files of the run: each is added whole (16 pages), and the first ten are dropped."""
    n, pages = 60, 16
    columns = {
        "time_ns": START_NS + np.r_[np.arange(n), 30 + np.arange(10)] * 200_000_000,
        "event": pick(np.r_[np.zeros(n), np.ones(10)].astype(int), ["add", "delete"]),
        "inode": np.r_[np.arange(n), np.arange(10)],
        "index": np.zeros(n + 10, np.int64),
        "pages": np.full(n + 10, pages),
        "pid": np.full(n + 10, MAIN_PID),
        "owner": ["run"] * n + ["kernel"] * 10,
        "path": [f"/data/{'a' if i < 20 else 'b'}/{i}.jpg" for i in [*range(n), *range(10)]],
    }
    pq.write_table(schema.table("page_cache", columns), folder / "tables" / "page_cache.parquet")
    return folder


def test_every_figure_of_the_four_pages_has_a_key_of_its_own() -> None:
    by_key = {figure.key: figure for figure in FIGURES}
    assert len(by_key) > 15
    assert all(by_key[figure.key] is figure for figure in FIGURES)


@pytest.mark.parametrize("key", BUILDERS)
@pytest.mark.parametrize(
    "cut", [{}, {"window": (3.0, 6.0)}, {"window": (3.0, 3.0001)}, {"window": (900.0, 901.0)}, {"op": "read"}]
)
def test_a_figure_is_drawn_or_says_why_not(whole: Path, key: str, cut: dict[str, object]) -> None:
    found = BUILDERS[key](data(whole, **cut))
    if isinstance(found, Absent):
        assert cut.get("window")
        assert found.reason
    else:
        assert found.figure.to_json()
        assert found.caption
        assert found.label
        if cut.get("window") and any(figure.key == key and figure.time for figure in FIGURES):
            assert list(found.figure.layout.xaxis.range) == list(cut["window"])  # type: ignore[call-overload]


@pytest.mark.parametrize("key", BUILDERS)
def test_without_tables_a_figure_says_what_was_not_captured(tmp_path: Path, key: str) -> None:
    found = BUILDERS[key](data(write_run(tmp_path / "run", SMALL, only=(), metrics=False)))
    assert isinstance(found, Absent)
    assert found.reason


@pytest.mark.parametrize("key", BUILDERS)
def test_hostile_names_stay_text(tmp_path: Path, key: str) -> None:
    found = BUILDERS[key](data(hostile_run(tmp_path / "run")))
    if isinstance(found, Picture):
        assert "<script" not in found.figure.to_json()


def test_clicking_a_step_leads_to_its_time(whole: Path) -> None:
    found = data(whole)
    bars = picture(steps.build(found)).figure.data[0]
    number, begin, end = bars.customdata[5]
    assert number == 5
    assert [begin, end] == [found.number("steps", name)[5] for name in ("start_ns", "end_ns")]
    alone = picture(steps.build(data(whole, window=(begin, end))))
    assert "Each of 1 steps" in alone.caption


def test_many_steps_are_thinned_and_fewer_are_not(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", Shape(seconds=60, steps=5000, requests=0))
    assert len(picture(steps.build(data(run))).figure.data[0].x) < 1300
    zoomed = picture(steps.build(data(run, window=(10.0, 11.0)))).figure.data[0]
    assert zoomed.type == "bar"


def test_latency_over_time_is_points_when_zoomed_and_percentiles_when_not(tmp_path: Path) -> None:
    rows = [(i * 0.002, i * 0.002, i * 0.002 + (0.5 if i == 3000 else 0.001), 8 * i, 4096, "read") for i in range(5000)]
    run = requests(tmp_path / "run", rows)
    lines = picture(request_times.build(data(run))).figure.data
    assert [trace.name for trace in lines] == ["reads, p50", "reads, p99", "slowest reads"]
    assert max(lines[2].y) == pytest.approx(0.5)
    assert np.nanmax(lines[0].y) == pytest.approx(0.001)
    points = picture(request_times.build(data(run, window=(1.0, 2.0)))).figure.data
    assert [len(trace.x) for trace in points] == [500]


def test_slice_percentiles_put_each_value_into_its_slice() -> None:
    at, (median, high) = request_times.slice_percentiles(
        np.array([0.0, 0.1, 1.0]), np.array([1.0, 3.0, 9.0]), (0.0, 1.0)
    )
    assert len(at) == request_times.SLICES
    assert median[0] == 1.0
    assert median[20] == 3.0
    assert median[-1] == high[-1] == 9.0
    assert np.isnan(median).sum() == request_times.SLICES - 3


def test_queue_depth_counts_requests_that_were_queued_before_the_window(tmp_path: Path) -> None:
    rows = [(1.0, 1.0, 9.0, 0, 4096, "read"), (4.0, 6.0, 8.0, 8, 4096, "read"), (7.0, 7.0, 7.5, 16, 4096, "write")]
    run = requests(tmp_path / "run", rows)
    row = table(queue_depth.build(data(run, window=(5.0, 9.0))))[DEVICE]
    assert row[0] == "1.88"  # (4 + 3 + 0.5) s of requests in 4 s
    assert row[1] == "3"
    assert row[2] == "1.63"  # the second was with the driver from second 6 on
    assert row[3] == "100 %"
    assert table(queue_depth.build(data(run)))[DEVICE][3] == "40 %"


def test_a_request_without_an_end_is_outstanding_to_the_end(tmp_path: Path) -> None:
    run = requests(tmp_path / "run", [(10.0, 10.0, float("nan"), 0, 4096, "read")])
    assert table(queue_depth.build(data(run)))[DEVICE][3] == "50 %"


def test_busy_time_joins_intervals_that_overlap() -> None:
    begun, ended = np.array([0.0, 1.0, 5.0, 20.0]), np.array([3.0, 2.0, 7.0, 30.0])
    assert queue_depth.busy_time(begun, ended, 0.0, 10.0) == 5.0
    assert queue_depth.busy_time(begun, ended, 2.5, 6.0) == pytest.approx(1.5)


def test_what_is_read_again_is_told_from_what_is_new() -> None:
    first = np.array([0.0, 0.0, 4096.0, 0.0, 1e6])
    fresh, cell = rereads.first_touched(
        np.array([0, 0, 0, 1, 0]), first, first + np.array([8192, 8192, 8192, 4096, 512])
    )
    assert cell == 4096
    assert fresh.tolist() == [8192, 0, 4096, 4096, 512]


def test_the_working_set_counts_what_was_read_before_the_window(tmp_path: Path) -> None:
    mib = 1 << 20
    rows = [(float(i), float(i), i + 0.1, (i % 4) * mib // 512, mib, "read") for i in range(8)]
    run = requests(tmp_path / "run", rows)
    shown = table(rereads.build(data(run)))
    assert shown["read in the time shown"] == ["8.39 MB"]
    assert shown["of it, again"] == ["4.19 MB"]
    late = table(rereads.build(data(run, window=(3.5, 8.0))))
    assert late["of it, for the first time in the run"] == ["0 B"]
    assert late["working set until then"] == ["4.19 MB"]


def test_many_files_are_put_together_by_folder(whole: Path) -> None:
    rows = table(cached_files.files(data(whole)))
    assert set(rows) == {"/data/a", "/data/b"}
    assert rows["/data/a"][:3] == ["320 pages", "160 pages", "160 pages"]
    one = table(cached_files.files(data(whole, file="/data/a/3.jpg")))
    assert list(one) == ["/data/a/3.jpg"]


def test_the_page_cache_over_time_goes_on_from_before_the_window(whole: Path) -> None:
    late = picture(cached_files.over_time(data(whole, window=(15.0, 16.0)))).figure.data[0]
    assert set(np.asarray(late.y).tolist()) == {float((60 - 10) * 16)}


def test_energy_of_a_window_is_the_integral_of_its_power(whole: Path) -> None:
    cut = data(whole, window=(4.0, 8.0))
    row = table(energy.build(cut))["VDD_IN"]
    rail = cut.text("power", "rail").is_("VDD_IN")
    time, power = cut.number("power", "time_ns")[rail], cut.number("power", "power")[rail]
    inside = (time >= 4) & (time <= 8)
    assert float(row[1].split()[0]) == pytest.approx(np.trapezoid(power[inside], time[inside]), rel=0.02)
    assert row[-2:] == ["yes", "yes"]
    assert table(energy.build(cut))["VDD_CPU"][-1] == "no"
    assert "for each of" in picture(energy.build(cut)).caption


def test_a_counter_is_not_spread_over_phases_shorter_than_its_samples(tmp_path: Path) -> None:
    many = write_run(tmp_path / "many", Shape(seconds=20, steps=2000, requests=0))
    assert "shorter than the samples" in table(phase_shares.faults(data(many)))["load"][0]
    few = write_run(tmp_path / "few", Shape(seconds=20, steps=5, requests=0))
    assert int(table(phase_shares.faults(data(few)))["load"][0].split(".")[0]) > 0


def test_rows_over_time_follow_the_window(whole: Path) -> None:
    for page in (run_page.TIMELINE, memory_page.HELD, memory_page.MOVED, energy_page.OVER_TIME):
        assert page.time
    found = picture(stacked(data(whole, window=(2.0, 4.0)), "x", "X", list(MEMORY_ROWS)))
    assert list(found.figure.layout.xaxis.range) == [2.0, 4.0]
    for trace in found.figure.data:
        assert min(trace.x) > 1
        assert max(trace.x) < 5


MEMORY_ROWS = [
    memory_page.memory_rows.major_faults_row,
    memory_page.memory_rows.processes_row,
    memory_page.memory_rows.pressure_row,
]


def test_a_million_requests_are_drawn_small(tmp_path: Path) -> None:
    run = write_run(
        tmp_path / "run", Shape(seconds=300, steps=500, requests=1_000_000), only=("block_io", "phases", "steps")
    )
    columns = Columns()
    for cut in (Cut(), Cut(window=(50.0, 51.0))):
        for build in (request_times.build, queue_depth.build, rereads.build):
            found = picture(build(CutData(open_run(run), cut, columns)))
            assert len(found.figure.to_json()) < 400_000
    assert columns.weight < 256 << 20


@pytest.mark.parametrize("broken", ["block_io", "page_cache", "phases", "process", "system", "metrics"])
def test_a_file_damaged_in_its_middle_leaves_the_pages_standing(tmp_path: Path, broken: str) -> None:
    run = with_page_cache(write_run(tmp_path / "runs" / "run", SMALL))
    path = run / "metrics.parquet" if broken == "metrics" else run / "tables" / f"{broken}.parquet"
    content = bytearray(path.read_bytes())
    content[4 : len(content) // 2] = bytes(len(content) // 2 - 4)
    path.write_bytes(content)
    context = Context(tmp_path / "runs", RunIndex(tmp_path / "runs"))
    for page in (run_page.PAGE, storage_page.PAGE, memory_page.PAGE, energy_page.PAGE):
        view = View.parse(f"{page.path}?run=run&t=2,9&phase=load")
        assert page.layout(context, view)
        for figure in page.figures:
            found = context.draw(figure, view)
            assert isinstance(found, Picture) or found.reason
