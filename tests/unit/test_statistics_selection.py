"""Groups of runs and the limits of a gate: what is taken, what is left out and said, and what is refused."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from edgeprof.profiler.analysis.compare import compare as compare_runs
from edgeprof.profiler.analysis.registry import METRICS
from edgeprof.profiler.errors import EdgeprofError
from edgeprof.profiler.run import open_run
from edgeprof.profiler.statistics.comparison import _Steps, as_dict, compare_groups
from edgeprof.profiler.statistics.groups import Comparison, compare, corrected
from edgeprof.profiler.statistics.limits import broken, parse_limit
from edgeprof.profiler.statistics.selection import Group, Process, group_of, groups_by, is_group
from tests import tiny_run
from tests.source_tree import ROOT

pytest.importorskip("scipy", reason="needs SciPy: make install, or pip install 'edgeprof[matrix]'")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs of each of two programs, one that failed, one that was cut off."""
    place: Path = tmp_path_factory.mktemp("runs")
    for name, scheduler in (("old", "none"), ("new", "kyber")):
        for number in (1, 2):
            tiny_run.write(
                place / f"2026112{number}T120000Z-{name}-{name[0]}{number}0000",
                run={"name": name, "wall_time": 10.0 + number},
                factors={"storage": {"scheduler": scheduler}},
            )
    tiny_run.write(place / "20261123T120000Z-new-ffffff", run={"name": "new", "exit_code": 3})
    tiny_run.write(place / "20261124T120000Z-new-eeeeee", run={"name": "new", "status": "interrupted"})
    return place


def ids(group: Group) -> list[str]:
    return [process.id[-6:] for process in group.processes]


class TestSelection:
    def test_by_id_pattern_name_and_folder(self, folder: Path) -> None:
        assert ids(group_of("a", ["o10000", "o20000"], folder)) == ["o10000", "o20000"]
        assert ids(group_of("a", ["*-old-*"], folder)) == ["o10000", "o20000"]
        assert ids(group_of("a", ["ol?"], folder)) == ["o10000", "o20000"]
        assert len(group_of("a", [str(folder)], folder).processes) == 4
        assert is_group(str(folder))
        assert not is_group(str(next(folder.iterdir())))

    def test_what_did_not_end_well_is_left_out_with_the_reason(self, folder: Path) -> None:
        group = group_of("new", ["*-new-*"], folder)
        assert ids(group) == ["n10000", "n20000"]
        assert [reason for _, reason in group.left_out] == ["its command ended with exit code 3", "it was interrupted"]

    def test_figures_of_a_virtual_machines_workload_come_from_inside(self, tmp_path: Path) -> None:
        for name in ("one", "two"):
            tiny_run.write(tmp_path / name, run={"wall_time": 60.0})
            tiny_run.write(tmp_path / name / "guest", run={"wall_time": 10.0})
        group = group_of("vm", [str(tmp_path)], tmp_path)
        assert [process.metrics["wall_time"] for process in group.processes] == [10.0, 10.0]
        runs = [open_run(process.path) for process in group.processes]
        (row,) = (row for row in compare_runs(runs)["metrics"] if row["name"] == "wall_time")
        assert row["values"] == [10.0, 10.0]
        assert _Steps().of(group.processes[0]) is not None
        assert not open_run(tmp_path / "one").inside.path.samefile(tmp_path / "one")

    @pytest.mark.parametrize("factor", ["storage.scheduler", "storage_scheduler"])
    def test_by_factor(self, folder: Path, factor: str) -> None:
        groups = {group.name: ids(group) for group in groups_by(factor, folder)}
        assert groups == {"none": ["o10000", "o20000"], "kyber": ["n10000", "n20000"]}

    @pytest.mark.parametrize(
        ("texts", "sentence"),
        [
            (["nothing*"], "is called like 'nothing"),
            (["zzz"], "no run 'zzz'"),
            (["o10000", "*-old-*"], "is twice in a; a run counts once"),
            (["ffffff"], "no run of a has figures to compare: .*exit code 3"),
        ],
    )
    def test_what_cannot_be_is_one_sentence(self, folder: Path, texts: list[str], sentence: str) -> None:
        with pytest.raises(EdgeprofError, match=sentence):
            group_of("a", texts, folder)

    def test_an_unknown_factor_names_those_there_are(self, folder: Path) -> None:
        with pytest.raises(EdgeprofError, match=r"no factor|they have: model, storage"):
            groups_by("colour", folder)
        with pytest.raises(EdgeprofError, match="nothing to compare"):
            groups_by("model", folder)

    def test_a_run_belongs_to_one_group(self, folder: Path) -> None:
        groups = [group_of("a", ["*-old-*"], folder), group_of("b", ["o10000", "n10000"], folder)]
        with pytest.raises(EdgeprofError, match="is in a and in b"):
            compare_groups(groups)


