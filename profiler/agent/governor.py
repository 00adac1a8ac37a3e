"""Keeps the agent inside its CPU budget: when it costs too much, it samples only every so many ticks."""

import time
from typing import Callable

WINDOW = 1.0
"""Seconds between two looks at the agent's own CPU time."""

MAX_STRETCH = 8
"""Samples are at most this many ticks apart."""


class Governor:
    """Tells after how many ticks to sample while the agent uses more than ``share`` of one core.

    ``stretch`` is the factor now, ``worst`` the largest it had.  It goes up at once and comes down slowly, so that
    it does not swing.  The clocks are arguments for tests.
    """

    def __init__(
        self,
        share: float,
        cpu_clock: Callable[[], float] = time.process_time,
        wall_clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._share = share
        self._cpu_clock = cpu_clock
        self._wall_clock = wall_clock
        self._cpu, self._wall = cpu_clock(), wall_clock()
        self._calm = 0
        self.stretch = 1
        self.worst = 1

    def update(self) -> None:
        """Look at the cost of the last window; call it each tick."""
        wall = self._wall_clock()
        if wall - self._wall < WINDOW:
            return
        cpu = self._cpu_clock()
        used = (cpu - self._cpu) / (wall - self._wall)
        self._cpu, self._wall = cpu, wall
        if used > self._share:
            self._calm = 0
            self.stretch = min(MAX_STRETCH, self.stretch * 2)
            self.worst = max(self.worst, self.stretch)
        elif used < self._share / 3 and self.stretch > 1:
            self._calm += 1
            if self._calm >= 5:
                self._calm = 0
                self.stretch //= 2
