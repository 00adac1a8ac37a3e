"""Undoes what a journal says, newest first; every step may be repeated, and a thing already gone is undone."""

import ctypes
import errno
import os
import shutil
import signal
import time
from typing import Any, Callable, Dict, Iterable, List, NamedTuple, Tuple

from edgeprof.collectors.helper import start_time
from edgeprof.collectors.sysfs import put
from edgeprof.profiler.agent import journal
from edgeprof.profiler.agent.undo_read_ahead import undo_read_ahead
from edgeprof.profiler.agent.undo_storage import undo_file, undo_loop, undo_swap, undo_zram, users_of

_PATIENCE = 2.0
"""Seconds that a busy tracefs instance, cgroup or file system is given to become free."""

_UMOUNT_NOFOLLOW = 8  # linux/fs.h


class Cleaned(NamedTuple):
    """What ``clean`` did: a sentence for each thing undone, each that failed, and each run it left alone."""

    undone: List[str]
    failed: List[str]
    running: List[str]


def same_process(pid: int, started: int) -> bool:
    """Whether process ``pid`` lives and is the one that started at tick ``started``; a zombie does not live."""
    try:
        return start_time(pid) == started and not _zombie(pid)
    except (OSError, ValueError, IndexError):
        return False


def being_captured(saved: journal.SavedJournal) -> bool:
    """Whether the edgeprof that keeps a journal still lives."""
    return saved.boot_id == journal.boot_id() and same_process(saved.owner, saved.owner_start)


def undo(entry: Dict[str, Any]) -> str:
    """Undo one journal entry and say what was done.  Raises OSError when it could not be."""
    handler = _HANDLERS.get(entry["kind"])
    if handler is None:
        raise OSError(errno.EINVAL, "this edgeprof does not know how to undo {!r}".format(entry["kind"]))
    try:
        return handler(entry)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise OSError(errno.EINVAL, "damaged journal entry: {!r}".format(error)) from None


def undo_all(entries: Iterable[Dict[str, Any]]) -> Tuple[List[str], List[Tuple[Dict[str, Any], str]]]:
    """Undo entries, newest first; returns sentences for what was done, and (entry, sentence) for what failed."""
    undone, failed = [], []
    for entry in sorted(entries, key=lambda item: -int(item["n"])):
        try:
            sentence = undo(entry)
            if sentence:
                undone.append(sentence)
        except OSError as error:
            failed.append((entry, "could not undo {}: {}".format(_describe(entry), error.strerror or error)))
    return undone, failed


def clean(folder: str, kill: bool = False, below: str = "") -> Cleaned:
    """Undo what interrupted runs left behind.

    A run whose edgeprof still lives is left alone.  A workload that outlived its edgeprof goes on outside
    the run's cgroup, or is killed when ``kill`` is set.  With ``below``, only runs whose captures lie there.
    """
    undone: List[str] = []
    failed: List[str] = []
    running: List[str] = []
    for name in sorted(os.listdir(folder)):
        if _abandoned(name):
            _unlink(os.path.join(folder, name))
        if not name.endswith(".journal"):
            continue
        path = os.path.join(folder, name)
        try:
            saved = journal.read_journal(path)
        except FileNotFoundError:
            continue  # its run has ended since
        except OSError as error:
            failed.append("cannot read the undo journal {}: {}".format(path, error.strerror or error))
            continue
        if below and not (saved is not None and _is_below(saved.capture, below)):
            continue
        if saved is not None and being_captured(saved):
            running.append("{} belongs to process {}, which still runs".format(saved.capture, saved.owner))
            continue
        problems: List[Tuple[Dict[str, Any], str]] = []
        if saved is not None:
            this_boot = saved.boot_id == journal.boot_id()  # another boot has undone all but what is kept on disk
            entries = [dict(entry, kill=True) if kill else entry for entry in saved.entries]
            entries = [entry for entry in entries if this_boot or entry["kind"] in _KEPT_OVER_REBOOT]
            alive = _going_on(entries)
            if alive:
                running.extend(alive)
                continue
            done, problems = undo_all(entries)
            undone.extend(done)
            failed.extend(sentence for _, sentence in problems)
        if not problems:
            _unlink(path)
    return Cleaned(undone, failed, running)


