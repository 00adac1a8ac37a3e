"""An A/B trial of a change: blocks with the old and the new setting in turn, until chance cannot explain what differs.

Each pair of blocks has its settings in random order; what counts is the mean of the pairs' log ratios, with Student's
interval.  There may be a look at it after each pair from the third on, so each look asks for 99 %: all together then
err in at most 6 of 100 trials of a change without effect.
"""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass, field
from enum import Enum

import numpy as np

LEAST_PAIRS = 3
MOST_PAIRS = 8
HARM = math.log(0.5)
"""A first pair with less than half of the old score ends the trial: it need not cost more to be sure."""
MOST_VOID = 5
"""Blocks in a row in which too little was read to tell anything end the trial, too."""

T_99 = {2: 9.925, 3: 5.841, 4: 4.604, 5: 4.032, 6: 3.707, 7: 3.499}
"""Student's t, two-sided 99 %, by degrees of freedom."""


class Verdict(Enum):
    """How a trial ended."""

    PAYS = "pays"
    HARMS = "harms"
    NOT_SHOWN = "no difference shown"
    IDLE = "too little was read"


@dataclass
class Trial:
    """Of one change; ``new`` tells which setting the next block is to have.

    Attributes:
        ratios: log of new score over old, a pair each.
        verdict: None while it goes on.
    """

    random: np.random.Generator
    ratios: list[float] = field(default_factory=list)
    verdict: Verdict | None = None

    def __post_init__(self) -> None:
        self.new = bool(self.random.random() < 0.5)
        self._scores: dict[bool, float] = {}
        self._void = 0

    def block(self, score: float | None) -> None:
        """A block ended with this score; None: too little was read, and it is done again."""
        if score is None or score <= 0:
            self._void += 1
            if self._void >= MOST_VOID:
                self.verdict = Verdict.IDLE
            return
        self._void = 0
        self._scores[self.new] = score
        if len(self._scores) == 1:
            self.new = not self.new
            return
        self.ratios.append(math.log(self._scores[True] / self._scores[False]))
        self._scores = {}
        self.verdict = self._judged()
        self.new = bool(self.random.random() < 0.5)

    def interval(self) -> tuple[float, float, float] | None:
        """New score over old: estimate, and where it lies with 99 %; None of fewer than three pairs."""
        count = len(self.ratios)
        if count < LEAST_PAIRS:
            return None
        mean = statistics.fmean(self.ratios)
        reach = T_99[count - 1] * statistics.stdev(self.ratios) / math.sqrt(count)
        return math.exp(mean), math.exp(mean - reach), math.exp(mean + reach)

    def _judged(self) -> Verdict | None:
        if self.ratios[0] < HARM:
            return Verdict.HARMS
        interval = self.interval()
        if interval is None:
            return None
        if interval[1] > 1:
            return Verdict.PAYS
        if interval[2] < 1:
            return Verdict.HARMS
        return Verdict.NOT_SHOWN if len(self.ratios) >= MOST_PAIRS else None
