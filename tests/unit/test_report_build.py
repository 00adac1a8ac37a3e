"""A report is written for any run that can be opened, and nothing in it can act on its own."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import time
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from edgeprof import open_run
from edgeprof.collectors import schema
from edgeprof.dashboards.report import build_report
from edgeprof.profiler.files import CannotWrite, replacing
from edgeprof.profiler.run import Run
from tests.synthetic_run import TABLES, Shape, manifest_of, write_run

SMALL = Shape(seconds=5, steps=20, requests=300)
FIGURES = ["timeline", "steps", "phase-memory", "latency", "sizes", "offsets", "owners"]


class Page(HTMLParser):
    """What a browser would see: text, drawn figures, empty ones, scripts and links."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.words: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[tuple[str | None, str]] = []
        self._script: tuple[str | None, list[str]] | None = None
        self.source = path.read_text("utf-8")
        self.feed(self.source)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "script":
            self._script = (dict(attrs).get("id"), [])

    def handle_endtag(self, tag: str) -> None:
        if tag == "script" and self._script:
            self.scripts.append((self._script[0], "".join(self._script[1])))
            self._script = None

    def handle_data(self, data: str) -> None:
        if self._script:
            self._script[1].append(data)
        else:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    @property
    def drawn(self) -> list[str]:
        return [attrs["data-figure"] or "" for tag, attrs in self.tags if "data-figure" in attrs]

    @property
    def empty(self) -> list[str]:
        return [(attrs["id"] or "")[7:] for tag, attrs in self.tags if attrs.get("class") == "empty"]

    @property
    def failed(self) -> int:
        return sum("data-failed" in attrs for _, attrs in self.tags)

    def spec(self, key: str) -> Any:
        return json.loads(dict(self.scripts)[f"spec-{key}"])


def report(folder: Path) -> Page:
    return Page(build_report(open_run(folder)))


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Page:
    return report(write_run(tmp_path_factory.mktemp("page") / "run", SMALL))


def test_a_whole_run_has_every_figure_and_the_verdict_on_top(page: Page) -> None:
    assert page.drawn == FIGURES
    assert (page.empty, page.failed) == ([], 0)
    order = [
        page.text.index(words) for words in ("Waiting for input", "Evidence", "What to try", "Wall time", "Timeline")
    ]
    assert order == sorted(order)


def test_key_figures_have_human_units_and_absent_ones_their_reason(page: Page) -> None:
    assert "Read from storage 2.31 GB" in page.text
    assert "Read latency, p99 1.9 ms" in page.text
    assert "Page cache hits the collector page_cache was off" in page.text


def test_what_was_not_captured_stands_there_with_reason_and_remedy(page: Page) -> None:
    assert "perf_stat not captured" in page.text
    assert "the perf tool is not installed apt-get install linux-perf" in page.text


def test_the_profilers_own_cost_stands_there(page: Page) -> None:
    assert "CPU time of edgeprof 210 ms … of it before and after the program ran 90 ms" in page.text
    assert "Share of one core while it ran 0.35 %" in page.text
    assert "1 % of a core, 4 MB/s: kept" in page.text


