"""The page of a comparison: what its figures show, what it says, and that it keeps the reports' promises."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeprof.cli import main as cli
from edgeprof.dashboards import forest
from edgeprof.dashboards.compare_report import build
from edgeprof.dashboards.compare_report.figures import SECTIONS, differences, over_time, percentiles, phases, values
from edgeprof.dashboards.compare_report.render import heading
from edgeprof.dashboards.compare_report.sides import MOST_SIDES, Sides, compared, single
from edgeprof.dashboards.compare_report.told import told
from edgeprof.dashboards.report.figures.base import Absent, Outcome, Picture
from edgeprof.dashboards.report.figures.series import Series
from edgeprof.dashboards.report.theme import dark_partners
from edgeprof.profiler.analysis.compare import CAUTION
from edgeprof.profiler.dataset import entry_of
from edgeprof.profiler.errors import EdgeprofError
from edgeprof.profiler.statistics.selection import Group, group_of
from tests import tiny_run
from tests.synthetic_run import Shape, write_run
from tests.unit.test_report_build import hostile_run

pytest.importorskip("scipy", reason="needs SciPy: make install, or pip install 'edgeprof[matrix]'")

SHORT, LONG = 6.0, 9.0
HOSTILE = "<img src=x onerror=alert(1)>"


def shape(seconds: float, seed: int) -> Shape:
    return Shape(seconds=seconds, rate=5.0, steps=40, requests=400, seed=seed)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four short runs and four long ones; beside them one whose tables and names are hostile."""
    runs: Path = tmp_path_factory.mktemp("runs")
    for number in range(4):
        for name, seconds in (("short", SHORT), ("long", LONG)):
            write_run(
                runs / f"2026112{number}T120000Z-{name}-{name[0]}{number}00",
                shape(seconds + 0.05 * number, number),
                manifest={"run": {"name": name}, "host": {"kernel": "6.1" if name == "short" else "6.12"}},
            )
    hostile_run(runs / "20261129T120000Z-hostile-f000")
    return runs


def groups(folder: Path) -> list[Group]:
    return [group_of(name, [f"*-{name}-*"], folder) for name in ("short", "long")]


@pytest.fixture(scope="module")
def sides(folder: Path) -> Sides:
    return compared(groups(folder))


def picture(found: Outcome) -> Picture:
    assert isinstance(found, Picture), found
    return found


def marks(figure: Any) -> dict[str, Any]:
    """Value by the name of its row."""
    rows = dict(zip(figure.layout.yaxis.tickvals, figure.layout.yaxis.ticktext, strict=True))
    return {rows[y].partition(" <i>")[0]: x for trace in figure.data for x, y in zip(trace.x, trace.y, strict=True)}


def test_a_change_is_a_ratio_with_its_interval(sides: Sides) -> None:
    found = picture(differences.build(sides))
    expected = math.log((LONG + 0.075) / (SHORT + 0.075))
    assert marks(found.figure)["Wall time"] == pytest.approx(expected, abs=0.01)
    shown = next(trace for trace in found.figure.data if trace.name == "long")
    assert shown.marker.symbol == "circle"
    assert all(0 < error < 0.1 for error in shown.error_x["array"])
    hollow = next(trace for trace in found.figure.data if trace.name == "long, no difference shown")
    assert hollow.marker.symbol == "circle-open"
    assert found.table is not None
    row = next(row for row in found.table.rows if row[0] == "Wall time")
    assert row[2:4] == ["6.07 s", "9.07 s"]
    assert row[4].startswith("slower by 49 %")


def test_a_metric_without_a_ratio_is_named_and_not_drawn(sides: Sides) -> None:
    found = picture(differences.build(sides))
    assert any("Page cache hits" in limit for limit in found.limits)
    assert "Page cache hits" not in marks(found.figure)


def test_single_runs_say_nothing_on_chance(folder: Path) -> None:
    pair = compared([single(entry_of(path)) for path in sorted(folder.glob("*-short-*"))[:2]])
    found = picture(differences.build(pair))
    assert {trace.marker.symbol for trace in found.figure.data} == {"circle-open"}
    assert all(trace.error_x.array is None for trace in found.figure.data)
    words = told(pair)
    assert (words.sure, words.headline) == (False, "One run each: what differs may be chance")
    assert CAUTION in words.sureness
    assert "Wall time: slower by 0.83 %." in words.evidence


def test_a_run_that_failed_can_be_looked_at_alone_but_counts_in_no_group(tmp_path: Path) -> None:
    for name, code in (("a", 0), ("b", 1)):
        tiny_run.write(tmp_path / f"20261121T120000Z-run-{name}000", run={"exit_code": code})
    paths = sorted(tmp_path.iterdir())
    assert single(entry_of(paths[1])).processes[0].path == paths[1]
    group = group_of("both", [str(path) for path in paths], tmp_path)
    assert [run for run, _ in group.left_out] == [paths[1].name]


