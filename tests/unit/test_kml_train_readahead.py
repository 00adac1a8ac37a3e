"""Models of read-ahead: trained, judged by what was held out, kept with their card, and let act on measured runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeprof.cli import main as cli
from edgeprof.kmodule.library import FixedArray, FloatArray
from edgeprof.kmodule.model import Model
from edgeprof.kmodule.readahead import FEATURES
from edgeprof.kmodule.training import readahead
from edgeprof.kmodule.training.candidates import candidates
from edgeprof.kmodule.training.errors import TooFewExamples
from edgeprof.kmodule.training.readahead_examples import ROWS_OF_A_KIND, ReadAheadExamples, read
from edgeprof.kmodule.training.readahead_walk import walk
from edgeprof.profiler.guest import architecture
from tests.kml_objects import skip_without_tools
from tests.readahead_runs import READERS, Reader, write_run, write_study

KINDS = ("linear 12-1", "tree of 16 leaves")
"""That these tests fit, of all candidates: each costs a second or two, most of it for counting its instructions."""


@pytest.fixture(autouse=True, scope="module")
def tools() -> None:
    """What training needs."""
    skip_without_tools(architecture.here())
    pytest.importorskip("sklearn", reason="models are fitted by scikit-learn: pip install 'edgeprof[kml]'")


@pytest.fixture(autouse=True)
def few_candidates(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only `KINDS`."""
    monkeypatch.setattr(readahead, "candidates", lambda *args: [item for item in candidates(*args) if item[0] in KINDS])


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of all readers, at all sizes."""
    folder = tmp_path_factory.mktemp("study")
    path: Path = folder / "set.parquet"
    write_study(folder / "runs")
    assert cli.main(["dataset", "build", "readahead", str(folder / "runs"), "-o", str(path)]) == 0
    return path


@pytest.fixture(scope="module")
def examples(dataset: Path) -> ReadAheadExamples:
    """The same as a model sees them."""
    return read(dataset)


def cell_of(examples: ReadAheadExamples, reader: str) -> int:
    """Number of a reader's cell."""
    return [cell["workload"] for cell in examples.about["cells"]].index(f"model={reader}")


def always(kib: int) -> Any:
    """A model that always wants the same."""

    def answer(inputs: FixedArray) -> FloatArray:
        return np.full(len(inputs), np.log2(kib))

    return answer


class TestExamples:
    def test_the_target_is_log2_of_the_best(self, examples: ReadAheadExamples) -> None:
        rows = examples.cell == cell_of(examples, "records")
        assert set(examples.target[rows].tolist()) == {6.0}

    def test_many_windows_do_not_outweigh_few(self, examples: ReadAheadExamples) -> None:
        kinds = np.stack([examples.cell, examples.device, examples.current_kib], axis=1)
        _, counts = np.unique(kinds, axis=0, return_counts=True)
        assert 0 < counts.min() <= counts.max() <= ROWS_OF_A_KIND


class TestWalk:
    def test_a_model_that_wants_the_best_gets_there_and_stays(self, examples: ReadAheadExamples) -> None:
        found = walk(examples, cell_of(examples, "rows"), always(8), 128)
        assert (found.kib[0], found.kib[-1], found.changes) == (128, 8, 1)
        assert found.relative == 1 > found.all_along

    def test_calm_windows_come_before_a_change(self, examples: ReadAheadExamples) -> None:
        found = walk(examples, cell_of(examples, "rows"), always(8), 128, calm=5)
        assert found.kib[:6] == (128,) * 5 + (8,)

    def test_what_was_not_measured_is_not_chosen(self, dataset: Path) -> None:
        lacking = read(dataset)
        lacking.relative[:, 0] = np.nan
        assert walk(lacking, cell_of(lacking, "rows"), always(8), 128).changes == 0

    def test_a_bad_model_is_seen_to_be_bad(self, examples: ReadAheadExamples) -> None:
        cell = cell_of(examples, "stream")
        assert walk(examples, cell, always(8), 128).relative < 0.5 < walk(examples, cell, always(128), 128).relative


