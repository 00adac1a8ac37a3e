"""Back end: the blktrace tool, which writes DEVICE.blktrace.CPU files of its own (capture set).

Beside it the run's trace instance, where it can be had, records which tasks the run starts.
"""

import errno
import os
import re
import time
from typing import Any, Dict, List, Optional, Sequence

from edgeprof.collectors.base import Context, Probe, Status
from edgeprof.collectors.block.capture_places import read_word
from edgeprof.collectors.helper import HelperProcess, find_program
from edgeprof.collectors.tracefs.capture import TraceInstance
from edgeprof.collectors.tracefs.capture_files import Undo, mount, write

_START_SECONDS = 5.0
_RECORD_BYTES = 48
_CHECK_NS = 1_000_000_000


def probe(context: Context) -> Probe:
    """Whether the tool is there and may work here."""
    if find_program("blktrace") is None:
        return Probe(False, "the tool blktrace is not installed", "install it (apt-get install blktrace)")
    if os.geteuid() != 0:
        return Probe(False, "only root can use blktrace", "run edgeprof as root")
    if not os.path.isdir(os.path.join(context.roots.sys, "kernel", "debug")):
        return Probe(False, "this kernel has no debugfs", "use a kernel built with CONFIG_DEBUG_FS")
    lockdown = read_word(os.path.join(context.roots.sys, "kernel", "security", "lockdown")) or ""
    if "[integrity]" in lockdown or "[confidentiality]" in lockdown:
        return Probe(False, "the kernel is locked down and refuses blktrace its files", "use the other back ends")
    return Probe(True)


class Blktrace:
    """One run of the tool.

    Args:
        folder: where it writes.
        disks: folders of the disks in sysfs.

    Raises:
        OSError: it did not start to trace; its own words say why.
    """

    rests_until = 0  # it is looked after at each tick

    def __init__(self, context: Context, folder: str, disks: Sequence[str]) -> None:
        self._folder = folder
        self._context = context
        self._undo = Undo(context.journal)
        self._helper: Optional[HelperProcess] = None
        self._tasks: Optional[TraceInstance] = None
        self._began = time.monotonic()
        self._check_due = 0
        self._note = ""
        found = probe(context)
        if not found.available:
            raise OSError(errno.EPERM, found.reason)
        try:
            self._start(disks)
        except OSError:
            self._close()
            raise

    def _start(self, disks: Sequence[str]) -> None:
        argv = ["blktrace", "-r", self._debugfs()]
        for disk in disks:
            self._undo_trace(os.path.join(disk, "trace", "enable"))
            argv += ["-d", os.path.join(self._context.roots.dev, os.path.basename(disk).replace("!", "/"))]
        words = [os.path.join(self._folder, "blktrace." + name) for name in ("out", "err")]
        self._helper = HelperProcess(argv, self._context.journal, stdout=words[0], stderr=words[1], cwd=self._folder)
        deadline = time.monotonic() + _START_SECONDS
        # It makes its files once the kernel has given it the buffers, and tells the kernel to start right after.
        while self._files() < len(disks) * os.sysconf("SC_NPROCESSORS_ONLN"):
            if not self._helper.alive() or time.monotonic() > deadline:
                raise OSError(errno.EPERM, "blktrace does not work here: {}".format(self._last_words(words[1])))
            time.sleep(0.01)
        self._trace_tasks()

    def _trace_tasks(self) -> None:
        """blktrace tells threads but not whose they are."""
        try:
            self._tasks = TraceInstance.acquire(self._context)
            self._tasks.begin()
        except OSError:  # then the run's are those that were seen alive
            self._release()

    def _release(self) -> None:
        if self._tasks is not None:
            self._tasks.release()
            self._tasks = None

    def _undo_trace(self, switch: str) -> None:
        """Killed, the tool leaves the kernel tracing for nobody; writing 0 here ends that."""
        if read_word(switch) not in ("0", None):
            raise OSError(errno.EBUSY, "another blktrace traces {}".format(switch.split(os.sep)[-3]))

        def end() -> None:
            if read_word(switch) == "1":
                write(switch, b"0")

        self._undo.add("write", end, path=switch, old="0")

    def _last_words(self, path: str) -> str:
        lines = (read_word(path) or "").splitlines()
        return lines[0] if lines else "it said nothing"

    def _debugfs(self) -> str:
        path = os.path.join(self._context.roots.sys, "kernel", "debug")
        if os.path.isdir(os.path.join(path, "block")) or os.path.ismount(path):
            return path
        return mount("debugfs", self._undo)

    def sample(self, now_ns: int) -> None:
        """Once a second, see that the tool keeps within the budget; it has no way to pause, so it is ended."""
        if self._tasks is not None:
            self._tasks.drain(now_ns)
        if now_ns < self._check_due or self._helper is None or self._note:
            return
        self._check_due = now_ns + _CHECK_NS
        if not self._helper.alive():
            self._note = "blktrace ended early: {}".format(self._last_words(os.path.join(self._folder, "blktrace.err")))
            return
        seconds = time.monotonic() - self._began
        if self._bytes() > self._context.budget_bytes * (seconds + 2.0):
            self._helper.stop()
            self._note = "blktrace was ended after {:.0f} s, since it wrote more than the budget allows".format(seconds)

    def _files(self) -> int:
        return sum(".blktrace." in name for name in os.listdir(self._folder))

    def _bytes(self) -> int:
        with os.scandir(self._folder) as entries:
            return sum(entry.stat().st_size for entry in entries if ".blktrace." in entry.name)

    def stop(self) -> Status:
        """End the tool and put everything back."""
        details: Dict[str, Any] = {}
        dropped: Optional[int] = None
        notes = [self._note] if self._note else []
        if self._helper is not None:
            self._helper.stop()
            details = {"cpu_seconds": self._helper.cpu_seconds, "pid": self._helper.pid}
            told = re.findall(r"dropped (\d+)", read_word(os.path.join(self._folder, "blktrace.out")) or "")
            dropped = int(told[-1]) if told else None
        notes.extend(self._close())
        size = self._bytes()
        details["dropped"] = dropped
        mode = "reduced" if self._note else "full"
        return Status(size // _RECORD_BYTES, size, dropped, mode, tuple(notes), details)

    def _close(self) -> List[str]:
        if self._helper is not None:
            self._helper.stop()
            self._helper = None
        self._release()
        return self._undo.all()
