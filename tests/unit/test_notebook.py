"""Runs in a notebook: their card, their figures, a folder of them, and the notebook of the documentation."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

import edgeprof
from edgeprof.dashboards.notebook import NoSuchFigure, NothingToPlot
from edgeprof.dashboards.report import theme
from edgeprof.profiler.errors import AmbiguousRun, DamagedManifest, NewerSchema, NoSuchRun, NotARun
from tests.source_tree import ROOT
from tests.synthetic_run import Shape, write_run
from tests.unit.test_report_build import hostile_run

SMALL = Shape(seconds=5, steps=20, requests=300)
NOTEBOOKS = sorted((ROOT / "docs/notebooks").glob("*.ipynb"))


class Tags(HTMLParser):
    """The tags, attributes and text of HTML."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: set[str] = set()
        self.attributes: set[str] = set()
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.add(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("runs") / "20261121T120000Z-train-3f9c2a", SMALL)


def test_a_run_is_shown_as_a_small_card(folder: Path) -> None:
    html = edgeprof.open_run(folder)._repr_html_()
    card = Tags(html)
    assert len(html) < 5_000
    assert "finished, exit code 0" in card.text
    assert "Waiting for input" in card.text
    assert "Peak memory2.66 GB" in card.text
    assert "Page cache hits" not in card.text  # it was not measured


def test_hostile_text_is_shown_and_never_acts(tmp_path: Path) -> None:
    run = edgeprof.open_run(hostile_run(tmp_path / "run"))
    for shown in (run._repr_html_(), edgeprof.open_runs(tmp_path)._repr_html_()):
        page = Tags(shown)
        assert page.found <= {
            "div",
            "b",
            "code",
            "p",
            "ul",
            "li",
            "table",
            "caption",
            "thead",
            "tbody",
            "tr",
            "th",
            "td",
        }
        assert page.attributes <= {"style"}
    assert "<script>alert(1)</script>" in Tags(run._repr_html_()).text


def test_a_run_with_damaged_metrics_is_shown_as_a_sentence(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", SMALL)
    (folder / "metrics.parquet").write_bytes(b"PAR1<b>")
    assert "cannot be read" in edgeprof.open_run(folder)._repr_html_()
    assert "run" in edgeprof.open_runs(tmp_path)._repr_html_()


@pytest.mark.parametrize("dark", [False, True])
def test_every_figure_that_a_run_has_is_drawn_in_a_themes_colours(folder: Path, dark: bool) -> None:
    run = edgeprof.open_run(folder)
    assert {"timeline", "steps", "latency", "sizes", "offsets", "owners", "phase-memory"} == set(run.figures)
    mine, others = (theme.DARK, theme.LIGHT) if dark else (theme.LIGHT, theme.DARK)
    for name in run.figures:
        figure = run.plot(name, dark=dark)
        assert figure.layout.paper_bgcolor == (theme.DARK_BACKGROUND if dark else theme.LIGHT_BACKGROUND)
        used = set(re.findall("#[0-9a-f]{6}", figure.to_json()))
        assert used & set(mine.values())
        assert not used & (set(others.values()) - set(mine.values()))


def test_a_figure_that_is_not_there_says_why(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(NoSuchFigure, match="no figure 'timelnie'; there are: timeline, steps"):
        edgeprof.open_run(folder).plot("timelnie")
    bare = edgeprof.open_run(write_run(tmp_path / "bare", SMALL, only=("cgroup",)))
    with pytest.raises(NothingToPlot, match=r"has nothing to show: .*edgeprof\.step"):
        bare.plot("steps")


def test_what_is_no_run_is_one_sentence(tmp_path: Path) -> None:
    for content, error in ((None, NotARun), ("{", DamagedManifest), ('{"schema": 99}', NewerSchema)):
        if content is not None:
            (tmp_path / "manifest.json").write_text(content)
        with pytest.raises(error):
            edgeprof.open_run(tmp_path)


def test_a_guest_is_shown_by_its_own_figures(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", SMALL)
    write_run(folder / "guest", SMALL, only=("steps",), manifest={"run": {"name": "inside"}})
    run = edgeprof.open_run(folder)
    assert "inside" in run._repr_html_()
    assert type(run.inside) is type(run)


def test_a_folder_is_a_sequence_and_a_table(folder: Path, tmp_path: Path) -> None:
    for name in ("20261121T120000Z-train-3f9c2a", "20261121T120500Z-train-3fa000"):
        shutil.copytree(folder, tmp_path / name)
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken/manifest.json").write_text("{")
    runs = edgeprof.open_runs(tmp_path)
    assert [run.path.name[-6:] for run in runs] == ["3f9c2a", "3fa000"]
    assert runs[-1].path == runs["3fa0"].path == runs[0:2][1].path
    assert list(runs.problems) == ["broken"]
    table = runs.table
    assert list(table.index) == [run.path.name for run in runs]
    assert table["wall_time"].tolist() == [5.0, 5.0]
    assert table["model"].tolist() == ["resnet18"] * 2
    shown = Tags(runs._repr_html_()).text
    assert "2 of 2 runs; 1 more cannot be read" in shown
    assert repr(runs) == "<2 runs>"
    with pytest.raises(AmbiguousRun):
        runs["3f"]
    with pytest.raises(NoSuchRun):
        runs["zz"]
    with pytest.raises(IndexError):
        runs[2]


def test_a_folder_that_is_not_there_has_no_runs(tmp_path: Path) -> None:
    runs = edgeprof.open_runs(tmp_path / "none")
    assert (len(runs), runs.problems, runs.table.shape[0]) == (0, {}, 0)
    assert "0 of 0 runs" in runs._repr_html_()


def test_the_default_folder_is_that_of_the_environment(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEPROF_RUNS", str(folder.parent))
    assert [run.path for run in edgeprof.open_runs()] == [folder]


def outputs(notebook: Any) -> list[list[Any]]:
    return [cell["outputs"] for cell in notebook["cells"] if cell["cell_type"] == "code"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_the_notebooks_are_kept_with_their_results(path: Path) -> None:
    kept = json.loads(path.read_text("utf-8"))
    assert all(outputs(kept))
    assert path.stat().st_size < 1_000_000
    kinds = {kind for cell in outputs(kept) for item in cell for kind in item.get("data", {})}
    assert {"text/html", "application/vnd.plotly.v1+json"} <= kinds
    assert not re.search(r"PosixPath\('/|<script|/home/|/tmp/", path.read_text("utf-8"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_the_notebooks_run(path: Path, folder: Path) -> None:
    for package in ("nbformat", "nbclient", "ipykernel"):
        pytest.importorskip(package, reason=f"needs {package}: pip install nbclient ipykernel")
    spec = importlib.util.spec_from_file_location("execute", ROOT / "docs/notebooks/execute.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    fresh = module.execute(path, folder.parent)  # raises where a cell fails
    kept = json.loads(path.read_text("utf-8"))
    assert [[item["output_type"] for item in cell] for cell in outputs(fresh)] == [
        [item["output_type"] for item in cell] for cell in outputs(kept)
    ]
