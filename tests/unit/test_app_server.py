"""The dashboard's pages, figures and files, as the server answers them: on whole, hostile, damaged and absent runs."""

from __future__ import annotations

import csv
import io
import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

pytest.importorskip("dash", reason="the dashboard's packages are not installed; run `make install`")

from edgeprof.dashboards.app import sheet
from edgeprof.dashboards.app.page import Context, Figure, Page
from edgeprof.dashboards.app.pages import PAGES
from edgeprof.dashboards.app.server import CannotServe, make_app, make_server
from edgeprof.dashboards.app.view import View, link
from edgeprof.dashboards.report.figures.base import DataTable
from edgeprof.profiler.errors import EdgeprofError
from tests.app_client import Client, components, dumped, links, text_of
from tests.synthetic_run import Shape, write_run
from tests.unit.test_report_build import hostile_run

SMALL = Shape(seconds=4, steps=12, requests=400)
GOOD, BAD = "20261121T120001Z-good-0000a1", "20261121T120002Z-bad-0000a2"
OF_RUN = [page.path for page in PAGES if page.of_run]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("runs")
    write_run(place / GOOD, SMALL, manifest={"run": {"name": "good"}})
    hostile_run(place / BAD)
    return place


@pytest.fixture(scope="module")
def client(folder: Path) -> Client:
    return Client(folder)


@pytest.fixture(autouse=True)
def _no_bug_is_noted(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """A page or a figure that fails becomes a sentence; here that is a failure, too."""
    caplog.set_level(logging.WARNING, "edgeprof")
    yield
    assert not [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def figures(client: Client, page: str, run: str) -> dict[str, Any]:
    """What the figures of a run's page answer for it: key -> the response's parts."""
    found = {}
    for figure in next(item for item in PAGES if item.path == page).figures:
        place = {"type": "drawing", "key": figure.key, "kind": "time" if figure.time else "plain"}
        names = [f'{{"key":["MATCH"],"kind":["MATCH"],"type":"{kind}"}}.{part}' for kind, part in _PARTS]
        answer = client.post(
            {
                "output": f"..{names[0]}...{names[1]}..",
                "outputs": [{"id": {**place, "type": kind}, "property": part} for kind, part in _PARTS],
                "inputs": [{"id": "view", "property": "data", "value": link(page, run=run)}],
                "state": [{"id": place, "property": "id", "value": place}],
                "changedPropIds": ["view.data"],
            }
        )
        assert answer.status_code == 200, (figure.key, answer.data)
        found[figure.key] = answer.get_json()["response"]
    return found


_PARTS = (("drawing", "data"), ("words", "children"))


@pytest.mark.parametrize("page", [page.path for page in PAGES])
@pytest.mark.parametrize("run", [GOOD, BAD])
def test_every_page_is_made(client: Client, page: str, run: str) -> None:
    tree = client.page(link(page, run=run))
    headings = [item for item in components(tree) if item["type"] == "H1"]
    assert len(headings) == 1
    assert "could not be made" not in text_of(tree)
    keys = [item["props"]["id"] for item in components(tree) if "id" in item["props"]]
    assert len(set(map(dumped, keys))) == len(keys), "an id is there twice"


@pytest.mark.parametrize("page", OF_RUN)
def test_every_figure_of_a_whole_run_answers(client: Client, page: str) -> None:
    for key, response in figures(client, page, GOOD).items():
        assert "could not be drawn" not in dumped(response), key


@pytest.mark.parametrize("page", OF_RUN)
def test_hostile_text_acts_nowhere(client: Client, page: str) -> None:
    trees = [client.page(link(page, run=BAD)), client.page("/"), *figures(client, page, BAD).values()]
    for tree in trees:
        assert "dangerously" not in dumped(tree)
        assert '"Markdown"' not in dumped(tree)
        for item in components(tree):
            assert not re.match(r"\s*(javascript|data|//|https?:)", str(item["props"].get("href", "")))
    for key, response in figures(client, page, BAD).items():
        drawn = next(part["data"] for part in response.values() if "data" in part)
        if drawn:
            titles = [trace.get("name") or "" for trace in drawn["data"]]
            titles += [note["text"] for note in drawn["layout"].get("annotations", [])]
            assert not [text for text in titles if "<script" in text or "<img" in text], key


def test_the_list_shows_hostile_names_as_text(client: Client) -> None:
    assert "<script>alert(1)</script>" in text_of(client.page("/"))
    assert link("/run", run=BAD) in links(client.page("/")).values()


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("/run", "no run"),
        ("/run?run=nosuch", "no run 'nosuch'"),
        ("/?q=nosuch%3D1", "no run has 'nosuch'"),
        ("/?q=name~nothinglikeit", "no run matches"),
        ("/?page=99", "no such page"),
        ("/?sort=nosuch&columns=nosuch,,&page=-1", "good"),
        ("/nosuch", "No such page"),
        ("javascript:alert(1)", "Runs"),
        ("/?" + "&".join(f"a=b{i}" for i in range(100)), "good"),
        ("/?q=" + "x" * 5000, "good"),
        ("/?q=%00%1b", "good"),
    ],
)
def test_an_address_that_means_nothing_says_so(client: Client, address: str, said: str) -> None:
    assert said in text_of(client.page(address))


