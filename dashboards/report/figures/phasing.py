"""The phases of the run's main thread: which one is innermost when, and how much of the time each takes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edgeprof.dashboards.report.downsample import Floats, Ints, covered
from edgeprof.dashboards.report.theme import BLUE, CYCLE, GREEN, GREY, ORANGE, PURPLE, SKY, VERMILLION

if TYPE_CHECKING:
    from edgeprof.dashboards.report.data import RunData

_USUAL = {
    "load": ORANGE,
    "forward": BLUE,
    "backward": PURPLE,
    "optimizer": GREEN,
    "checkpoint": VERMILLION,
    "evaluate": SKY,
}
"""Phases that most programs have keep their colour from report to report."""


def phase_colours(names: list[str]) -> dict[str, str]:
    """A colour for each phase, most important first; those beyond the palette are grey."""
    colours = {name: _USUAL[name] for name in names if name in _USUAL}
    free = [colour for colour in CYCLE[:-1] if colour not in colours.values()]
    for name in names:
        if name not in colours:
            colours[name] = free.pop(0) if free else GREY
    return colours


@dataclass(frozen=True)
class MainPhases:
    """Phases of one thread; arrays of one length, times in seconds since start, sorted by start."""

    start: Floats
    end: Floats
    depth: Ints
    code: Ints
    names: list[str]

    def innermost(self, at: Floats) -> Ints:
        """Code of the deepest phase that is open at each moment; -1 outside of all."""
        found = np.full(len(at), -1, np.int64)
        for depth in range(int(self.depth.max(initial=-1)), -1, -1):
            level = self.depth == depth
            start, end, code = self.start[level], self.end[level], self.code[level]
            if not len(start):
                continue
            last = np.searchsorted(start, at, side="right") - 1
            inside = (found < 0) & (last >= 0) & (at < end[np.maximum(last, 0)])
            found[inside] = code[last[inside]]
        return found

    @cached_property
    def segments(self) -> tuple[Floats, Floats, Ints]:
        """Stretches without overlap, each with its innermost phase: starts, ends, codes."""
        edges = np.unique(np.r_[self.start, self.end])
        if len(edges) < 2:
            return np.empty(0), np.empty(0), np.empty(0, np.int64)
        code = self.innermost((edges[:-1] + edges[1:]) / 2)
        inside = code >= 0
        return edges[:-1][inside], edges[1:][inside], code[inside]

    def time_by_name(self) -> dict[str, float]:
        """Seconds in each phase without those nested in it, longest first."""
        starts, ends, code = self.segments
        total = np.bincount(code, ends - starts, len(self.names))
        order = np.argsort(-total, kind="stable")
        return {self.names[i]: float(total[i]) for i in order if total[i] > 0}

    def covered_by(self, name: str, at: Floats) -> Floats:
        """Seconds spent in a phase (innermost) from the start up to each moment."""
        starts, ends, code = self.segments
        chosen = code == self.names.index(name) if name in self.names else np.zeros(len(code), bool)
        return covered(starts[chosen], ends[chosen], at)


def main_phases(data: RunData) -> MainPhases | None:
    """The phases of the run's main thread (the one of its main process with most time in phases); None without any."""
    if not data.has("phases"):
        return None
    chosen = np.flatnonzero(_has_times(data) & (_threads(data) == _main_thread(data.of_all_time)))
    if not len(chosen):
        return None
    start, end, names = data.number("phases", "start_ns"), data.number("phases", "end_ns"), data.text("phases", "name")
    chosen = chosen[np.argsort(start[chosen], kind="stable")]
    depth = np.clip(np.nan_to_num(data.number("phases", "depth")[chosen]), 0, 63).astype(np.int64)
    return MainPhases(start[chosen], end[chosen], depth, names.codes[chosen], names.names)


def _main_thread(data: RunData) -> float:
    valid, main = _has_times(data), data.number("phases", "main") == 1
    if (valid & main).any():
        valid &= main
    if not valid.any():
        return np.nan
    length = data.number("phases", "end_ns") - data.number("phases", "start_ns")
    threads, which = np.unique(_threads(data)[valid], return_inverse=True)
    return float(threads[np.argmax(np.bincount(which, length[valid]))])


def _threads(data: RunData) -> Floats:
    """A number for each phase's thread."""
    found: Floats = np.nan_to_num(data.number("phases", "pid")) * 4194304 + np.nan_to_num(data.number("phases", "tid"))
    return found


def _has_times(data: RunData) -> NDArray[np.bool_]:
    start, end = data.number("phases", "start_ns"), data.number("phases", "end_ns")
    valid: NDArray[np.bool_] = np.isfinite(start) & np.isfinite(end) & (end >= start)
    return valid & (data.text("phases", "name").codes >= 0)
