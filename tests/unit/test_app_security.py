"""Who may ask the dashboard for what: names, origins, tokens, paths, and what the browser is told."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlencode

import pytest

pytest.importorskip("dash", reason="the dashboard's packages are not installed; run `make install`")

from edgeprof.dashboards.app.index import RunIndex
from edgeprof.dashboards.app.page import Context
from edgeprof.dashboards.app.security import Access, is_loopback
from edgeprof.profiler.errors import NoSuchRun
from tests.app_client import HERE, Client, question, text_of
from tests.synthetic_run import Shape, write_run

SMALL = Shape(seconds=2, steps=4, requests=100)
NAMED = {"run": {"name": "demo"}}
TOKEN = "3f9c2a-token-of-a-test"
SECRET = "the text of a file beside the folder"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("served")
    write_run(place / "runs" / "20261121T120000Z-demo-3f9c2a", SMALL, only=("system", "process"), manifest=NAMED)
    write_run(place / "outside", SMALL, only=("system",))
    (place / "secret.txt").write_text(SECRET)
    (place / "runs" / "link").symlink_to(place / "outside")
    return place / "runs"


@pytest.fixture(scope="module")
def client(folder: Path) -> Client:
    return Client(folder)


@pytest.fixture(scope="module")
def guarded(folder: Path) -> Client:
    return Client(folder, Access(TOKEN))


@pytest.mark.parametrize("host", ["localhost", "localhost:8050", "127.0.0.1:1", "[::1]:8050", "127.3.2.1"])
def test_it_answers_to_loopback_names(client: Client, host: str) -> None:
    assert client.get("/", Host=host).status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", "192.0.2.7:8050", "127.0.0.1.evil.example"])
@pytest.mark.parametrize("path", ["/", "/_dash-layout", "/metrics", "/csv/timeline?run=x"])
def test_a_foreign_name_that_leads_here_is_refused(client: Client, host: str, path: str) -> None:
    answer = client.get(path, Host=host)
    assert answer.status_code == 421
    assert b"demo" not in answer.data


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://localhost:1"}, 403),
        ({"Origin": "https://localhost"}, 403),
        ({"Origin": ""}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Content-Type": "text/plain"}, 415),
        ({"Content-Type": "application/x-www-form-urlencoded"}, 415),
    ],
)
def test_a_post_from_another_origin_is_refused(client: Client, headers: dict[str, str], status: int) -> None:
    answer = client.post(question("/"), **headers)
    assert answer.status_code == status
    assert b"demo" not in answer.data


def test_a_post_of_its_own_page_is_answered(client: Client) -> None:
    assert "demo" in text_of(client.page("/"))


def test_a_post_without_an_origin_is_refused(client: Client) -> None:
    assert client.http.post("/_dash-update-component", json=question("/")).status_code == 403


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "POST"])
def test_only_callbacks_are_posted(client: Client, method: str) -> None:
    assert client.http.open("/", method=method, headers={"Origin": HERE}).status_code == 405


def test_a_large_body_is_refused(client: Client) -> None:
    assert client.post(question("/" + "x" * (2 << 20))).status_code == 413


@pytest.mark.parametrize("path", ["/", "/run?run=x", "/_dash-layout", "/_dash-dependencies", "/metrics", "/csv/x"])
def test_without_the_token_nothing_is_told(guarded: Client, path: str) -> None:
    answer = guarded.get(path)
    assert answer.status_code == 401
    assert b"demo" not in answer.data
    assert guarded.get(path, Authorization="Bearer wrong").status_code == 401
    assert guarded.get(path, Cookie=f"{Access(TOKEN).cookie}=wrong").status_code == 401


def test_a_post_needs_the_token_too(guarded: Client) -> None:
    assert guarded.post(question("/")).status_code == 401


def test_the_token_in_the_address_becomes_a_cookie(folder: Path) -> None:
    client = Client(folder, Access(TOKEN))
    answer = client.get(f"/?q=name~demo&token={TOKEN}")
    assert (answer.status_code, answer.headers["Location"]) == (303, "/?q=name~demo")
    cookie = answer.headers["Set-Cookie"]
    assert "HttpOnly" in cookie and "SameSite=Strict" in cookie and TOKEN in cookie
    assert client.get("/").status_code == 200
    assert "demo" in text_of(client.page("/"))


def test_programs_give_the_token_with_each_request(guarded: Client) -> None:
    assert guarded.get("/metrics", Authorization=f"Bearer {TOKEN}").status_code == 200


def test_the_token_can_only_lead_to_a_page_of_its_own(guarded: Client) -> None:
    for path in ("//evil.example/", "/\\evil.example/", "/http://evil.example", "/.//evil.example"):
        answer = guarded.http.get("/", query_string={"token": TOKEN}, environ_overrides={"PATH_INFO": path})
        assert answer.status_code == 404
        assert "Location" not in answer.headers


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("::1", True),
        ("[::1]", True),
        ("localhost", True),
        ("LOCALHOST.", True),
        ("0.0.0.0", False),
        ("::", False),
        ("192.0.2.1", False),
        ("board.lan", False),
        ("", False),
        ("127.0.0.1.example", False),
    ],
)
def test_what_others_can_reach_is_not_loopback(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback


@pytest.mark.parametrize(
    "path",
    [
        "/secret.txt",
        "/../secret.txt",
        "/assets/../server.py",
        "/assets/..%2f..%2fserver.py",
        "/assets/%2e%2e/server.py",
        "/shared/../server.py",
        "/shared/server.py",
        "/static/app.js",
        "/_dash-component-suites/edgeprof/server.py",
        "/_dash-component-suites/dash/../../flask/app.py",
        "/runs/20261121T120000Z-demo-3f9c2a/manifest.json",
        "/_reload-hash",
        "/_mcp",
        "/csv/..%2f..%2fsecret.txt",
        "//etc/passwd",
    ],
)
def test_no_file_is_served_but_the_applications_own(client: Client, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code >= 400
    assert SECRET.encode() not in answer.data


@pytest.mark.parametrize(
    "run",
    [
        "../outside",
        "..",
        ".",
        "",
        "/etc",
        "link",
        "../runs/../outside",
        "20261121T120000Z-demo-3f9c2a/../../outside",
        "a\x00b",
        "x" * 5000,
        "~",
        "%2e%2e/outside",
        "..\\outside",
    ],
)
def test_a_run_outside_of_the_folder_is_no_run(client: Client, folder: Path, run: str) -> None:
    with pytest.raises(NoSuchRun):
        Context(folder, RunIndex(folder)).path(run)
    page = text_of(client.page("/run?" + urlencode({"run": run})))
    assert "no run" in page
    assert "Wall time" not in page


@pytest.mark.parametrize(
    "path", ["/", "/run", "/_dash-layout", "/assets/app.js", "/shared/report.css", "/metrics", "/no"]
)
def test_every_answer_tells_the_browser_what_it_may_do(client: Client, path: str) -> None:
    headers = client.get(path).headers
    policy = dict(part.strip().split(" ", 1) for part in headers["Content-Security-Policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert "unsafe" not in policy["script-src"] and "http" not in policy["script-src"]
    assert policy["frame-ancestors"] == "'none'"
    assert policy["connect-src"] == "'self'"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert "Access-Control-Allow-Origin" not in headers
    assert headers["Cache-Control"] == "no-store"


def test_the_page_fetches_from_nowhere_else(client: Client) -> None:
    page = client.get("/").get_data(as_text=True)
    assert "cdn" not in page
    assert "https://" not in page
    assert 'src="http' not in page
