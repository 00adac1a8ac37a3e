"""What tests of the dashboard's pages share: a page on which nothing may go wrong, and waiting until it is drawn."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.helpers import wait_until

PATIENCE = 60_000
"""Milliseconds that a page may take."""

_MARKS = ".scatterlayer path, .barlayer path, .heatmaplayer image"
_TITLES = f"""figures => figures
    .filter(figure => figure.querySelector("{_MARKS}")?.getClientRects().length)
    .map(figure => figure.querySelector("h3").textContent)"""


@contextmanager
def watched(chromium: Any, address: str, **options: Any) -> Iterator[Any]:
    """A page of the dashboard at ``address``; complaints, failed and foreign requests fail the test at its end."""
    context = chromium.new_context(base_url=address, **{"viewport": {"width": 1280, "height": 900}, **options})
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    wrong: list[str] = []
    page.on("console", lambda message: message.type in ("log", "info") or wrong.append(message.text))
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("request", lambda request: request.url.startswith((address, "data:", "blob:")) or wrong.append(request.url))
    page.on("response", lambda response: response.status < 400 or wrong.append(f"{response.status}: {response.url}"))
    page.on("dialog", lambda dialog: (wrong.append(f"dialog: {dialog.message}"), dialog.dismiss()))
    yield page
    context.close()
    assert wrong == []


def opened(page: Any, path: str) -> Any:
    """Open a view and wait until its figures have come."""
    page.goto(path)
    page.wait_for_selector("#title")
    until(page, "!document.querySelector('.drawing') && !document.querySelector('[data-dash-is-loading=true]')")
    return page


def until(page: Any, expression: str) -> None:
    """Wait until a page says so; playwright's own waiting evaluates text in the page, which its policy forbids."""
    wait_until(lambda: page.evaluate(expression), expression, PATIENCE / 1000)


def location(page: Any) -> str:
    """What the address bar has after the server's name."""
    return str(page.evaluate("decodeURIComponent(location.pathname + location.search)"))


def titles(page: Any) -> list[str]:
    """Headings of the figures in which something was drawn, once the first of them is there."""
    page.wait_for_selector(".js-plotly-plot .main-svg", timeout=PATIENCE)
    found: list[str] = page.eval_on_selector_all("figure", _TITLES)
    return found


def violations(page: Any) -> list[str]:
    """What axe-core finds wrong for people who use other means than eyes and mouse."""
    axe = pytest.importorskip(
        "axe_playwright_python.sync_playwright", reason="axe is not installed; run `make install`"
    )
    found = axe.Axe().run(page).response["violations"]
    return [f"{item['id']}: {node['html'][:200]}" for item in found for node in item["nodes"]]
