"""The dashboard in headless Chromium: every page opens, links show the same view again, and keys and colours work."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("dash", reason="the dashboard's packages are not installed; run `make install`")
from edgeprof.dashboards.app.pages import PAGES
from edgeprof.dashboards.app.view import link
from tests.browser.pages import location, opened, until, violations, watched
from tests.synthetic_run import Shape, write_run
from tests.unit.test_report_build import hostile_run

screenshot = pytest.importorskip("tests.browser.screenshot", reason="playwright is not installed; run `make install`")

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(
        not Path(screenshot.CHROMIUM).exists(),
        reason="no Chromium on this machine; get it with `apt-get install chromium`",
    ),
]

SHAPE = Shape(seconds=20, steps=80, requests=4000)
FIRST, SECOND, HOSTILE = (
    f"20261121T12000{i}Z-{name}-00000{i}" for i, name in ((1, "first"), (2, "second"), (3, "hostile"))
)
TOKEN = "a-token-of-a-test"
DRAWN = "#figure-timeline .js-plotly-plot .xy"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("runs")
    write_run(place / FIRST, SHAPE, manifest={"run": {"name": "first"}, "factors": {"model": "resnet18"}})
    write_run(place / SECOND, SHAPE, manifest={"run": {"name": "second"}, "factors": {"model": "resnet50"}})
    hostile_run(place / HOSTILE)
    return place


@pytest.fixture(scope="module")
def address(folder: Path) -> Iterator[str]:
    with screenshot.serving(folder) as place:
        yield place


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with screenshot.browser() as running:
        yield running


@pytest.fixture
def page(chromium: Any, address: str) -> Iterator[Any]:
    with watched(chromium, address, color_scheme="light") as found:
        yield found


@pytest.mark.parametrize("path", [page.path for page in PAGES])
def test_every_page_opens_without_a_complaint(page: Any, path: str) -> None:
    opened(page, link(path, run=[FIRST, SECOND] if path == "/compare" else FIRST))
    assert page.title().endswith("· edgeprof")
    assert page.locator("[data-failed]").count() == 0
    assert violations(page) == []


@pytest.mark.parametrize("path", ["/", "/run", "/storage"])
def test_hostile_text_is_shown_as_text(page: Any, path: str) -> None:
    opened(page, link(path, run=HOSTILE))
    assert "<script>alert(1)</script>" in page.inner_text("main")


def test_the_list_is_filtered_and_sorted(page: Any) -> None:
    opened(page, "/")
    assert page.locator("#runs tbody tr").count() == 3
    page.fill("#filter", "model=resnet50")
    page.press("#filter", "Enter")
    until(page, "document.querySelectorAll('#runs tbody tr').length === 1")
    assert location(page) == "/?q=model=resnet50"
    opened(page, "/")
    page.click("#runs thead >> text=name")
    page.wait_for_selector("[aria-sort=ascending]")
    assert location(page) == "/?sort=name"
    names = page.locator("#runs tbody th").all_inner_texts()
    assert names[1:] == ["first", "second"]


def test_columns_are_chosen(page: Any) -> None:
    opened(page, "/?columns=model")
    page.click("summary >> text=Columns")
    page.click("[data-check=columns][data-value=wall_time]")
    page.click("text=Show these columns")
    page.wait_for_selector("#runs thead >> text=wall time")
    assert set(location(page).removeprefix("/?columns=").split(",")) == {"model", "wall_time"}


def test_runs_are_chosen_by_keyboard_and_compared(page: Any) -> None:
    opened(page, "/")
    button = page.locator("[data-gather=compare]")
    assert button.is_disabled()
    for run in (FIRST, SECOND):
        box = page.locator(f'[data-check=compare][data-value="{run}"]')
        box.focus()
        page.keyboard.press("Space")
        assert box.get_attribute("aria-checked") == "true"
    button.focus()
    page.keyboard.press("Enter")
    until(page, "location.pathname === '/compare'")
    assert location(page) == f"/compare?run={FIRST}&run={SECOND}"


def test_a_link_leads_to_a_page_and_back(page: Any) -> None:
    opened(page, "/?sort=started")
    page.click("#runs tbody >> text=second")
    page.wait_for_selector(DRAWN)
    assert page.title() == "second: Run · edgeprof"
    assert page.evaluate("document.activeElement.id") == "title"
    page.go_back()
    page.wait_for_selector("#runs tbody tr")
    assert location(page) == "/?sort=started"


def test_zooming_moves_the_window_of_the_page_and_stands_in_its_address(page: Any) -> None:
    opened(page, link("/run", run=FIRST))
    page.wait_for_selector(DRAWN)
    mark = "document.querySelector('#figure-timeline .js-plotly-plot').dataset.mark"
    page.evaluate(f"{mark} = 'the same'")
    page.evaluate(
        "Plotly.relayout(document.querySelector('#figure-timeline .js-plotly-plot'), {'xaxis.range': [5, 9]})"
    )
    until(page, "location.search.includes('t=5,9')")
    until(page, "document.querySelector('.window').innerText.includes('4 s of 20 s')")
    assert page.evaluate(mark) == "the same", "the figure was made anew instead of in place"
    there = location(page)
    opened(page, there)
    page.wait_for_selector(DRAWN)
    shown = page.evaluate("document.querySelector('#figure-timeline .js-plotly-plot').layout.xaxis.range")
    assert shown == [5, 9]
    page.click(".tabs >> text=Storage")
    until(page, "location.pathname === '/storage'")
    assert "t=5,9" in location(page)


def test_the_theme_follows_the_system_and_the_button_and_is_remembered(page: Any) -> None:
    colour = "getComputedStyle(document.body).backgroundColor"
    opened(page, link("/run", run=FIRST))
    page.wait_for_selector(DRAWN)
    light = page.evaluate(colour)
    ink = "document.querySelector('#figure-timeline .js-plotly-plot').layout.template.layout.font.color"
    before = page.evaluate(ink)
    page.click("#theme")
    until(page, f"{ink} !== '{before}'")
    dark = page.evaluate(colour)
    assert dark != light
    assert violations(page) == []
    opened(page, "/")
    assert page.evaluate(colour) == dark
    assert violations(page) == []


def test_dark_systems_get_dark_pages(page: Any) -> None:
    page.emulate_media(color_scheme="dark")
    opened(page, "/")
    red, green, blue = page.evaluate("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)")
    assert max(red, green, blue) < 60


def test_the_keyboard_reaches_the_content_first(page: Any) -> None:
    opened(page, "/")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"


def test_nobody_is_offered_to_upload_a_figure(page: Any) -> None:
    opened(page, link("/run", run=FIRST))
    page.wait_for_selector(DRAWN)
    page.hover("#figure-timeline .js-plotly-plot")
    titles = page.eval_on_selector_all(
        "#figure-timeline .modebar-btn", "all => all.map(b => b.getAttribute('data-title'))"
    )
    assert "Zoom in" in titles
    assert "Share chart..." not in titles


@pytest.mark.parametrize(("dark", "paper"), [(False, (255, 255, 255)), (True, (22, 27, 34))])
def test_a_figure_is_saved_as_an_image_by_keyboard(page: Any, tmp_path: Path, dark: bool, paper: tuple[int]) -> None:
    page.emulate_media(color_scheme="dark" if dark else "light")
    opened(page, link("/run", run=FIRST))
    page.wait_for_selector(DRAWN)
    saved = {}
    for kind in ("svg", "png"):
        page.focus(f"#figure-timeline [aria-label='Timeline as {kind.upper()}']")
        with page.expect_download() as download:
            page.keyboard.press("Enter")
        assert download.value.suggested_filename == f"edgeprof-timeline.{kind}"
        saved[kind] = tmp_path / kind
        download.value.save_as(saved[kind])
    width, height = page.eval_on_selector(
        "#figure-timeline .js-plotly-plot", "plot => [plot.clientWidth, plot.clientHeight]"
    )
    drawing = saved["svg"].read_text()
    assert f'width="{width}" height="{height}"' in drawing
    assert f"rgb({', '.join(map(str, paper))})" in drawing
    header = saved["png"].read_bytes()[:24]
    assert header.startswith(b"\x89PNG")
    assert struct.unpack(">II", header[16:]) == (3 * width, 3 * height)


def test_a_narrow_screen_scrolls_tables_and_not_the_page(page: Any) -> None:
    page.set_viewport_size({"width": 390, "height": 800})
    for path in ("/", link("/run", run=FIRST)):
        opened(page, path)
        assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_the_token_lets_a_browser_in(chromium: Any, folder: Path) -> None:
    with screenshot.serving(folder, TOKEN) as address:
        context = chromium.new_context(base_url=address)
        page = context.new_page()
        page.goto("/")
        assert "asks for its token" in page.inner_text("body")
        opened(page, f"/?token={TOKEN}")
        assert location(page) == "/"
        assert page.locator("#runs tbody tr").count() == 3
        context.close()
