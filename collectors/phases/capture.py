"""Capture half of ``phases``: tells the run's processes where to record, and tidies up after them.

The records are written by the processes themselves (see recorder.py); nothing runs here
while the workload does.
"""

import os
import struct
from typing import Dict, List, Optional, Tuple

from edgeprof.collectors.base import Collector, Probe, Status

_HEADER = struct.Struct("<8sIIIIQQQQ8x")  # recorder.HEADER
_MAGIC = b"EDGPHASE"
_RECORD_BYTES = 64
_INJECTED = ("inject/sitecustomize.py", "recorder.py", "facts.py", "tracker.py", "loading.py", "pytorch.py")
_NOT_LOADED = (
    "no Python of the run loaded edgeprof's hooks: python -I, -E and -S ignore PYTHONPATH, and so does a program "
    "that sets PYTHONPATH itself; mark phases in the program with edgeprof.phase() instead"
)
_NO_TORCH = (
    "no PyTorch training or inference was seen: --auto instruments programs that import torch; "
    "mark phases in others with edgeprof.phase()"
)


class Phases(Collector):
    """Phases, steps and marks of the user's program.

    Options: ``auto`` (bool) instruments unmodified PyTorch programs through a ``sitecustomize`` on PYTHONPATH.
    """

    name = "phases"
    interval = 3600.0  # nothing to sample

    def probe(self) -> Probe:
        """Always available: the program itself records."""
        return Probe(True, details={"auto": bool(self.context.options.get("auto"))})

    def environment(self) -> Dict[str, str]:
        """Where to record; with ``auto``, also what makes every Python of the run load the hooks."""
        folder = os.path.abspath(self.context.raw)
        variables = {"EDGEPROF_PHASES": folder, "EDGEPROF_PHASES_BUDGET": repr(float(self.context.budget_bytes))}
        if self.context.options.get("auto"):
            before = os.environ.get("PYTHONPATH")
            inject = _inject_folder(folder)
            variables["PYTHONPATH"] = inject + os.pathsep + before if before else inject
            variables["EDGEPROF_AUTO"] = "1"
        return variables

    def start(self) -> None:
        """Let processes of other users (containers, sudo) record too: sticky, like /tmp."""
        if os.geteuid() == 0:
            os.chmod(self.context.raw, 0o1777)  # noqa: S103

    def stop(self) -> Status:
        """Count what was recorded, and give back the space that files of ended processes had in reserve."""
        records = size = lost = running = 0
        empty: List[str] = []
        for path in _files(self.context.raw, ".bin"):
            try:
                used, missing, alive = tidy(path, self.context.roots.proc)
            except OSError:
                continue
            if used < _RECORD_BYTES:
                empty.append(os.path.basename(path))
            records += max(used // _RECORD_BYTES - 1, 0)
            size += used
            lost += missing
            running += alive
        if os.geteuid() == 0 and os.path.isdir(self.context.raw):
            os.chmod(self.context.raw, 0o755)  # noqa: S103
        pythons = len(_files(self.context.raw, ".python"))
        notes = self._notes(records, lost, pythons, empty)
        details = {"pythons": pythons, "still_recording": running}
        return Status(records, size, lost, "full", tuple(notes), details)

    def _notes(self, records: int, lost: int, pythons: int, empty: List[str]) -> List[str]:
        notes = []
        if self.context.options.get("auto") and not records:
            notes.append(_NO_TORCH if pythons else _NOT_LOADED)
        if lost:
            notes.append("%d phase records were lost: the disk was full or the budget of raw data was spent" % lost)
        if empty:
            notes.append("%s could not be written: was the disk full?" % ", ".join(empty[:3]))
        for path in _files(self.context.raw, "-error.txt")[:8]:
            try:
                with open(path, errors="replace", opener=_no_follow) as file:
                    notes.extend("--auto: " + line.strip() for line in file.read(2000).splitlines()[:4])
            except OSError:
                continue
        return notes


def tidy(path: str, proc: str = "/proc") -> Tuple[int, int, bool]:
    """Cut a record file to what is used of it, unless its process still runs.

    Returns:
        Bytes used, records lost, whether the process still runs.

    Raises:
        OSError: the file cannot be read.
    """
    # the run's programs may put anything here: follow no link, wait for no pipe
    file = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        head = os.pread(file, _HEADER.size, 0)
        if len(head) < _HEADER.size or not head.startswith(_MAGIC):
            return 0, 0, False
        _, _, _, pid, _, _, ticks, lost, _ = _HEADER.unpack(head)
        used = used_bytes(file, os.fstat(file).st_size)
        alive = ticks != 0 and _started(proc, pid) == ticks
        if not alive:
            os.ftruncate(file, used)
    finally:
        os.close(file)
    return used, min(lost, 1 << 53), alive


def _no_follow(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK)


def used_bytes(file: int, size: int) -> int:
    """Length up to the last record written: what follows it was reserved and is zero."""
    window = 1 << 20
    end = size
    while end > 0:
        begin = max(end - window, 0)
        block = os.pread(file, end - begin, begin).rstrip(b"\0")
        if block:
            return min(-(-(begin + len(block)) // _RECORD_BYTES) * _RECORD_BYTES, size)
        end = begin
    return 0


def _started(proc: str, pid: int) -> Optional[int]:
    """When a process started, in clock ticks since boot (field 22 of /proc/PID/stat, proc(5)); None: it is gone."""
    try:
        with open("%s/%d/stat" % (proc, pid), "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
        return None if fields[0] in (b"Z", b"X") else int(fields[19])
    except (OSError, ValueError, IndexError):
        return None


def _files(folder: str, ending: str) -> List[str]:
    try:
        return sorted(os.path.join(folder, name) for name in os.listdir(folder) if name.endswith(ending))
    except OSError:
        return []


def _inject_folder(raw: str) -> str:
    """The folder with ``sitecustomize.py``; unpacked beside the records when edgeprof runs from a zip file."""
    here = os.path.dirname(os.path.abspath(__file__))
    if os.path.isfile(os.path.join(here, _INJECTED[0])):
        return os.path.join(here, "inject")
    import pkgutil

    for name in _INJECTED:
        content = pkgutil.get_data(__name__.rpartition(".")[0], name)
        path = os.path.join(raw, "hooks", name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(content or b"")
    return os.path.join(raw, "hooks", "inject")


COLLECTOR = Phases
