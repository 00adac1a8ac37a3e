"""Captures the life of block requests, by the best of three back ends that works here.

``tracefs``: block tracepoints through the run's own trace instance (``raw/tracefs``).
``blk``: ftrace's ``blk`` tracer (``raw/block/blk/tracefs``).  ``blktrace``: the tool
(``raw/block/DEVICE.blktrace.CPU``).  Beside them, in ``raw/block``:

    about.json    back end; devices and their partitions at the start
    end.json      devices and the kernel's own tasks at the end, records dropped
    extents.bin   where the capture's own files lie on the disk, see `capture_places`
    saved_tgids   thread and process ids as tracefs remembers them
"""

import errno
import json
import os
from typing import Any, Callable, Dict, List, Optional, Union

from edgeprof.collectors.base import Collector, Context, Probe, Status
from edgeprof.collectors.block import capture_blktrace
from edgeprof.collectors.block.capture_blk import BlkTracer
from edgeprof.collectors.block.capture_blktrace import Blktrace
from edgeprof.collectors.block.capture_places import block_devices, filter_of, own_extents, traced_disks
from edgeprof.collectors.tracefs import capture as tracefs
from edgeprof.collectors.tracefs.capture_files import kernel_tasks, read

EVENTS = (
    "block_getrq",
    "block_rq_issue",
    "block_rq_complete",
    "block_rq_requeue",
    "block_rq_merge",
    "block_bio_frontmerge",
)
INSERT = "block_rq_insert"
"""Only of use where a scheduler holds requests back; about a third more bytes."""

BACKENDS = ("tracefs", "blk", "blktrace")

_INSERT_SHARE = 0.5
"""Insertions are given up when the trace takes more than this part of its budget."""
_CHECK_NS = 1_000_000_000


class Tracepoints:
    """Back end: block tracepoints in the run's trace instance.  Raises OSError when that cannot be had."""

    def __init__(self, context: Context, devices: Dict[str, Dict[str, Any]], disks: List[str]) -> None:
        self._budget = context.budget_bytes
        self._trace = tracefs.TraceInstance.acquire(context)
        self._notes: List[str] = []
        self._may_drop_insert = False
        self._check_due = self._checked_bytes = 0
        try:
            self._enable(context, devices, disks)
            self._trace.begin()
        except OSError:
            self._trace.release()
            raise

    def _enable(self, context: Context, devices: Dict[str, Dict[str, Any]], disks: List[str]) -> None:
        if context.options.get("devices"):
            self._trace.set("events/block/filter", filter_of(devices, disks))
        missing = [event for event in EVENTS if not self._trace.enable("block", event)]
        if {"block_rq_issue", "block_rq_complete"} & set(missing):
            raise OSError(errno.ENOENT, "this kernel has no block tracepoints")
        self._notes.extend("this kernel has no event {}".format(event) for event in missing)
        scheduled = any(devices[disk].get("scheduler") not in (None, "", "none") for disk in disks if disk in devices)
        if context.deep or scheduled:
            self._may_drop_insert = self._trace.enable("block", INSERT) and not context.deep
        try:
            self._trace.set("options/record-tgid", "1")
        except OSError:  # before Linux 4.14 threads are told from their processes by the task events alone
            pass

    @property
    def tracing(self) -> str:
        """Where tracefs is mounted for the run."""
        return self._trace.tracing

    @property
    def rests_until(self) -> int:
        """When there is something to do again."""
        return self._trace.rests_until

    def sample(self, now_ns: int) -> None:
        self._trace.drain(now_ns)
        if self._may_drop_insert and now_ns >= self._check_due:
            rate = (self._trace.bytes - self._checked_bytes) * 1e9 / _CHECK_NS
            if self._check_due and rate > _INSERT_SHARE * self._budget:
                self._trace.set("events/block/{}/enable".format(INSERT), "0")
                self._may_drop_insert = False
                self._notes.append("insertions into the scheduler were given up, to keep within the budget")
            self._check_due, self._checked_bytes = now_ns + _CHECK_NS, self._trace.bytes

    def stop(self) -> Status:
        shared = self._trace.users > 1
        status = self._trace.release()
        if shared:
            details = {"trace": status.details["instance"]}
            note = "its events are counted with those of the collector that shares its trace"
            return Status(0, 0, mode=status.mode, notes=(*self._notes, note), details=details)
        return status._replace(notes=(*status.notes, *self._notes))


