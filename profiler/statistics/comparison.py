"""Groups of runs compared in all metrics: what is asked, corrected together, and told in words."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from edgeprof.profiler.analysis.compare import comparable, differing
from edgeprof.profiler.errors import EdgeprofError
from edgeprof.profiler.run import open_run
from edgeprof.profiler.statistics import words
from edgeprof.profiler.statistics.contrast import Floats
from edgeprof.profiler.statistics.groups import Comparison, compare, compare_cells, corrected
from edgeprof.profiler.statistics.limits import Limit, broken, sentence
from edgeprof.profiler.statistics.metrics import MATTER, Known, known
from edgeprof.profiler.statistics.multiple import HOW
from edgeprof.profiler.statistics.scale import back
from edgeprof.profiler.statistics.selection import Group, Levels, Process, facts, marked, refuse_shared

STEP_METRIC = "step_time_p50"
"""The metric whose values within a process are known: its median is that of the run's steps."""

METHOD = (
    "Each process counts once; intervals are 95 % ones by Welch's test on the process values, which are compared as"
    " ratios where they are positive and no shares; a bootstrap of processes, and of the steps in them, checks them.",
    f"{HOW}; metrics named in --fail-on, those that matter, and all others are corrected as families of their own.",
)


@dataclass(frozen=True)
class Question:
    """One metric of one group against the base group, in one cell or over all of them.

    Attributes:
        cell: None: the groups have no cells, or it is the mean over all.
        found: None where a group has no values; ``reason`` says so.
    """

    about: Known
    group: str
    cell: Levels | None
    found: Comparison | None
    reason: str = ""

    @property
    def where(self) -> str:
        """Words for the cell: nothing over all."""
        return f" of {cell_text(self.cell)}" if self.cell else ""


@dataclass(frozen=True)
class Compared:
    """All answers, and what did not match."""

    groups: Sequence[Group]
    questions: Sequence[Question]
    unmatched: Sequence[str]
    failures: Sequence[str]
    unchecked: Sequence[str]


def compare_groups(groups: Sequence[Group], limits: Sequence[Limit] = (), everything: bool = False) -> Compared:
    """Compare each further group with the first.

    Args:
        everything: all metrics, not only those that matter and those that limits name.

    Raises:
        EdgeprofError: groups that cannot be compared with each other.
    """
    refuse_shared(groups)
    if len({group.matrix for group in groups}) > 1:
        raise EdgeprofError("a matrix is compared with matrices only; name two matrix folders, or two groups of runs")
    named = {limit.about.name for limit in limits}
    every = known(name for group in groups for process in group.processes for name in process.metrics)
    chosen = [about for name, about in every.items() if everything or name in MATTER or name in named]
    steps = _Steps()
    base, others = groups[0], groups[1:]
    questions: list[Question] = []
    unmatched: list[str] = []
    for other in others:
        pairs, alone = _cells(base, other)
        unmatched += alone
        questions += [question for about in chosen for question in _questions(about, base, other, pairs, steps)]
    questions = _corrected(questions, named)
    failures, unchecked = _judged(limits, questions)
    return Compared(groups, questions, unmatched, failures, unchecked)


class _Steps:
    """The steps of each process, read once."""

    def __init__(self) -> None:
        self._known: dict[Any, Floats | None] = {}

    def of(self, process: Process) -> Floats | None:
        if process.path not in self._known:
            self._known[process.path] = self._read(process)
        return self._known[process.path]

    def _read(self, process: Process) -> Floats | None:
        from edgeprof.profiler.analysis.data import RunData, seconds, times
        from edgeprof.profiler.analysis.steps import step_table

        try:
            table = step_table(RunData.of(open_run(process.path).inside))
            if table is None:
                return None
            return seconds(times(table, "end_ns") - times(table, "start_ns"))
        except (EdgeprofError, OSError, ValueError, KeyError):  # the bootstrap then goes without them
            return None


def _cells(base: Group, other: Group) -> tuple[list[Levels], list[str]]:
    """Cells that both groups have, and words for those that only one has."""
    if not base.matrix:
        return [], []
    ours, theirs = ({frozenset(p.cell): p.cell for p in group.processes} for group in (base, other))
    both = [cell for key, cell in ours.items() if key in theirs]
    if not both:
        raise EdgeprofError(f"{base.name} and {other.name} have no cell in common, so there is nothing to compare")
    alone = [f"{cell_text(cell)} (only in {base.name})" for key, cell in ours.items() if key not in theirs]
    alone += [f"{cell_text(cell)} (only in {other.name})" for key, cell in theirs.items() if key not in ours]
    return both, alone


def cell_text(cell: Levels) -> str:
    """A cell by its levels."""
    return ", ".join(f"{axis} {level}" for axis, level in cell) or "the only cell"


def _questions(about: Known, base: Group, other: Group, cells: Sequence[Levels], steps: _Steps) -> list[Question]:
    if not cells:
        ours, theirs = _having(base, about.name), _having(other, about.name)
        return [_question(about, other.name, None, ours, theirs, base.name, steps)]
    made = []
    pairs = []
    for cell in cells:
        ours, theirs = (
            [process for process in _having(group, about.name) if frozenset(process.cell) == frozenset(cell)]
            for group in (base, other)
        )
        made.append(_question(about, other.name, cell, ours, theirs, base.name, steps))
        if min(len(ours), len(theirs)) >= 2:
            pairs.append((_values(ours, about.name), _values(theirs, about.name)))
    overall = compare_cells(pairs, about.unit) if pairs else None
    reason = "" if pairs else "no cell has two runs or more in both"
    return [Question(about, other.name, None, overall, reason), *made]


