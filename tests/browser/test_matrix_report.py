"""The study report in headless Chromium: it draws everything, asks nobody, sorts, links, and follows the reader."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edgeprof.dashboards.matrix_report import build
from edgeprof.profiler.statistics.study import Study
from edgeprof.profiler.statistics.words import times
from edgeprof.profiler.units import human
from tests.synthetic_study import make_study, typical, with_reports

screenshot = pytest.importorskip("tests.browser.screenshot", reason="playwright is not installed; run `make install`")
pytest.importorskip("scipy", reason="needs SciPy: make install, or pip install 'edgeprof[matrix]'")

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(
        not Path(screenshot.CHROMIUM).exists(),
        reason="no Chromium on this machine; get it with `apt-get install chromium`",
    ),
]

FIGURES = ["effects", "variance", "map", "spread"]
HOSTILE = "<img src=x onerror=alert(1)>"


def full_study(folder: Path) -> Study:
    """3 axes, 5 repeats, some failures; metrics on both scales, one constant, one that nobody gave."""
    study = with_reports(make_study(typical, failures=0.04, seed=3), folder)
    for number, run in enumerate(study.cells):
        if not run.failed:
            wall = run.metrics["wall_time"] or 0.0
            cold = run.levels["cache"] == "cold"
            run.metrics |= {"data_stall": 0.05 + 0.3 * cold + 0.001 * (number % 7), "steps": 100.0, "energy": None}
            run.metrics |= {"throughput": 32 / wall, "storage_read_bytes": 1e9 + 1e6 * number if cold else 0.0}
    return study


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with screenshot.browser() as running:
        yield running


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("study")
    return build(full_study(folder), folder / "report.html")


def open_page(chromium: Any, report: Path, **options: Any) -> tuple[Any, list[str], list[str]]:
    page = chromium.new_page(**{"viewport": {"width": 1280, "height": 900}, **options})
    messages: list[str] = []
    requests: list[str] = []
    page.on("console", lambda message: messages.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: messages.append(str(error)))
    page.on("dialog", lambda dialog: messages.append(dialog.message))
    page.on("request", lambda request: requests.append(request.url))
    screenshot.open_report(page, report)
    return page, messages, requests


@pytest.fixture(scope="module")
def page(chromium: Any, report: Path) -> Iterator[Any]:
    """One page for the tests that choose on it all that they rely on: opening one takes seconds."""
    opened, messages, _ = open_page(chromium, report)
    yield opened
    assert messages == []
    opened.close()


MARKS = """plot => ({
    key: plot.dataset.figure,
    marks: plot.querySelectorAll('.scatterlayer .points path, .barlayer .point path, .heatmaplayer image').length,
    height: plot.getBoundingClientRect().height,
    words: [...plot.querySelectorAll('text')].map(text => text.textContent).join(' '),
})"""


def test_every_figure_is_drawn_without_an_error_or_a_request(chromium: Any, report: Path) -> None:
    page, messages, requests = open_page(chromium, report)
    plots = {plot["key"]: plot for plot in (p.evaluate(MARKS) for p in page.query_selector_all(".js-plotly-plot"))}
    assert list(plots) == FIGURES
    assert {key: plot["marks"] for key, plot in plots.items() if key != "spread"} == {
        "effects": 4,
        "variance": 8,
        "map": 1,
    }
    assert plots["spread"]["marks"] > 55
    assert all(plot["height"] > 150 for plot in plots.values())
    assert "tensorflow" in plots["effects"]["words"]
    assert messages == []
    assert [url for url in requests if not url.startswith(("data:", "blob:"))] == [report.as_uri()]
    page.close()


def test_every_metric_can_be_chosen(page: Any) -> None:
    names = page.eval_on_selector_all("#metric option", "options => options.map(option => option.textContent)")
    assert names == ["Throughput", "Wall time", "Waiting for input", "Read from storage", "Steps"]
    axis = "document.querySelector('[data-figure=effects]').layout.xaxis.title.text"
    for name in names[:4]:
        page.select_option("#metric", label=name)
        assert name.lower() in page.evaluate(axis)
        assert page.inner_text("#effects-title").endswith(name.lower())
    page.select_option("#metric", label="Steps")
    assert "every run gave the same value" in page.inner_text("[data-empty=variance]")
    assert not page.is_visible("[data-figure=variance]")


def test_numbers_read_as_everywhere_else(page: Any) -> None:
    cases = [
        *((value, "s") for value in (0, 2.5e-9, 3.4e-3, 0.99951, 7.0, 125.4, 7384.0, 1e-7)),
        *((value, "bytes") for value in (0, 512, 1.5e6, 999_600, 2e12)),
        *((value, "count") for value in (0, 7, 12345, 2.5, 3.2e6)),
        *((value, unit) for value in (0.0123, 0.87, 3.0) for unit in ("share", "ratio", "J", "J/sample", "samples/s")),
    ]
    shown = page.evaluate("cases => cases.map(([value, unit]) => Format.human(value, unit))", cases)
    assert shown == [human(value, unit) for value, unit in cases]
    ratios = [0.004, 0.04, 0.2, 2.5, 42.0, 1234.0]
    changes = page.evaluate("ratios => ratios.map(ratio => Format.change(Math.log(ratio), {scale: 'log'}))", ratios)
    assert changes == [f"{times(ratio)}x" for ratio in ratios]


def test_the_two_axes_of_the_heat_map_can_be_chosen(page: Any) -> None:
    page.select_option("#map-x", label="cache")
    page.select_option("#map-y", label="framework")
    layout = "(() => { const l = document.querySelector('[data-figure=map]').layout; return [l.xaxis, l.yaxis]"
    assert page.evaluate(layout + ".map(axis => axis.title.text) })()") == ["cache", "framework"]
    assert page.evaluate(layout + ".map(axis => axis.ticktext.join()) })()") == ["cold,warm", "pytorch,tensorflow"]
    page.select_option("#metric", label="Wall time")
    assert page.evaluate("document.getElementById('map-x').selectedOptions[0].text") == "cache", "the choice is kept"


COLUMN = "number => [...document.querySelectorAll(`#table tbody tr > :nth-child(${number})`)].map(c => c.textContent)"
MEAN = 5


def numbers(texts: list[str]) -> list[float]:
    return [float(text.split()[0]) for text in texts]


def test_the_table_sorts_by_every_column_and_by_keyboard(page: Any) -> None:
    page.select_option("#metric", label="Throughput")
    assert len(page.evaluate(COLUMN, 1)) == 12
    page.focus("#table thead th:nth-child(5) button")
    page.keyboard.press("Enter")
    means = numbers(page.evaluate(COLUMN, MEAN))
    assert means == sorted(means)
    assert page.get_attribute("#table thead th:nth-child(5)", "aria-sort") == "ascending"
    assert page.evaluate("document.activeElement.textContent") == "Throughput, mean", "the focus stays on the button"
    page.keyboard.press("Space")
    assert numbers(page.evaluate(COLUMN, MEAN)) == sorted(means, reverse=True)
    assert page.get_attribute("#table thead th:nth-child(5)", "aria-sort") == "descending"
    for column in range(1, 8):
        page.click(f"#table thead th:nth-child({column}) button")
        assert len(page.evaluate(COLUMN, 1)) == 12
    page.click("#table thead th:nth-child(2) button")
    assert page.evaluate(COLUMN, 2) == ["folder"] * 4 + ["tar"] * 4 + ["lmdb"] * 4, "in the order of the specification"


def test_one_click_leads_from_a_cell_to_its_runs_report(chromium: Any, report: Path) -> None:
    page, _, _ = open_page(chromium, report)
    links = page.eval_on_selector_all("#table .reports a", "links => links.map(link => link.href)")
    failed = page.query_selector_all("#table .reports .failed")
    without = page.query_selector_all("#table .reports span:not(.failed)")
    assert len(links) + len(failed) + len(without) == 60
    assert failed and without
    assert "did not boot" in failed[0].get_attribute("aria-label")
    page.click("#table tbody tr:nth-child(1) .reports a:nth-child(1)")
    assert page.title() == "run 0"
    page.go_back()
    page.wait_for_selector(screenshot.DRAWN, state="attached")
    page.locator("[data-figure=spread]").scroll_into_view_if_needed()
    point = page.locator("[data-figure=spread] .scatterlayer .points path").first.bounding_box()
    page.mouse.move(point["x"] + point["width"] / 2, point["y"] + point["height"] / 2)
    page.mouse.click(point["x"] + point["width"] / 2, point["y"] + point["height"] / 2)
    page.wait_for_url("**/runs/**")
    assert page.title().startswith("run ")
    page.close()


def test_dark_follows_the_system_and_the_button(chromium: Any, report: Path, tmp_path: Path) -> None:
    page, messages, _ = open_page(chromium, report, color_scheme="dark")
    looks = [
        "getComputedStyle(document.body).backgroundColor",
        "getComputedStyle(document.querySelector('[data-figure=effects] .ytick text')).fill",
        "document.querySelector('[data-figure=variance] .barlayer .point path').style.fill",
        "document.querySelector('[data-figure=map]').data[0].colorscale[0][1]",
    ]
    dark = [page.evaluate(look) for look in looks]
    assert page.inner_text("#theme") == "Light"
    page.click("#theme")
    light = [page.evaluate(look) for look in looks]
    assert all(one != other for one, other in zip(dark, light, strict=True)), (dark, light)
    page.click("#theme")
    assert [page.evaluate(look) for look in looks] == dark
    page.pdf(path=tmp_path / "report.pdf", format="A4", print_background=True)  # on paper it is light
    assert (tmp_path / "report.pdf").read_bytes().startswith(b"%PDF")
    assert [page.evaluate(look) for look in looks] == dark
    assert messages == []
    page.close()


def test_the_keyboard_reaches_the_controls_the_data_and_the_links(chromium: Any, report: Path) -> None:
    page, _, _ = open_page(chromium, report)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    reached = []
    for _ in range(140):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.id || document.activeElement.tagName"))
    assert {"metric", "map-x", "map-y", "colour-by", "SUMMARY", "BUTTON", "A"} <= set(reached)
    page.focus("#figure-effects details summary")
    page.keyboard.press("Enter")
    assert "tensorflow" in page.inner_text("#figure-effects details table")
    page.close()


def test_it_fits_a_narrow_screen_and_keeps_its_height(chromium: Any, report: Path) -> None:
    page, _, _ = open_page(chromium, report)
    height = page.evaluate("document.querySelector('[data-figure=effects]').getBoundingClientRect().height")
    page.set_viewport_size({"width": 390, "height": 800})
    page.evaluate("document.querySelectorAll('details').forEach(part => { part.open = true; })")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    width = "document.querySelector('[data-figure=effects] .main-svg').clientWidth"
    deadline = time.monotonic() + 20
    while page.evaluate(width) > 700 and time.monotonic() < deadline:
        page.wait_for_timeout(50)
    assert page.evaluate(width) <= 700
    assert page.evaluate("document.querySelector('[data-figure=effects]').getBoundingClientRect().height") == height
    page.close()


def test_hostile_text_is_shown_as_text(chromium: Any, tmp_path: Path) -> None:
    axes = {HOSTILE: ["a", HOSTILE], "other": ["x", "y"]}
    study = make_study(lambda levels: 0.3 * (levels[HOSTILE] == "a"), axes=axes, failures=0.2)
    for run in study.cells:
        run.failed = run.failed and HOSTILE
        run.metrics[HOSTILE] = 1.0 + 0.1 * run.repeat
    page, messages, _ = open_page(chromium, build(study, tmp_path / "report.html"))
    page.select_option("#metric", index=1)
    page.click("#table thead th:nth-child(1) button")
    assert messages == []
    assert page.query_selector_all("main img") == []
    assert HOSTILE in page.inner_text("#table")
    texts = page.evaluate("[...document.querySelectorAll('[data-figure=map] text')].map(text => text.textContent)")
    assert any("<img" in text for text in texts), texts
    page.close()


@pytest.mark.parametrize(
    "study",
    [make_study(failures=1.0), make_study(repeats=1), make_study(axes={"one": ["a"]})],
    ids=["all failed", "one repeat", "one cell"],
)
def test_studies_that_say_little_open_too(chromium: Any, tmp_path: Path, study: Study) -> None:
    page, messages, _ = open_page(chromium, build(study, tmp_path / "report.html"))
    assert messages == []
    assert page.inner_text(".headline")
    page.close()


def test_a_study_of_120_cells_stays_small_and_opens(chromium: Any, tmp_path: Path) -> None:
    axes = {"a": [f"level {n}" for n in range(6)], "b": [f"b{n}" for n in range(10)], "c": ["x", "y"]}
    study = make_study(lambda levels: 0.1 * int(levels["a"][-1]), axes=axes, repeats=2)
    for run in study.cells:
        run.metrics |= {f"own_{n}": (run.metrics["wall_time"] or 0) * (n + 1) for n in range(3)}
    path = build(study, tmp_path / "report.html")
    assert path.stat().st_size < 6_000_000
    page, messages, _ = open_page(chromium, path)
    assert "The first and the last 40 of 120 cells are drawn" in page.inner_text("[data-note=spread]")
    assert len(page.query_selector_all("#table tbody tr")) == 120
    assert messages == []
    page.close()
