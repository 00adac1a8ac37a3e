"""The governor with clocks of the test's own: it slows down at once and speeds up slowly."""

from __future__ import annotations

from edgeprof.profiler.agent.governor import MAX_STRETCH, Governor


class Clocks:
    """Wall time and CPU time that only move when told to."""

    def __init__(self) -> None:
        self.wall = 100.0
        self.cpu = 3.0

    def governor(self, share: float) -> Governor:
        return Governor(share, lambda: self.cpu, lambda: self.wall)

    def spend(self, governor: Governor, share: float, seconds: int = 1) -> int:
        """Let seconds pass at a share of a core; the stretch after them."""
        for _ in range(seconds):
            self.wall += 1.0
            self.cpu += share
            governor.update()
        return governor.stretch


def test_within_the_budget_nothing_changes() -> None:
    clocks = Clocks()
    governor = clocks.governor(0.01)
    assert clocks.spend(governor, 0.0099, seconds=50) == 1
    assert governor.worst == 1


def test_beyond_the_budget_the_interval_doubles_up_to_a_limit() -> None:
    clocks = Clocks()
    governor = clocks.governor(0.01)
    stretches = [clocks.spend(governor, 0.02) for _ in range(10)]
    assert stretches == [min(2**second, MAX_STRETCH) for second in range(1, 11)]
    assert governor.worst == MAX_STRETCH > 2


def test_it_comes_down_a_step_every_five_calm_seconds_and_remembers_the_worst() -> None:
    clocks = Clocks()
    governor = clocks.governor(0.03)
    clocks.spend(governor, 0.5, seconds=2)
    assert [clocks.spend(governor, 0.001) for _ in range(11)] == [4, 4, 4, 4, 2, 2, 2, 2, 2, 1, 1]
    assert governor.worst == 4


def test_between_a_third_and_the_whole_of_the_budget_it_stays() -> None:
    clocks = Clocks()
    governor = clocks.governor(0.03)
    clocks.spend(governor, 0.5)
    assert clocks.spend(governor, 0.02, seconds=30) == 2


def test_a_busy_second_ends_the_calm() -> None:
    clocks = Clocks()
    governor = clocks.governor(0.03)
    clocks.spend(governor, 0.5)
    clocks.spend(governor, 0.001, seconds=4)
    assert clocks.spend(governor, 0.5) == 4
    assert clocks.spend(governor, 0.001, seconds=4) == 4
    assert clocks.spend(governor, 0.001) == 2


def test_it_looks_only_once_a_window() -> None:
    clocks = Clocks()
    governor = clocks.governor(0.01)
    for _ in range(9):
        clocks.wall += 0.1
        clocks.cpu += 0.1
        governor.update()
    assert governor.stretch == 1
    clocks.wall += 0.2
    governor.update()
    assert governor.stretch == 2
