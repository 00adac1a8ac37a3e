"""The tuning service: looks, waits, measures, and puts in force what the disks' tuners decide; undoes all at its end.

A tick is one block of a trial: the setting settles, then the disk's bytes are counted, with a look at the page
cache meanwhile.  Between trials there is a look only every `LOOK_EVERY` ticks, and none at an idle disk.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgeprof.kmodule.model import Model
from edgeprof.kmodule.tuning.additions import Additions, Sampler, Wait
from edgeprof.kmodule.tuning.advice import Advisor
from edgeprof.kmodule.tuning.errors import CannotTune, ChangedByOthers, Gone
from edgeprof.kmodule.tuning.lock import DiskLock
from edgeprof.kmodule.tuning.schedulers import SchedulerFiles
from edgeprof.kmodule.tuning.target import Moved, Target
from edgeprof.kmodule.tuning.tuner import LEAST_BYTES_PER_SECOND, Seen, Told, Tuner
from edgeprof.profiler.agent.undo_read_ahead import give_normal_advice
from edgeprof.profiler.storage.changes import Changes, changes

LOOK_EVERY = 3
"""Ticks."""
CPU_SHARE = 0.004
"""Of one core, between trials: a look that cost much is followed by a longer pause."""

_SETTLE, _LOOK = 0.1, 0.5
"""Shares of a tick."""
_TASKS = 64
"""Tasks remembered as readers of a disk's files."""

Tell = Callable[[Told], None]


@dataclass(frozen=True)
class Settings:
    """What a person asked for.

    Attributes:
        model: of the best read-ahead.
        observe: say what would be tried, and change nothing.
        schedulers: try schedulers, too.
        open_files: let files that are open already follow.
        tick: seconds.
        seconds: end after so many; None: when told to.
    """

    model: Model
    observe: bool = False
    schedulers: bool = False
    open_files: bool = True
    tick: float = 1.0
    seconds: float | None = None


class _Disk:
    """A disk being tuned: its tuner, and what is in force."""

    def __init__(self, target: Target, settings: Settings, journal: Changes, tell: Tell, stack: ExitStack) -> None:
        self.target = target
        stack.callback(target.close)
        if not settings.observe:
            stack.callback(DiskLock(target.name).close)
        self._settings = settings
        self._changes = journal
        self._entries: list[int] = []
        for path in map(str, target.read_ahead_paths):
            if journal.taken(path):
                raise CannotTune(
                    f"{path} was changed by a run that has not ended yet; wait for it, or call `edgeprof clean`"
                )
        self._scheduler_files = SchedulerFiles(target.name, target.folder)
        self.read_ahead = self.first = target.read_ahead_kib()
        self.scheduler = self._scheduler_files.found
        others = self._scheduler_files.others() if settings.schedulers else []
        advisor = Advisor(settings.model)
        self.tuner = Tuner(target.name, advisor, self.first, self.scheduler, others, tell, settings.observe)
        self.moved, self.since = target.moved(), time.monotonic()
        self.busy = True
        self._readers: OrderedDict[int, None] = OrderedDict()

    def _journal(self) -> None:
        """Write down how the disk was found, before the first change."""
        if self._entries:
            return
        if self._settings.schedulers:
            self._entries += self._scheduler_files.journal(self._changes)
        for path in map(str, self.target.read_ahead_paths):
            facts = {"old": str(self.first), "numbers": sorted(self.target.numbers)}
            self._entries.append(
                self._changes.record("read_ahead", path=path, open_files=self._settings.open_files, **facts)
            )

    def forget(self) -> None:
        """Undo nothing: the disk is gone, or somebody else's now."""
        for number in self._entries:
            self._changes.done(number)

    def put_in_force(self) -> None:
        """Set what the tuner wants for the next tick.  Raises Gone, ChangedByOthers."""
        found, name = self.target.read_ahead_kib(), self.target.name
        if found != self.read_ahead:
            raise ChangedByOthers(name, "the read-ahead", f"{found} KiB", f"{self.read_ahead} KiB")
        if self._settings.schedulers and (other := self._scheduler_files.name()) != self.scheduler.name:
            raise ChangedByOthers(name, "the scheduler", other, self.scheduler.name)
        if self.tuner.read_ahead != self.read_ahead:
            self._journal()
            self.read_ahead = self.target.set_read_ahead(self.tuner.read_ahead)
            if self._settings.open_files:
                give_normal_advice(self._readers, set(self.target.numbers))
        if self.tuner.scheduler != self.scheduler:
            self._journal()
            self._scheduler_files.use(self.tuner.scheduler)
            self.scheduler = self.tuner.scheduler

    def begin(self) -> None:
        """The settings have settled: count from here.  Raises Gone."""
        self.moved, self.since = self.target.moved(), time.monotonic()

    def remember(self, additions: Additions) -> None:
        """Who reads its files."""
        for task in np.unique(additions.task).tolist():
            self._readers[task] = None
            self._readers.move_to_end(task)
        while len(self._readers) > _TASKS:
            self._readers.popitem(last=False)

    def seen(self, additions: Additions | None) -> Seen:
        """This tick.  Raises Gone."""
        now, seconds = self.target.moved(), time.monotonic() - self.since
        reads, writes = _rate(now, self.moved, seconds)
        return Seen(additions, reads, writes)


