"""A tuner beside a disk that is made up: what pays is kept, the rest is undone, and nothing is tried over and over."""

from __future__ import annotations

import numpy as np
import pytest

from edgeprof.kmodule.model import Feature, Model
from edgeprof.kmodule.model_file import Node, tree_file
from edgeprof.kmodule.readahead import CHOICES_KIB, FEATURES
from edgeprof.kmodule.tuning import tuner as module
from edgeprof.kmodule.tuning.additions import Additions
from edgeprof.kmodule.tuning.advice import Advisor, rule
from edgeprof.kmodule.tuning.schedulers import Scheduling
from edgeprof.kmodule.tuning.tuner import RECHECK, RETRY, Seen, Told, Tuner

NONE = Scheduling("none")
MIB = 1 << 20


class Disk:
    """Files read at random or in order, at so many accesses, or bytes, a second by the read-ahead."""

    def __init__(self, how: str, first: int = 128) -> None:
        self.random = np.random.default_rng(3)
        self.how = how
        self.told: list[Told] = []
        self.read_aheads: list[int] = []
        self.speeds: dict[object, float] = {}
        self.idle = False
        self._at = 0

    def additions(self, read_ahead: int) -> Additions:
        pages = read_ahead // 4
        if self.how == "random":
            begins = self.random.choice(1 << 20, 60, replace=False) * 1024
        else:
            begins = self._at + np.arange(60) * pages
            self._at = int(begins[-1]) + pages
        same = np.full(len(begins), 7, np.int64)
        return Additions(same, same, begins, np.full(len(begins), pages, np.int64), same, 0.5)

    def seen(self, tuner: Tuner) -> Seen:
        self.read_aheads.append(tuner.read_ahead)
        if self.idle:
            return Seen(None, 0.0, 0.0)
        noise = float(np.exp(self.random.normal(0, 0.02)))
        if self.how == "random":  # 90 MB a second, or 2,500 requests
            reads = min(90e6, 2500 * (tuner.read_ahead << 10))
        else:
            reads = 90e6 * tuner.read_ahead / (tuner.read_ahead + 32)
        return Seen(self.additions(tuner.read_ahead), reads * noise * self.speeds.get(tuner.scheduler, 1.0), 0.0)

    def run(self, tuner: Tuner, ticks: int) -> None:
        for _ in range(ticks):
            tuner.step(self.seen(tuner))

    def events(self) -> list[tuple[str, str]]:
        return [(told.facts["event"], told.facts["to"]) for told in self.told]

    def tuner(self, advisor: Advisor, first: int = 128, others: tuple[Scheduling, ...] = (), **more: bool) -> Tuner:
        return Tuner("sda", advisor, first, NONE, list(others), self.told.append, seed=1, **more)


def always(kib: int) -> Advisor:
    """A model that always asks for the same."""
    features = [Feature(name) for name in FEATURES]
    return Advisor(Model.load(tree_file("constant", features, [Node(-1, 0, 0)], np.array([[np.log2(kib)]]))))


def test_random_reading_gets_the_least_read_ahead() -> None:
    disk = Disk("random")
    tuner = disk.tuner(Advisor(rule()))
    disk.run(tuner, 40)
    assert disk.events() == [("tries", "8"), ("keeps", "8")]
    assert tuner.read_ahead == 8
    assert disk.told[1].facts["ratio"][1] > 2
    assert "3." in disk.told[1].sentence  # 90 MB/s in pieces of 128 KiB against 2,500 a second


def test_reading_in_order_gets_more_and_goes_on_as_it_was_meanwhile() -> None:
    disk = Disk("sequential")
    tuner = disk.tuner(Advisor(rule()))
    disk.run(tuner, 40)
    assert disk.events() == [("tries", "1024"), ("keeps", "1024")]
    assert tuner.read_ahead == 1024


def test_a_harmful_change_is_undone_after_one_block_of_it() -> None:
    disk = Disk("sequential")
    tuner = disk.tuner(always(8))
    disk.run(tuner, 25)
    assert disk.events() == [("tries", "8"), ("undoes", "8")]
    assert disk.told[1].facts["verdict"] == "harms"
    assert disk.read_aheads.count(8) == 1
    assert tuner.read_ahead == 128


