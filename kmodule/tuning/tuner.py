"""Tunes one disk, a tick at a time: asks for advice, tries it in blocks, keeps what pays and undoes the rest."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from edgeprof.kmodule.tuning import accesses
from edgeprof.kmodule.tuning.additions import Additions
from edgeprof.kmodule.tuning.advice import PAGE_KIB, Advisor
from edgeprof.kmodule.tuning.schedulers import Scheduling
from edgeprof.kmodule.tuning.trial import Trial, Verdict

LEAST_BYTES_PER_SECOND = 1 << 20
"""Of reading; with less there is nothing to tune, and nothing to tell a change by."""
RETRY = 30
"""Ticks until a change that did not pay may be tried again; twice as many after each further time."""
MOST_RETRY = 3600
RECHECK = 300
"""Busy ticks after which a disk's first setting is tried against the one in use."""
SETTLED = 4
"""Looks without a trial before a scheduler is tried: what can be done about read-ahead comes first."""
RESTLESS = 1.0
"""Files are read in another way when a feature has changed by so much: lengths by a factor of two."""

Setting: TypeAlias = int | Scheduling
"""A read-ahead in KiB, or a scheduler."""


@dataclass(frozen=True)
class Seen:
    """One tick of a disk.

    Attributes:
        additions: None in ticks without a look.
        reads: bytes a second that were read.
        writes: bytes a second written.
    """

    additions: Additions | None
    reads: float
    writes: float

    @property
    def busy(self) -> bool:
        """Whether enough is read to be tuned."""
        return self.reads >= LEAST_BYTES_PER_SECOND


@dataclass(frozen=True)
class Told:
    """What the tuner did, for a person and for programs."""

    sentence: str
    facts: dict[str, Any]


@dataclass
class _Refused:
    """A change that did not pay: when it may be tried again, and how the files were read when it did not."""

    until: int
    wait: int
    features: dict[str, float]