def test_every_run_has_a_mark_in_every_panel(sides: Sides) -> None:
    found = picture(values.build(sides))
    panels = len(found.figure.layout.annotations)
    assert len(found.figure.data) == 2 * panels
    assert {len(trace.x) for trace in found.figure.data} == {4}
    assert found.table is not None and len(found.table.rows) == 8


def test_sides_of_many_runs_are_a_median_inside_a_band(sides: Sides) -> None:
    found = picture(over_time.build(sides))
    first = [trace for trace in found.figure.data if trace.yaxis == "y"]
    assert [trace.fill for trace in first] == [None, "toself", None, "toself"]
    assert [trace.name for trace in first if trace.showlegend] == ["short", "long"]
    middle, band = np.asarray(first[0].y), np.asarray(first[1].y)
    most, least = band[: len(middle)], band[len(middle) :][::-1]
    assert (least <= middle).all() and (middle <= most).all()
    assert (least < most).any()


def test_runs_can_be_aligned_at_their_first_step(folder: Path) -> None:
    aligned = compared(groups(folder), "step")
    run = aligned.drawn["long"][0]
    assert run.offset == pytest.approx(np.nanmin(run.data.number("steps", "start_ns")))
    assert run.offset > 0
    figure = picture(over_time.build(aligned)).figure
    latest = max(run.offset for runs in aligned.drawn.values() for run in runs)
    assert figure.layout.xaxis.range[0] == pytest.approx(-latest)
    assert figure.layout.xaxis.title.text == "time since first step"


def test_a_band_keeps_the_mean_of_many_samples_and_ends_with_its_run() -> None:
    def series(time: Any, values: Any) -> Any:
        return over_time._Line("run", Series("x", np.asarray(time), np.asarray(values), "bytes", "#000000"))

    ticks = np.arange(0.0, 8.0, 0.001)
    saw = np.where(np.arange(len(ticks)) % 2 == 0, 0.0, 2.0)
    grid, rows = over_time._on_a_grid([series(ticks, saw), series([0.0, 4.0], [1.0, 1.0])])
    assert np.nanmean(rows[0]) == pytest.approx(1.0, abs=0.01)
    assert np.isnan(rows[1][grid > 4.1]).all()
    assert np.isfinite(rows[1][grid < 3.9]).all()


def test_percentiles_are_those_of_each_run_by_itself() -> None:
    random = np.random.default_rng(0)
    runs = [("a", "#000000", f"run {n}", np.exp(random.normal(size=5000)) * (n + 1)) for n in range(2)]
    figure = percentiles.figure({"Steps": runs}, "step time")
    assert [trace.showlegend for trace in figure.data] == [True, False]
    for trace, (*_, values_) in zip(figure.data, runs, strict=True):
        for share in (0.5, 0.99, 0.999):
            drawn = np.interp(-math.log10(1 - share), trace.x, trace.y)
            assert drawn == pytest.approx(np.quantile(values_, share), rel=0.05)
        assert trace.y[-1] == pytest.approx(values_.max(), rel=1e-6)
    assert figure.layout.xaxis.ticktext == ("p50", "p90", "p99", "p99.9")


def test_phases_and_what_lies_outside_add_up_to_the_wall_time(sides: Sides) -> None:
    figure = picture(phases.build(sides)).figure
    long, short = np.sum([trace.x for trace in figure.data], axis=0)
    assert (short, long) == (pytest.approx(SHORT + 0.075, rel=0.01), pytest.approx(LONG + 0.075, rel=0.01))


def test_the_summary_names_the_first_metric_that_differs(sides: Sides) -> None:
    words = told(sides)
    assert words.sure
    assert words.headline.startswith("Throughput of long: slower by")
    assert words.host.rows == [["kernel", "6.1", "6.12"]]


def test_one_file_holds_it_all(sides: Sides, tmp_path: Path) -> None:
    page = build(sides, tmp_path / "page.html").read_text()
    assert len(page) < 6_000_000
    assert "default-src &#39;none&#39;" in page
    for section in SECTIONS:
        for entry in section.entries:
            assert f'id="spec-{entry.key}"' in page, f"{entry.key} was not drawn"
    assert list(tmp_path.iterdir()) == [tmp_path / "page.html"]


def test_hostile_names_and_tables_are_text(folder: Path, tmp_path: Path) -> None:
    bad = single(entry_of(next(folder.glob("*-hostile-*"))), HOSTILE)
    good = single(entry_of(next(folder.glob("*-short-*"))))
    found = compared([bad, good], "step")
    page = build(found, tmp_path / "page.html").read_text()
    assert HOSTILE not in page
    assert "<script>alert" not in page
    drawn = [entry.draw(found) for section in SECTIONS for entry in section.entries]
    assert not [item for item in drawn if isinstance(item, Absent) and item.failed]


def test_a_damaged_table_empties_its_figure_only(folder: Path, tmp_path: Path) -> None:
    runs = [write_run(tmp_path / f"20261121T12000{n}Z-run-{n}000", shape(SHORT, n)) for n in range(2)]
    for run in runs:
        (run / "tables" / "block_io.parquet").write_bytes(b"PAR1 torn")
    found = compared([single(entry_of(run)) for run in runs])
    drawn = {entry.key: entry.draw(found) for section in SECTIONS for entry in section.entries}
    absent = drawn["latency"]
    assert isinstance(absent, Absent) and "cannot be read" in absent.reason
    assert all(isinstance(item, Picture) for key, item in drawn.items() if key != "latency")