Backend = Union[Tracepoints, BlkTracer, Blktrace]


class Block(Collector):
    """Options: ``backend`` (one of `BACKENDS`), ``devices`` (names of the disks to trace; all by default)."""

    name = "block"
    drains = True

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._backend: Optional[Backend] = None
        self._chosen = ""
        self._notes: List[str] = []

    def probe(self) -> Probe:
        wanted = self.context.options.get("backend")
        if wanted is not None and wanted not in BACKENDS:
            reason = "there is no back end {!r} of the block collector".format(wanted)
            return Probe(False, reason, "choose one of " + ", ".join(BACKENDS))
        found = tracefs.probe(self.context.roots)
        if found.available and found.details["path"] is not None:
            events = os.path.join(found.details["path"], "events", "block", "block_rq_issue")
            if not os.path.isdir(events):
                found = Probe(
                    False, "this kernel has no block tracepoints", "use a kernel with CONFIG_BLK_DEV_IO_TRACE"
                )
        if found.available:
            return found
        tool = capture_blktrace.probe(self.context)
        return tool if tool.available else found

    def start(self) -> None:
        devices = block_devices(self.context.roots)
        disks = traced_disks(devices, list(self.context.options.get("devices", ())))
        if self.context.options.get("devices") and not disks:
            raise OSError(errno.ENODEV, "none of the devices {} is here".format(self.context.options["devices"]))
        wanted = self.context.options.get("backend", BACKENDS[0])
        for name in (wanted, *(other for other in BACKENDS if other != wanted)):
            try:
                self._backend = self._start_backend(name, devices, disks)
            except OSError as error:
                self._notes.append("back end {} is not used: {}".format(name, error.strerror or error))
                continue
            self._chosen = name
            break
        else:
            raise OSError(errno.EPERM, "; ".join(self._notes))
        about = {"backend": self._chosen, "devices": devices, "traced": disks}
        self._save("about.json", json.dumps(about).encode())

    def _start_backend(self, name: str, devices: Dict[str, Dict[str, Any]], disks: List[str]) -> Backend:
        if name == "tracefs":
            return Tracepoints(self.context, devices, disks)
        folders = [str(devices[disk]["folder"]) for disk in disks if "folder" in devices.get(disk, {})]
        if name == "blk":
            return BlkTracer(self.context, os.path.join(self.context.raw, "blk", "tracefs"), folders)
        return Blktrace(self.context, self.context.raw, folders)

    def sample(self, now_ns: int) -> None:
        assert self._backend is not None
        self._backend.sample(now_ns)
        self.rests_until = self._backend.rests_until

    def stop(self) -> Status:
        if self._backend is None:
            return Status(0, 0, notes=tuple(self._notes))
        if isinstance(self._backend, Tracepoints):
            tgids = os.path.join(self._backend.tracing, "saved_tgids")
            self._try(lambda: self._save("saved_tgids", read(tgids)))
        status = self._backend.stop()
        self._backend = None
        devices = block_devices(self.context.roots)
        extents, whole = own_extents(os.path.dirname(os.path.dirname(self.context.raw)), devices)
        if not whole:
            self._notes.append("not all of the capture's own files were told from the run's in block_io")
        end = {"devices": devices, "dropped": status.details.get("dropped")}
        end["kernel_tasks"] = kernel_tasks(self.context.roots.proc)
        self._try(lambda: self._save("end.json", json.dumps(end).encode()))
        self._try(lambda: self._save("extents.bin", extents))
        details = dict(status.details, backend=self._chosen)
        return status._replace(notes=(*self._notes, *status.notes), details=details)

    def _try(self, action: Callable[[], None]) -> None:
        """At the end, what cannot be saved (a full disk) must not cost what was."""
        try:
            action()
        except OSError as error:
            self._notes.append("not everything could be saved: {}".format(error.strerror or error))

    def _save(self, name: str, content: bytes) -> None:
        with open(os.path.join(self.context.raw, name), "wb") as file:
            file.write(content)


COLLECTOR = Block
