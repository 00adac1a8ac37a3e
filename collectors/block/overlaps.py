"""Tells requests at one place apart: by rising stages where they follow one another, else by a queue.

Almost all places see one request at a time, and these are told apart with whole
array operations.  A place where two overlap (or where actions were lost) is
walked action by action.
"""

from __future__ import annotations

from collections import deque

import numpy as np
import numpy.typing as npt

from edgeprof.collectors.block import actions as act
from edgeprof.collectors.block.actions import Int64, UInt8

TAKEN_BACK, START, INSERTED, ISSUED, COMPLETED, ABSORBED = range(6)
"""Stages of a request, rising; taken back (requeued) is lowest, so that whatever follows belongs to the same one."""

NO_STAGE = 255


def _stages() -> UInt8:
    table = np.full(256, NO_STAGE, np.uint8)
    table[[act.REQUEUE, act.INSERT, act.ISSUE, act.COMPLETE]] = TAKEN_BACK, INSERTED, ISSUED, COMPLETED
    table[[act.GETRQ, act.FRONTMERGE]] = START
    table[act.BACKMERGE] = ABSORBED
    return table


STAGES = _stages()
"""Stage by action letter; `NO_STAGE` for actions that say nothing of a request."""


def assign(place: Int64, stage: UInt8, lossy: bool) -> tuple[Int64, int]:
    """Number the requests.

    Args:
        place, stage: of each action, sorted by place and time; at least one.
        lossy: see `edgeprof.collectors.block.requests.pair`.

    Returns:
        the request's number of each action, and how many numbers there are (some may be unused).
    """
    new_place = np.empty(len(place), np.bool_)
    new_place[0] = True
    np.not_equal(place[1:], place[:-1], out=new_place[1:])
    before = np.empty_like(stage)
    before[0] = NO_STAGE
    before[1:] = stage[:-1]
    begins = new_place | (stage == START) | ((stage <= before) & (stage != TAKEN_BACK))
    number = np.cumsum(begins) - 1
    count = int(number[-1]) + 1
    ended = (before == COMPLETED) | (before == ABSORBED)
    after_merge = (before == ABSORBED) & (stage != START) & (stage != ABSORBED)
    doubtful = begins & ~new_place & (~ended | after_merge)
    if bool(doubtful.any()):
        count = _walk_doubtful(np.flatnonzero(doubtful), new_place, stage, number, count, lossy)
    return number, count


def _walk_doubtful(
    doubtful: Int64, new_place: npt.NDArray[np.bool_], stage: UInt8, number: Int64, count: int, lossy: bool
) -> int:
    firsts = np.append(np.flatnonzero(new_place), len(stage))
    groups = np.unique(np.searchsorted(firsts, doubtful, side="right") - 1)
    for group in groups:
        begin, end = int(firsts[group]), int(firsts[group + 1])
        numbers, used = _walk(stage[begin:end].tolist(), lossy)
        number[begin:end] = np.asarray(numbers) + count
        count += used
    return count


def _walk(stages: list[int], lossy: bool) -> tuple[list[int], int]:
    """Give each action of one place the request it belongs to: the oldest that waits for it (lossy: the newest)."""
    waiting: deque[int] = deque()
    issued: deque[int] = deque()
    absorbed: deque[int] = deque()  # what looked absorbed may have been a bio merged elsewhere: it can come back
    uninserted: deque[int] = deque()
    gone: set[int] = set()  # issued or absorbed before it was inserted
    count = 0

    def take(queue: deque[int]) -> int:
        return queue.pop() if lossy else queue.popleft()

    def fresh() -> int:
        nonlocal count
        count += 1
        return count - 1

    numbers: list[int] = []
    for stage in stages:
        if stage == START:
            waiting.append(request := fresh())
            uninserted.append(request)
        elif stage == INSERTED:
            while uninserted and uninserted[0] in gone:
                uninserted.popleft()
            if uninserted:
                request = uninserted.popleft()
            elif waiting:  # inserted again after a requeue
                request = waiting[0]
            else:
                waiting.append(request := fresh())
        elif stage == ISSUED:
            request = take(waiting) if waiting else take(absorbed) if absorbed else fresh()
            issued.append(request)
            gone.add(request)
        elif stage == TAKEN_BACK:
            request = issued.pop() if issued else fresh()
            waiting.appendleft(request)
        elif stage == COMPLETED:
            request = take(issued) if issued else take(waiting) if waiting else fresh()
            gone.add(request)
        else:
            request = waiting.pop() if waiting else fresh()
            absorbed.append(request)
            gone.add(request)
        numbers.append(request)
    return numbers, count
