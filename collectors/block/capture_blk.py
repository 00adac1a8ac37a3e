"""Back end: ftrace's ``blk`` tracer, into the machine's main trace buffer (capture set).

The tracer cannot run in an instance of its own, so the main buffer's clock, size,
tracer and switch are changed for the run and put back after it.  The files are
those of `edgeprof.collectors.tracefs.capture`, below ``raw/block/blk/tracefs/``.
"""

import errno
import json
import os
import sys
import time
from typing import List, Optional, Sequence

from edgeprof.collectors.base import Context, Status
from edgeprof.collectors.tracefs import capture as tracefs
from edgeprof.collectors.tracefs.capture_files import (
    CpuFiles,
    Undo,
    kernel_tasks,
    mount,
    parse_stats,
    read,
    write,
)
from edgeprof.collectors.tracefs.capture_windows import Allowance, Windows

FORMAT = """name: blk
ID: {}
format:
\tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;
\tfield:unsigned char common_flags;\toffset:2;\tsize:1;\tsigned:0;
\tfield:unsigned char common_preempt_count;\toffset:3;\tsize:1;\tsigned:0;
\tfield:int common_pid;\toffset:4;\tsize:4;\tsigned:1;
\tfield:u64 sector;\toffset:16;\tsize:8;\tsigned:0;
\tfield:u32 bytes;\toffset:24;\tsize:4;\tsigned:0;
\tfield:u32 action;\toffset:28;\tsize:4;\tsigned:0;
\tfield:u32 pid;\toffset:32;\tsize:4;\tsigned:0;
\tfield:u32 device;\toffset:36;\tsize:4;\tsigned:0;
\tfield:u32 cpu;\toffset:40;\tsize:4;\tsigned:0;
\tfield:u16 error;\toffset:44;\tsize:2;\tsigned:0;
\tfield:u16 pdu_len;\toffset:46;\tsize:2;\tsigned:0;
"""
"""The layout of its records, which the kernel does not publish; see `edgeprof.collectors.block.blk_tracer`."""

_SAVED_COMMANDS = 4096
_BUFFER_KB = 8192