def found(base: float, other: float, unit: str = "s", spread: float = 0.005, size: int = 8) -> Comparison:
    noise = 1 + spread * np.random.default_rng(0).normal(size=(2, size))
    (item,) = corrected([compare(base * noise[0], other * noise[1], unit, rounds=0)])
    return item


class TestLimits:
    @pytest.mark.parametrize(
        ("text", "share", "size"),
        [
            ("wall_time>5%", 0.05, None),
            (" wall_time > 5 % ", 0.05, None),
            ("step_time_p99>2ms", None, 0.002),
            ("wall_time>1.5", None, 1.5),
            ("rss_peak>50MB", None, 5e7),
            ("rss_peak>1MiB", None, 2.0**20),
            ("data_stall>3points", None, 0.03),
            ("throughput>10samples/s", None, 10.0),
        ],
    )
    def test_as_people_write_them(self, text: str, share: float | None, size: float | None) -> None:
        limit = parse_limit(text)
        assert (limit.share, limit.size) == (pytest.approx(share), pytest.approx(size))

    @pytest.mark.parametrize(
        ("text", "sentence"),
        [
            ("wall_time", "is not a limit"),
            ("wall_time<5%", "is not a limit"),
            ("wall_time>-5%", "is not a limit"),
            ("wal_time>5%", "did you mean 'wall_time'"),
            ("wall_time>5MB", "not measured in 'MB'"),
        ],
    )
    def test_others_are_one_sentence(self, text: str, sentence: str) -> None:
        with pytest.raises(EdgeprofError, match=sentence):
            parse_limit(text)

    @pytest.mark.parametrize(
        ("limit", "comparison", "wanted"),
        [
            ("wall_time>5%", found(10, 10.8), True),
            ("wall_time>5%", found(10, 10.3), False),  # shown, but small
            ("wall_time>5%", found(10, 11, spread=0.3), False),  # large, but not shown
            ("wall_time>5%", found(10, 8), False),  # better
            ("wall_time>0.5s", found(10, 10.8), True),
            ("wall_time>1s", found(10, 10.8), False),
            ("throughput>5%", found(100, 90, "samples/s"), True),
            ("throughput>5%", found(100, 110, "samples/s"), False),
            ("steps>5%", found(100, 80, "count"), True),  # neither is better: any change
            ("data_stall>5points", found(0.1, 0.2, "share"), True),
        ],
    )
    def test_both_sure_and_large_enough(self, limit: str, comparison: Comparison, wanted: bool) -> None:
        assert broken(parse_limit(limit), comparison) is wanted

    def test_from_nothing_to_something_is_beyond_any_share(self) -> None:
        (item,) = corrected([compare([0.0] * 5, [5.0, 6.0, 5.0, 7.0, 6.0], "count")])
        assert broken(parse_limit("major_faults>1000%"), item)

    def test_no_limit_breaks_on_one_run_each(self) -> None:
        (item,) = corrected([compare([10.0], [20.0], "s")])
        assert not broken(parse_limit("wall_time>5%"), item)


def group(name: str, factor: float = 1.0, seed: int = 0, size: int = 6, cells: int = 0) -> Group:
    """Runs in memory with a wall time; in ``cells`` cells, each of them 10 times as long as the one before."""
    random = np.random.default_rng(seed)
    processes = []
    for cell in range(max(cells, 1)):
        for number in range(size):
            wall = factor * 10.0**cell * float(np.exp(0.01 * random.normal()))
            levels = (("size", str(cell)),) if cells else ()
            path = Path(f"/nowhere/{name}/{cell}-{number}")
            processes.append(Process(f"{name}{cell}{number}", path, {"wall_time": wall, "rss_peak": 1e9}, levels))
    return Group(name, processes, matrix=bool(cells))


