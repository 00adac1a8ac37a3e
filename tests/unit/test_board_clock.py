"""Offset and drift between board and desk: right within the stated error, whatever the line's delays are."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeprof.profiler.board.clock import BoardClock, BoardClockError, OtherBoot, Reading, exchange, fit

SECOND = 1_000_000_000


@dataclass
class Pair:
    """A desk and a board whose clocks are known, and a line between them whose two ways take different times.

    ``at`` is the true time, which is also the desk's monotonic clock.
    """

    offset_ns: int
    drift_ppm: float
    noise: random.Random
    there_us: float = 300.0
    back_us: float = 300.0
    at: int = 50 * SECOND
    slept_ns: int = 0
    realtime_ns: int = 1_700_000_000 * SECOND
    answers: list[int] = field(default_factory=list)

    def board(self, desk_ns: int) -> int:
        """What the board's clock shows."""
        return desk_ns + self.offset_ns + round(desk_ns * self.drift_ppm * 1e-6)

    def ask(self) -> tuple[int, int, int]:
        """One round: the question's way, the board's three looks at its clocks, the answer's way."""
        self.at += round(self.noise.expovariate(1 / (self.there_us * 1e3)))
        monotonic = self.board(self.at)
        self.at += round(self.noise.expovariate(1 / 5e3))
        realtime = self.board(self.at) + self.realtime_ns
        self.at += round(self.noise.expovariate(1 / 5e3))
        boottime = self.board(self.at) + self.slept_ns
        self.at += round(self.noise.expovariate(1 / (self.back_us * 1e3)))
        self.answers.append(monotonic)
        return monotonic, realtime, boottime

    def read(self, rounds: int = 8, boot_id: str = "") -> Reading:
        """An exchange with the desk's clock as it is here."""
        return exchange(self.ask, rounds, boot_id, clock=lambda: self.at)


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 1 << 32),
    offset=st.integers(-10_000 * SECOND, 10**9 * SECOND),
    drift=st.floats(-900, 900),
    there=st.floats(1, 50_000),
    back=st.floats(1, 50_000),
    seconds=st.integers(1, 100_000),
    rounds=st.integers(1, 12),
)
def test_truth_is_inside_the_stated_error(
    seed: int, offset: int, drift: float, there: float, back: float, seconds: int, rounds: int
) -> None:
    pair = Pair(offset + 20_000 * SECOND, drift, random.Random(seed), there, back)
    before = pair.read(rounds)
    assert abs(pair.board(before.desk_ns) - before.desk_ns - before.offset_ns) <= before.error_ns + 1
    pair.at += seconds * SECOND
    after = pair.read(rounds)
    clock = fit(before, after)

    assert clock.drift_ppm is not None and clock.drift_error_ppm is not None
    assert abs(clock.drift_ppm - drift) <= clock.drift_error_ppm + 0.01
    moments = np.linspace(before.desk_ns, after.desk_ns, 11).astype(np.int64)
    board = np.array([pair.board(int(moment)) for moment in moments])
    wrong = np.abs(clock.to_desk(board) - moments)
    assert wrong.max() <= clock.error_ns
    assert [clock.to_desk(int(moment)) for moment in board] == clock.to_desk(board).tolist()
    for outside in (before.desk_ns - 100 * SECOND, after.desk_ns + 1000 * SECOND):
        wrong_there = abs(clock.to_desk(pair.board(outside)) - outside)
        assert wrong_there <= clock.error_at(outside)


def test_quickest_round_counts() -> None:
    pair = Pair(7 * SECOND, 0.0, random.Random(1))
    delays = iter([(40_000, 9_000_000), (30_000, 20_000), (8_000_000, 10_000)])

    def ask() -> tuple[int, int, int]:
        there, back = next(delays)
        pair.at += there
        now = pair.board(pair.at)
        pair.at += back
        return now, now + 5, now

    reading = exchange(ask, 3, clock=lambda: pair.at)
    assert reading.error_ns == 25_050, "half of the round trip, and the most drift within it"
    assert reading.offset_ns - 7 * SECOND == 5_000, "the question took 10 us longer than the answer"
    assert reading.board_realtime_ns == 5


def test_symmetric_line_is_exact() -> None:
    pair = Pair(-3 * SECOND, 0.0, random.Random(2))

    def ask() -> tuple[int, int, int]:
        pair.at += 1000
        now = pair.board(pair.at)
        pair.at += 1000
        return now, now, now

    assert exchange(ask, 1, clock=lambda: pair.at).offset_ns == -3 * SECOND