def clean_all(kill: bool = False, below: str = "") -> Cleaned:
    """As `clean`, in all folders with journals of this user.  Raises OSError."""
    undone: List[str] = []
    failed: List[str] = []
    running: List[str] = []
    for folder in journal.folders():
        found = clean(folder, kill, below)
        undone += found.undone
        failed += found.failed
        running += found.running
    return Cleaned(undone, failed, running)


def _going_on(entries: List[Dict[str, Any]]) -> List[str]:
    """A sentence for each container that runs undisturbed; its journal, with its volume, is kept for later."""
    containers = [entry for entry in entries if entry["kind"] == "container"]
    if not containers:
        return []
    from edgeprof.profiler.agent.undo_container import goes_on

    sentences = []
    for entry in containers:
        try:
            sentences.append(goes_on(entry))
        except (OSError, KeyError, TypeError, ValueError):
            continue  # the attempt to undo it will tell
    return [sentence for sentence in sentences if sentence]


def _is_below(path: str, folder: str) -> bool:
    return os.path.realpath(path).startswith(os.path.join(os.path.realpath(folder), ""))


def _abandoned(name: str) -> bool:
    """Whether this is a journal whose edgeprof died before it had begun it: its name tells the process."""
    pid, dash, started = name[: -len(".tmp")].rpartition(".")[2].partition("-")
    known = name.endswith(".tmp") and dash and pid.isdecimal() and started.isdecimal()
    return bool(known) and not same_process(int(pid), int(started))


