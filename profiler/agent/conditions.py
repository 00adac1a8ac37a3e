"""The conditions that a run is measured under: its power mode, a steady start, the power of the idle machine."""

import os
import signal
import time
from contextlib import suppress
from typing import Any, Callable, Dict, List, Optional

from edgeprof.collectors.base import Roots
from edgeprof.profiler.agent import marks, nvpmodel, power_mode
from edgeprof.profiler.agent.journal import UndoJournal, lasting_folder
from edgeprof.profiler.agent.signals import SignalWait
from edgeprof.profiler.agent.spec import Interrupted, RunSpec
from edgeprof.profiler.agent.undo import undo_all

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
"""Signals that end a wait before the workload; the caller has blocked them."""


class Conditions:
    """Sets and tells the conditions of one run.

    Args:
        spec: what is asked for.
        journal: the run's own undo journal.
        path: the capture directory.
        roots: where /proc and /sys are.

    Attributes:
        seconds: that ``prepare`` has waited because it was asked to.
    """

    def __init__(self, spec: RunSpec, journal: UndoJournal, path: str, roots: Roots) -> None:
        self._spec = spec
        self._journal = journal
        self._path = path
        self._roots = roots
        self._tools = power_mode.Tools(**spec.options.get("power_mode", {}))
        self._lasting: Optional[UndoJournal] = None
        self._mode: Dict[str, Any] = {}
        self._steady: Optional[Dict[str, Any]] = None
        self._idle: Optional[Dict[str, Any]] = None
        self._firmware: Dict[str, Any] = {}
        self.seconds = 0.0

    def prepare(self, announce: Callable[[str], None]) -> None:
        """Set the power mode, wait until the machine is steady, measure it idle.

        Raises:
            CaptureError: the mode cannot be set, or (`Interrupted`) a signal came; `close` puts back what was changed.
            OSError: the journal or the capture cannot be written.
        """
        began = time.monotonic()
        before = power_mode.read(self._roots, self._tools)
        if self._spec.power_mode:
            power_mode.change(self._spec.power_mode, self._mode_journal(), self._roots, self._tools)
            self._mode["asked"] = self._spec.power_mode
            self._mode["before"] = before.described() if before else None
            before = power_mode.read(self._roots, self._tools)
            announce("power mode: {}, until the run's end".format(before))
        self._mode["start"] = before.described() if before else None
        if self._spec.steady is not None:
            from edgeprof.profiler.agent.steady import wait_steady

            self._steady = wait_steady(self._spec.steady, pause, announce, self._roots)
        if self._spec.idle:
            from edgeprof.profiler.agent.idle import measure

            announce("measuring the power of the idle machine for {:g} s".format(self._spec.idle))
            raw = os.path.join(self._path, "raw")
            options = self._spec.options.get("power", {})
            self._idle = measure(self._spec.idle, raw, pause, self._spec.rate, self._roots, options, self._journal)
            if not self._idle["available"]:
                announce("idle power is not known: {}".format(self._idle["reason"]))
        self._firmware = {"start": marks.read(self._roots)}
        self.seconds = time.monotonic() - began

    def _mode_journal(self) -> UndoJournal:
        """nvpmodel keeps its mode over a reboot, so its undo entry must last as long."""
        folder = lasting_folder()
        if nvpmodel.find(self._tools.nvpmodel) is None or folder == os.path.dirname(self._journal.path):
            return self._journal
        self._lasting = UndoJournal(folder, os.path.basename(self._path), self._path)
        return self._lasting

    def finish(self) -> None:
        """The workload has ended: read the mode and the firmware again, and put the mode back."""
        end = power_mode.read(self._roots, self._tools)
        self._mode["end"] = end.described() if end else None
        self._firmware["end"] = marks.read(self._roots)
        if not self._spec.power_mode:
            return
        problems = []
        for journal in self._journals():
            entries = [entry for entry in journal.open_entries.values() if _sets_mode(entry)]
            _, failed = undo_all(entries)
            kept = [entry["n"] for entry, _ in failed]
            problems += [sentence for _, sentence in failed]
            with suppress(OSError):  # undone twice does no harm
                for entry in entries:
                    if entry["n"] not in kept:
                        journal.done(entry["n"])
        self._mode["restored"] = not problems
        if problems:
            self._mode["problem"] = "; ".join(problems) + "; `edgeprof clean` tries again"

    def close(self) -> List[str]:
        """Put back what is not put back yet; returns a sentence for each thing that could not be."""
        if self._lasting is None:
            return []
        _, failed = undo_all(list(self._lasting.open_entries.values()))
        if failed:
            self._lasting.close()
        else:
            self._lasting.remove()
        return [sentence for _, sentence in failed]

    def facts(self) -> Dict[str, Any]:
        """For the manifest: ``power_mode``, ``steady``, ``idle_power``, ``firmware``, ``marks``."""
        content = {
            "power_mode": self._mode,
            "steady": self._steady,
            "idle_power": self._idle,
            "firmware": self._firmware,
        }
        return dict(content, marks=marks.marks(content))

    def _journals(self) -> List[UndoJournal]:
        return [self._journal] if self._lasting is None else [self._journal, self._lasting]


def _sets_mode(entry: Dict[str, Any]) -> bool:
    names = ("scaling_governor", "scaling_setspeed", "platform_profile")
    path = str(entry.get("path", ""))
    return entry["kind"] == "power_mode" or (entry["kind"] == "write" and os.path.basename(path) in names)


def pause(seconds: float) -> None:
    """Sleep; one of `ENDING`, unless edgeprof was told to ignore it, ends the sleep and the run.

    Raises:
        Interrupted: a signal came.
    """
    awaited = [number for number in ENDING if signal.getsignal(number) != signal.SIG_IGN]
    received = SignalWait(awaited).wait(seconds)
    if received is not None:
        raise Interrupted(received.number)
