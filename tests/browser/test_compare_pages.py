"""Comparisons, matrices, boards and KMLib in headless Chromium: the page of one file, and the application's pages."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

screenshot = pytest.importorskip("tests.browser.screenshot", reason="playwright is not installed; run `make install`")
pytest.importorskip("dash", reason="needs Dash: make install, or pip install 'edgeprof[dashboard]'")
pytest.importorskip("scipy", reason="needs SciPy: make install, or pip install 'edgeprof[matrix]'")

from edgeprof.dashboards.app.view import link  # noqa: E402
from edgeprof.dashboards.compare_report import build  # noqa: E402
from edgeprof.dashboards.compare_report.sides import compared, single  # noqa: E402
from edgeprof.profiler.dataset import entry_of  # noqa: E402
from tests.browser.pages import titles  # noqa: E402
from tests.synthetic_run import Shape, write_run  # noqa: E402
from tests.unit.test_app_dataset_pages import HOSTILE, evaluation, latency_card  # noqa: E402
from tests.unit.test_compare import write_matrix  # noqa: E402

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(
        not Path(screenshot.CHROMIUM).exists(),
        reason="no Chromium on this machine; get it with `apt-get install chromium`",
    ),
]

RUNS = [f"2026112{number}T120000Z-demo-{number}0000" for number in range(2)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs, one of which has a hostile name; a matrix; a model's card; an evaluation."""
    place: Path = tmp_path_factory.mktemp("served")
    for number, run in enumerate(RUNS):
        shape = Shape(seconds=6.0 + 3 * number, rate=5.0, steps=40, requests=400, seed=number)
        name = HOSTILE if number else "plain"
        write_run(place / run, shape, manifest={"run": {"name": name}, "host": {"hostname": name}})
    write_matrix(place / "formats", 1.0, 1, failing="tar")
    (place / "m.kml.json").write_text(json.dumps(latency_card()))
    (place / "sched").mkdir()
    (place / "sched" / "plan.json").write_text("{}")
    (place / "sched" / "results.json").write_text(json.dumps(evaluation()))
    return place


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with screenshot.browser() as running:
        yield running


@pytest.fixture(scope="module")
def address(folder: Path) -> Iterator[str]:
    with screenshot.serving(folder) as place:
        yield place


@pytest.fixture
def page(chromium: Any) -> Iterator[Any]:
    """A page on which nothing may go wrong."""
    opened = chromium.new_page(viewport={"width": 1280, "height": 900})
    messages: list[str] = []
    opened.on("console", lambda message: messages.append(f"{message.type}: {message.text}"))
    opened.on("pageerror", lambda error: messages.append(str(error)))
    opened.on("dialog", lambda dialog: messages.append(dialog.message))
    opened.on("response", lambda response: response.status >= 400 and messages.append(response.url))
    yield opened
    assert messages == []
    opened.close()


def go(page: Any, url: str) -> None:
    """Open an address and wait until all of its figures are drawn or say why not."""
    page.goto(url)
    settle(page)


def settle(page: Any) -> None:
    page.wait_for_selector("#title", timeout=30_000)
    page.wait_for_selector(".drawing", state="detached", timeout=30_000)


COMPARED = ["Change of each metric", "Every run", "Over time", "Step times", "Time by phase", "Request latency"]


def test_a_comparison_in_one_file_draws_everything_and_asks_nobody(chromium: Any, folder: Path, tmp_path: Path) -> None:
    sides = compared([single(entry_of(folder / run)) for run in RUNS], "step")
    report = build(sides, tmp_path / "page.html")
    opened = chromium.new_page(viewport={"width": 390, "height": 800}, color_scheme="dark")
    seen: list[str] = []
    opened.on("console", lambda message: seen.append(message.text))
    opened.on("pageerror", lambda error: seen.append(str(error)))
    opened.on("request", lambda request: seen.append(request.url))
    screenshot.open_report(opened, report)
    assert titles(opened) == COMPARED
    assert opened.evaluate("document.documentElement.scrollWidth") <= 390
    opened.click("[data-zoom=in]")
    low, high = opened.evaluate("document.querySelector('[data-figure=timeline]').layout.xaxis.range.map(Number)")
    assert high - low < 9
    assert [item for item in seen if not item.startswith(("data:", "blob:"))] == [report.as_uri()]
    opened.close()


