"""Training models of latency: from runs to a model with its card, judged by what it did not learn from."""

from __future__ import annotations

import json
import re
import signal
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks import kml_latency_runs
from edgeprof.cli import main as cli
from edgeprof.kmodule.evaluation.plan import plan
from edgeprof.kmodule.evaluation.workloads import CLASSES
from edgeprof.kmodule.latency import NEVER, Operation, arrivals, features
from edgeprof.kmodule.library import FloatArray
from edgeprof.kmodule.model import Model
from edgeprof.kmodule.network import shapes
from edgeprof.kmodule.training import candidates, card, latency, latency_baselines, latency_examples, metrics
from edgeprof.kmodule.training.cost import instructions
from edgeprof.kmodule.training.errors import CardMismatch, NoCard, TooFewExamples, TooSmall, WrongModel
from edgeprof.kmodule.training.latency_examples import LatencyExamples
from edgeprof.profiler.training_sets.errors import NotATrainingSet
from edgeprof.profiler.training_sets.schema import METADATA
from tests.training_runs import ns, request, write_run

WORKLOADS = ("cnn", "vit", "lstm", "mlp")
RUNS = 6
"""Of each workload; an interval takes five."""
REQUESTS = 150


def requests(seed: int) -> list[dict[str, Any]]:
    """Reads and writes, some of which wait for the one before; each takes a base, and time by its size."""
    random = np.random.default_rng(seed)
    rows, free, now = [], 0.0, 0.0
    for _ in range(REQUESTS):
        now += float(random.exponential(1.0))
        kib = int(2 ** random.integers(2, 10))
        write = bool(random.random() < 0.3)
        free = max(now, free) + (0.2 + kib / 200) * (2 if write else 1) * float(random.lognormal(0, 0.1))
        sector = int(random.integers(0, 1 << 20))
        op = "write" if write else "read"
        inserted = {"inserted": now, "inserted_sector": sector, "inserted_bytes": kib * 1024}
        rows.append(request(now, free, op, sector=sector, bytes=kib * 1024, **inserted))
    return rows


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs of four workloads on one disk."""
    place: Path = tmp_path_factory.mktemp("learned")
    for number in range(RUNS * len(WORKLOADS)):
        name = f"20261121T1200{number:02}Z-made-{number}"
        write_run(place / name, requests(number), factors={"model": WORKLOADS[number % len(WORKLOADS)]})
    return place


@pytest.fixture(scope="module")
def dataset(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Their training set."""
    path: Path = tmp_path_factory.mktemp("set") / "latency.parquet"
    assert cli.main(["dataset", "build", "latency", str(folder), "-o", str(path), "--deadline-quantile", "0.8"]) == 0
    return path


@pytest.fixture(scope="module")
def examples(dataset: Path) -> LatencyExamples:
    return latency_examples.read(dataset)


class Trained(NamedTuple):
    """What training wrote and said."""

    model: Path
    report: Path
    out: str


