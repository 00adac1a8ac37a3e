"""Tests that need root, a guest or a browser are skipped where there is none, with what is missing and how to get it.

``--require root,guest,browser`` turns those skips into failures, for machines that are meant to have all of it.
"""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest


def missing_root() -> str | None:
    """Why tests marked ``root`` cannot run here; None when they can."""
    if os.geteuid() != 0:
        return "needs root: run the tests with sudo, or in a privileged container"
    return None


def missing_guest() -> str | None:
    """Why tests marked ``guest`` cannot run here; None when they can."""
    if os.geteuid() != 0:
        return "needs root to prepare a guest's kernel and files: run the tests with sudo, or in a privileged container"
    tools = {"qemu-system-x86_64": "qemu-system-x86", "busybox": "busybox-static", "depmod": "kmod"}
    absent = {tool: package for tool, package in tools.items() if find_tool(tool) is None}
    if absent:
        return f"no {', '.join(absent)} here: apt-get install {' '.join(absent.values())}"
    return None


def missing_browser() -> str | None:
    """Why tests marked ``browser`` cannot run here; None when they can."""
    if find_spec("playwright") is None:
        return "no playwright here: make install"
    if find_chromium() is None:
        return "no Chromium here: apt-get install chromium, or .venv/bin/playwright install --with-deps chromium"
    return None


def find_chromium() -> str | None:
    """The browser to use: ``EDGEPROF_CHROMIUM``, the system's, or Playwright's own (Ubuntu's is a snap)."""
    chosen = os.environ.get("EDGEPROF_CHROMIUM") or find_tool("chromium") or find_tool("google-chrome")
    downloaded = Path.home().glob(".cache/ms-playwright/chromium-*/chrome-linux*/chrome")
    return chosen or next((str(path) for path in sorted(downloaded)), None)


def find_tool(name: str) -> str | None:
    """Where a program is; administrators' folders count, which are not on everyone's PATH."""
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/local/sbin:/usr/sbin:/sbin")


MISSING: dict[str, Callable[[], str | None]] = {
    "root": missing_root,
    "guest": missing_guest,
    "browser": missing_browser,
}


os.environ.setdefault("EDGEPROF_KML_CACHE", str(Path(__file__).parent.parent / ".cache" / "kml" / "built"))
# Under nohup, and in what a shell starts with &; what the tests start would inherit it.
for _number in (signal.SIGHUP, signal.SIGQUIT):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, signal.SIG_DFL)
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if chromium := find_chromium():
    os.environ.setdefault("EDGEPROF_CHROMIUM", chromium)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--require``."""
    parser.addoption(
        "--require", default="", metavar="MARKS", help="fail, not skip, where these are missing: root,guest,browser"
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip what cannot run here."""
    required = {mark for mark in config.getoption("--require").split(",") if mark}
    if unknown := required - set(MISSING):
        raise pytest.UsageError(f"--require knows {', '.join(MISSING)}, not {', '.join(sorted(unknown))}")
    reasons = {mark: check() for mark, check in MISSING.items()}
    for mark in sorted(required):
        if reasons[mark]:
            raise pytest.UsageError(f"tests marked {mark!r} were required: {reasons[mark]}")
    for item in items:
        for mark, reason in reasons.items():
            if reason and item.get_closest_marker(mark):
                item.add_marker(pytest.mark.skip(reason=reason))