def _unlink(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass  # another edgeprof cleaned up at the same time


def _describe(entry: Dict[str, Any]) -> str:
    names = (entry.get(key) for key in ("path", "target", "pid", "name"))
    return "{} {}".format(entry["kind"], next(filter(None, names), "")).strip()


def _tracefs_instance(entry: Dict[str, Any]) -> str:
    path = entry["path"]
    if os.path.isdir(path):
        try:
            put(os.path.join(path, "tracing_on"), "0")
        except OSError:
            pass  # removing it ends tracing too
        _rmdir_patiently(path)
    return "removed tracing instance {}".format(path)


def _cgroup(entry: Dict[str, Any]) -> str:
    path, home = entry["path"], entry.get("home") or os.path.dirname(entry["path"])
    moved = 0
    for folder, _, _ in os.walk(path, topdown=False):
        deadline = time.monotonic() + _PATIENCE
        while os.path.isdir(folder):
            for pid in _members(folder):
                if entry.get("kill"):
                    _signal(pid, signal.SIGKILL)
                else:
                    moved += _move(pid, home)
            try:
                os.rmdir(folder)
            except OSError as error:
                if error.errno not in (errno.EBUSY, errno.ENOENT) or time.monotonic() > deadline:
                    raise
                time.sleep(0.01)
    suffix = "; {} of its processes go on in {}".format(moved, home) if moved else ""
    return "removed cgroup {}{}".format(path, suffix)


def _process(entry: Dict[str, Any]) -> str:
    pid = int(entry["pid"])
    if not _end(pid, int(entry["start_time"]), signal.SIGTERM):
        return ""  # it died with its edgeprof
    return "ended helper process {}".format(pid)


def _end(pid: int, started: int, number: int) -> bool:
    """End a process, by SIGKILL where the first signal does not do; False when it was gone already."""
    begun = time.monotonic()
    found = False
    while same_process(pid, started):
        found = True
        elapsed = time.monotonic() - begun
        if elapsed > 2 * _PATIENCE:
            raise OSError(errno.EBUSY, "process {} does not end, even by SIGKILL".format(pid))
        _signal(pid, signal.SIGKILL if elapsed > _PATIENCE else number)
        time.sleep(0.01)
    return found


def _workload(entry: Dict[str, Any]) -> str:
    """The run's first process: it goes on, unless killing was asked for."""
    pid, started = int(entry["pid"]), int(entry["start_time"])
    if not entry.get("kill") or not same_process(pid, started):
        return ""
    for member in descendants(pid):  # the first process first: it must not see its children die, and go on
        _signal(member, signal.SIGKILL)
    _end(pid, started, signal.SIGKILL)
    return "killed the workload {}".format(pid)


def descendants(root: int, proc: str = "/proc") -> List[int]:
    """``root`` and all its living descendants, by /proc/PID/task/TID/children (proc(5))."""
    found, pending = [], [root]
    while pending:
        pid = pending.pop()
        found.append(pid)
        try:
            for thread in os.listdir("{}/{}/task".format(proc, pid)):
                with open("{}/{}/task/{}/children".format(proc, pid, thread)) as file:
                    pending.extend(int(child) for child in file.read().split())
        except (OSError, ValueError):
            continue
    return found


def _controllers(entry: Dict[str, Any]) -> str:
    """Controllers switched on in a v2 folder; left on while another run's cgroup there may need them."""
    folder = entry["path"]
    if not os.path.isdir(folder):
        return ""
    for item in os.scandir(folder):
        if item.name.startswith("edgeprof-") and not item.name.endswith("-agent"):
            return ""
    wanted = " ".join("-" + name for name in entry["names"])
    put(os.path.join(folder, "cgroup.subtree_control"), wanted)
    return "switched controllers {} off in {}".format(", ".join(entry["names"]), folder)


def _write_back(entry: Dict[str, Any]) -> str:
    if os.path.exists(entry["path"]):
        put(entry["path"], entry["old"])
    return "restored {}".format(entry["path"])


def _mount(entry: Dict[str, Any]) -> str:
    libc = ctypes.CDLL(None, use_errno=True)
    deadline = time.monotonic() + _PATIENCE
    while libc.umount2(os.fsencode(entry["target"]), _UMOUNT_NOFOLLOW) != 0:
        number = ctypes.get_errno()
        if number in (errno.EINVAL, errno.ENOENT):  # EINVAL: it is not a mount point (any more)
            break
        if number != errno.EBUSY or time.monotonic() > deadline:
            raise OSError(number, os.strerror(number) + users_of(entry["target"]))
        time.sleep(0.05)
    return "unmounted {}".format(entry["target"])


def _container(entry: Dict[str, Any]) -> str:
    # Imported here: speaking HTTP takes a third of the time and memory of all that a run without containers imports.
    from edgeprof.profiler.agent.undo_container import undo_container

    return undo_container(entry)


def _volume(entry: Dict[str, Any]) -> str:
    from edgeprof.profiler.agent.undo_container import undo_volume

    return undo_volume(entry)


def _scratch(entry: Dict[str, Any]) -> str:
    """A folder of edgeprof's own with all that is in it; its name says so."""
    path = entry["path"]
    if not os.path.basename(path).startswith(".edgeprof-"):
        raise ValueError(path)
    if not os.path.isdir(path):
        return ""
    shutil.rmtree(path)
    return "removed {}".format(path)


def _power_mode(entry: Dict[str, Any]) -> str:
    from edgeprof.profiler.agent import nvpmodel

    return nvpmodel.undo(entry)


_HANDLERS: Dict[str, Callable[[Dict[str, Any]], str]] = {
    "tracefs_instance": _tracefs_instance,
    "cgroup": _cgroup,
    "controllers": _controllers,
    "process": _process,
    "workload": _workload,
    "write": _write_back,
    "read_ahead": undo_read_ahead,
    "mount": _mount,
    "loop": undo_loop,
    "file": undo_file,
    "scratch": _scratch,
    "swap": undo_swap,
    "zram": undo_zram,
    "container": _container,
    "volume": _volume,
    "power_mode": _power_mode,
}
_KEPT_BY_ENGINE = ("container", "volume")
_KEPT_OVER_REBOOT = (*_KEPT_BY_ENGINE, "file", "power_mode")


def _members(folder: str) -> List[int]:
    try:
        with open(os.path.join(folder, "cgroup.procs")) as file:
            return [pid for pid in map(int, file) if pid > 0]  # 0: a process of another PID namespace
    except (OSError, ValueError):
        return []


def _move(pid: int, home: str) -> int:
    try:
        put(os.path.join(home, "cgroup.procs"), str(pid))
    except ProcessLookupError:
        return 0
    return 1


def _signal(pid: int, number: int) -> None:
    """Send a signal to one process; 0 and -1, which mean many, name none."""
    if pid <= 1:
        raise ValueError("no process has the number {}".format(pid))
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass


def _zombie(pid: int) -> bool:
    """A zombie is gone in all but name: only its parent can reap it."""
    try:
        with open("/proc/{}/stat".format(pid), "rb") as file:
            stat = file.read()
    except OSError:
        return True
    return stat[stat.rindex(b")") + 2 : stat.rindex(b")") + 3] == b"Z"


def _rmdir_patiently(path: str) -> None:
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            os.rmdir(path)
            return
        except FileNotFoundError:
            return
        except OSError as error:
            if error.errno != errno.EBUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.02)
