"""Copies what /proc says of edgeprof itself, so that its own cost can be laid beside the run's figures."""

import os
from typing import Optional

from edgeprof.collectors.base import Collector, Context, FileSampler, FrameWriter, Probe, Status

FILES = ("stat", "statm", "io")


class Own(Collector):
    """Raw file ``samples.frames``; sources are FILE of /proc/self."""

    name = "self"
    interval = 1.0

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._writer: Optional[FrameWriter] = None

    def probe(self) -> Probe:
        return Probe(True)

    def start(self) -> None:
        self._writer = FrameWriter(os.path.join(self.context.raw, "samples.frames"))
        self._files = FileSampler(self._writer)
        for name in FILES:
            self._files.add("{}/{}/{}".format(self.context.roots.proc, os.getpid(), name), name)

    def sample(self, now_ns: int) -> None:
        assert self._writer is not None
        self._files.sample(now_ns)
        self._writer.flush()

    def stop(self) -> Status:
        if self._writer is None:  # its start failed
            return Status(0, 0)
        self._files.close()
        self._writer.close()
        return Status(self._writer.records, self._writer.bytes, self._writer.lost, notes=tuple(self._writer.notes()))


COLLECTOR = Own