@pytest.fixture(scope="module")
def trained(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """A model that the command trained, with its report."""
    pytest.importorskip("sklearn", reason="scikit-learn is missing: pip install 'edgeprof[kml]'")
    place: Path = tmp_path_factory.mktemp("model")
    model, report = place / "latency.kml", place / "report.html"
    from click.testing import CliRunner

    arguments = ["kml", "train", "latency", str(dataset), "-o", str(model), "--report", str(report)]
    said = CliRunner().invoke(cli.cli, arguments, catch_exceptions=False)
    assert said.exit_code == 0, said.output
    return Trained(model, report, said.output)


@pytest.fixture
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """Candidates that are fitted and counted fast, where it does not matter how well."""
    monkeypatch.setattr(candidates, "MOST_EPOCHS", 2)
    monkeypatch.setattr(candidates, "instructions", lambda model, _: model.size)


def scores(found: dict[str, Any], part: str, by: str) -> dict[str, float]:
    """The figures of a predictor, those that have none left out."""
    return {name: item["value"] for name, item in found[part]["scores"][by].items() if item["value"] is not None}


class TestTraining:
    def test_a_model_beats_what_takes_no_learning(self, trained: Trained) -> None:
        found = card.read(trained.model)["metrics"]
        for part in ("time", "workload"):
            own = scores(found, part, "model")
            others = [scores(found, part, by) for by in found[part]["scores"] if by != "model"]
            assert own["r2"] > max(item["r2"] for item in others) > -1
            assert own["mae"] < min(item["mae"] for item in others)
            assert own["auc"] > 0.8

    def test_each_figure_has_an_interval_around_it(self, trained: Trained) -> None:
        for part in card.read(trained.model)["metrics"].values():
            found = part["scores"]["model"]
            assert all(item["low"] <= item["value"] <= item["high"] for item in found.values())
            assert all(found[name]["low"] < found[name]["high"] for name in ("mae", "r2", "auc", "accuracy"))

    def test_its_card_says_what_it_was_made_of(self, trained: Trained, examples: LatencyExamples) -> None:
        found = card.read(trained.model)
        assert set(found["data"]["runs"]) == set(examples.runs)
        assert sorted(found["data"]["workloads"].values()) == ["test", "train", "train", "validation"]
        assert found["data"]["rows"]["train"] == int(examples.parts["train"].sum())
        assert tuple(found["model"]["features"]) == latency_examples.FEATURES
        chosen = next(item for item in found["training"]["candidates"] if item["what"] == found["model"]["what"])
        assert chosen["fits"]
        assert found["model"]["instructions"] == chosen["instructions"] <= found["training"]["instructions_budget"]

    def test_what_was_said_is_a_table_of_each_part(self, trained: Trained) -> None:
        assert "online line" in trained.out
        assert "workload: of workloads of which nothing was learned" in trained.out

    @pytest.mark.usefixtures("fast")
    def test_the_same_seed_gives_the_same_model(self, examples: LatencyExamples) -> None:
        pytest.importorskip("sklearn", reason="scikit-learn is missing: pip install 'edgeprof[kml]'")
        first, again = (candidates.search("latency", examples, seed=3)[1] for _ in range(2))
        assert [item.model.save() for item in first] == [item.model.save() for item in again]
        assert [item.error for item in first] == [item.error for item in again]

    def test_ctrl_c_ends_it(self) -> None:
        pytest.importorskip("sklearn", reason="scikit-learn is missing: pip install 'edgeprof[kml]'")

        def interrupt(*_: object) -> None:
            raise KeyboardInterrupt

        inputs = np.random.default_rng(0).random((20_000, 4))
        before = signal.signal(signal.SIGALRM, interrupt)
        try:
            signal.setitimer(signal.ITIMER_REAL, 2.0)
            with pytest.raises(KeyboardInterrupt):
                candidates._network("interrupted", list("abcd"), (16,))(inputs, inputs.sum(axis=1), 0)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)

    def test_a_place_that_cannot_be_written_to_is_told_first(
        self, dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert cli.main(["kml", "train", "latency", str(dataset), "-o", str(tmp_path / "no" / "model.kml")]) == 120
        said = capsys.readouterr().err
        assert "cannot be written" in said and said.count("\n") == 1

    @pytest.mark.parametrize("part", ["splits", "runs", "deadlines"])
    def test_a_set_that_does_not_say_how_it_was_made_is_refused(self, dataset: Path, tmp_path: Path, part: str) -> None:
        table = pq.read_table(dataset)
        about = json.loads(table.schema.metadata[METADATA])
        del about[part]
        pq.write_table(table.replace_schema_metadata({METADATA: json.dumps(about).encode()}), tmp_path / "set")
        with pytest.raises(NotATrainingSet, match="is damaged"):
            latency_examples.read(tmp_path / "set")

    def test_a_request_without_a_latency_is_damage(self, dataset: Path, tmp_path: Path) -> None:
        table = pq.read_table(dataset)
        nothing = pa.nulls(table.num_rows, pa.float64())
        pq.write_table(table.set_column(table.column_names.index("latency"), "latency", nothing), tmp_path / "set")
        with pytest.raises(NotATrainingSet, match="columns are damaged"):
            latency_examples.read(tmp_path / "set")

    @pytest.mark.usefixtures("fast")
    def test_a_budget_that_nothing_keeps_to_is_said(self, examples: LatencyExamples) -> None:
        pytest.importorskip("sklearn", reason="scikit-learn is missing: pip install 'edgeprof[kml]'")
        with pytest.raises(TooSmall, match="at most 10 instructions; the cheapest takes"):
            candidates.search("latency", examples, budget=10)

    def test_too_few_examples_are_said(self, tmp_path: Path) -> None:
        pytest.importorskip("sklearn", reason="scikit-learn is missing: pip install 'edgeprof[kml]'")
        write_run(tmp_path / "20261121T120000Z-one-1", requests(1)[:20], factors={"model": "cnn"})
        assert cli.main(["dataset", "build", "latency", str(tmp_path), "-o", str(tmp_path / "x.parquet")]) == 0
        with pytest.raises(TooFewExamples, match="are the least"):
            latency.train(latency_examples.read(tmp_path / "x.parquet"))


class TestEvaluation:
    def test_the_same_set_gives_the_figures_of_the_card(self, trained: Trained, examples: LatencyExamples) -> None:
        found = card.read(trained.model)
        assert latency.evaluate(Model.load(trained.model), found, examples) == found["metrics"]

    def test_a_folder_of_runs_serves_too(
        self, trained: Trained, folder: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert cli.main(["kml", "eval", "latency", str(trained.model), str(folder), "--json"]) == 0
        said = json.loads(capsys.readouterr().out)
        assert said["metrics"]["time"]["requests"] == card.read(trained.model)["metrics"]["time"]["requests"]

    def test_nothing_that_was_learned_from_is_judged_by(self, trained: Trained, examples: LatencyExamples) -> None:
        tested = latency.judged_parts(card.read(trained.model), examples)
        for part in ("time", "workload"):
            assert not (tested[part] & (examples.parts["train"] | examples.parts["validation"])).any()
            assert not (examples.parts[part] & ~tested[part]).any()

    def test_runs_of_other_workloads_are_all_judged(self, trained: Trained, tmp_path: Path) -> None:
        write_run(tmp_path / "20261121T130000Z-new-1", requests(99), factors={"model": "unet"})
        assert cli.main(["dataset", "build", "latency", str(tmp_path), "-o", str(tmp_path / "x.parquet")]) == 0
        other = latency_examples.read(tmp_path / "x.parquet")
        found = latency.evaluate(Model.load(trained.model), card.read(trained.model), other)
        assert found["time"] == {"requests": 0, "reason": "the training set has no such requests"}
        assert found["workload"]["requests"] == REQUESTS
        alone = found["workload"]["scores"]["model"]["mae"]
        assert alone["low"] is None
        assert alone["reason"] == "no interval: fewer than 5 runs"

    def test_a_model_of_something_else_is_refused(self, examples: LatencyExamples) -> None:
        model = Model.create("demo", 2, shapes("2-1", last=None))
        with pytest.raises(WrongModel, match="is not one of request latency"):
            latency.evaluate(model, {"kind": "latency"}, examples)


class TestCard:
    def test_another_model_beside_it_is_an_error(
        self, trained: Trained, dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        model = tmp_path / "latency.kml"
        model.write_bytes(trained.model.read_bytes()[:-1] + b"\x01")
        card.path_of(model).write_bytes(card.path_of(trained.model).read_bytes())
        with pytest.raises(CardMismatch, match="its SHA-256 differs"):
            card.read(model)
        assert cli.main(["kml", "eval", "latency", str(model), str(dataset)]) != 0
        assert "is not the model that latency.kml.json describes" in capsys.readouterr().err

    def test_a_model_is_checked_where_it_is_loaded(self, trained: Trained, tmp_path: Path) -> None:
        model = tmp_path / "latency.kml"
        model.write_bytes(trained.model.read_bytes())
        card.check(model)  # there is no card, which a model made elsewhere need not have
        card.path_of(model).write_bytes(card.path_of(trained.model).read_bytes())
        card.check(model)
        model.write_bytes(b"something else")
        with pytest.raises(CardMismatch):
            card.check(model)

    @pytest.mark.parametrize(
        ("content", "words"),
        [(None, "cannot be read"), ("{", "is damaged"), ("[]", "is no model card"), ('{"a": 1}', "is no model card")],
    )
    def test_one_that_cannot_be_read_is_an_error(self, tmp_path: Path, content: str | None, words: str) -> None:
        if content is not None:
            card.path_of(tmp_path / "m.kml").write_text(content)
        with pytest.raises(NoCard, match=words):
            card.read(tmp_path / "m.kml")


class TestExamples:
    def test_inputs_are_those_of_the_kernel(self, examples: LatencyExamples) -> None:
        """The table's columns put by NumPy, against the C code that saw the requests come and go."""
        rows = requests(0)
        made = arrivals(
            [row["inserted_ns"] for row in rows],
            [row["inserted_sector"] for row in rows],
            [row["inserted_bytes"] for row in rows],
            [Operation[row["op"].upper()] for row in rows],
            [row["op"] == "read" for row in rows],
        )
        ends = [row["completed_ns"] or NEVER for row in rows]
        wanted = features(made, ends, [row["bytes"] for row in rows], ns(0) or 0)
        own = examples.inputs[examples.run == examples.runs.index("20261121T120000Z-made-0")]
        column = latency_examples.FEATURES.index("written_100ms")  # of slices of time in the kernel
        assert np.abs(np.delete(own - wanted, column, axis=1)).max() <= 4
        written = np.corrcoef(own[:, column], wanted[:, column])[0, 1]
        assert written > 0.95

    def test_the_online_line_knows_only_the_past(self, examples: LatencyExamples) -> None:
        fitted = latency_baselines.fit(examples, examples.parts["train"])
        before = latency_baselines.predictions(fitted, examples)["online line"].latency
        middle = np.median(examples.arrived)
        late = examples.completed >= middle
        changed = LatencyExamples(**{**vars(examples), "target": np.where(late, examples.target + 3, examples.target)})
        after = latency_baselines.predictions(fitted, changed)["online line"].latency
        early = examples.arrived <= middle
        assert (before[early] == after[early]).all()
        assert (before[~early] != after[~early]).any()


class TestCost:
    def test_a_larger_model_takes_more_instructions(self) -> None:
        inputs = np.random.default_rng(0).normal(0, 1, (64, 4))
        found = []
        for widths in ("4-1", "4-8-1", "4-32-1"):
            model = Model.create("m", 4, shapes(widths, last=None))
            model.randomise(1)
            found.append(instructions(model, inputs))
        assert found[0] < found[1] < found[2]
        assert 4 <= found[0] < 1000

    def test_it_is_the_same_each_time(self) -> None:
        model = Model.create("m", 4, shapes("4-8-1", last=None))
        assert instructions(model, np.ones((8, 4))) == instructions(model, np.ones((8, 4)))


def item(name: str, error: float, taken: int, size: int = 1000) -> Any:
    """A candidate as `candidates.best` sees it."""

    class Sized:
        def __init__(self) -> None:
            self.size = size

    return candidates.Candidate(name, Sized(), error, taken, candidates.Quantised(0, 0, error, error))  # type: ignore[arg-type]


def test_the_cheapest_of_the_nearly_best_is_chosen() -> None:
    found = [item("dear", 1.0, 900), item("near", 1.005, 500), item("poor", 1.2, 100), item("huge", 0.5, 10, 5000)]
    assert candidates.best(found).name == "near"
    assert candidates.best(found, budget=400).name == "poor"


class TestMetrics:
    @pytest.fixture
    def made(self) -> tuple[FloatArray, Any, Any]:
        """Scores with ties, which are right more often than not; and a run of each."""
        random = np.random.default_rng(5)
        score = np.round(random.normal(0, 1, 400), 1)
        return score, score + random.normal(0, 1, 400) > 0.5, np.repeat(np.arange(8, dtype=np.int32), 50)

    def test_the_area_is_the_share_of_pairs_in_the_right_order(self, made: Any) -> None:
        score, positive, run = made
        pairs = np.sign(score[positive][:, None] - score[~positive][None, :])
        found = metrics.area_score(metrics.Draws(run), positive, score)
        assert found.value == pytest.approx((pairs.mean() + 1) / 2, abs=1e-12)
        assert found.low is not None
        assert found.high is not None
        assert found.low < (found.value or 0) < found.high

    def test_intervals_are_wider_where_runs_differ(self, made: Any) -> None:
        _, positive, run = made
        alike = metrics.one(metrics.Draws(run), metrics.mean_of(metrics.Draws(run), positive))
        ordered = np.sort(positive)  # the same share of all, but not in each run
        apart = metrics.one(metrics.Draws(run), metrics.mean_of(metrics.Draws(run), ordered))
        assert alike.value == apart.value
        assert (apart.high or 0) - (apart.low or 0) > 2 * ((alike.high or 0) - (alike.low or 0)) > 0

    def test_explained_variance_is_as_defined(self, made: Any) -> None:
        score, _, run = made
        target = score + np.random.default_rng(1).normal(0, 0.5, len(score)) + 1e6
        found = metrics.regression(metrics.Draws(run), target, score + 1e6)
        expected = 1 - ((target - score - 1e6) ** 2).sum() / ((target - target.mean()) ** 2).sum()
        assert found["r2"].value == pytest.approx(expected, rel=1e-6)

    def test_what_is_not_defined_is_null_with_a_reason(self) -> None:
        run = np.arange(6, dtype=np.int32)
        never = np.zeros(6, np.bool_)
        found = metrics.classification(metrics.Draws(run), never, never, np.zeros(6))
        assert found["precision"].value is None
        assert found["auc"].value is None
        assert "not defined" in (found["auc"].reason or "")
        assert found["accuracy"].value == 1.0


class TestReport:
    def test_it_holds_the_scores_and_the_figures(self, trained: Trained) -> None:
        page = trained.report.read_text()
        found = re.search(r'<script type="application/json" id="figures">(.*?)</script>', page)
        assert found is not None
        figures = json.loads(found[1])
        assert [figure["key"] for figure in figures] == [
            *("time-0", "time-1", "time-2", "workload-0", "workload-1", "workload-2")
        ]
        rates = figures[0]["traces"][0]
        assert (rates["x"][0], rates["y"][0], rates["x"][-1], rates["y"][-1]) == (0, 0, 1, 1)
        assert rates["y"] == sorted(rates["y"])
        drawn = sum(value or 0 for row in figures[2]["traces"][0]["z"] for value in row)
        judged = card.read(trained.model)["metrics"]["time"]["requests"]
        assert 0.95 * judged < drawn <= judged
        assert "online line" in page
        assert re.search(r"default-src (&#39;|')none", page)


def test_runs_to_learn_from_are_none_that_an_evaluation_makes(tmp_path: Path) -> None:
    made = kml_latency_runs.jobs(tmp_path, list(CLASSES), seeds=2)
    evaluated = plan(repeats=20).jobs()
    assert len({job.name for job in made}) == len(made) == 2 * len(CLASSES) * len(kml_latency_runs.TRAINING) * 2
    assert not {job.workload.name for job in made} & {job.workload.name for job in evaluated}
    assert not {job.seed for job in made} & {job.seed for job in evaluated}
    assert {job.seed for job in made} == {101, 102}