def twins(folder: Path, *names: str) -> Sides:
    """Runs at these places, each by itself against the first; the last one is longer."""
    places = [write_run(folder / name, shape(SHORT + 3 * number, number)) for number, name in enumerate(names)]
    return compared([single(entry_of(place), "the same name") for place in places])


@pytest.mark.parametrize(
    ("places", "names"),
    [
        (("before-1", "after-1"), ["before-1", "after-1"]),
        (("a/run-1", "b/run-1"), ["run-1 (a)", "run-1 (b)"]),
        (("m/runs/run-1", "n/runs/run-1", "n/runs/run-2"), ["run-1 (m/runs)", "run-1 (n/runs)", "run-2"]),
        (("runs/run-1", "runs/m/run-1"), ["run-1 (runs)", "run-1 (m)"]),
    ],
)
def test_runs_of_one_name_are_sides_of_their_own(tmp_path: Path, places: tuple[str, ...], names: list[str]) -> None:
    found = twins(tmp_path, *places)
    assert [side.name for side in found.sides] == names
    assert [found.drawn[name][0].data.run.path for name in names] == [tmp_path / place for place in places]
    assert heading(found) == f"{', '.join(names[1:])} against {names[0]}"
    figure = picture(phases.build(found)).figure
    assert len(set(figure.data[0].y)) == len(names), "no bar lies on top of another"


def test_a_run_is_not_compared_with_itself(folder: Path) -> None:
    one = single(entry_of(next(folder.glob("*-short-*"))))
    with pytest.raises(EdgeprofError, match="a run belongs to one group"):
        compared([one, one])


def test_what_cannot_be_compared_is_one_sentence(folder: Path, tmp_path: Path) -> None:
    one = single(entry_of(next(folder.glob("*-short-*"))))
    with pytest.raises(EdgeprofError, match="at least two"):
        compared([one])
    with pytest.raises(EdgeprofError, match=f"choose {MOST_SIDES} at most"):
        compared([one] * (MOST_SIDES + 1))
    bare = write_run(tmp_path / "20261121T120000Z-bare-0000", shape(1.0, 0), metrics=False)
    with pytest.raises(EdgeprofError, match="edgeprof ingest"):
        single(entry_of(bare))


def test_the_command_writes_the_page(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "page.html"
    names = [path.name for path in sorted(folder.glob("*-short-*"))[:2]]
    assert cli.main(["compare", *names, "--folder", str(folder), "--html", str(page), "--json"]) == 0
    printed = capsys.readouterr()
    assert printed.out.startswith("{"), "what is printed for scripts stays as it is"
    assert str(page) in printed.err
    assert page.read_text().startswith("<!DOCTYPE html>")
    assert cli.main(["compare", *names, "--folder", str(folder), "--html", str(tmp_path / "no" / "page.html")]) == 120
    assert capsys.readouterr().err.count("\n") == 1


class TestForest:
    def test_an_interval_that_is_too_wide_runs_out_of_the_picture(self) -> None:
        rows = [forest.Mark("a", 0.1, 0.0, 0.2), forest.Mark("b", 0.1, -9.0, 9.0), forest.Mark("c", math.log(1e9))]
        low, high = forest.forest(rows, "ratio").layout.xaxis.range
        assert -0.6 < low < 0
        assert high == pytest.approx(math.log(1000), rel=0.1)

    def test_marks_of_the_axis_have_room(self) -> None:
        axis = forest.forest([forest.Mark("a", 1.0), forest.Mark("b", -1.0)], "ratio").layout.xaxis
        ticks = sorted(axis.tickvals)
        low, high = axis.range
        assert 0 in ticks and len(ticks) > 4
        assert min(np.diff(ticks)) > 0.09 * (high - low)
        assert axis.ticktext[axis.tickvals.index(0)] == "the same"

    def test_a_row_without_a_value_is_a_heading(self) -> None:
        figure = forest.forest([forest.Mark("<b>head</b>"), forest.Mark("a", 0.5, note="words <b>")], "ratio")
        assert figure.layout.yaxis.ticktext == ("<b>head</b>", "a")
        assert [item.text for item in figure.layout.annotations] == ["words &lt;b&gt;"]
        assert sum(len(trace.x) for trace in figure.data) == 1


def test_no_figure_uses_a_colour_without_a_dark_partner(sides: Sides) -> None:
    partners = dark_partners()
    for section in SECTIONS:
        for entry in section.entries:
            text = picture(entry.draw(sides)).figure.update_layout(template=None).to_json()
            assert set(re.findall(r'"(#[0-9a-fA-F]{3,8})"', text)) <= set(partners), entry.key
            assert set(re.findall(r'"(rgba\([\d,]+,)[\d.]+\)"', text)) <= set(partners), entry.key
