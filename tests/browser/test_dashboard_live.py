"""The page of runs in progress: they appear, grow and end by themselves."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("dash", reason="dash is not installed; run `make install`")

from tests.live_run import MB, LiveRun, partial

screenshot = pytest.importorskip("tests.browser.screenshot", reason="playwright is not installed; run `make install`")

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(
        not Path(screenshot.CHROMIUM).exists(),
        reason="no Chromium on this machine; get it with `apt-get install chromium`",
    ),
]

HOSTILE = "<img src=x onerror=alert(1)>\x1b[31m"


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A folder of runs and the address at which it is served."""
    folder = tmp_path / "runs"
    folder.mkdir()
    with screenshot.serving(folder) as address:
        yield folder, address


@pytest.fixture
def page(served: tuple[Path, str]) -> Iterator[Any]:
    with screenshot.browser() as chromium:
        found = chromium.new_page(viewport={"width": 1240, "height": 1000})
        found.complaints = []
        found.on("console", lambda message: found.complaints.append(message.text))
        found.on("pageerror", lambda error: found.complaints.append(str(error)))
        found.goto(f"{served[1]}/live")
        yield found


def test_a_run_appears_grows_and_ends_with_a_link(served: tuple[Path, str], page: Any) -> None:
    folder, _ = served
    page.wait_for_selector("#live-runs .empty")
    assert "no run is in progress" in page.inner_text("#live-runs")
    info = dict(partial()["run"], name=HOSTILE, command=["python", HOSTILE])
    run = LiveRun(folder / "20261121T100000Z-demo-1a2b3c", partial(run=info))
    run.cgroup_v2(0.0)
    run.cgroup_v2(1.0)
    page.wait_for_selector("#live-runs .tiles")
    assert "<img src=x onerror=alert(1)>" in page.inner_text("#live-runs h2")
    assert "\x1b" not in page.inner_text("#live-runs")
    page.wait_for_selector("#live-runs .tiles:has-text('150 %')")
    tiles = page.inner_text("#live-runs .tiles")
    assert "101 MB of 512 MB" in tiles
    assert "power" not in tiles  # not captured: left out, not 0
    for second in range(2, 6):
        run.cgroup_v2(float(second))
    run.steps([1.0, 2.0, 3.0])
    page.wait_for_selector("#live-runs .tiles:has-text('105 MB')")
    page.wait_for_selector("#live-runs .js-plotly-plot .scatterlayer .trace", state="attached")
    titles = page.eval_on_selector_all("#live-runs .annotation-text", "all => all.map(one => one.textContent)")
    assert titles == [
        "CPU (of one processor)",
        "Memory of the run",
        "Storage",
        "Pressure (PSI, some)",
        "Time of a step",
    ]
    run.end()
    page.wait_for_selector("#live-runs a:has-text('Open the run')")
    assert "20261121T100000Z-demo-1a2b3c" in page.get_attribute("#live-runs a", "href")
    assert page.complaints == []


def test_a_run_whose_agent_died_is_told(served: tuple[Path, str], page: Any) -> None:
    folder, _ = served
    manifest = partial()
    run = LiveRun(folder / "20261121T100000Z-demo-1a2b3c", manifest)
    run.sample("cgroup/samples", 1.0, memory__memory_DOT_usage_in_bytes=f"{7 * MB}\n")
    page.wait_for_selector("#live-runs:has-text('7 MB')")
    manifest["processes"]["agent_start"] -= 1
    LiveRun.write(run.path, manifest)
    page.wait_for_selector("#live-runs .notice")
    assert "edgeprof ingest" in page.inner_text("#live-runs .notice")
    assert page.complaints == []


def test_no_accessibility_violation(served: tuple[Path, str], page: Any) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
    folder, _ = served
    run = LiveRun(folder / "20261121T100000Z-demo-1a2b3c")
    for second in range(3):
        run.cgroup_v2(float(second))
    page.wait_for_selector("#live-runs .js-plotly-plot .scatterlayer .trace", state="attached")
    found = axe.Axe().run(page)
    assert found.violations_count == 0, found.generate_report()