def _having(group: Group, metric: str) -> list[Process]:
    return [process for process in group.processes if process.metrics.get(metric) is not None]


def _values(processes: Iterable[Process], metric: str) -> list[float]:
    return [value for process in processes if (value := process.metrics[metric]) is not None]


def _question(
    about: Known,
    group: str,
    cell: Levels | None,
    ours: Sequence[Process],
    theirs: Sequence[Process],
    base: str,
    steps: _Steps,
) -> Question:
    if not ours or not theirs:
        return Question(about, group, cell, None, f"not measured in {base if not ours else group}")
    within = None
    if about.name == STEP_METRIC:
        known_steps = [[steps.of(process) for process in side] for side in (ours, theirs)]
        whole = [[item for item in side if item is not None] for side in known_steps]
        if all(len(side) == len(all_) for side, all_ in zip(whole, known_steps, strict=True)):
            within = (whole[0], whole[1])
    found = compare(_values(ours, about.name), _values(theirs, about.name), about.unit, steps=within, statistic=_median)
    return Question(about, group, cell, found, found.reason)


def _median(values: Floats, axis: int = -1) -> Floats:
    return np.asarray(np.median(values, axis=axis))


def _corrected(questions: Sequence[Question], named: set[str]) -> list[Question]:
    families: list[Callable[[str], bool]] = [
        lambda name: name in named,
        lambda name: name not in named and name in MATTER,
        lambda name: name not in named and name not in MATTER,
    ]
    done = list(questions)
    for belongs in families:
        places = [place for place, each in enumerate(questions) if each.found is not None and belongs(each.about.name)]
        found = [item for place in places if (item := questions[place].found) is not None]
        for place, item in zip(places, corrected(found), strict=True):
            done[place] = replace(questions[place], found=item)
    return done


def _judged(limits: Sequence[Limit], questions: Sequence[Question]) -> tuple[list[str], list[str]]:
    """What breaks a limit, and what could not be held to one."""
    failures, unchecked = [], []
    for limit in limits:
        asked = [question for question in questions if question.about.name == limit.about.name]
        if not asked:
            unchecked.append(f"{limit.text}: no run has this metric")
        for question in asked:
            if question.found is not None and question.found.verdict == "equal":
                continue
            if question.found is None or question.found.corrected is None:
                unchecked.append(f"{limit.text}{question.where}: {question.reason or 'no test was possible'}")
            elif broken(limit, question.found):
                failures.append(sentence(limit, question.found, question.where))
    return failures, unchecked


def told(found: Comparison, about: Known) -> str:
    """A comparison as a verdict in words."""
    effect, verdict = found.effect, found.verdict
    if verdict == "equal":
        return "no difference: every run gave the same"
    if verdict == "not known":
        return "cannot be judged: one run says nothing on chance" if min(found.runs) < 2 else "cannot be judged"
    if verdict == "none shown":
        return words.none_shown(about.unit, found.scale, found.detectable)
    change = words.change(about.name, about.unit, found.scale, effect.value, effect.low, effect.high)
    doubtful = found.resampled is not None and found.resampled[0] <= 0 <= found.resampled[1]
    return f"{change}; the bootstrap's interval includes no change" if doubtful else change


def as_dict(compared: Compared) -> dict[str, Any]:
    """All of it as plain JSON values.

    Returns:
        ``groups`` (name, runs, left_out), ``comparisons`` (metric, unit, better, group, cell, runs, means, scale,
        ``ratio`` or ``difference`` with value, low, high; ``difference_in_unit``, ``bootstrap``, p, p_corrected,
        verdict, words, detectable, reason), ``factors`` and ``host`` that differ between the groups, ``marked``
        (a sentence for each group with marked runs), ``unmatched`` cells, ``failures``, ``unchecked``, ``method``.
    """
    described = [facts(group) for group in compared.groups]
    return {
        "groups": [
            {
                "name": group.name,
                "runs": [{"id": process.id, "path": str(process.path)} for process in group.processes],
                "left_out": [{"run": run, "reason": reason} for run, reason in group.left_out],
            }
            for group in compared.groups
        ],
        "comparisons": [_question_dict(question) for question in compared.questions],
        "factors": differing([factors for factors, _ in described]),
        "host": differing([comparable(host) for _, host in described]),
        "marked": [sentence for group in compared.groups for sentence in marked(group)],
        "unmatched": list(compared.unmatched),
        "failures": list(compared.failures),
        "unchecked": list(compared.unchecked),
        "method": list(METHOD),
    }


def _question_dict(question: Question) -> dict[str, Any]:
    about, found = question.about, question.found
    common = {
        "metric": about.name,
        "unit": about.unit,
        "better": about.better,
        "group": question.group,
        "cell": dict(question.cell) if question.cell is not None else None,
        "reason": question.reason or None,
    }
    if found is None:
        return {**common, "verdict": "not known", "words": question.reason}
    effect, difference = found.effect, found.difference
    resampled = found.resampled
    detectable = found.detectable
    return {
        **common,
        "runs": list(found.runs),
        "means": [float(found.base.mean()), float(found.other.mean())],
        "scale": found.scale,
        "ratio" if found.scale == "log" else "difference": {
            name: back(value, found.scale)
            for name, value in (("value", effect.value), ("low", effect.low), ("high", effect.high))
        },
        "difference_in_unit": {"value": difference.value, "low": difference.low, "high": difference.high},
        "bootstrap": [back(bound, found.scale) for bound in resampled] if resampled else None,
        "p": found.p,
        "p_corrected": found.corrected,
        "verdict": found.verdict,
        "words": told(found, about),
        "detectable": back(detectable, found.scale),
    }
