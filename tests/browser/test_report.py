"""The report in headless Chromium: it draws everything, asks nobody for anything, and works by keyboard."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from edgeprof import open_run
from edgeprof.dashboards.report import build_report
from tests.synthetic_run import Shape, write_run
from tests.unit.test_report_build import FIGURES, HOSTILE, hostile_run

screenshot = pytest.importorskip("tests.browser.screenshot", reason="playwright is not installed; run `make install`")

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(
        not Path(screenshot.CHROMIUM).exists(),
        reason="no Chromium on this machine; get it with `apt-get install chromium`",
    ),
]

SHAPE = Shape(seconds=30, steps=120, requests=8000)


@dataclass
class Seen:
    """What the browser complained about or asked for."""

    messages: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with screenshot.browser() as running:
        yield running


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_report(open_run(write_run(tmp_path_factory.mktemp("report") / "run", SHAPE)))


def open_page(chromium: Any, report: Path, **options: Any) -> tuple[Any, Seen]:
    page, seen = chromium.new_page(**{"viewport": {"width": 1280, "height": 900}, **options}), Seen()
    page.on("console", lambda message: seen.messages.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: seen.messages.append(str(error)))
    page.on("request", lambda request: seen.requests.append(request.url))
    page.on("requestfailed", lambda request: seen.failures.append(request.url))
    screenshot.open_report(page, report)
    return page, seen


@pytest.fixture
def page(chromium: Any, report: Path) -> Iterator[Any]:
    opened, _ = open_page(chromium, report)
    yield opened
    opened.close()


MARKS = """plot => ({
    key: plot.dataset.figure,
    traces: plot.data.length,
    marks: plot.querySelectorAll(
        '.scatterlayer .trace path, .barlayer .point path, .heatmaplayer image, .scatterlayer .points path').length,
    height: plot.getBoundingClientRect().height,
})"""


def test_every_figure_is_drawn_without_an_error_or_a_request(chromium: Any, report: Path) -> None:
    page, seen = open_page(chromium, report)
    plots = [plot.evaluate(MARKS) for plot in page.query_selector_all(".js-plotly-plot")]
    assert [plot["key"] for plot in plots] == FIGURES
    for plot in plots:
        assert plot["traces"] > 0
        assert plot["marks"] >= min(plot["traces"], 2), plot
        assert plot["height"] > 100
    assert seen.messages == []
    assert seen.failures == []
    assert [url for url in seen.requests if not url.startswith(("file:", "data:", "blob:"))] == []
    assert [url for url in seen.requests if url.startswith("file:")] == [report.as_uri()]
    page.close()


def test_the_rows_of_the_timeline_move_together(page: Any) -> None:
    moved = page.evaluate(
        """async () => {
            const plot = document.querySelector('[data-figure=timeline]');
            const lines = () => [...plot.querySelectorAll('.plot .scatterlayer .trace .js-line')];
            const at = () => lines().map(line => line.getAttribute('d'));
            const before = at();
            await Plotly.relayout(plot, {'xaxis.range': [5, 10]});
            const after = at();
            const layout = plot._fullLayout;
            return {
                axes: Object.keys(layout).filter(key => /^xaxis\\d*$/.test(key)),
                rows: Object.keys(layout).filter(key => /^yaxis\\d*$/.test(key)).length,
                subplots: layout._subplots.cartesian,
                range: layout.xaxis.range,
                lines: before.length,
                changed: before.filter((path, i) => path !== after[i]).length,
            };
        }"""
    )
    assert moved["axes"] == ["xaxis"]
    assert moved["subplots"] == [f"xy{'' if number == 1 else number}" for number in range(1, moved["rows"] + 1)]
    assert moved["rows"] >= 7
    assert moved["range"] == [5, 10]
    assert moved["lines"] > 15
    assert moved["changed"] == moved["lines"]


def test_buttons_move_in_time_by_keyboard(page: Any) -> None:
    span = "document.querySelector('[data-figure=timeline]').layout.xaxis.range.map(Number)"
    start, end = page.evaluate(span)
    page.focus("[data-zoom=in]")
    page.keyboard.press("Enter")
    low, high = page.evaluate(span)
    assert (high - low) == pytest.approx((end - start) / 2)
    page.focus("[data-zoom=right]")
    page.keyboard.press("Space")
    assert page.evaluate(span)[0] > low
    page.focus("[data-zoom=all]")
    page.keyboard.press("Enter")
    assert page.evaluate(span) == [start, end]


TEXT = "getComputedStyle(document.querySelector('[data-figure=timeline] .xtick text')).fill"


def test_dark_follows_the_system_and_the_button(chromium: Any, report: Path) -> None:
    page, seen = open_page(chromium, report, color_scheme="dark")
    background = "getComputedStyle(document.body).backgroundColor"
    colour = "document.querySelector('[data-figure=sizes] .barlayer .point path').style.fill"
    dark = [page.evaluate(code) for code in (background, TEXT, colour)]
    assert page.inner_text("#theme") == "Light"
    page.click("#theme")
    light = [page.evaluate(code) for code in (background, TEXT, colour)]
    assert all(one != other for one, other in zip(dark, light, strict=True)), (dark, light)
    page.click("#theme")
    assert [page.evaluate(code) for code in (background, TEXT, colour)] == dark
    page.emulate_media(color_scheme="light")
    assert page.evaluate(background) == dark[0], "what the reader chose outlives the system's change"
    assert seen.messages == []
    page.close()


def test_a_change_of_theme_keeps_the_zoom(page: Any) -> None:
    page.click("[data-zoom=in]")
    span = "document.querySelector('[data-figure=timeline]')._fullLayout.xaxis.range.map(Number)"
    before = page.evaluate(span)
    page.click("#theme")
    assert page.evaluate(span) == pytest.approx(before)


FOCUSED = "document.activeElement.closest('figure,section')?.id + ' ' + document.activeElement.tagName"


def test_the_tab_key_reaches_the_skip_link_and_each_figures_data(page: Any) -> None:
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    box = page.query_selector(".skip").bounding_box()
    assert box["x"] >= 0, "the skip link shows itself when it has the focus"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "summary"
    reached = []
    for _ in range(120):
        page.keyboard.press("Tab")
        reached.append(page.evaluate(FOCUSED))
    summaries = [item.split()[0] for item in reached if item.startswith("figure-") and item.endswith("SUMMARY")]
    assert list(dict.fromkeys(summaries)) == [f"figure-{key}" for key in FIGURES]


def test_the_data_of_a_figure_opens_by_keyboard(page: Any) -> None:
    page.focus("#figure-latency details summary")
    page.keyboard.press("Enter")
    assert page.is_visible("#figure-latency details table")
    assert "p99" in page.inner_text("#figure-latency details thead")


def test_hostile_text_is_shown_as_text(chromium: Any, tmp_path: Path) -> None:
    page, seen = open_page(chromium, build_report(open_run(hostile_run(tmp_path / "run"))))
    page.on("dialog", lambda dialog: seen.messages.append(dialog.message))
    assert seen.messages == []
    assert "<script>alert(1)</script>" in page.inner_text("pre.command")
    assert page.query_selector_all("main img, main script, figure a[href^=javascript]") == []
    texts = page.evaluate("[...document.querySelectorAll('[data-figure=timeline] text')].map(text => text.textContent)")
    assert any(text.startswith(HOSTILE[:20]) for text in texts), texts
    page.close()


@pytest.mark.parametrize("make", [lambda folder: write_run(folder, SHAPE), hostile_run], ids=["plain", "hostile"])
def test_it_fits_a_narrow_screen(chromium: Any, tmp_path: Path, make: Callable[[Path], Path]) -> None:
    page, _ = open_page(
        chromium, build_report(open_run(make(tmp_path / "run"))), viewport={"width": 390, "height": 800}
    )
    page.evaluate("document.querySelectorAll('details').forEach(part => { part.open = true; })")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.close()


def test_it_prints_in_light_colours_at_the_papers_width(chromium: Any, report: Path, tmp_path: Path) -> None:
    page, seen = open_page(chromium, report, color_scheme="dark")
    page.pdf(path=tmp_path / "report.pdf", format="A4", print_background=True)
    assert (tmp_path / "report.pdf").read_bytes().startswith(b"%PDF")
    assert seen.messages == []
    page.close()


def test_an_hour_with_a_million_requests_opens(chromium: Any, tmp_path: Path, record_property: Any) -> None:
    shape = Shape(seconds=3600, processes=20, steps=36_000, requests=1_000_000)
    report = build_report(open_run(write_run(tmp_path / "run", shape)))
    assert report.stat().st_size < 6_000_000
    page, seen = open_page(chromium, report)
    times = page.evaluate(
        """() => {
            const entry = performance.getEntriesByType('navigation')[0];
            return {load: entry.loadEventEnd, drawn: Number(document.documentElement.dataset.drawnAt)};
        }"""
    )
    print(f"opened in {times['load']:.0f} ms, every figure drawn after {times['drawn']:.0f} ms")
    for name, value in times.items():
        record_property(name, round(value))
    assert len(page.query_selector_all(".js-plotly-plot .main-svg")) >= len(FIGURES)
    assert seen.messages == []
    page.close()