@pytest.mark.parametrize(
    "window", ["nan,1", "5,1", "x", "1,2,3", "-inf,inf", "1e400,2", "9e9,9e10", "-5,-1", "1,1.0000000001"]
)
@pytest.mark.parametrize("page", OF_RUN)
def test_a_window_of_any_kind_is_borne(client: Client, page: str, window: str) -> None:
    assert "could not be made" not in text_of(client.page(link(page, run=GOOD, t=window)))


def test_the_list_is_filtered_sorted_and_shows_the_columns_asked_for(client: Client) -> None:
    tree = client.page("/?q=name%3Dgood&columns=throughput,model&sort=-throughput")
    heads = [
        text_of(item).strip()
        for item in components(tree)
        if item["type"] == "Th" and item["props"].get("scope") == "col"
    ]
    assert heads == ["Compare", "name", "started (UTC)", "result", "throughput  ↓", "model"]
    assert [item for item in components(tree) if item["props"].get("aria-sort") == "descending"]
    assert len([item for item in components(tree) if item["type"] == "Tr"]) == 2


def named_oddly(folder: Path, number: int, factors: dict[str, Any]) -> str:
    run = write_run(folder / f"20261121T12000{number}Z-x-00000{number}", SMALL, only=("steps",))
    manifest = json.loads((run / "manifest.json").read_text())
    (run / "manifest.json").write_text(json.dumps({**manifest, "factors": factors}))
    return run.name


def test_factors_with_any_names_are_listed(tmp_path: Path) -> None:
    for number in range(3):
        odd = {"": number, "a\0b": number, "\ud800": number, 'say "c0"': number}
        named_oddly(tmp_path, number, {"lr": f"low {number}", "LR": f"HIGH {9 - number}", **odd})
    client = Client(tmp_path)
    assert "could not be made" not in text_of(client.page("/"))
    tree = client.page("/?columns=lr,LR&sort=LR&q=LR!=none")
    rows = [item for item in components(tree) if item["type"] == "Tr"][1:]
    cells = [[text_of(cell) for cell in components(row) if cell["type"] == "Td"][-2:] for row in rows]
    assert cells == [["low 2", "HIGH 7"], ["low 1", "HIGH 8"], ["low 0", "HIGH 9"]]
    assert "low 1" in text_of(client.page('/?columns=say "c0",lr&q=lr="low 1"'))


def test_a_word_is_looked_for_where_no_run_tells_its_command(tmp_path: Path) -> None:
    (tmp_path / "20261121T120000Z-half-000000" / "raw").mkdir(parents=True)
    assert "not ingested" in text_of(Client(tmp_path).page("/?q=half"))


def test_a_folder_without_runs_says_how_to_make_one(tmp_path: Path) -> None:
    for place in (tmp_path, tmp_path / "not-yet"):
        assert "edgeprof run -- COMMAND" in text_of(Client(place).page("/"))


def test_runs_that_cannot_be_read_say_what_to_do(tmp_path: Path) -> None:
    for number, text in enumerate(('{"schema": 1', '{"schema": 99, "run": {}}', "[]", "")):
        run = tmp_path / f"20261121T12000{number}Z-x-00000{number}"
        (run / "raw").mkdir(parents=True)
        (run / "manifest.json").write_text(text)
    running = tmp_path / "20261121T120009Z-x-000009"
    (running / "raw").mkdir(parents=True)
    (running / "manifest.partial.json").write_text('{"run": {"name": "half')
    client = Client(tmp_path)
    listed = text_of(client.page("/"))
    assert all(word in listed for word in ("damaged", "newer", "not ingested"))
    for address in links(client.page("/")).values():
        if address.startswith("/run"):
            said = text_of(client.page(address))
            assert re.search("edgeprof ingest|upgrade|edgeprof runs", said), said


def test_corrupt_tables_are_told_in_each_figures_place(tmp_path: Path) -> None:
    run = write_run(tmp_path / GOOD, SMALL)
    for path in (run / "tables").glob("*.parquet"):
        path.write_bytes(path.read_bytes()[:100])
    client = Client(tmp_path)
    for page in OF_RUN:
        assert "could not be made" not in text_of(client.page(link(page, run=GOOD)))
        for key, response in figures(client, page, GOOD).items():
            assert re.search("edgeprof ingest|cannot be read|not captured|Nothing to show", text_of_all(response)), key


def text_of_all(response: dict[str, Any]) -> str:
    return " ".join(text_of(part.get("children")) for part in response.values())


