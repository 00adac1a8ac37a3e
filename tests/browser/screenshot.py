"""Takes a picture of a report, or of a page of the dashboard.

python tests/browser/screenshot.py RUN OUT.png [--dark] [--whole]
python tests/browser/screenshot.py FOLDER OUT.png --address "/run?run=ID"
"""

from __future__ import annotations

import argparse
import os
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

CHROMIUM = os.environ.get("EDGEPROF_CHROMIUM") or shutil.which("chromium") or "/usr/bin/chromium"
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
DRAWN = "html[data-drawn=all]"


@contextmanager
def browser() -> Iterator[Browser]:
    """A headless Chromium of the system."""
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        try:
            yield chromium
        finally:
            chromium.close()


def open_report(page: Page, report: Path) -> None:
    """Load a report and wait until every figure is drawn."""
    page.goto(report.resolve().as_uri())
    page.wait_for_selector(DRAWN, state="attached", timeout=60_000)


@contextmanager
def serving(folder: Path, token: str | None = None) -> Iterator[str]:
    """The dashboard over a folder, on any free port; gives its address."""
    from edgeprof.dashboards.app.security import Access
    from edgeprof.dashboards.app.server import make_app, make_server

    server = make_server(make_app(folder, Access(token), keep=False), "127.0.0.1", 0)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.port}"
    finally:
        server.shutdown()
        thread.join(30)
        server.server_close()


def open_view(page: Page, address: str) -> None:
    """Load a view of the dashboard and wait until its figures have come."""
    page.goto(address)
    page.wait_for_selector("#title")
    deadline = time.monotonic() + 60
    while page.evaluate("!!document.querySelector('.drawing, [data-dash-is-loading=true]')"):
        if time.monotonic() > deadline:
            raise SystemExit(f"{address} is not drawn after a minute")
        time.sleep(0.2)
    page.wait_for_timeout(500)


def main() -> None:
    """Take one picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="a run's folder, or a report; with --address a folder of runs")
    parser.add_argument("out", type=Path)
    parser.add_argument("--address", help="a view of the dashboard")
    parser.add_argument("--at", help="a selector: the picture is of this part of the page")
    parser.add_argument("--dark", action="store_true")
    parser.add_argument("--whole", action="store_true", help="the whole page, not its top")
    parser.add_argument("--width", type=int, default=1240)
    parser.add_argument("--height", type=int, default=1500)
    parser.add_argument("--scale", type=float, default=1.0, help="device pixels a CSS pixel")
    options = parser.parse_args()
    with ExitStack() as stack:
        chromium = stack.enter_context(browser())
        page = chromium.new_page(
            viewport={"width": options.width, "height": options.height},
            color_scheme="dark" if options.dark else "light",
            device_scale_factor=options.scale,
        )
        if options.address:
            open_view(page, stack.enter_context(serving(options.run)) + options.address)
        else:
            open_report(page, options.run / "report.html" if options.run.is_dir() else options.run)
        if options.at:
            page.locator(options.at).screenshot(path=options.out)
        else:
            page.screenshot(path=options.out, full_page=options.whole)


if __name__ == "__main__":
    main()