class Tuner:
    """Decides for one disk; what it decides is in ``read_ahead`` and ``scheduler``, and the caller puts it in force.

    Attributes:
        read_ahead: KiB, for the next tick.
        scheduler: for the next tick.
        trial: what is tried now; None: nothing is.
    """

    def __init__(
        self,
        name: str,
        advisor: Advisor,
        read_ahead: int,
        scheduler: Scheduling,
        others: list[Scheduling],
        tell: Callable[[Told], None],
        observe: bool = False,
        seed: int | None = None,
    ) -> None:
        self.name = name
        self.read_ahead, self.scheduler = read_ahead, scheduler
        self.trial: Trial | None = None
        self._advisor = advisor
        self._tell = tell
        self._observe = observe
        self._random = np.random.default_rng(seed)
        self._first = self._kept = read_ahead
        self._first_scheduler = self._kept_scheduler = scheduler
        self._others = others
        self._wanted: Setting = read_ahead
        self._refused: dict[tuple[str, str], _Refused] = {}
        self._tick = self._busy_ticks = self._looks = 0

    @property
    def wants_a_look(self) -> bool:
        """Whether the next tick takes a look at the page cache whatever the time: a trial is judged by it."""
        return self.trial is not None

    def step(self, seen: Seen) -> None:
        """One tick is over; sets what is to be in force in the next one."""
        self._tick += 1
        self._busy_ticks += seen.busy
        if self.trial is not None:
            self._go_on(self.trial, seen)
            return
        if not seen.busy:
            return
        for wanted in self._proposals(seen):
            if self._may_try(wanted):
                self._begin(wanted)
                return

    def _proposals(self, seen: Seen) -> list[Setting]:
        """What might be tried now, the most promising first."""
        found: list[Setting] = []
        if seen.additions is not None:
            self._looks += 1
            advised = self._advisor.advise(seen.additions, self._kept)
            if advised != self._kept:
                found.append(advised)
        if self._busy_ticks >= RECHECK:
            found += [self._first] * (self._kept != self._first)
            found += [self._first_scheduler] * (self._kept_scheduler != self._first_scheduler)
        if self._looks >= SETTLED:
            found += [item for item in self._others if item != self._kept_scheduler]
        return found

    def _begin(self, wanted: Setting) -> None:
        self._busy_ticks = 0
        self._looks = 0
        self._wanted = wanted
        if self._observe:
            self._refuse(wanted)
            self._say(f"would try {self._words(wanted)}", "would_try", wanted)
            return
        self.trial = Trial(self._random)
        self._say(f"tries {self._words(wanted)}", "tries", wanted)
        self._put()

    def _go_on(self, trial: Trial, seen: Seen) -> None:
        trial.block(self._score(seen) if seen.busy else None)
        if trial.verdict is None:
            self._put()
            return
        wanted, verdict = self._wanted, trial.verdict
        words = self._outcome(trial)
        self.trial = None
        if verdict is Verdict.PAYS:
            self._say(f"keeps {self._words(wanted)}: {words}", "keeps", wanted, trial)
            self._refused.pop(self._change(wanted), None)
            if isinstance(wanted, int):
                self._kept = wanted
            else:
                self._kept_scheduler = wanted
        else:
            if verdict is not Verdict.IDLE:
                self._refuse(wanted)
            self._say(f"undoes {self._words(wanted)}: {words}", "undoes", wanted, trial)
        self.read_ahead, self.scheduler = self._kept, self._kept_scheduler

    def _put(self) -> None:
        """Put in force what the next block of the trial is to have."""
        assert self.trial is not None
        self.read_ahead, self.scheduler = self._kept, self._kept_scheduler
        if self.trial.new:
            if isinstance(self._wanted, int):
                self.read_ahead = self._wanted
            else:
                self.scheduler = self._wanted

    def _score(self, seen: Seen) -> float | None:
        """Accesses a second; in a scheduler's trial with those written, which it might put off."""
        largest = max(self._kept, self._wanted) if isinstance(self._wanted, int) else self._kept
        read_ahead = max(largest // PAGE_KIB, 1)
        worth = accesses.per_page(seen.additions, read_ahead) if seen.additions is not None else None
        if worth is None:
            return None
        written = 0.0 if isinstance(self._wanted, int) else seen.writes / read_ahead
        return (seen.reads * worth + written) / (PAGE_KIB << 10)

    def _may_try(self, wanted: Setting) -> bool:
        refused = self._refused.get(self._change(wanted))
        if refused is None or self._tick >= refused.until:
            return True
        now = self._advisor.features
        return any(abs(now.get(name, value) - value) > RESTLESS for name, value in refused.features.items())

    def _refuse(self, wanted: Setting) -> None:
        before = self._refused.get(self._change(wanted))
        wait = min(2 * before.wait, MOST_RETRY) if before is not None else RETRY
        pattern = {name: value for name, value in self._advisor.features.items() if name not in ("rate", "files")}
        self._refused[self._change(wanted)] = _Refused(self._tick + wait, wait, pattern)

    def _change(self, wanted: Setting) -> tuple[str, str]:
        return str(self._kept if isinstance(wanted, int) else self._kept_scheduler), str(wanted)

    def _words(self, wanted: Setting) -> str:
        if isinstance(wanted, int):
            return f"a read-ahead of {wanted} KiB instead of {self._kept}"
        return f"the scheduler {wanted} instead of {self._kept_scheduler}"

    def _outcome(self, trial: Trial) -> str:
        interval = trial.interval()
        if trial.verdict is Verdict.IDLE:
            return "too little was read to tell"
        if interval is None:
            return f"{math.exp(trial.ratios[0]):.2f} times the accesses a second in its first pair of blocks"
        return f"{interval[0]:.2f} times the accesses a second ({interval[1]:.2f} to {interval[2]:.2f})"

    def _say(self, what: str, event: str, wanted: Setting, trial: Trial | None = None) -> None:
        facts: dict[str, Any] = {
            "device": self.name,
            "event": event,
            "from": str(self._kept if isinstance(wanted, int) else self._kept_scheduler),
            "to": str(wanted),
            "features": self._advisor.features,
        }
        if trial is not None and trial.verdict is not None:
            interval = trial.interval()
            facts |= {"verdict": trial.verdict.value, "pairs": len(trial.ratios), "ratio": interval}
        self._tell(Told(f"{self.name}: {what}", facts))