def test_a_model_that_insists_is_heard_ever_less() -> None:
    disk = Disk("sequential")
    disk.run(disk.tuner(always(8)), 400)
    trials = disk.events().count(("tries", "8"))
    assert 3 <= trials <= 5  # after 30, 60, 120 and 240 ticks
    assert disk.read_aheads.count(8) == trials


def test_it_is_heard_at_once_when_the_files_are_read_otherwise() -> None:
    disk = Disk("sequential")
    tuner = disk.tuner(always(8))
    disk.run(tuner, RETRY // 2)
    disk.how = "random"
    disk.run(tuner, RETRY // 2 - 2)
    assert disk.events() == [("tries", "8"), ("undoes", "8"), ("tries", "8"), ("keeps", "8")]


def test_what_was_there_first_is_tried_again_when_reading_has_changed_unseen() -> None:
    disk = Disk("random")
    tuner = disk.tuner(always(8))
    disk.run(tuner, 30)
    assert tuner.read_ahead == 8
    disk.how = "sequential"  # and the model goes on to ask for 8
    disk.run(tuner, RECHECK + 40)
    assert tuner.read_ahead == 128
    assert ("keeps", "128") in disk.events()


def test_an_observer_tells_and_changes_nothing() -> None:
    disk = Disk("random")
    tuner = disk.tuner(Advisor(rule()), observe=True)
    disk.run(tuner, RETRY)
    assert disk.events() == [("would_try", "8")]
    assert set(disk.read_aheads) == {128}


def test_an_idle_disk_is_left_alone_and_a_trial_on_it_ends() -> None:
    disk = Disk("random")
    tuner = disk.tuner(always(8))
    disk.run(tuner, 4)
    assert tuner.trial is not None
    disk.idle = True
    disk.run(tuner, 20)
    assert disk.events() == [("tries", "8"), ("undoes", "8")]
    assert tuner.read_ahead == 128
    assert "too little was read" in disk.told[1].sentence


def test_a_faster_scheduler_is_kept_and_slower_ones_are_not() -> None:
    fast, slow = Scheduling("kyber"), Scheduling("bfq", {"low_latency": "0"})
    disk = Disk("sequential")
    disk.speeds = {fast: 1.3, slow: 0.5}
    tuner = disk.tuner(always(128), others=(slow, fast))
    disk.run(tuner, 60)
    assert tuner.scheduler == fast
    assert ("undoes", "bfq (low_latency=0)") in disk.events()
    assert ("keeps", "kyber") in disk.events()
    assert set(disk.read_aheads) == {128}


def test_schedulers_wait_until_nothing_is_to_be_done_about_read_ahead() -> None:
    disk = Disk("random")
    tuner = disk.tuner(Advisor(rule()), others=(Scheduling("kyber"),))
    disk.run(tuner, 40)
    assert [to for event, to in disk.events() if event == "tries"] == ["8", "kyber"]


@pytest.mark.parametrize("first", [*CHOICES_KIB, 0, 4, 100, 8192])
@pytest.mark.parametrize("how", ["random", "sequential"])
def test_it_begins_from_any_read_ahead(first: int, how: str) -> None:
    disk = Disk(how)
    if first < 4:
        disk.additions = lambda read_ahead: Disk.additions(disk, max(read_ahead, 4))  # type: ignore[method-assign]
    tuner = disk.tuner(Advisor(rule()), first)
    disk.run(tuner, 30)
    assert tuner.read_ahead in (first, *CHOICES_KIB)


def test_thousands_of_files_are_followed_by_a_few_windows() -> None:
    advisor = Advisor(rule())
    random = np.random.default_rng(0)
    for _ in range(5):
        inode = np.repeat(random.choice(1 << 30, 3000, replace=False), 10)
        index = np.tile(np.arange(10), 3000)
        same = np.full(len(inode), 7, np.int64)
        seen = Additions(same, inode, index, np.ones(len(inode), np.int64), same, 0.5)
        advisor.advise(seen, 8192)
        assert advisor.files <= 256


def test_score_needs_a_look(monkeypatch: pytest.MonkeyPatch) -> None:
    disk = Disk("random")
    tuner = disk.tuner(always(8))
    disk.run(tuner, 4)
    trial = tuner.trial
    assert trial is not None
    judged: list[float | None] = []
    monkeypatch.setattr(module.Trial, "block", lambda self, score: judged.append(score))
    tuner.step(Seen(None, 90e6, 0.0))
    assert judged == [None]
