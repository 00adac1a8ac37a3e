"""A guest's clock is laid on the host's, and the stated error holds."""

from __future__ import annotations

import random

import numpy as np
import pytest

from edgeprof.profiler.guest.clock import Exchange, clock_facts, exchange, to_host

OFFSET, DRIFT = -5_000_000_000_000, 40e-6


class TwoClocks:
    """A host's clock that passes while it is asked, and a guest's that runs a little faster."""

    def __init__(self, seed: int) -> None:
        self.now = 7_000_000_000_000
        self.begun = self.now
        self._random = random.Random(seed)

    def host(self) -> int:
        return self.now

    def guest_at(self, host: int) -> int:
        return host + OFFSET + round((host - self.begun) * DRIFT)

    def ask(self) -> int:
        """The guest answers somewhere between question and answer, mostly slowly and unevenly."""
        self.now += round(self._random.expovariate(1 / 60_000)) + 20_000
        answer = self.guest_at(self.now)
        self.now += round(self._random.expovariate(1 / 200_000)) + 20_000
        return answer


@pytest.mark.parametrize("seed", range(20))
def test_times_are_mapped_within_the_stated_error(seed: int) -> None:
    clocks = TwoClocks(seed)
    before = exchange(clocks.ask, clock=clocks.host)
    clocks.now += 30_000_000_000
    facts = clock_facts(before, exchange(clocks.ask, clock=clocks.host))
    assert facts["error_ns"] < 200_000
    truth = np.linspace(before.host_ns, clocks.now, 1000).astype(np.int64)
    guest = np.array([clocks.guest_at(int(moment)) for moment in truth])
    assert np.abs(to_host(facts, guest) - truth).max() <= facts["error_ns"] + 1
    assert abs(to_host(facts, int(guest[500])) - int(truth[500])) <= facts["error_ns"] + 1
    assert facts["drift"] == pytest.approx(DRIFT, abs=2 * facts["error_ns"] / 30e9)


def test_the_quickest_exchange_counts_and_its_half_is_the_error() -> None:
    times = iter([0, 0, 100, 1000, 1011, 2000, 2400])  # beginning, then before and after of three
    answers = iter([60, 1007, 2300])
    assert exchange(lambda: next(answers), rounds=3, clock=lambda: next(times)) == Exchange(1005, 2, 6)


def test_a_guest_that_answers_slowly_is_not_asked_forever() -> None:
    clocks = TwoClocks(0)
    asked = []

    def ask() -> int:
        asked.append(clocks.now)
        clocks.now += 900_000_000
        return clocks.guest_at(clocks.now)

    assert exchange(ask, clock=clocks.host).error_ns == 450_000_000
    assert len(asked) == 3


def test_two_measures_at_one_moment_give_no_drift() -> None:
    facts = clock_facts(Exchange(10, 5, 1), Exchange(10, 7, 2))
    assert (facts["drift"], facts["error_ns"]) == (0.0, 2)
    assert to_host(facts, 25) == 20
