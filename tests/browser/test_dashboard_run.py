"""The pages of one run in headless Chromium: everything is drawn, and every way to choose a part of the run works."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.synthetic_run import Shape, write_run
from tests.unit.test_app_run_figures import with_page_cache
from tests.unit.test_report_build import hostile_run

pytest.importorskip("dash", reason="dash is not installed; run `make install`")
screenshot = pytest.importorskip("tests.browser.screenshot", reason="playwright is not installed; run `make install`")

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(
        not Path(screenshot.CHROMIUM).exists(),
        reason="no Chromium on this machine; get it with `apt-get install chromium`",
    ),
]

PAGES = ("run", "storage", "memory", "energy")
SHAPE = Shape(seconds=30, steps=120, requests=4000)
DRAWN = "() => document.querySelector('.window') && !document.querySelector('.drawing')"
SHOWS = """([key, begin, end]) => {
  const range = document.querySelector(`#figure-${key} .js-plotly-plot`)?.layout?.xaxis?.range;
  return range && Math.abs(range[0] - begin) + Math.abs(range[1] - end) < 1e-3 * (end - begin);
}"""


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The application over a folder with a run, a run with hostile names, and one without tables."""
    folder = tmp_path_factory.mktemp("runs")
    with_page_cache(write_run(folder / "whole", SHAPE))
    hostile_run(folder / "hostile")
    write_run(folder / "bare", SHAPE, only=(), metrics=False, manifest={"ingest": None})
    with screenshot.serving(folder) as place:
        yield place


@pytest.fixture(scope="module")
def page(address: str) -> Iterator[Any]:
    with screenshot.browser() as chromium:
        page = chromium.new_page(viewport={"width": 1280, "height": 1000}, reduced_motion="reduce")
        page.set_default_timeout(60_000)
        page.complaints = []
        page.on("console", lambda message: message.type == "error" and page.complaints.append(message.text))
        page.on("pageerror", lambda error: page.complaints.append(str(error)))
        yield page


def wait(page: Any, condition: str, argument: object = None) -> None:
    """Waits for a condition, looked at now and then: a busy machine draws frames seldom."""
    page.wait_for_function(condition, arg=argument, polling=100)


def show(page: Any, address: str) -> None:
    page.complaints.clear()
    page.goto(address)
    wait(page, DRAWN)


def follows(page: Any, key: str, begin: float, end: float) -> None:
    """Waits until a figure's axis shows a window."""
    wait(page, SHOWS, [key, begin, end])


def window(page: Any) -> list[float]:
    """The window in the address."""
    found: list[float] = page.evaluate(
        "() => (new URLSearchParams(location.search).get('t') || '').split(',').filter(Boolean).map(Number)"
    )
    return found


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize("run", ["whole", "hostile", "bare"])
def test_each_page_draws_all_it_has_and_says_why_it_has_not(page: Any, address: str, name: str, run: str) -> None:
    show(page, f"{address}/{name}?run={run}")
    assert page.complaints == []
    assert page.locator("[data-failed]").count() == 0
    drawn = page.locator("figure .main-svg:visible").count()
    assert drawn > 0 if run != "bare" else drawn == 0
    if run == "bare":
        assert page.locator("figure .empty").count() == page.locator("figure").count() > 0
        assert "edgeprof ingest" in page.locator("main").inner_text()
    assert page.evaluate(
        "() => window.__hostile === undefined && !document.querySelector('main img[onerror], main script')"
    )


def test_dragging_over_one_figure_moves_all_and_the_address(page: Any, address: str) -> None:
    show(page, f"{address}/run?run=whole")
    page.evaluate("() => document.querySelector('#figure-steps').scrollIntoView()")
    box = page.locator("#figure-steps .nsewdrag").first.bounding_box()
    y = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + 0.2 * box["width"], y)
    page.mouse.down()
    page.mouse.move(box["x"] + 0.4 * box["width"], y, steps=4)
    page.mouse.up()
    wait(page, "() => location.search.includes('t=')")
    begin, end = window(page)
    assert (begin, end) == (pytest.approx(6, abs=0.2), pytest.approx(12, abs=0.2))
    follows(page, "timeline", begin, end)
    assert page.locator(".window strong").inner_text().endswith("of 30 s")
    show(page, page.url)  # the address shows the same view again
    follows(page, "timeline", begin, end)
    follows(page, "steps", begin, end)


def test_a_step_leads_to_its_window_and_its_requests(page: Any, address: str) -> None:
    show(page, f"{address}/run?run=whole")
    requests = page.locator("#requests .meta").inner_text()
    step = page.locator("#program .listing a").first
    step.click()
    wait(page, "() => location.search.includes('t=')")
    begin, end = window(page)
    assert 0 < end - begin < 3
    follows(page, "timeline", begin, end)
    wait(page, "text => document.querySelector('#requests .meta').innerText !== text", requests)
    assert page.locator("#program .listing tbody tr").count() == 1
    page.locator(".window a", has_text="Whole run").click()
    wait(page, "() => !location.search.includes('t=')")
    follows(page, "timeline", 0, 30)


def test_the_window_can_be_typed_and_moved_by_keyboard(page: Any, address: str) -> None:
    show(page, f"{address}/memory?run=whole&t=4,8")
    begin = page.locator(".window input").first
    assert begin.input_value() == "4"
    begin.fill("6")
    begin.press("Enter")
    follows(page, "memory-time", 6, 8)
    assert window(page) == [6, 8]
    later = page.locator(".window a", has_text="Later")
    later.focus()
    page.keyboard.press("Enter")
    follows(page, "memory-pressure", 7, 9)


def test_what_is_chosen_cuts_the_requests(page: Any, address: str) -> None:
    show(page, f"{address}/storage?run=whole")
    page.locator("select[data-parameter=op]").select_option("write")
    wait(page, "() => location.search.includes('op=write')")
    wait(page, DRAWN)
    assert "Reads" not in page.locator("#figure-offsets .main-svg").first.text_content()
    assert "nothing of the table" not in page.locator("#figure-latency").inner_text()


def test_a_window_beside_the_run_is_empty_with_a_way_back(page: Any, address: str) -> None:
    show(page, f"{address}/storage?run=whole&t=500,600")
    assert "show the whole run" in page.locator("#figure-offsets .empty").inner_text()
    assert page.complaints == []
    assert page.locator("[data-failed]").count() == 0
    page.locator(".window a", has_text="Whole run").click()
    follows(page, "offsets", 0, 30)


def test_an_address_that_is_no_window_is_explained(page: Any, address: str) -> None:
    show(page, f"{address}/run?run=whole&t=soon&process=all")
    words = page.locator(".cut .notice").inner_text()
    assert "not two numbers" in words
    assert "not a number" in words