class BlkTracer:
    """One run of the ``blk`` tracer on some disks.

    Args:
        folder: where the raw files go.
        disks: folders of the disks in sysfs.

    Raises:
        OSError: it cannot be used; whatever had been changed is back.
    """

    rests_until = 0  # it is looked after at each tick

    def __init__(self, context: Context, folder: str, disks: Sequence[str]) -> None:
        self._folder = folder
        self._context = context
        self._undo = Undo(context.journal)
        self._windows: Optional[Windows] = None
        self._files: Optional[CpuFiles] = None
        self._mode = "full"
        self._bytes = 0
        try:
            self._start(disks)
        except OSError:
            self._close()
            raise

    def _start(self, disks: Sequence[str]) -> None:
        found = tracefs.probe(self._context.roots)
        if not found.available:
            raise OSError(errno.EPERM, found.reason)
        self._tracing = str(found.details["path"] or mount("tracefs", self._undo))
        if self._read("current_tracer") != "nop":
            raise OSError(errno.EBUSY, "another tool uses the main trace buffer")
        os.makedirs(os.path.join(self._folder, "formats"), exist_ok=True)
        self._save("formats/ftrace.blk", FORMAT.format(self._record_number()).encode())
        self._change("tracing_on", "0")
        self._change("trace_clock", "mono", self._read("trace_clock").partition("[")[2].partition("]")[0])
        self._grow("saved_cmdlines_size", _SAVED_COMMANDS)
        self._grow("buffer_size_kb", _BUFFER_KB)
        self._enable_task_events()
        self._change("current_tracer", "blk")
        for disk in disks:
            self._change_file(os.path.join(disk, "trace", "enable"), "1", "0")
        self._cpus = sorted(int(name[3:]) for name in os.listdir(self._path("per_cpu")) if name[3:].isdigit())
        page = os.sysconf("SC_PAGE_SIZE")
        for name in ("header_page", "header_event"):
            self._save(name, read(self._path("events/" + name)))
        self._save("about.json", json.dumps({"byteorder": sys.byteorder, "clock": "mono", "cpus": self._cpus}).encode())
        self._windows = Windows(self._tracing, self._folder)
        self._files = CpuFiles(self._tracing, self._folder, self._cpus, page, _BUFFER_KB << 10)
        self._allowance = Allowance(self._context.budget_bytes, self._context.budget_cpu, time.monotonic_ns())
        self._windows.begin()

    def _record_number(self) -> int:
        """The type of its records: enum trace_entry has TRACE_BLK between user_stack and bputs."""
        numbers: List[int] = []
        for event in ("user_stack", "bputs"):
            lines = read(self._path("events/ftrace/{}/format".format(event))).splitlines()
            numbers.extend(int(line[3:]) for line in lines if line.startswith(b"ID:"))
        if len(numbers) != 2 or numbers[1] - numbers[0] != 2:
            raise OSError(errno.EINVAL, "this kernel numbers the records of its blk tracer in a way not known here")
        return numbers[0] + 1

    def _enable_task_events(self) -> None:
        for system, event in tracefs.TASK_EVENTS:
            folder = "events/{}/{}".format(system, event)
            try:
                self._save("formats/{}.{}".format(system, event), read(self._path(folder + "/format")))
                self._change(folder + "/enable", "1", "0")
            except OSError:  # threads that end early then count as others'
                continue

    def sample(self, now_ns: int) -> None:
        """Move what was recorded.  Raises OSError when it cannot be written."""
        assert self._windows is not None
        self._allowance.refill(now_ns)
        if self._windows.open:
            self._take(last=False)
            if self._allowance.seconds < 0:
                self._mode = "sampled"
                self._windows.end()
                self._take(last=True)
        elif self._windows.due(self._allowance):
            self._windows.begin()

    def _take(self, last: bool) -> None:
        assert self._files is not None
        began = time.thread_time_ns()
        moved = self._files.move()
        if last:
            moved += self._files.take_rest()
        self._bytes += moved
        self._allowance.charge(moved, time.thread_time_ns() - began)

    def stop(self) -> Status:
        """End, save what only the end can tell, and put everything back."""
        notes: List[str] = []
        records, lost = 0, None
        if self._windows is not None and self._files is not None:
            try:
                self._windows.end()
                self._take(last=True)
                records, lost = self._last_words()
            except OSError as error:
                notes.append("tracing ended early: {}".format(error.strerror or error))
                self._files.cut_to_pages()
        windows = self._windows.count if self._windows is not None else 0
        notes.extend(self._close())
        return Status(records, self._bytes, lost, self._mode, tuple(notes), {"windows": windows})

    def _last_words(self) -> "tuple[int, int]":
        records = lost = 0
        for cpu in self._cpus:
            stats = read(self._path("per_cpu/cpu{}/stats".format(cpu)))
            self._save("stats.cpu{}".format(cpu), stats)
            counts = parse_stats(stats)
            records += counts.get("read events", 0)
            lost += sum(counts.get(name, 0) for name in tracefs.LOSS_COUNTS)
        self._save("saved_cmdlines", read(self._path("saved_cmdlines")))
        tasks = kernel_tasks(self._context.roots.proc)
        self._save("kernel_tasks", " ".join(map(str, tasks)).encode())
        return records, lost

    def _close(self) -> List[str]:
        if self._files is not None:  # the tracer cannot be changed while its pipes are open
            self._files.close()
            self._files = None
        if self._windows is not None:
            self._windows.close()
            self._windows = None
        return self._undo.all()

    def _grow(self, file: str, size: int) -> None:
        """Enlarge what a file of tracefs counts; a buffer not yet used shows ``7 (expanded: 1408)``."""
        words = self._read(file).rstrip(")").split()
        if words and words[-1].isdigit() and int(words[-1]) < size:
            self._change(file, str(size), words[-1])

    def _change(self, file: str, text: str, old: Optional[str] = None) -> None:
        self._change_file(self._path(file), text, self._read(file) if old is None else old)

    def _change_file(self, path: str, text: str, old: str) -> None:
        self._undo.add("write", lambda: write(path, old.encode()), path=path, old=old)
        write(path, text.encode())

    def _path(self, file: str) -> str:
        return os.path.join(self._tracing, file)

    def _read(self, file: str) -> str:
        return read(self._path(file)).decode("ascii", "replace").strip()

    def _save(self, name: str, content: bytes) -> None:
        with open(os.path.join(self._folder, name), "wb") as file:
            file.write(content)