def test_endless_rounds_end_after_two_seconds() -> None:
    pair = Pair(0, 0.0, random.Random(3), there_us=200_000, back_us=200_000)
    pair.read(rounds=10**9)
    assert len(pair.answers) < 60


@pytest.mark.parametrize("answer", [(-1, 0, 0), (0, 1 << 63, 0), (0, 0, 1 << 80)])
def test_impossible_times_are_refused(answer: tuple[int, int, int]) -> None:
    with pytest.raises(BoardClockError, match="no clock has"):
        exchange(lambda: answer, 3)


def test_reboot_is_seen_by_the_boot_id_and_by_the_clock() -> None:
    pair = Pair(100 * SECOND, 0.0, random.Random(4))
    before = pair.read(boot_id="one")
    pair.at += 60 * SECOND
    with pytest.raises(OtherBoot, match="started anew"):
        fit(before, pair.read(boot_id="two"))
    pair.offset_ns -= 149 * SECOND
    with pytest.raises(OtherBoot):
        fit(before, pair.read())


def test_sleep_of_the_board_is_refused() -> None:
    pair = Pair(0, 0.0, random.Random(5))
    before = pair.read()
    pair.at += 60 * SECOND
    pair.offset_ns -= 20 * SECOND
    pair.slept_ns += 20 * SECOND
    with pytest.raises(BoardClockError, match=r"board slept for 20\.0\d\d s"):
        fit(before, pair.read())


def test_sleep_of_the_desk_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    pair = Pair(0, 0.0, random.Random(6))
    before = pair.read()
    triplet = {"monotonic_ns": 10, "realtime_ns": 20, "boottime_ns": 10 + before.desk_slept_ns + 9 * SECOND}
    monkeypatch.setattr("edgeprof.profiler.board.clock.clock_triplet", lambda at: triplet)
    pair.at += 60 * SECOND
    with pytest.raises(BoardClockError, match=r"desk slept for 9\.000 s"):
        fit(before, pair.read())


def test_clocks_that_run_away_are_refused() -> None:
    pair = Pair(0, 0.0, random.Random(7))
    before = pair.read()
    pair.at += 60 * SECOND
    pair.offset_ns += SECOND
    with pytest.raises(BoardClockError, match=r"ran apart by \d+\.\d+ ms in 60\.\d+ s"):
        fit(before, pair.read())


def test_clock_of_the_day_set_back_leaves_the_monotonic_one_alone() -> None:
    pair = Pair(5 * SECOND, 40.0, random.Random(8))
    before = pair.read()
    pair.at += 60 * SECOND
    pair.realtime_ns -= 3600 * SECOND
    clock = fit(before, pair.read())
    assert clock.realtime_step_ns is not None
    assert abs(clock.realtime_step_ns + 3600 * SECOND) < 2_000_000
    assert clock.drift_ppm == pytest.approx(40.0, abs=clock.drift_error_ppm)


def test_one_reading_gives_an_offset_and_says_why_no_drift() -> None:
    pair = Pair(5 * SECOND, 900.0, random.Random(9))
    before = pair.read()
    clock: BoardClock = fit(before, None, "the board was lost")
    assert (clock.drift_ppm, clock.drift_error_ppm, clock.realtime_step_ns) == (None, None, None)
    assert clock.reason == "the board was lost"
    later = before.desk_ns + 500 * SECOND
    assert abs(clock.to_desk(pair.board(later)) - later) <= clock.error_at(later)
    assert clock.error_at(before.desk_ns) == before.error_ns


def test_it_goes_into_a_manifest() -> None:
    pair = Pair(5 * SECOND, 10.0, random.Random(10))
    before = pair.read(boot_id="one")
    pair.at += SECOND
    facts = json.loads(json.dumps(fit(before, pair.read(boot_id="one")).to_dict(), allow_nan=False))
    assert facts["reason"] is None
    assert facts["before"]["boot_id"] == facts["after"]["boot_id"] == "one"
    assert facts["error_ns"] >= max(facts[side]["error_ns"] for side in ("before", "after"))


def test_readings_must_be_given_in_their_order() -> None:
    pair = Pair(0, 0.0, random.Random(11))
    before = pair.read()
    pair.at += SECOND
    with pytest.raises(ValueError, match="later"):
        fit(pair.read(), before)


def test_real_clock_against_itself_has_no_offset() -> None:
    import time

    def ask() -> tuple[int, int, int]:
        return time.monotonic_ns(), time.time_ns(), time.clock_gettime_ns(time.CLOCK_BOOTTIME)

    before, after = exchange(ask), exchange(ask)
    clock = fit(before, after)
    assert abs(clock.offset_ns) <= clock.error_ns
    assert abs(clock.realtime_offset_ns) < 5_000_000