def _rate(now: Moved, before: Moved, seconds: float) -> tuple[float, float]:
    seconds = max(seconds, 1e-3)
    return (now.read_bytes - before.read_bytes) / seconds, (now.written_bytes - before.written_bytes) / seconds


def tune(names: Sequence[str], settings: Settings, wait: Wait, tell: Tell) -> dict[str, Any]:
    """Tune disks until ``wait`` says to end, the time is over, or no disk is left.

    Returns:
        ``ticks``, ``looks`` and how long these took together (``looked_seconds``), ``seconds``, and ``cpu_seconds`` of
        the service itself while it tuned.

    Raises:
        CannotTune: a disk cannot be tuned; then nothing was changed.
    """
    with ExitStack() as stack:
        journal = stack.enter_context(changes(lambda line: tell(Told(line, {"event": "note"})), "tuning"))
        disks: list[_Disk] = []
        for target in [Target(name) for name in names]:
            if target.name in (disk.target.name for disk in disks):
                raise CannotTune(f"{target.name} is named twice")
            disks.append(_Disk(target, settings, journal, tell, stack))
        sampler = Sampler(journal, frozenset().union(*(disk.target.numbers for disk in disks)))
        stack.callback(sampler.close)
        for disk in disks:
            what = "observes" if settings.observe else "tunes"
            tell(
                Told(
                    f"{disk.target.name}: {what} it, read-ahead {disk.first} KiB, scheduler {disk.scheduler.name}",
                    {
                        "event": "begins",
                        "device": disk.target.name,
                        "read_ahead_kib": disk.first,
                        "scheduler": disk.scheduler.name,
                    },
                )
            )
        return _Loop(disks, sampler, settings, wait, tell).run()


class _Loop:
    def __init__(self, disks: list[_Disk], sampler: Sampler, settings: Settings, wait: Wait, tell: Tell) -> None:
        self._disks, self._sampler = disks, sampler
        self._settings, self._wait, self._tell = settings, wait, tell
        self._ended = False
        self._ticks = self._looks = 0
        self._looked = self._look_due = 0.0
        self._cpu = time.thread_time()

    def run(self) -> dict[str, Any]:
        began, cpu = time.monotonic(), time.thread_time()
        while self._disks and not self._ended:
            self._tick()
            if self._settings.seconds is not None and time.monotonic() - began >= self._settings.seconds:
                break
        return {
            "ticks": self._ticks,
            "looks": self._looks,
            "looked_seconds": self._looked,
            "seconds": time.monotonic() - began,
            "cpu_seconds": time.thread_time() - cpu,
        }

    def _tick(self) -> None:
        tick = self._settings.tick
        self._ticks += 1
        self._each(_Disk.put_in_force)
        self._pause(_SETTLE * tick)
        self._each(_Disk.begin)
        until = time.monotonic() + (1 - _SETTLE) * tick
        additions = self._look(_LOOK * tick)
        self._pause(until - time.monotonic())
        if not self._ended:
            self._each(lambda disk: self._step(disk, additions))

    def _look(self, most: float) -> Additions | None:
        if not any(disk.busy for disk in self._disks):
            return None
        began = time.monotonic()
        if began < self._look_due and not any(disk.tuner.wants_a_look for disk in self._disks):
            return None
        self._looks += 1
        try:
            return self._sampler.look(self._pause, most)
        finally:
            self._looked += time.monotonic() - began
            cpu = time.thread_time()
            # Half a tick early, since ticks do not take their time to the millisecond.
            self._look_due = began + max((LOOK_EVERY - 0.5) * self._settings.tick, (cpu - self._cpu) / CPU_SHARE)
            self._cpu = cpu

    def _step(self, disk: _Disk, additions: Additions | None) -> None:
        own = None
        if additions is not None:
            own = additions.of(np.isin(additions.device, list(disk.target.numbers)))
            disk.remember(own)
        seen = disk.seen(own)
        disk.busy = seen.reads >= LEAST_BYTES_PER_SECOND
        disk.tuner.step(seen)

    def _each(self, action: Callable[[_Disk], None]) -> None:
        """Do it with each disk; one that has gone, or that somebody else sets, is dropped."""
        for disk in list(self._disks):
            try:
                action(disk)
            except (Gone, ChangedByOthers) as error:
                self._disks.remove(disk)
                disk.forget()
                self._tell(Told(str(error), {"event": "dropped", "device": disk.target.name}))

    def _pause(self, seconds: float) -> bool:
        if seconds > 0 and not self._ended:
            self._ended = self._wait(seconds)
        return self._ended