@pytest.fixture(scope="module")
def trained(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model from the command line."""
    model: Path = tmp_path_factory.mktemp("models") / "readahead.kml"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(readahead, "candidates", lambda *args: [item for item in candidates(*args) if item[0] in KINDS])
        assert cli.main(["kml", "train", "readahead", str(dataset), "-o", str(model)]) == 0
    return model


class TestTraining:
    def test_the_model_is_what_its_users_take(self, trained: Path) -> None:
        model = Model.load(trained)
        assert model.name == "kml-readahead"
        assert (tuple(feature.name for feature in model.features), model.outputs) == (FEATURES, 1)

    def test_its_card_says_how_good_it_is_on_what_was_held_out(self, trained: Path) -> None:
        card = json.loads(trained.with_name("readahead.kml.json").read_text())
        judged = card["metrics"]["workload"]
        relative = {name: score["value"] for name, score in judged["relative_throughput"].items()}
        assert relative["oracle"] == 1
        assert relative["default"] < relative["model"] <= 1
        assert {cell["workload"] for cell in judged["cells"]} == {f"model={reader.name}" for reader in READERS}
        assert card["metrics"]["machine"]["reason"]
        assert 0 <= judged["action_accuracy"]["value"] <= 1

    def test_the_same_set_and_seed_give_the_same_model(self, dataset: Path, trained: Path, tmp_path: Path) -> None:
        again = tmp_path / "again.kml"
        assert cli.main(["kml", "train", "readahead", str(dataset), "-o", str(again)]) == 0
        assert again.read_bytes() == trained.read_bytes()

    def test_labels_without_meaning_teach_nothing(self, dataset: Path) -> None:
        """If the judgement saw what it should not, it would find sense even here."""
        shuffled = read(dataset)
        draw = np.random.default_rng(1)
        wrong = draw.permutation(len(shuffled.about["cells"]))
        best = np.array([np.log2(cell["best_kib"]) for cell in shuffled.about["cells"]])
        shuffled.target[:] = best[wrong][shuffled.cell]
        _, card = readahead.train(shuffled)
        relative = card["metrics"]["workload"]["relative_throughput"]
        assert relative["model"]["value"] < relative["best_fixed"]["value"] + 0.1

    def test_too_few_workloads_are_told(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        write_study(tmp_path / "runs", READERS[:2])
        assert cli.main(["kml", "train", "readahead", str(tmp_path / "runs"), "-o", str(tmp_path / "m.kml")]) != 0
        assert "2 workloads are in the training set, and 3 are the least" in capsys.readouterr().err
        assert not (tmp_path / "m.kml").exists()


class TestEval:
    def test_of_new_workloads_and_of_learned_ones(
        self, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        write_study(tmp_path / "runs", [READERS[0], Reader("blocks", 8)])
        assert cli.main(["kml", "eval", "readahead", str(trained), str(tmp_path / "runs"), "--json"]) == 0
        metrics = json.loads(capsys.readouterr().out)["metrics"]
        assert [cell["workload"] for cell in metrics["new"]["cells"]] == ["model=blocks"]
        assert [cell["workload"] for cell in metrics["learned"]["cells"]] == ["model=stream"]
        relative = metrics["new"]["relative_throughput"]
        assert relative["model"]["value"] > relative["default"]["value"] + 0.1

    def test_a_model_without_its_card_is_refused(
        self, dataset: Path, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        alone = tmp_path / "alone.kml"
        alone.write_bytes(trained.read_bytes())
        assert cli.main(["kml", "eval", "readahead", str(alone), str(dataset)]) != 0
        assert "alone.kml.json" in capsys.readouterr().err

    def test_a_model_of_something_else_is_refused(self, examples: ReadAheadExamples, trained: Path) -> None:
        card = json.loads(trained.with_name("readahead.kml.json").read_text())
        with pytest.raises(readahead.WrongModel, match="not one of read-ahead"):
            readahead.evaluate(Model.load(trained), card | {"kind": "latency"}, examples)

    def test_a_setting_that_was_not_run_is_no_default(self, trained: Path, tmp_path: Path) -> None:
        for kib in (8, 64):
            write_run(tmp_path / "runs" / f"20261121T120000Z-{kib}", READERS[4], kib)
        target = tmp_path / "set.parquet"
        assert cli.main(["dataset", "build", "readahead", str(tmp_path / "runs"), "-o", str(target)]) == 0
        card = json.loads(trained.with_name("readahead.kml.json").read_text())
        found = readahead.evaluate(Model.load(trained), card, read(target))
        assert "default read-ahead" in found["learned"]["reason"]


def test_two_workloads_alone_are_too_few(examples: ReadAheadExamples) -> None:
    few = ReadAheadExamples(**{**vars(examples), "workloads": examples.workloads[:2]})
    with pytest.raises(TooFewExamples):
        readahead.train(few)