def failing(context: Context, view: View) -> Any:
    raise KeyError("a bug")


def refused(context: Context, view: View) -> Any:
    raise EdgeprofError("there is nothing here; look elsewhere")


def test_a_page_that_fails_tells_it_in_a_sentence(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    pages = (
        Page("/", "Bug", failing),
        Page("/no", "No", refused),
        Page("/f", "F", lambda *_: [], (Figure("f", "F", failing),)),
    )
    client = Client(tmp_path, pages=pages)
    said = text_of(client.page("/"))
    assert "could not be made (KeyError" in said
    assert "Traceback" not in said
    assert "look elsewhere" in text_of(client.page("/no"))
    assert "could not be drawn" in client.get("/csv/f").get_data(as_text=True)
    assert any("KeyError" in record.getMessage() for record in caplog.records)
    caplog.clear()


def test_the_data_of_a_figure_comes_as_csv(client: Client) -> None:
    answer = client.get(f"/csv/latency?run={GOOD}")
    assert answer.status_code == 200
    assert answer.mimetype == "text/csv"
    assert 'filename="edgeprof-latency.csv"' in answer.headers["Content-Disposition"]
    rows = list(csv.reader(io.StringIO(answer.get_data(as_text=True))))
    assert len(rows) > 1
    assert len({len(row) for row in rows}) == 1


@pytest.mark.parametrize(
    "address", ["/csv/nosuch?run=x", "/csv/latency", "/csv/latency?run=nosuch", "/csv/latency?run=../.."]
)
def test_a_csv_of_nothing_is_not_found(client: Client, address: str) -> None:
    assert client.get(address).status_code == 404


@pytest.mark.parametrize(
    "text",
    ["=cmd|' /c calc'!A0", "@x", "-x", "-2+3+cmd|' /C calc'!A0", "+1*A1", "-5\n", "-1-1", "\t=1", "\n=1", "\uff1d1"],
)
def test_a_spreadsheet_does_not_compute_a_runs_text(text: str) -> None:
    rows = list(csv.reader(io.StringIO(sheet.of_table(DataTable((text,), [[text]])).decode())))
    assert rows == [[f"'{text}"], [f"'{text}"]]


@pytest.mark.parametrize(
    "text", ["-5 %", "+1", "-1\u202f234 ms", "-.5", "+1.25e-9", "-3 J/sample", "-12 °C", "ok", "5-3"]
)
def test_numbers_with_a_sign_stay_numbers(text: str) -> None:
    assert sheet.of_table(DataTable(("value",), [[text]])).decode() == f"value\n{text}\n"


def test_a_long_run_of_digits_is_looked_at_once() -> None:
    text = "-" + "1" * 200_000 + "!"
    assert sheet.of_table(DataTable(("value",), [[text]])).decode() == f"value\n'{text}\n"


def test_rows_keep_their_numbers_and_name_their_units() -> None:
    schema = pa.schema([pa.field("time_ns", pa.int64(), metadata={"unit": "ns"}), pa.field("op", pa.string())])
    body = sheet.of_rows(pa.table({"time_ns": [1 << 60, None], "op": ["read", None]}, schema=schema))
    assert body.decode() == f"time_ns (ns),op\n{1 << 60},read\n,\n"


def test_the_fleets_metrics_are_served(client: Client) -> None:
    answer = client.get("/metrics", Accept="application/openmetrics-text; version=1.0.0")
    assert answer.status_code == 200
    assert answer.get_data(as_text=True).endswith("# EOF\n")


def test_the_folder_is_left_as_it_was(folder: Path, client: Client) -> None:
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    for page in PAGES:
        client.page(link(page.path, run=GOOD))
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


@pytest.mark.parametrize("body", [{}, {"output": "nosuch.data"}, {"output": "page.children", "inputs": 5}, [], "text"])
def test_a_request_that_no_page_makes_is_refused(client: Client, body: Any, caplog: pytest.LogCaptureFixture) -> None:
    answer = client.post(body)
    assert answer.status_code == 400
    assert b"Traceback" not in answer.data
    assert not [record for record in caplog.records if record.exc_info]
    caplog.clear()


def test_a_port_that_is_taken_is_told(tmp_path: Path) -> None:
    app = make_app(tmp_path, keep=False)
    server = make_server(app, "127.0.0.1", 0)
    try:
        with pytest.raises(CannotServe, match=f"port {server.port} of 127.0.0.1 is in use; name another"):
            make_server(app, "127.0.0.1", server.port)
    finally:
        server.server_close()


def test_the_keys_of_figures_and_paths_of_pages_are_unique() -> None:
    figures = {figure.key: figure for page in PAGES for figure in page.figures}
    assert all(figures[figure.key] is figure for page in PAGES for figure in page.figures)
    assert len({page.path for page in PAGES}) == len(PAGES)
