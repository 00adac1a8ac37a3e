"""A job on a board: one capture under way, or over, in a folder of its own below ``HOME/jobs``.

``spec.json``, ``state.json``, ``lock``, ``stdout``, ``stderr`` and ``capture/`` lie there.  The job's process holds the
lock as long as it lives; whoever waits for the job waits for the lock, and a job that calls itself running while nobody
holds its lock was interrupted.
"""

import errno
import fcntl
import json
import os
import shutil
import signal
from typing import Any, Dict, List, Optional

from edgeprof.profiler.agent import journal
from edgeprof.profiler.agent.remote_protocol import PROTOCOL, Refused, checked_name, home, private_folder
from edgeprof.profiler.agent.undo import same_process

STARTING, RUNNING, ENDED, FAILED, INTERRUPTED = "starting", "running", "ended", "failed", "interrupted"
"""States; the last one is never written, but found."""

SIGNALS = ("HUP", "INT", "QUIT", "KILL", "USR1", "USR2", "TERM")
"""What may be sent to a job: KILL, and what `capture` passes on."""

STATE_BYTES = 8192
"""A state's file always has this size, so that on a full disk it can be written over in its place."""

_STATE_FIELDS: Dict[str, Any] = {
    "state": STARTING,
    "capture": None,
    "exit_code": None,
    "signal": None,
    "error": None,
    "owner": None,
    "started": None,
    "boot_id": "",
    "pid": 0,
    "start_time": 0,
    "cwd": None,
    "notes": [],
}


class Job:
    """A job by its name.  Raises Refused where the name is none; whether there is such a job, its methods find out."""

    def __init__(self, name: str) -> None:
        self.name = checked_name(name, "job")
        self.folder = os.path.join(home(), "jobs", self.name)
        self.captures = os.path.join(self.folder, "capture")

    def wait(self) -> Dict[str, Any]:
        """Block until the job is over, without a timer; then its state.  Raises Refused, OSError."""
        lock = self.open_lock()
        try:
            fcntl.flock(lock, fcntl.LOCK_SH)
        finally:
            os.close(lock)
        return self.told()

    def under_way(self) -> bool:
        """Whether its process lives.  Raises Refused, OSError."""
        lock = self.open_lock()
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(lock)
        return False

    def told(self) -> Dict[str, Any]:
        """Its state, as it is told to the desk.  Raises Refused, OSError."""
        alive = self.under_way()  # first: what is written when nobody holds the lock is final
        state = self.read_state()
        if not alive and state["state"] in (STARTING, RUNNING):
            rebooted = state["boot_id"] != journal.boot_id()
            state["state"] = INTERRUPTED
            state["error"] = "the board was started anew" if rebooted else "the agent on the board was killed"
        if state["capture"] is None:
            state["capture"] = self.capture()
        return dict(state, protocol=PROTOCOL, job=self.name)

    def capture(self) -> Optional[str]:
        """The name of its capture directory; None: there is none (yet)."""
        try:
            return next((name for name in sorted(os.listdir(self.captures)) if not name.startswith(".")), None)
        except OSError:
            return None

    def signal(self, name: str) -> None:
        """Send a signal to the job's process, which passes it to the workload; KILL is for the workload itself.

        Raises:
            Refused: there is no such job or signal, or the job is over.
        """
        if name not in SIGNALS:
            raise Refused("{!r:.40} cannot be sent; there are: {}".format(name, ", ".join(SIGNALS)))
        number = getattr(signal, "SIG" + name)
        if not self.under_way():
            raise Refused("the job {} is over".format(self.name))
        state = self.read_state()
        target = {"pid": state["pid"], "start_time": state["start_time"]}
        if number == signal.SIGKILL:  # the agent itself must live to write the capture down
            target = _workload_of(state["pid"]) or target
        try:
            if not same_process(target["pid"], target["start_time"]):
                raise ProcessLookupError
            os.kill(target["pid"], number)
        except ProcessLookupError:
            raise Refused("the job {} is over".format(self.name)) from None

    def forget(self) -> None:
        """Remove the job and its capture.  Raises Refused while it goes on, OSError."""
        if self.under_way():
            raise Refused("the job {} goes on; end it first".format(self.name))
        doomed = os.path.join(os.path.dirname(self.folder), ".forgotten-" + self.name)
        shutil.rmtree(doomed, ignore_errors=True)
        os.rename(self.folder, doomed)
        shutil.rmtree(doomed)

    def read_state(self) -> Dict[str, Any]:
        """What the job's process wrote last.  Raises Refused where it is missing or damaged."""
        path = os.path.join(self.folder, "state.json")
        try:
            with open(path, "rb") as file:
                found = json.loads(file.read(STATE_BYTES * 2))
        except FileNotFoundError:
            raise Refused("there is no job {} on this board".format(self.name)) from None
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict) or not _right_kinds(found):
            raise Refused("{} is damaged; `forget` the job".format(path))
        return {name: found[name] for name in _STATE_FIELDS}

    def write_state(self, **values: Any) -> Dict[str, Any]:
        """Write a state; fields that are not given are as they are without a job.  Atomic, but on a full disk.

        Raises:
            OSError: neither a new file nor the old one can be written.
        """
        state = dict(_STATE_FIELDS, **values)
        text = json.dumps(state).encode()
        if len(text) > STATE_BYTES:
            state["notes"] = []
            text = json.dumps(state).encode()
        text = text.ljust(STATE_BYTES - 1) + b"\n"
        path = os.path.join(self.folder, "state.json")
        try:
            _replace(path, text)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT) or not os.path.exists(path):
                raise
            with open(path, "r+b", buffering=0) as file:
                file.write(text)
                os.fsync(file.fileno())
        return state

    def take_lock(self) -> int:
        """Make the lock's file and hold it; programs that are started do not inherit it.  Raises OSError."""
        lock = os.open(os.path.join(self.folder, "lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return lock

    def open_lock(self) -> int:
        """The lock's file, to wait for it; the caller closes it.  Raises Refused where there is no such job."""
        try:
            return os.open(os.path.join(self.folder, "lock"), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            raise Refused("there is no job {} on this board".format(self.name)) from None


def all_jobs() -> List[Job]:
    """All jobs that are kept here, oldest first."""
    folder = private_folder("jobs")
    found = []
    for entry in os.scandir(folder):
        if entry.name.startswith(".") or not entry.is_dir(follow_symlinks=False):
            continue
        try:
            found.append((entry.stat(follow_symlinks=False).st_mtime_ns, Job(entry.name)))
        except (OSError, Refused):
            continue
    return [job for _, job in sorted(found, key=lambda item: (item[0], item[1].name))]


def _workload_of(agent: int) -> Optional[Dict[str, int]]:
    """Process id and start time of the workload of an agent, from its undo journal."""
    folder = journal.state_folder()
    for name in os.listdir(folder):
        if not name.endswith(".journal"):
            continue
        try:
            saved = journal.read_journal(os.path.join(folder, name))
        except OSError:
            continue
        if saved is not None and saved.owner == agent and saved.boot_id == journal.boot_id():
            for entry in saved.entries:
                if entry["kind"] == "workload":
                    return {"pid": int(entry["pid"]), "start_time": int(entry["start_time"])}
    return None


def _replace(path: str, text: bytes) -> None:
    temporary = path + ".tmp"
    try:
        with open(temporary, "wb") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError:
        try:
            os.unlink(temporary)
        except OSError:
            pass
        raise


def _right_kinds(found: Dict[str, Any]) -> bool:
    return all(
        name in found and (default is None or type(found[name]) is type(default))
        for name, default in _STATE_FIELDS.items()
    )