class TestComparison:
    def test_each_group_against_the_first(self) -> None:
        compared = compare_groups([group("a"), group("b", 1.05, 1), group("c", 1.0, 2)])
        verdicts = {(q.group, q.about.name): q.found.verdict for q in compared.questions if q.found}
        assert verdicts["b", "wall_time"] == "more"
        assert verdicts["c", "wall_time"] == "none shown"
        assert verdicts["c", "rss_peak"] == "equal"

    def test_matrices_are_compared_cell_by_cell_and_over_all(self) -> None:
        compared = compare_groups([group("a", cells=3), group("b", 1.04, 1, cells=3)], [parse_limit("wall_time>2%")])
        wall = [question for question in compared.questions if question.about.name == "wall_time"]
        assert [question.cell for question in wall] == [None, *(((("size", str(cell))),) for cell in range(3))]
        assert all(question.found is not None and question.found.verdict == "more" for question in wall)
        assert wall[0].found is not None and wall[0].found.runs == (18, 18)
        assert len(compared.failures) == 4
        assert any("wall_time of size 1 is slower by" in line for line in compared.failures)

    def test_cells_without_a_partner_are_named(self) -> None:
        compared = compare_groups([group("a", cells=3), group("b", cells=2)])
        assert compared.unmatched == ["size 2 (only in a)"]

    def test_matrices_without_a_cell_in_common_are_refused(self) -> None:
        other = Group("b", [Process("x", Path("/x"), {"wall_time": 1.0}, (("colour", "red"),))], matrix=True)
        with pytest.raises(EdgeprofError, match="no cell in common"):
            compare_groups([group("a", cells=2), other])
        with pytest.raises(EdgeprofError, match="with matrices only"):
            compare_groups([group("a", cells=2), group("b")])

    def test_a_metric_that_one_side_lacks_is_said(self) -> None:
        b = group("b")
        bare = Group("b", [Process(item.id, item.path, {"rss_peak": 1e9}) for item in b.processes])
        compared = compare_groups([group("a"), bare], [parse_limit("wall_time>5%"), parse_limit("energy>5%")])
        assert compared.failures == []
        assert compared.unchecked == ["wall_time>5%: not measured in b", "energy>5%: no run has this metric"]

    def test_metrics_that_limits_name_are_a_family_of_their_own(self) -> None:
        a, b = group("a"), group("b", 1.013, 1)
        alone = compare_groups([a, b], [parse_limit("wall_time>1%")])
        question = next(item for item in alone.questions if item.about.name == "wall_time")
        assert question.found is not None
        assert question.found.corrected == question.found.p

    def test_the_steps_of_real_runs_go_into_the_bootstrap(self, tmp_path: Path) -> None:
        for name in ("a", "b"):
            for number in range(5):
                tiny_run.write(tmp_path / name / f"20261121T12000{number}Z-{name}-{number}")
        told = as_dict(compare_groups([group_of(name, [str(tmp_path / name)], tmp_path) for name in ("a", "b")]))
        steps = next(item for item in told["comparisons"] if item["metric"] == "step_time_p50")
        assert steps["verdict"] == "equal"
        assert steps["ratio"] == {"value": 1.0, "low": None, "high": None}
        assert told["factors"] == told["host"] == []


def test_the_page_names_the_direction_of_every_metric() -> None:
    words = (
        (ROOT / "docs/metrics.md").read_text().partition("Lower is better, but for")[2].partition(" tells by this")[0]
    )
    higher, _, neither = words.partition("where higher is")
    named = {"higher": re.findall(r"`(\w+)`", higher), None: re.findall(r"`(\w+)`", neither)}
    for better, names in named.items():
        assert [metric.name for metric in METRICS if metric.better == better] == sorted(
            names, key=[metric.name for metric in METRICS].index
        )
