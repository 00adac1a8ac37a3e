"""Takes a picture of a report: ``python tests/browser/screenshot.py RUN OUT.png [--dark] [--whole]``."""

from __future__ import annotations

import argparse
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
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


def main() -> None:
    """Take one picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="a run's folder, or a report")
    parser.add_argument("out", type=Path)
    parser.add_argument("--dark", action="store_true")
    parser.add_argument("--whole", action="store_true", help="the whole page, not its top")
    parser.add_argument("--width", type=int, default=1240)
    parser.add_argument("--height", type=int, default=1500)
    parser.add_argument("--scale", type=float, default=1.0, help="device pixels a CSS pixel")
    options = parser.parse_args()
    report = options.run / "report.html" if options.run.is_dir() else options.run
    with browser() as chromium:
        page = chromium.new_page(
            viewport={"width": options.width, "height": options.height},
            color_scheme="dark" if options.dark else "light",
            device_scale_factor=options.scale,
        )
        open_report(page, report)
        page.screenshot(path=options.out, full_page=options.whole)


if __name__ == "__main__":
    main()
