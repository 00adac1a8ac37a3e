"""Captures page-cache events by device, inode and page, and what it takes to name the files afterwards.

The events come through the run's tracefs instance (``raw/tracefs``).  The raw
file ``paths.bin`` holds frames that tell paths from inodes, see `capture_paths`.
"""

import os
from typing import Any, Dict, List, Optional

from edgeprof.collectors.base import Collector, Context, FrameWriter, Probe, Status
from edgeprof.collectors.page_cache.capture_paths import PathGatherer
from edgeprof.collectors.tracefs import capture as tracefs

EVENTS = (
    ("filemap", "mm_filemap_add_to_page_cache"),
    ("filemap", "mm_filemap_delete_from_page_cache"),
    ("filemap", "mm_filemap_fault"),
    ("filemap", "mm_filemap_map_pages"),
    ("filemap", "mm_filemap_get_pages"),
    ("readahead", "page_cache_ra_order"),
    ("readahead", "page_cache_ra_unbounded"),
)
"""Asked for where the kernel has them; older kernels have only the first two."""

USER_FAULTS = ("exceptions", "page_fault_user")
"""Every fault of a user's program; far more than those that meet a file."""

_LOOK_NS = 500_000_000


class PageCache(Collector):
    """Options: ``enabled`` (on without ``deep``), ``paths`` (folders to look in), ``user_faults`` (bool)."""

    name = "page_cache"
    drains = True

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._trace: Optional[tracefs.TraceInstance] = None
        self._writer: Optional[FrameWriter] = None
        self._missing: List[str] = []
        self._look_due = 0
        self._cwd = ""

    def probe(self) -> Probe:
        if not (self.context.deep or self.context.options.get("enabled")):
            return Probe(False, "off by default, since it records every page", "capture with --collect deep")
        found = tracefs.probe(self.context.roots)
        if not found.available or found.details["path"] is None:
            return found
        if not os.path.isdir(os.path.join(found.details["path"], "events", *EVENTS[0])):
            return Probe(False, "this kernel has no page-cache tracepoints", "use Linux 3.10 or later")
        return found

    def start(self) -> None:
        self._writer = FrameWriter(os.path.join(self.context.raw, "paths.bin"))
        self._paths = PathGatherer(self._writer, self.context.roots)
        try:
            self._cwd = os.readlink("{}/{}/cwd".format(self.context.roots.proc, self.context.pid))
        except OSError:  # then only the other folders are searched
            self._cwd = ""
        self._trace = tracefs.TraceInstance.acquire(self.context)
        wanted = EVENTS + ((USER_FAULTS,) if self.context.options.get("user_faults") else ())
        self._missing = [event for system, event in wanted if not self._trace.enable(system, event)]
        self._trace.begin()

    def sample(self, now_ns: int) -> None:
        assert self._trace is not None
        self._trace.drain(now_ns)
        if now_ns >= self._look_due:
            self._look_due = now_ns + _LOOK_NS
            self._paths.look(now_ns, self.context.pids())

    def stop(self) -> Status:
        """Of a trace that another collector still uses, only this one's own bytes are counted here."""
        notes = ["this kernel has no event {}".format(event) for event in self._missing]
        details: Dict[str, Any] = {}
        status = Status(0, 0)
        if self._trace is not None:
            shared = self._trace.users > 1
            status = self._trace.release()
            self._trace = None
            if shared:
                notes.append("its events are counted with those of the collector that shares its trace")
                details["trace"] = status.details["instance"]
                status = Status(0, 0, mode=status.mode)
            else:
                details.update(status.details)
        own = self._name_files(details, notes)
        return status._replace(bytes=status.bytes + own, notes=status.notes + tuple(notes), details=details)

    def _name_files(self, details: Dict[str, Any], notes: List[str]) -> int:
        """List folders; returns the bytes of paths.bin."""
        if self._writer is None:
            return 0
        try:
            listed = self._paths.finish([str(path) for path in self.context.options.get("paths", ())], self._cwd)
            details.update(folders_listed=listed.folders, files_listed=listed.files)
            if not listed.whole:
                notes.append("not every folder was searched for file names; name those of the data as `paths`")
        except OSError as error:
            notes.append("files could not be named: {}".format(error.strerror))
        finally:
            try:
                self._writer.close()
            except OSError:  # a full disk: what was written before can be read
                pass
        return self._writer.bytes


COLLECTOR = PageCache
