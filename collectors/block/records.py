"""What struct blk_io_trace says: the record of blktrace's files and of ftrace's ``blk`` tracer.

Source: include/uapi/linux/blktrace_api.h of the kernel; the flag letters are
those that blkparse(1) and the ``blk`` tracer print.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edgeprof.collectors.block import actions as act
from edgeprof.collectors.block.actions import Int64, Mask, UInt8, UInt64
from edgeprof.collectors.block.encoding import encode, word

_READ, _WRITE, _FLUSH, _SYNC = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_NOTIFY, _AHEAD, _META, _DISCARD, _FUA = 1 << 10, 1 << 11, 1 << 12, 1 << 13, 1 << 15
_CATEGORY_SHIFT = 16
_ACTION_MASK = 0xFF  # above it: 1 << 8, a cgroup's number stands in the payload

LETTERS = {
    1: "Q",
    2: "M",
    3: "F",
    4: "G",
    5: "S",
    6: "R",
    7: "D",
    8: "C",
    9: "P",
    10: "U",
    11: "UT",
    12: "I",
    13: "X",
    14: "B",
    15: "A",
    16: "N",
    17: "m",
}
"""Action numbers (enum blktrace_act, from 1) as blkparse prints them."""

_USED = {number: ord(letter) for number, letter in LETTERS.items() if letter in "QMFGRDCIX"}

PROCESS, TIMESTAMP, MESSAGE = range(3)
"""Notes (enum blktrace_notify) that stand among the records."""


def is_note(action: npt.NDArray[np.uint32]) -> Mask:
    """Where a record is a note (a command's name, the time of day, a message) and no action."""
    flagged: Mask = (action >> _CATEGORY_SHIFT) & _NOTIFY != 0
    return flagged


def numbers(action: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint32]:
    """The action's or note's number without its flags."""
    number: npt.NDArray[np.uint32] = action & np.uint32(_ACTION_MASK)
    return number


def letters(action: npt.NDArray[np.uint32]) -> UInt8:
    """The letter of actions that make requests; 0 for all others and for notes."""
    table = np.zeros(_ACTION_MASK + 1, np.uint8)
    for number, letter in _USED.items():
        table[number] = letter
    found: UInt8 = np.where(is_note(action), 0, table[numbers(action)]).astype(np.uint8)
    return found


def printed_rwbs(action: int, length: int) -> str:
    """Operation and flags as blkparse prints them."""
    flags = action >> _CATEGORY_SHIFT
    text = "F" if flags & _FLUSH else ""
    if flags & _DISCARD:
        text += "D"
    elif flags & _WRITE:
        text += "W"
    else:
        text += "R" if length else "N"
    for flag, letter in ((_FUA, "F"), (_AHEAD, "A"), (_SYNC, "S"), (_META, "M")):
        text += letter if flags & flag else ""
    return text


def rwbs_words(action: npt.NDArray[np.uint32], length: Int64) -> UInt64:
    """Operation and flags as the block tracepoints write them: a flush command is ``FF``, where blkparse has FN."""
    category = (action >> _CATEGORY_SHIFT).astype(np.uint64)
    codes, positions = encode(category << np.uint64(1) | (length > 0))
    found = []
    for position in positions.tolist():
        text = printed_rwbs(int(action[position]), int(length[position]))
        found.append(word(("FF" if text.startswith("FN") else text).encode()))
    return np.array([*found, 0], np.uint64)[codes]


def actions_of(
    time_ns: Int64,
    action: npt.NDArray[np.uint32],
    dev: npt.NDArray[np.uint32],
    sector: npt.NDArray[np.uint64],
    length: npt.NDArray[np.uint32],
    pid: npt.NDArray[np.integer],
    comm: npt.ArrayLike,
    error: npt.NDArray[np.uint16],
    names: tuple[bytes, ...],
) -> act.Actions:
    """Records as actions; what says nothing of requests is left out."""
    letter = letters(action)
    rows = np.flatnonzero(letter)
    size = length[rows].astype(np.int64)
    completed = letter[rows] == act.COMPLETE
    return act.make(
        time_ns[rows],
        letter[rows],
        dev[rows].astype(np.int32),
        sector[rows],
        size,
        rwbs_words(action[rows], size),
        pid[rows].astype(np.int32),
        np.broadcast_to(np.asarray(comm), (len(time_ns),))[rows],
        # The field is 16 bits of a negative errno; for other actions it may hold something else.
        np.where(completed, error[rows].astype(np.int16), 0),
        names,
    )