def test_only_the_reports_own_scripts_may_run_and_nothing_is_fetched(page: Page) -> None:
    policy = next(attrs["content"] or "" for tag, attrs in page.tags if attrs.get("http-equiv"))
    runnable = [text for key, text in page.scripts if key is None]
    hashes = [f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'" for text in runnable]
    assert len(runnable) == 3
    assert f"script-src {' '.join(hashes)};" in policy
    assert policy.startswith("default-src 'none';")
    outside = [
        value
        for _, attrs in page.tags
        for key, value in attrs.items()
        if key in ("src", "href") and not (value or "").startswith("#")
    ]
    assert outside == []
    assert page.source.count("plotly.js v") == 1


def test_it_is_reachable_by_keyboard_and_reads_well(page: Page) -> None:
    links = [attrs["href"] for tag, attrs in page.tags if tag == "a"]
    ids = {attrs.get("id") for _, attrs in page.tags}
    assert links[0] == "#summary"
    assert all((link or "")[1:] in ids for link in links)
    plots = [attrs for tag, attrs in page.tags if "data-figure" in attrs]
    assert all(attrs["role"] == "img" and len(attrs["aria-label"] or "") > 20 for attrs in plots)
    tables = [attrs for tag, attrs in page.tags if tag == "table"]
    assert len(tables) >= len(plots) + 3
    assert len(ids - {None}) == len([attrs for _, attrs in page.tags if attrs.get("id")])


HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\u2028\u202e&amp;<b>x</b>{{7*7}}"


def hostile_run(folder: Path) -> Path:
    changes = {
        "run": {
            "name": HOSTILE,
            "command": ["sh", "-c", HOSTILE, b"\xff".decode("utf-8", "surrogateescape")],
            "cwd": HOSTILE,
        },
        "host": {"hostname": HOSTILE, HOSTILE: HOSTILE},
        "notes": [HOSTILE],
        "verdict": {"bound_by": HOSTILE, "confidence": HOSTILE, "evidence": [HOSTILE], "advice": [HOSTILE]},
    }
    write_run(folder, SMALL, manifest=changes)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["collectors"].append({"name": HOSTILE, "available": False, "reason": HOSTILE, "remedy": HOSTILE})
    (folder / "manifest.json").write_text(json.dumps(manifest))
    for name, column in (
        ("phases", "name"),
        ("block_io", "comm"),
        ("block_io", "device"),
        ("power", "rail"),
        ("disk", "device"),
    ):
        path = folder / "tables" / f"{name}.parquet"
        table = pq.read_table(path)
        values = pa.array([HOSTILE] * table.num_rows).dictionary_encode()
        pq.write_table(table.set_column(table.column_names.index(column), table.schema.field(column), values), path)
    return folder


def test_hostile_text_is_shown_and_never_acts(tmp_path: Path) -> None:
    page = report(hostile_run(tmp_path / "run"))
    assert page.failed == 0
    assert len([key for key, _ in page.scripts if key is None]) == 3
    assert not [attrs for tag, attrs in page.tags if tag == "img" or any(key.startswith("on") for key in attrs)]
    assert "<script>alert(1)</script>" in page.text
    assert "{{7*7}}" in page.text
    for key in page.drawn:
        for trace in page.spec(key)["data"]:
            assert "<" not in trace.get("name", "")
        for note in page.spec(key)["layout"].get("annotations", []):
            assert "<script" not in note["text"]
            assert "<img" not in note["text"]


@pytest.mark.parametrize("table", TABLES)
def test_a_run_without_one_table_is_reported(tmp_path: Path, table: str) -> None:
    page = report(write_run(tmp_path / "run", SMALL, only=[name for name in TABLES if name != table]))
    assert page.failed == 0
    assert page.drawn + page.empty != []
    assert sorted(page.drawn + page.empty) == sorted(FIGURES)


def test_a_run_without_any_table_says_how_to_get_each_figure(tmp_path: Path) -> None:
    page = report(write_run(tmp_path / "run", SMALL, only=(), metrics=False, manifest={"ingest": None}))
    assert (page.drawn, page.empty, page.failed) == ([], FIGURES, 0)
    assert page.text.count("To get it:") == len(FIGURES)
    assert "edgeprof ingest" in page.text
    assert "No verdict yet" in page.text


def test_a_run_with_only_procfs_is_reported(tmp_path: Path) -> None:
    page = report(write_run(tmp_path / "run", SMALL, only=("system", "process", "disk"), metrics=False))
    assert page.drawn == ["timeline"]
    assert page.failed == 0


def test_an_interrupted_run_is_reported_up_to_its_last_sample(tmp_path: Path) -> None:
    broken = {"status": "interrupted", "exit_code": None, "wall_time": None, "end_ns": None, "ended": None}
    page = report(write_run(tmp_path / "run", SMALL, manifest={"run": broken}))
    assert page.failed == 0
    assert "interrupted" in page.text
    assert page.spec("timeline")["layout"]["xaxis"]["range"][1] == pytest.approx(SMALL.seconds, rel=0.05)


@pytest.mark.parametrize("seconds", [0.05, 0.0005])
def test_a_run_that_ends_before_its_second_sample_is_reported(tmp_path: Path, seconds: float) -> None:
    page = report(write_run(tmp_path / "run", Shape(seconds=seconds, steps=1, requests=2)))
    assert page.failed == 0
    assert "timeline" in page.drawn


def test_tables_without_rows_are_absent_tables(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", SMALL)
    for name in TABLES:
        pq.write_table(schema.empty(name), folder / "tables" / f"{name}.parquet")
    page = report(folder)
    assert (page.drawn, page.empty, page.failed) == ([], FIGURES, 0)


def test_columns_of_nulls_are_reported(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", SMALL)
    for name in TABLES:
        path = folder / "tables" / f"{name}.parquet"
        table = pq.read_table(path)
        pq.write_table(pa.table({field.name: pa.nulls(table.num_rows, field.type) for field in table.schema}), path)
    page = report(folder)
    assert (page.drawn, page.failed) == ([], 0)


def test_a_damaged_table_is_named(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", SMALL)
    path = folder / "tables" / "block_io.parquet"
    path.write_bytes(path.read_bytes()[:-100])
    page = report(folder)
    assert page.failed == 0
    assert "the table block_io cannot be read" in page.text
    assert "latency" in page.empty


def test_a_sparse_manifest_is_enough(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", SMALL)
    bare = {"schema": 1, "run": {}, "factors": {}, "collectors": [], "overhead": {}}
    (folder / "manifest.json").write_text(json.dumps(bare))
    page = report(folder)
    assert page.failed == 0
    assert page.drawn == FIGURES


def test_a_collector_that_held_its_budget_is_marked(tmp_path: Path) -> None:
    manifest = manifest_of(SMALL, {})
    for entry in manifest["collectors"]:
        if entry["name"] == "block":
            entry |= {"mode": "sampled", "lost": 12, "notes": ["Captured 2 s of every 10 s."]}
    page = report(write_run(tmp_path / "run", SMALL, manifest={"collectors": manifest["collectors"]}))
    assert "block captured, sampled" in page.text
    assert "Captured 2 s of every 10 s." in page.text


def test_an_older_report_is_replaced_and_nothing_else_is_left(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", SMALL)
    (folder / "report.html").write_text("old")
    before = {item.name for item in folder.iterdir()}
    path = build_report(open_run(folder))
    assert path == folder / "report.html"
    assert path.stat().st_size > 4_000_000
    assert {item.name for item in folder.iterdir()} == before


def test_a_folder_that_cannot_be_written_to_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(CannotWrite, match="cannot be written"), replacing(tmp_path / "absent" / "report.html"):
        pass


def test_a_failure_while_writing_leaves_the_older_file(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text("old")

    def fail_half_way(temporary: Path) -> None:
        temporary.write_text("half")
        raise ArithmeticError

    with pytest.raises(ArithmeticError), replacing(path) as temporary:
        fail_half_way(temporary)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_an_hour_with_a_million_requests_stays_below_six_megabytes(
    tmp_path: Path, record_property: pytest.RecordProperty
) -> None:
    folder = write_run(tmp_path / "run", Shape(seconds=3600, processes=20, steps=36_000, requests=1_000_000))
    began = time.perf_counter()
    path = build_report(Run(folder))
    record_property("seconds", round(time.perf_counter() - began, 2))
    assert path.stat().st_size < 6_000_000
    page = Page(path)
    assert (page.drawn, page.failed) == (FIGURES, 0)
    for key in FIGURES:
        for trace in page.spec(key)["data"]:
            assert length(trace.get("x")) <= 4000


def length(values: Any) -> int:
    """Number of values, as a list or as the 32-bit floats of plotly's binary form."""
    if isinstance(values, dict):
        return len(base64.b64decode(values["bdata"])) // 4
    return len(values or [])


def test_no_figure_uses_a_colour_without_a_dark_partner(page: Page) -> None:
    partners = json.loads(dict(page.scripts)["themes"])["partners"]
    for key in page.drawn:
        text = json.dumps(page.spec(key))
        for colour in set(re.findall(r'"(#[0-9a-fA-F]{3,8})"', text)):
            assert colour in partners, (key, colour)
        for colour in set(re.findall(r'"(rgba\([\d,]+,)[\d.]+\)"', text)):
            assert colour in partners, (key, colour)
