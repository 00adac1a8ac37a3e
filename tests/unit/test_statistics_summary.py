"""A study's answer in words, as JSON, and as a page: what matters, by how much, how sure, and what is missing."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from edgeprof.dashboards.matrix_report import build
from edgeprof.profiler.files import CannotWrite
from edgeprof.profiler.statistics import words
from edgeprof.profiler.statistics.study import CellRun, Study
from edgeprof.profiler.statistics.summary import summary
from tests import tiny_run
from tests.synthetic_study import FAILURE, make_study, typical, with_reports
from tests.unit.test_report_build import Page

pytest.importorskip("scipy", reason="needs SciPy: make install, or pip install 'edgeprof[matrix]'")

ODD = [
    CellRun("c", {"b": "x"}, 1, None, {"wall_time": float("nan"), "x": None}, ""),
    CellRun("c", {"a": "1"}, 1, None, {"wall_time": 1.0}, ""),
]
"""A run with no number for a metric, and without a level for its only axis."""
HOSTILE = "</script><script>alert(1)</script>\x1b[31m\u202e\"'&"


class TestSummary:
    def test_it_says_which_factor_matters_by_how_much_and_how_sure(self) -> None:
        told = summary(make_study(typical, failures=0.05))
        first, *rest = told["sentences"]
        assert re.match(r"framework matters most for wall_time: it explains \d+ % \(\d+ to \d+\) of the diff", first)
        assert any(re.search(r"tensorflow is slower by \d+ % \(\d+ to \d+\), p < 0.001", line) for line in rest)
        assert any(re.search(r"tar: no difference shown; [\d.]+ % could have been", line) for line in rest)
        assert any("lmdb against folder is slower by" in line and "with warm than with cold" in line for line in rest)
        assert any(re.match(r"60 runs of 12 cells, [1-9] of them failed", line) for line in rest)
        assert any("Holm" in line and "95 %" in line for line in rest)

    def test_it_is_json_with_everything(self) -> None:
        told = json.loads(json.dumps(summary(make_study(typical, failures=0.05)), allow_nan=False))
        assert told["headline"] == "wall_time"
        assert told["baseline"] == {"framework": "pytorch", "format": "folder", "cache": "cold"}
        assert {failed["reason"] for failed in told["failed"]} == {FAILURE}
        metric = told["metrics"]["wall_time"]
        assert (metric["unit"], metric["better"], metric["scale"]) == ("s", "lower", "log")
        effect = metric["effects"][0]
        assert effect["ratio"]["low"] < np.exp(0.26) < effect["ratio"]["high"]
        assert effect["shown"] and effect["p_corrected"] >= effect["p"]
        assert sum(share["share"] for share in metric["variance"]) == pytest.approx(1)

    def test_one_run_a_cell_tells_nothing_of_repeats(self) -> None:
        told = summary(make_study(typical, repeats=1))
        assert any("what repeats differ by is not known" in line for line in told["sentences"])
        shares = told["metrics"]["wall_time"]["variance"]
        assert "between repeats of the same cell" not in [share["name"] for share in shares]
        assert sum(share["share"] for share in shares) == pytest.approx(1)

    def test_null_data_has_no_factor_that_matters(self) -> None:
        assert summary(make_study())["sentences"][0] == "No factor was shown to matter for wall_time."

    def test_factors_that_matter_only_together_are_named_together(self) -> None:
        def crossed(levels: dict[str, str]) -> float:
            return 0.2 * ((levels["framework"] == "tensorflow") == (levels["cache"] == "warm"))

        first = summary(make_study(crossed))["sentences"][0]
        assert first == "framework and cache matter for wall_time together, none by itself on average."

    def test_one_repeat_is_too_few_to_tell(self) -> None:
        assert summary(make_study(typical, repeats=1))["sentences"][0].startswith("Too few runs of each cell")

    def test_where_everything_failed_that_is_said(self) -> None:
        told = summary(make_study(failures=1.0))
        assert told["sentences"][0].startswith("No run gave any figures")
        assert (told["headline"], told["metrics"], len(told["failed"])) == (None, {}, 60)

    def test_one_cell_has_nothing_to_compare(self) -> None:
        told = summary(make_study(axes={"framework": ["pytorch"]}))
        assert told["sentences"][0].startswith("Only one level of every factor was run")

    def test_a_study_without_runs(self) -> None:
        assert summary(Study("empty", {"a": ["1", "2"]}, []))["sentences"][0].startswith("No run gave any figures")

    def test_metrics_that_nobody_gave_have_the_runs_own_reason(self, tmp_path: Path) -> None:
        study = make_study(typical)
        path = tiny_run.write(tmp_path / "run", without=("power",))
        for run in study.cells:
            run.run_path = path
            run.metrics["energy"] = None
        reason = summary(study)["absent"]["energy"]
        assert "power" in reason or "sensor" in reason, reason

    def test_false_findings_over_all_metrics_stay_rare(self) -> None:
        random = np.random.default_rng(0)
        trials, wrong = 40, [0, 0]
        names = ("throughput", "step_time_p50", "wall_time", "cpu_time", "rss_peak", "major_faults")
        for seed in range(trials):
            study = make_study(seed=seed, repeats=3)
            for run in study.cells:
                run.metrics = {name: float(np.exp(0.1 * random.normal())) for name in names}
            told = summary(study)["metrics"]
            wrong[0] += any(effect["shown"] for effect in told[names[0]]["effects"])
            wrong[1] += any(effect["shown"] for name in names[1:] for effect in told[name]["effects"])
        assert max(wrong) <= 7  # more has a probability of 0.1 % at a rate of 5 %

    def test_the_metric_can_be_chosen(self) -> None:
        study = make_study(typical)
        for run in study.cells:
            run.metrics["rss_peak"] = 1e9 if run.levels["cache"] == "cold" else 2e9
        assert summary(study, "rss_peak")["sentences"][0].startswith("cache matters most for rss_peak")


class TestWords:
    @pytest.mark.parametrize(
        ("name", "unit", "scale", "bounds", "text"),
        [
            ("wall_time", "s", "log", (0.05, 0.042, 0.058), "slower by 5.1 % (4.3 to 6.0)"),
            ("wall_time", "s", "log", (-0.05, -0.06, -0.04), "faster by 4.9 % (3.9 to 5.8)"),
            ("throughput", "samples/s", "log", (-0.05, -0.06, -0.04), "slower by 4.9 % (3.9 to 5.8)"),
            ("throughput", "samples/s", "log", (1.2, 1.1, 1.3), "faster: 3.32 times (3.00 to 3.67)"),
            ("wall_time", "s", "log", (-5.5, -5.6, -5.4), "faster: 0.0041 times (0.0037 to 0.0045)"),
            ("cpu_time", "s", "log", (-0.2, -0.3, -0.1), "lower by 18.1 % (9.5 to 26)"),
            ("data_stall", "share", "linear", (0.102, 0.05, 0.15), "higher by 10.2 points (5.0 to 15.0)"),
            ("major_faults", "count", "linear", (-3.0, -5.0, 1.0), "lower by 3 (-1 to 5)"),
            ("rss_peak", "bytes", "linear", (2e6, None, None), "higher by 2 MB"),
        ],
    )
    def test_changes(self, name: str, unit: str, scale: str, bounds: tuple[float, float, float], text: str) -> None:
        assert words.change(name, unit, scale, *bounds) == text  # type: ignore[arg-type]

    def test_what_could_have_been_shown(self) -> None:
        assert words.none_shown("s", "log", 0.0296) == "no difference shown; 3.0 % could have been"
        assert words.none_shown("share", "linear", None) == "no difference shown"

    def test_p_values(self) -> None:
        assert [words.p_value(p) for p in (None, 1e-9, 0.0123, 0.5, 1.0)] == ["-", "< 0.001", "0.012", "0.50", "1.00"]
        assert [words.p_is(p) for p in (None, 1e-9, 0.0123)] == ["p = -", "p < 0.001", "p = 0.012"]


class TestPage:
    def test_it_is_one_small_file_that_asks_nobody(self, tmp_path: Path) -> None:
        path = build(make_study(typical, failures=0.05), tmp_path / "report.html")
        page = Page(path)
        assert path.stat().st_size < 6_000_000
        assert [tag for tag, attrs in page.tags if tag in ("link", "img", "iframe") or "src" in attrs] == []
        policy = next(attrs["content"] for _, attrs in page.tags if attrs.get("http-equiv"))
        assert policy is not None and policy.startswith("default-src 'none'")
        assert page.drawn == ["effects", "variance", "map", "spread"]
        assert "framework matters most for wall time" in page.text
        assert FAILURE in page.text
        assert sorted(item.name for item in tmp_path.iterdir()) == ["report.html"]

    def test_links_lead_to_reports_that_exist(self, tmp_path: Path) -> None:
        study = with_reports(make_study(typical, repeats=2), tmp_path)
        runs = embedded(build(study, tmp_path / "report.html"))["runs"]
        assert runs[0][2] == "runs/run%200%23%3F/report.html"
        assert [link is None for _, _, link, _ in runs] == [False] * 23 + [True]

    def test_cells_with_bare_levels_are_named_with_their_axes(self, tmp_path: Path) -> None:
        axes = {"threads": ["1", "2"], "format": ["tar", "lmdb"], "memory_limit": ["default", "64M"]}
        names = embedded(build(make_study(axes=axes, repeats=2), tmp_path / "report.html"))["names"]
        assert names[:2] == ["threads 1, tar, memory_limit default", "threads 1, tar, memory_limit 64M"]

    def test_what_comes_from_runs_is_escaped(self, tmp_path: Path) -> None:
        axes = {HOSTILE: ["a", HOSTILE], "plain": ["x", "y"]}
        study = make_study(lambda levels: 0.3 * (levels[HOSTILE] == "a"), axes=axes, failures=0.2)
        study.name = HOSTILE
        for run in study.cells:
            run.failed = run.failed and HOSTILE
            run.metrics[HOSTILE] = 1.0
        page = Page(build(study, tmp_path / "report.html"))
        assert page.source.count("<script>alert") == 0
        assert "\x1b" not in page.source and "\u202e" not in page.source
        assert "</script><script>alert(1)</script>" in page.text
        assert len(page.scripts) == 2 + 6

    def test_many_runs_stay_below_the_limit_and_what_is_left_out_is_named(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        study = make_study(typical)
        for run in study.cells:
            run.metrics.update({f"own_{number}": 1.0 + number for number in range(12)})
        monkeypatch.setattr("edgeprof.dashboards.matrix_report.render.DATA_LIMIT", 20_000)
        path = build(study, tmp_path / "report.html")
        content = embedded(path)
        assert content["metrics"][content["headline"]]["name"] == "wall_time"
        assert len(content["metrics"]) < 13
        assert "would be too large with it" in Page(path).text

    @pytest.mark.parametrize(
        "study",
        [
            Study("empty", {}, []),
            Study("none ran", {"a": ["1", "2"]}, []),
            make_study(failures=1.0),
            make_study(repeats=1),
            make_study(axes={"framework": ["pytorch"]}),
            Study("odd", {"a": ["1"]}, ODD),
        ],
        ids=["empty", "none ran", "all failed", "one repeat", "one cell", "odd"],
    )
    def test_any_study_makes_a_page(self, study: Study, tmp_path: Path) -> None:
        assert Page(build(study, tmp_path / "report.html")).text

    def test_a_folder_that_is_not_there_is_one_sentence(self, tmp_path: Path) -> None:
        with pytest.raises(CannotWrite, match="cannot be written"):
            build(make_study(), tmp_path / "nowhere" / "report.html")


def embedded(path: Path) -> dict[str, list[list[object]]]:
    """What the page's script draws from."""
    content: dict[str, list[list[object]]] = json.loads(dict(Page(path).scripts)["study"])
    return content
