"""The loops, with a backend that only counts: limits, what is recorded and when, and what happens without data."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

import edgeprof
from edgeprof.collectors.parsing import Parsed, RunFacts
from edgeprof.collectors.phases import parse, recorder
from edgeprof.profiler.analysis import compute_from
from edgeprof.profiler.analysis.data import RunData
from edgeprof.workloads import interrupt
from edgeprof.workloads.catalog import WORKLOADS
from edgeprof.workloads.data.describe import DataSet
from edgeprof.workloads.errors import UnusableData, WrongSpec
from edgeprof.workloads.lifecycle import Lifecycle, Outcome
from edgeprof.workloads.spec import WorkloadSpec

ENTRY = WORKLOADS["pilotnet"]
BATCHES, VALIDATION = 5, 2
"""Of an epoch, and of its validation."""


@dataclass
class Counting:
    """A backend that learns nothing, and says what it was asked to do."""

    seconds: float = 0.0
    empty: bool = False
    calls: list[str] = field(default_factory=list)
    version: str = ""
    parameters: int | None = None
    closed: int = 0

    def prepare(self) -> None:
        with edgeprof.phase("import"):
            self.version, self.parameters = "1.0", 7

    def batches(self, epoch: int, training: bool) -> Iterator[int]:
        self.calls.append(f"epoch {epoch}")
        yield from range(0 if self.empty else BATCHES if training else VALIDATION)

    def train_step(self, batch: int) -> float:
        self.calls.append(f"train {batch}")
        with edgeprof.phase("train"):
            time.sleep(self.seconds)
        return 10.0 - batch

    def infer(self, batch: int) -> None:
        self.calls.append(f"infer {batch}")
        time.sleep(self.seconds)

    def save(self, path: Path) -> None:
        self.calls.append("save")
        path.write_bytes(b"weights")

    def close(self) -> None:
        self.closed += 1


def dataset(samples: int = 20) -> DataSet:
    """A data set that is never read."""
    return DataSet(Path("set"), "steering", "folder", samples, 1, 0, (66, 200), 0, (), None, None, ("a",))


@pytest.fixture
def raw(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A raw folder into which this process records."""
    folder = tmp_path / "raw"
    (folder / "phases").mkdir(parents=True)
    monkeypatch.setattr(recorder, "_writer", recorder.Writer(str(folder / "phases")))
    return folder


def run(backend: Counting, samples: int = 20, **settings: Any) -> Outcome:
    """A workload with batches of 4."""
    spec = WorkloadSpec("pilotnet", batch=4, **{"warmup": 0, **settings})
    return Lifecycle(spec, ENTRY, dataset(samples), backend).run()


def recorded(raw: Path) -> Parsed:
    return parse.parse(raw, RunFacts(0, None, 0))


def names(parsed: Parsed) -> list[str]:
    """Names of the phases in order."""
    found: list[str] = parsed.tables["phases"]["name"].to_pylist()
    return found


def marks(parsed: Parsed) -> list[tuple[str, float]]:
    return [(row["name"], row["value"]) for row in parsed.tables["marks"].to_pylist()]


