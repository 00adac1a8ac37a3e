"""Asks the dashboard as a browser would, without one: its pages, figures and files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from edgeprof.dashboards.app.security import Access
from edgeprof.dashboards.app.server import make_app

HERE = "http://localhost"
ORIGIN = {"Origin": HERE, "Sec-Fetch-Site": "same-origin"}


class Client:
    """An application over a folder, and requests to it that a page of its own makes."""

    def __init__(self, folder: Path, access: Access | None = None, **options: Any) -> None:
        self.app = make_app(folder, access, keep=False, **options)
        self.http = self.app.server.test_client()

    def get(self, address: str, **headers: str) -> Any:
        return self.http.get(address, headers=headers)

    def post(self, body: dict[str, Any], **headers: str) -> Any:
        return self.http.post("/_dash-update-component", json=body, headers={**ORIGIN, **headers})

    def page(self, address: str) -> Any:
        """The components of a page."""
        answer = self.post(question(address))
        assert answer.status_code == 200, answer.data
        return answer.get_json()["response"]["page"]["children"]


def question(address: str) -> dict[str, Any]:
    """What the browser sends for a page."""
    return {
        "output": "page.children",
        "outputs": {"id": "page", "property": "children"},
        "inputs": [{"id": "address", "property": "data", "value": address}],
        "changedPropIds": ["address.data"],
    }


def components(tree: Any) -> list[dict[str, Any]]:
    """All components of a tree, outermost first."""
    if isinstance(tree, list):
        return [found for item in tree for found in components(item)]
    if isinstance(tree, dict) and "props" in tree:
        return [tree, *components(tree["props"].get("children"))]
    return []


def text_of(tree: Any) -> str:
    """The text that a tree shows."""
    if isinstance(tree, list):
        return " ".join(map(text_of, tree))
    if isinstance(tree, dict):
        return text_of(tree.get("props", {}).get("children"))
    return "" if tree is None else str(tree)


def links(tree: Any) -> dict[str, str]:
    """The links of a tree: text -> address."""
    return {text_of(item).strip(): item["props"]["href"] for item in components(tree) if item["props"].get("href")}


def dumped(tree: Any) -> str:
    return json.dumps(tree)