def test_runs_are_compared_and_all_figures_follow_a_zoom(page: Any, address: str) -> None:
    go(page, address + link("/compare", run=RUNS, align="step"))
    assert titles(page) == COMPARED
    assert HOSTILE in page.inner_text(".meta")
    assert page.query_selector_all("main img") == []
    page.get_by_role("link", name="Zoom in").click()
    page.wait_for_url("**t=*")
    page.wait_for_selector("text=/Time shown: .* of /")
    begin, end = map(float, page.url.rpartition("t=")[2].split(","))
    range_ = "document.querySelector('#figure-compare-timeline .js-plotly-plot').layout.xaxis.range.map(Number)"
    page.wait_for_selector("#figure-compare-steps:has-text('too few for a 99th percentile')")
    assert page.evaluate(range_) == pytest.approx([begin, end])
    page.get_by_label("To (s)").fill("4,5")
    page.keyboard.press("Enter")
    page.wait_for_url(f"**t={begin:.9g},4.5")


def test_the_choices_stand_in_the_address(page: Any, address: str) -> None:
    go(page, address + link("/compare", run=RUNS))
    page.select_option("[data-parameter=align]", "step")
    page.wait_for_url("**align=step**")
    settle(page)
    assert "first step" in page.inner_text("#figure-compare-timeline")
    page.reload()
    settle(page)
    assert page.input_value("[data-parameter=align]") == "step"


def test_a_matrix_shows_its_factors_and_leads_to_its_runs(page: Any, address: str) -> None:
    go(page, f"{address}/matrix?metric=wall_time")
    assert titles(page) == ["What each level does", "What explains the differences", "Two factors at a time"]
    assert "it did not end in time" in page.inner_text("#gaps")
    page.click("#cells tbody tr:nth-child(2) a")
    page.wait_for_url("**/run?**")
    settle(page)


def test_boards_and_models_are_told(page: Any, address: str) -> None:
    go(page, f"{address}/boards")
    assert HOSTILE in page.inner_text("#machines")
    assert "captured whole" in page.inner_text("#machine")
    page.click("#menu a[href='/kmlib']")
    page.wait_for_url("**/kmlib")
    settle(page)
    assert titles(page) == [
        "How good it is",
        "What it was chosen from",
        "What it brings, by workload",
        "All contenders, over all workloads",
    ]
    page.select_option("[data-parameter=score]", "mae")
    page.wait_for_url("**score=mae**")
    # What was drawn for the score before is still there at first.
    page.locator("#figure-kmlib-scores .canvas", has_text="1.500 (1.400 to 1.600)").wait_for(timeout=30_000)


@pytest.mark.parametrize("path", ["/compare?run=RUNS", "/matrix", "/boards", "/kmlib"])
def test_they_are_accessible_and_fit_a_narrow_screen(chromium: Any, address: str, path: str) -> None:
    pytest.importorskip("axe_playwright_python", reason="needs axe-playwright-python: make install")
    from axe_playwright_python.sync_playwright import Axe

    context = chromium.new_context(bypass_csp=True, viewport={"width": 390, "height": 800})
    opened = context.new_page()
    go(opened, address + (link("/compare", run=RUNS) if "RUNS" in path else path))
    assert opened.evaluate("document.documentElement.scrollWidth") <= 390
    found = [
        (item["id"], node["target"]) for item in Axe().run(opened).response["violations"] for node in item["nodes"]
    ]
    assert found == []
    context.close()
