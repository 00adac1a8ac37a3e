"""Pairs begin and end records to spans, and step records to steps, a vector operation at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from edgeprof.collectors.phases.step_names import BEFORE_STEPS, PROLONGS, RANKS

if TYPE_CHECKING:
    from edgeprof.collectors.phases.parse import Records

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Spans:
    """Phases: ``process`` is an index, ``name`` a code; ``cut`` marks those without an end record."""

    start: Array
    end: Array
    process: Array
    tid: Array
    name: Array
    depth: Array
    cut: Array


@dataclass(frozen=True)
class Steps:
    """Steps; ``start`` is -1 where it is not known, ``samples`` NaN where not given."""

    number: Array
    start: Array
    end: Array
    process: Array
    samples: Array


def match(records: Records, begin_kind: int, process_ends: Array) -> Spans:
    """Match each end with the latest open begin of the same process, thread and name.

    An end without a begin (a forked child leaving its parent's phase) is ignored; a begin without an
    end ends with its process.  Phases that overlap without nesting are allowed.

    Args:
        records: only begins and ends, each process's in the order they were written.
        begin_kind: the kind of a begin; all others are ends.
        process_ends: ns by process index.
    """
    begin = records.kind == begin_kind
    end_of = np.full(len(begin), -1, np.int64)  # index of the matching end; -1 none
    order = np.lexsort((records.name, records.tid, records.process))
    group = _groups(records.process[order], records.tid[order], records.name[order])
    order, group = _without_unmatched(order, group, begin)
    is_begin = begin[order]
    level = _level(group, is_begin) + ~is_begin  # a begin and its end get the same level
    order = order[np.lexsort((level, group))]
    level_group = _groups(np.sort(group), level[np.lexsort((level, group))])
    paired = begin[order[:-1]] & ~begin[order[1:]] & (level_group[:-1] == level_group[1:])
    end_of[order[:-1][paired]] = order[1:][paired]
    depth = _depth(records, begin, end_of)
    at = np.flatnonzero(begin)
    cut = end_of[at] < 0
    start = records.time[at]
    end = np.where(cut, process_ends[records.process[at]], records.time[end_of[at]])
    return Spans(start, np.maximum(start, end), records.process[at], records.tid[at], records.name[at], depth[at], cut)


def _groups(*columns: Array) -> Array:
    """Number of each row's run of equal values, from 0; rows are sorted by the columns."""
    changed = np.zeros(len(columns[0]), bool)
    for values in columns:
        changed[1:] |= values[1:] != values[:-1]
    return np.cumsum(changed)


def _level(group: Array, is_begin: Array) -> Array:
    """How many begins are open after each row, within its group."""
    total = np.cumsum(np.where(is_begin, 1, -1))
    first = np.flatnonzero(np.diff(group, prepend=-1))
    before = np.concatenate([[0], total])[first]
    return total - before[group] if len(group) else total


def _without_unmatched(order: Array, group: Array, begin: Array) -> tuple[Array, Array]:
    """Leave out ends that come when no begin of their group is open."""
    if not len(order):
        return order, group
    level = _level(group, begin[order])
    apart = group * (2 * len(order) + 2)  # lowers each group below the one before: one accumulate serves all
    lowest = np.minimum.accumulate(np.minimum(level, 0) - apart)
    first = np.diff(group, prepend=-1) != 0
    previous = np.where(first, -apart, np.concatenate([[0], lowest[:-1]]))
    keep = begin[order] | (level - apart >= previous)
    order, group = order[keep], group[keep]
    return order, _groups(group)


def _depth(records: Records, begin: Array, end_of: Array) -> Array:
    """How many phases of its thread are open when each begins."""
    counted = begin.copy()
    counted[end_of[end_of >= 0]] = True
    at = np.flatnonzero(counted)
    at = at[np.lexsort((records.tid[at], records.process[at]))]
    depth = np.zeros(len(begin), np.int64)
    depth[at] = _level(_groups(records.process[at], records.tid[at]), begin[at]) - 1
    return depth


def steps(records: Records, kinds: tuple[int, int, int], process_count: int) -> Steps:
    """Steps of each process: the user's own if there are any, else of training, else of inference.

    A name that ends in "+" prolongs the step before it (a second optimizer, a second model on the same batch).

    Args:
        records: all records.
        kinds: the kinds of phase begins, steps, and step begins.
        process_count: number of processes.
    """
    phase_begin, step, step_begin = kinds
    rank, prolongs = _step_ranks(records.names)
    at = np.flatnonzero(records.kind == step)
    at = at[rank[records.name[at]] > 0]
    best = np.zeros(process_count, np.int64)
    np.maximum.at(best, records.process[at], rank[records.name[at]])
    at = at[rank[records.name[at]] == best[records.process[at]]]
    new = ~prolongs[records.name[at]]
    first = np.diff(records.process[at], prepend=-1) != 0
    orphan = np.cumsum(new)[first] - new[first]  # steps before each process's first row
    at_number = np.cumsum(new)
    keep = at_number > orphan[np.cumsum(first) - 1] if len(at) else np.zeros(0, bool)
    at, new, at_number = at[keep], new[keep], at_number[keep]
    bases = at[new]
    end = np.zeros(len(bases), np.int64)
    np.maximum.at(end, at_number - 1, records.time[at])
    start = _step_starts(records, bases, step_begin, phase_begin)
    process = records.process[bases]
    number = _position(process)
    start = np.where(start < 0, start, np.minimum(start, end))
    sort = np.argsort(end, kind="stable")
    return Steps(number[sort], start[sort], end[sort], process[sort], records.value[bases][sort])


def _step_ranks(names: list[str]) -> tuple[Array, Array]:
    rank = np.array([RANKS.get(name, 0) for name in names] or [0], np.int64)
    return rank, np.array([name.endswith(PROLONGS) for name in names] or [False], bool)


def _position(process: Array) -> Array:
    """0, 1, 2, ... within each process."""
    first = np.flatnonzero(np.diff(process, prepend=-1))
    return np.arange(len(process)) - np.repeat(first, np.diff(np.append(first, len(process))))


def _step_starts(records: Records, bases: Array, step_begin: int, phase_begin: int) -> Array:
    """The time of the step-begin just before a step in its thread; else the end of the step before; else the
    process's first phase after start-up; -1 if there is none."""
    start = np.full(len(bases), -1, np.int64)
    if not len(bases):
        return start
    thread = np.lexsort((records.tid, records.process))
    before = np.full(len(records.kind), -1, np.int64)
    same = (records.tid[thread[1:]] == records.tid[thread[:-1]]) & (
        records.process[thread[1:]] == records.process[thread[:-1]]
    )
    before[thread[1:][same]] = thread[:-1][same]
    previous = before[bases]
    dated = (previous >= 0) & (records.kind[previous] == step_begin) & (records.name[previous] == records.name[bases])
    process = records.process[bases]
    follows = np.concatenate([[False], process[1:] == process[:-1]])
    start[follows] = records.time[bases[:-1]][follows[1:]]
    for index in np.flatnonzero(~follows & ~dated):
        start[index] = _first_phase(records, int(process[index]), phase_begin, int(records.time[bases[index]]))
    start[dated] = records.time[previous[dated]]
    return start


def _first_phase(records: Records, process: int, phase_begin: int, before_ns: int) -> int:
    low, high = np.searchsorted(records.process, [process, process + 1])
    outside = [code for code, name in enumerate(records.names) if name in BEFORE_STEPS]
    times, names = records.time[low:high], records.name[low:high]
    begins = (records.kind[low:high] == phase_begin) & ~np.isin(names, outside) & (times <= before_ns)
    return int(times[begins].min()) if begins.any() else -1
