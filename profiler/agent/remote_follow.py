"""Sends what a job appends to its files while it goes on, for a desk that watches: this is what ``--live`` costs."""

import fcntl
import os
import re
from typing import BinaryIO, Dict

from edgeprof.collectors.phases.capture import used_bytes
from edgeprof.profiler.agent.remote_files import open_below, paths, send_part
from edgeprof.profiler.agent.remote_job import Job
from edgeprof.profiler.agent.remote_protocol import Refused, answer
from edgeprof.profiler.agent.reserve import lock_within

_RESERVES = re.compile(r"/raw/phases/[^/]+\.bin$")
"""Files whose end is reserved, and full of zeros until a record comes there."""

INTERVAL = 1.0
"""Seconds between two looks."""


def follow(job: Job, output: BinaryIO, interval: float = INTERVAL) -> None:
    """Send what is there and what comes, as `remote_files.send` does; then a line ``{"end": state}``.

    Raises:
        Refused, OSError
    """
    sent: Dict[str, int] = {}
    lock = job.open_lock()
    try:
        over = False
        while not over:
            over = lock_within(lock, interval if sent else 0.0, fcntl.LOCK_SH)
            _send_new(job, sent, output, over)
    finally:
        os.close(lock)
    answer({"end": job.told()})


def _send_new(job: Job, sent: Dict[str, int], output: BinaryIO, over: bool) -> None:
    found, _ = paths(job.folder)
    for path in found:
        try:
            with open_below(job.folder, path) as file:
                size = os.fstat(file.fileno()).st_size
                if _RESERVES.search(path) and not over:
                    size = used_bytes(file.fileno(), size)
                done = sent.setdefault(path, 0)
                if size > done:
                    send_part(file, path, done, size, output)
                    sent[path] = size
        except (FileNotFoundError, PermissionError, Refused):
            continue
    output.flush()
