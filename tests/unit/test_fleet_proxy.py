"""What a proxy does with a run that its board refuses, loses, or ends with a code that a loss has too."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import pytest

from edgeprof.profiler.board.errors import LOST, RESERVED
from edgeprof.profiler.fleet.proxy import BoardRunner, Control
from edgeprof.profiler.matrix.child import Stops
from edgeprof.profiler.matrix.one_run import Job, Over
from edgeprof.profiler.matrix.state import Ended
from tests import tiny_run

WAIT = "--board-wait=600.000"


class Calm:
    """A control that nobody asks to end anything."""

    count = 0

    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, line: str) -> None:
        self.said.append(line)


@dataclass(frozen=True)
class Scripted(BoardRunner):
    """Runs end with these codes, one after the other; the board answers whenever it is looked at."""

    ends: list[Over] = field(default_factory=list)
    asked: list[Job] = field(default_factory=list)

    def _attempt(self, job: Job, control: Control) -> Over:
        self.asked.append(job)
        return self.ends.pop(0)

    def problem(self, job: Job, stops: Stops) -> str:
        return ""


def over(code: int, run: str = "") -> Over:
    failed = f"exit code {code}: the reason" if code else ""
    return Over(("c", 1), "orin", Ended(run, code, 1.0, 0, failed, board="orin"), code)


@pytest.fixture
def job(tmp_path: Path) -> Job:
    folders = {name: str(tmp_path / name) for name in ("runs", "set_aside", "log", "folder")}
    return Job("c", 1, "orin", ("run", "--board", "orin", "--", "true"), keep="all", timeout=60, **folders)


def run(job: Job, *ends: Over) -> tuple[Over, list[Job], list[str]]:
    """How the run ends, what was tried, and what the user was told."""
    runner, control = Scripted(600, list(ends)), Calm()
    found = runner(job, cast("Any", control))
    assert runner.ends == []
    return found, runner.asked, control.said


def test_a_run_that_was_cut_off_waits_for_what_it_left_on_its_board(job: Job) -> None:
    found, asked, said = run(job, over(LOST), over(0, "run"))
    assert (found.end.failed, found.lost) == ("", "")
    assert asked == [job, replace(job, words=("run", WAIT, "--board", "orin", "--", "true"), timeout=660)]
    assert said == ["orin was lost and is there again; the run is begun anew once the board is free"]


def test_a_board_that_is_not_free_in_time_after_a_cut_is_busy_and_the_run_stays_open(job: Job) -> None:
    found, _, _ = run(job, over(LOST), over(RESERVED))
    assert (found.busy, found.lost, found.end.failed, found.end.interrupted) == (True, "the reason", "", True)


def test_a_run_is_begun_anew_once(job: Job) -> None:
    found, asked, _ = run(job, over(LOST), over(LOST))
    assert (found.code, len(asked), found.lost) == (LOST, 2, "")


@pytest.mark.parametrize("code", [LOST, RESERVED])
def test_a_workloads_own_code_is_the_runs_own_failure(job: Job, code: int) -> None:
    tiny_run.write(Path(job.set_aside, "run"))
    found, asked, said = run(job, over(code, "run"))
    assert (found, asked, said) == (over(code, "run"), [job], [])


@pytest.mark.parametrize("manifest", [True, False])
def test_a_run_that_ended_with_its_board_is_begun_anew(job: Job, manifest: bool) -> None:
    if manifest:
        tiny_run.write(Path(job.set_aside, "run"), run={"status": "interrupted"})
    found, asked, _ = run(job, over(LOST, "run"), over(0, "again"))
    assert (found.end.run, len(asked)) == ("again", 2)
