"""Tells whose request it was: the run's, edgeprof's own, the kernel's, or somebody else's."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from edgeprof.collectors.block.actions import NO_NAME, SECTOR_BYTES, Int32, Int64, Mask
from edgeprof.collectors.block.encoding import encode
from edgeprof.collectors.block.kinds import READ, WRITE
from edgeprof.collectors.block.requests import Requests
from edgeprof.collectors.parsing import RunFacts
from edgeprof.collectors.tracefs.tasks import OWNERS, Tasks

_RUN, _PROFILER, _KERNEL, _OTHER = (OWNERS.index(name) for name in ("run", "profiler", "kernel", "other"))

_KERNEL_THREADS = re.compile(
    r"kworker/|ksoftirqd/|kswapd|jbd2/|loop\d|xfsaild|xfs-|btrfs-|kcompactd|khugepaged|kblockd|mmcqd|md\d+_|dmcrypt|"
    r"f2fs_|nvme-|scsi_|swapper/|ext4-|ext4lazyinit|kdmflush|kthreadd|oom_reaper|writeback|flush-"
)
_MOST_DEVICES = 200
_SECTOR_BITS = 55


@dataclass(frozen=True)
class Extents:
    """Where the files of the capture itself lie: device of the disk, first sector, sectors; sorted arrays."""

    dev: Int64
    sector: Int64
    sectors: Int64

    @classmethod
    def of(cls, rows: Iterable[tuple[int, int, int]]) -> Extents:
        """From (dev, first sector, sectors), in any order; what cannot be a place on a disk is left out."""
        kept = sorted({row for row in rows if 0 <= row[0] < 1 << 32 and 0 <= row[1] < 1 << 54 and 0 < row[2] < 1 << 54})
        table = np.array(kept, np.int64).reshape(-1, 3)
        return cls(table[:, 0].copy(), table[:, 1].copy(), table[:, 2].copy())


def owners(requests: Requests, tasks: Tasks, facts: RunFacts, processes: Mapping[int, int], extents: Extents) -> Int32:
    """The owner of each request, an index into `OWNERS`; a request whose asker was not seen is ``other``.

    Args:
        tasks: what the trace tells of tasks.
        processes: thread -> its process, for threads whose start was not traced.
        extents: where the capture's own files lie; a write into one is the profiler's, whoever wrote it back.
    """
    owner = np.full(len(requests), _OTHER, np.int32)
    rows = np.flatnonzero(requests.has_asker)
    if len(rows):
        pid, comm = requests.pid[rows], requests.comm[rows]
        both = pid.astype(np.int64).astype(np.uint64) << np.uint64(32) | (comm + 1).astype(np.uint64)
        codes, positions = encode(both)
        pids = pid[positions].astype(np.int64)
        found = tasks.owners(pids, facts)
        by_process = tasks.owners(np.array([processes.get(task, task) for task in pids.tolist()], np.int64), facts)
        found = np.where(found == _OTHER, by_process, found)
        for index in np.flatnonzero(found == _OTHER).tolist():  # a kernel thread that ended before anyone looked
            name = comm[positions[index]]
            if name != NO_NAME and _KERNEL_THREADS.match(requests.names[name].decode("utf-8", "replace")):
                found[index] = _KERNEL
        owner[rows] = found.astype(np.int32)[codes]
    if len(extents.dev):
        owner[_inside(requests, extents)] = _PROFILER
    return owner


def of_held_back(owner: Int32, requests: Requests, dev: int, operations: Collection[str]) -> Int32:
    """The owners, where a limit of the run's holds back ``operations`` (``read``, ``write``) on device ``dev``.

    Requests that blk-throttle held back are submitted by a worker of the kernel when their turn has come (Linux:
    block/blk-throttle.c, blk_throtl_dispatch_work_fn), so a worker's reads there are the run's, and its synchronous
    writes; those that are not write back the page cache, for whomever.
    """
    workers = [number for number, name in enumerate(requests.names) if name.startswith(b"kworker/")]
    waited = (requests.rwbs[:, np.newaxis].view(np.uint8) == ord("S")).any(axis=1)
    held = np.zeros(len(requests), np.bool_)
    if "read" in operations:
        held |= requests.kind == READ
    if "write" in operations:
        held |= (requests.kind == WRITE) & waited
    held &= (requests.dev == dev) & (owner == _KERNEL) & requests.has_asker & np.isin(requests.comm, workers)
    return np.where(held, np.int32(_RUN), owner).astype(np.int32)


def _inside(requests: Requests, extents: Extents) -> Mask:
    """Where a write lies wholly inside one of the extents, or in several that adjoin."""
    devices = np.unique(extents.dev)[:_MOST_DEVICES]
    place = np.minimum(np.searchsorted(devices, requests.dev), len(devices) - 1)
    candidate = (requests.kind == WRITE) & (requests.sector >= 0) & (devices[place] == requests.dev)
    inside = np.zeros(len(requests), np.bool_)
    rows = np.flatnonzero(candidate)
    if len(rows) == 0:
        return inside
    known = extents.dev <= devices[-1]
    begin = (np.searchsorted(devices, extents.dev[known]) << _SECTOR_BITS) + extents.sector[known]
    reach = np.maximum.accumulate(begin + extents.sectors[known])
    joined = np.ones(len(begin), np.bool_)
    joined[1:] = begin[1:] > reach[:-1]
    starts, ends = begin[joined], reach[np.append(np.flatnonzero(joined)[1:] - 1, len(begin) - 1)]
    first = (place[rows] << _SECTOR_BITS) + requests.sector[rows]
    last = first + requests.length[rows] // SECTOR_BYTES
    at = np.searchsorted(starts, first, side="right") - 1
    inside[rows] = (at >= 0) & (last <= ends[np.maximum(at, 0)])
    return inside
