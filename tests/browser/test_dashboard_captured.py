"""Every page of the dashboard in headless Chromium, over runs that edgeprof has captured here."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("dash", reason="the dashboard's packages are not installed; run `make install`")
pytest.importorskip("scipy", reason="needs SciPy: make install, or pip install 'edgeprof[matrix]'")
pytest.importorskip("yaml", reason="needs PyYAML: make install, or pip install 'edgeprof[matrix]'")
from edgeprof.dashboards.app.pages import PAGES
from edgeprof.dashboards.app.view import link
from tests.browser.pages import PATIENCE, location, opened, titles, until, violations, watched
from tests.helpers import QUICK, Places, wait_until

screenshot = pytest.importorskip("tests.browser.screenshot", reason="playwright is not installed; run `make install`")

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(
        not Path(screenshot.CHROMIUM).exists(),
        reason="no Chromium on this machine; get it with `apt-get install chromium`",
    ),
]

PROGRAM = """
import os, sys, time, edgeprof
data, seconds, size = sys.argv[1], float(sys.argv[2]), int(sys.argv[3])
end = time.monotonic() + seconds
while time.monotonic() < end:
    with edgeprof.phase("load"):
        file = os.open(data, os.O_RDONLY)
        os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)  # so that each step reads from storage
        while os.read(file, size):
            pass
        os.close(file)
    with edgeprof.phase("compute"):
        sum(number * number for number in range(100_000))
    edgeprof.step(samples=8)
"""
SMALL, LARGE = "small-reads", "large-reads"
SECONDS = "2"


@dataclass(frozen=True)
class Captured:
    """Two runs and a matrix in one folder, and where to start more."""

    places: Places
    runs: list[str]

    def command(self, seconds: str, size: str) -> list[str]:
        """The program that is captured."""
        return [sys.executable, str(self.places.base / "program.py"), str(self.places.base / "data"), seconds, size]


@pytest.fixture(scope="module")
def captured(tmp_path_factory: pytest.TempPathFactory) -> Captured:
    places = Places(tmp_path_factory.mktemp("captured"))
    (places.base / "program.py").write_text(PROGRAM)
    (places.base / "data").write_bytes(os.urandom(1 << 20))
    found = Captured(places, [])
    collect = "deep" if os.geteuid() == 0 else "default"
    for name, size in ((SMALL, "4096"), (LARGE, "262144")):
        words = ("--no-report", "--no-live", "--collect", collect, "--factor", f"read={name}", "--name", name)
        done = places.edgeprof("run", *words, "--", *found.command(SECONDS, size))
        assert done.returncode == 0, done.stderr
    found.runs.extend(path.name for path in places.directories())
    command = json.dumps(found.command("0.3", "{size}"))
    spec = places.base / "reads.yaml"
    spec.write_text(f"command: {command}\nfixed: {{collect: '{QUICK}'}}\naxes: {{size: [4096, 262144]}}\nrepeats: 2\n")
    done = places.edgeprof("matrix", "run", str(spec), "-o", str(places.runs / "reads"))
    assert done.returncode == 0, done.stderr
    return found


@pytest.fixture(scope="module")
def address(captured: Captured) -> Iterator[str]:
    with screenshot.serving(captured.places.runs) as place:
        yield place


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with screenshot.browser() as running:
        yield running


@pytest.fixture
def page(chromium: Any, address: str) -> Iterator[Any]:
    with watched(chromium, address, color_scheme="light") as found:
        yield found


SHOWN = {
    "/": (SMALL, []),
    "/run": (SMALL, ["Timeline", "Steps", "Phases"]),
    "/storage": (SMALL, ["Traffic"]),
    "/memory": (SMALL, ["Memory held", "Faults, reclaim and pressure"]),
    "/energy": (SMALL, ["Power, heat and clocks"]),
    "/compare": (LARGE, ["Change of each metric", "Every run", "Over time", "Step times", "Time by phase"]),
    "/matrix": ("size", ["What each level does"]),
    "/boards": (os.uname().nodename, []),
    "/kmlib": ("Nothing to show", []),
    "/live": ("no run is in progress", []),
}
"""By page: text that it shows, and figures in which something is drawn."""


def shows(page: Any, drawn: list[str]) -> None:
    """Wait until these figures are drawn."""
    if drawn:
        wait_until(lambda: set(drawn) <= set(titles(page)), f"figures {drawn}", PATIENCE / 1000)


@pytest.mark.parametrize("path", [page.path for page in PAGES])
def test_every_page_shows_what_was_captured_in_light_and_dark(page: Any, captured: Captured, path: str) -> None:
    opened(page, link(path, run=captured.runs if path == "/compare" else captured.runs[0]))
    text, drawn = SHOWN[path]
    page.wait_for_selector(f"main:has-text('{text}')")
    shows(page, drawn)
    assert page.locator("[data-failed]").count() == 0
    assert violations(page) == []
    background = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(background)
    page.emulate_media(color_scheme="dark")
    until(page, f"{background} !== '{light}'")
    until(page, "!document.querySelector('[data-dash-is-loading=true]')")
    shows(page, drawn)
    assert violations(page) == []


def test_the_runs_are_filtered_by_what_was_measured(page: Any, captured: Captured) -> None:
    opened(page, "/")
    page.fill("#filter", f"read={LARGE} steps>3 wall_time<60s")
    page.press("#filter", "Enter")
    until(page, "document.querySelectorAll('#runs tbody tr').length === 1")
    page.click(f"#runs tbody >> text={LARGE}")
    until(page, "location.pathname === '/run'")
    assert location(page) == f"/run?run={captured.runs[1]}"


def test_a_step_is_zoomed_to_and_other_pages_show_its_time(page: Any, captured: Captured) -> None:
    opened(page, link("/run", run=captured.runs[0]))
    page.locator("#program .listing a").first.click()
    until(page, "location.search.includes('t=')")
    window = location(page).rpartition("&t=")[2]
    begin, end = (float(number) for number in window.split(","))
    assert 0 < end - begin < float(SECONDS)
    axis = "document.querySelector('#figure-timeline .js-plotly-plot').layout.xaxis.range"
    until(page, f"Math.abs({axis}[0] - {begin}) + Math.abs({axis}[1] - {end}) < 1e-3")
    page.click(".tabs >> text=Storage")
    until(page, "location.pathname === '/storage'")
    assert location(page) == link("/storage", run=captured.runs[0], t=window)


def test_a_matrix_leads_to_its_runs(page: Any) -> None:
    opened(page, "/matrix")
    page.click("#cells tbody tr:first-child a")
    until(page, "location.pathname === '/run'")
    page.wait_for_selector("#figure-timeline .js-plotly-plot .xy")
    assert "run=reads/runs/" in location(page)


def test_a_run_in_progress_is_live_until_it_ends(page: Any, captured: Captured) -> None:
    with captured.places.start(
        *("run", "--no-report", "--no-ingest", "--collect", f"{QUICK},phases", "--", *captured.command("5", "4096"))
    ) as run:
        opened(page, "/live")
        page.wait_for_selector("#live-runs .tiles:has-text('steps')")
        page.wait_for_selector("#live-runs .js-plotly-plot .scatterlayer .trace", state="attached")
        assert violations(page) == []
        page.wait_for_selector("#live-runs a:has-text('Open the run')")
    assert run.returncode == 0