class TestTraining:
    def test_without_a_limit_it_is_one_epoch_with_validation_and_a_checkpoint(self) -> None:
        backend = Counting()
        outcome = run(backend)
        steps = [f"train {number}" for number in range(BATCHES)]
        assert backend.calls == ["epoch 0", *steps, "epoch 0", "infer 0", "infer 1", "save"]
        assert (outcome.steps, outcome.samples, outcome.epochs, outcome.checkpoints) == (5, 20, 1, 1)
        assert (outcome.loss_first, outcome.loss_last) == (10.0, 6.0)
        assert (outcome.version, outcome.parameters, backend.closed) == ("1.0", 7, 1)

    def test_steps_go_over_epochs_and_end_in_the_middle_of_one(self) -> None:
        backend = Counting()
        outcome = run(backend, steps=7, validate=False)
        assert (outcome.steps, outcome.epochs) == (7, 1)
        assert backend.calls[:1] + backend.calls[6:8] == ["epoch 0", "epoch 1", "train 0"]
        assert backend.calls[-2:] == ["train 1", "save"]

    def test_epochs_and_steps_end_at_whatever_comes_first(self) -> None:
        assert run(Counting(), steps=100, epochs=2).steps == 2 * BATCHES
        assert run(Counting(), steps=3, epochs=2).steps == 3

    def test_seconds_end_it(self) -> None:
        outcome = run(Counting(seconds=0.01), seconds=0.1)
        assert 1 <= outcome.steps <= 10

    def test_checkpoints_come_every_n_steps_and_at_the_end_once(self, tmp_path: Path) -> None:
        file = tmp_path / "weights.bin"
        assert run(Counting(), steps=5, checkpoint_every=2, checkpoint=str(file)).checkpoints == 3
        assert run(Counting(), steps=4, checkpoint_every=2).checkpoints == 2
        assert file.read_bytes() == b"weights"

    def test_a_checkpoint_that_nobody_asked_for_leaves_nothing(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
        assert run(Counting(), steps=1).checkpoints == 1
        assert list(tmp_path.iterdir()) == []

    def test_a_checkpoint_needs_a_folder_that_is_there(self, tmp_path: Path) -> None:
        with pytest.raises(WrongSpec, match="is not there; make it"):
            run(Counting(), checkpoint=str(tmp_path / "none" / "x"))

    def test_warm_up_repeats_one_batch_and_records_no_step(self, raw: Path) -> None:
        backend = Counting()
        run(backend, warmup=3, steps=2, validate=False)
        assert backend.calls == ["epoch 0", *["train 0"] * 3, "epoch 0", "train 0", "train 1", "save"]
        parsed = recorded(raw)
        assert names(parsed) == ["import", "warm-up", "load", *["train"] * 3, *["load", "train"] * 2, "checkpoint"]
        assert marks(parsed) == [("measured", 1), ("measured", 0)]
        steps = parsed.tables["steps"].to_pylist()
        loads = [row for row in parsed.tables["phases"].to_pylist() if row["name"] == "load"]
        assert [row["samples"] for row in steps] == [4, 4]
        assert all(step["start_ns"] <= load["start_ns"] for step, load in zip(steps, loads[1:], strict=True))
        begin, end = (row["time_ns"] for row in parsed.tables["marks"].to_pylist())
        assert begin <= steps[0]["start_ns"] < steps[1]["end_ns"] <= end

    def test_neither_validation_nor_warm_up_slow_the_throughput(self, raw: Path) -> None:
        outcome = run(Counting(seconds=0.01), warmup=20, epochs=2)
        parsed = recorded(raw)
        rows = compute_from(RunData({"run": {}}, parsed.tables.get)).to_pylist()
        found = {row["name"]: row["value"] for row in rows if row["phase"] is None}
        steps = parsed.tables["steps"].to_pylist()
        span = (steps[-1]["end_ns"] - steps[0]["start_ns"]) / 1e9
        phases = parsed.tables["phases"].to_pylist()
        validations = [row for row in phases if row["name"] == "validate"]
        between = (validations[0]["end_ns"] - validations[0]["start_ns"]) / 1e9
        assert between >= VALIDATION * 0.01
        assert found["throughput"] == pytest.approx(40 / (span - between))
        assert outcome.seconds < span
        assert found["steps"] == 10


class TestInference:
    def test_the_first_answer_is_a_phase_of_its_own(self, raw: Path) -> None:
        backend = Counting()
        outcome = run(backend, lifecycle="infer", scenario="single", warmup=2, steps=3)
        parsed = recorded(raw)
        assert names(parsed) == [
            *["first-inference", "import", "load", "warm-up"],
            *["load", "infer", "load", "infer", "load", "load", "infer"],
        ]
        assert backend.calls.count("infer 0") == 1 + 2 + 2
        assert (outcome.steps, outcome.epochs, outcome.loss_first) == (3, 1, None)

    def test_offline_without_a_limit_is_one_epoch(self) -> None:
        outcome = run(Counting(), lifecycle="infer")
        assert (outcome.steps, outcome.samples, outcome.scenario) == (VALIDATION, 4 * VALIDATION, "offline")

    def test_requests_begin_when_they_arrive_and_wait_for_one_another(self, raw: Path) -> None:
        settings = {"lifecycle": "infer", "scenario": "multi", "arrival": 100.0, "deadline": 0.025}
        outcome = run(Counting(seconds=0.02), steps=6, **settings)
        parsed = recorded(raw)
        steps = parsed.tables["steps"].to_pylist()
        arrivals = [round((row["start_ns"] - steps[0]["start_ns"]) / 1e6) for row in steps]
        assert arrivals == [0, 10, 20, 30, 40, 50]
        took = [(row["end_ns"] - row["start_ns"]) / 1e9 for row in steps]
        assert took[-1] >= 6 * 0.02 - 0.05
        assert ("deadline", 0.025) in marks(parsed)
        late = sum(value > 0.025 for value in took)
        assert outcome.deadline_misses == late >= 4
        assert outcome.deadline == 0.025
        assert outcome.throughput == pytest.approx(24 / outcome.seconds)

    def test_requests_left_at_the_end_of_the_time_are_missed(self, raw: Path) -> None:
        settings = {"lifecycle": "infer", "scenario": "multi", "arrival": 100.0}
        outcome = run(Counting(seconds=0.03), seconds=0.2, **settings)
        parsed = recorded(raw)
        found = {row["name"]: row["value"] for row in compute_from(RunData({"run": {}}, parsed.tables.get)).to_pylist()}
        assert outcome.deadline_misses is not None
        assert outcome.deadline_misses > 10 > outcome.steps
        assert found["deadline_misses"] == outcome.deadline_misses
        assert found["deadline_miss_share"] > 0.9

    def test_a_wait_for_the_next_arrival_is_idle(self, raw: Path) -> None:
        run(Counting(), lifecycle="infer", scenario="multi", arrival=5.0, steps=3)
        assert names(recorded(raw)).count("idle") == 2


class TestData:
    def test_fewer_samples_than_a_batch_are_refused_before_anything_is_imported(self) -> None:
        backend = Counting()
        with pytest.raises(UnusableData, match=r"has 3 samples, fewer than one batch of 4; make it larger"):
            run(backend, samples=3)
        assert backend.calls == []

    @pytest.mark.parametrize("settings", [{}, {"lifecycle": "infer"}, {"warmup": 1}])
    def test_a_loader_that_gives_nothing_ends_it(self, settings: dict[str, Any]) -> None:
        backend = Counting(empty=True)
        with pytest.raises(UnusableData, match="gave no batch"):
            run(backend, **settings)
        assert backend.closed == 1


@pytest.mark.parametrize("settings", [{}, {"lifecycle": "infer"}, {"lifecycle": "infer", "scenario": "multi"}])
def test_an_interrupt_that_python_dropped_is_raised_again(
    settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(interrupt, "_seen", True)
    with pytest.raises(KeyboardInterrupt):
        run(Counting(), steps=1, **settings)


@pytest.mark.parametrize(("interrupted", "said"), [(False, "never set"), (True, "")])
def test_what_a_ctrl_c_left_half_made_dies_in_silence(interrupted: bool, said: str) -> None:
    program = f"""
import os, signal
from edgeprof.workloads import interrupt

class HalfMade:
    def __del__(self):
        raise AttributeError("never set")

interrupt.install()
half_made = HalfMade()
try:
    if {interrupted}:
        os.kill(os.getpid(), signal.SIGINT)
        signal.pause()
except KeyboardInterrupt:
    pass
del half_made
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0
    assert (said in done.stderr) if said else not done.stderr


def test_an_outcome_is_json_whatever_the_loss_has_become() -> None:
    outcome = run(Counting())
    outcome.loss_last = float("nan")
    told = json.loads(outcome.to_json(), parse_constant=pytest.fail)
    assert (told["workload"], told["loss_first"], told["loss_last"]) == ("pilotnet", 10.0, None)
