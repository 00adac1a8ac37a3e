"""A run's reservation of the whole machine, so that no two runs of edgeprof disturb each other.

It is a lock (flock(2)) on one file that all users share; who holds it stands in the file.  The kernel gives the lock
back when its holder ends, however that happens: only the lock counts, and the text of one that has gone is nothing.
"""

import errno
import fcntl
import json
import os
import signal
import stat
import time
from typing import Any, Dict, NamedTuple, Optional

from edgeprof.profiler.agent.remote_protocol import Refused

RESERVED = 124
"""Exit code: another run has reserved the machine."""

PATIENCE = 0.25
"""Seconds that a reservation waits at least: one who looks holds the lock for a moment."""

_TEXT_BYTES = 4096
_REOPENED = 100
_AGAIN = 0.2  # seconds between alarms: one that comes just before the system call is lost


class Holder(NamedTuple):
    """Who has reserved the machine; what is not known is None."""

    held: bool
    owner: Optional[str] = None
    job: Optional[str] = None
    since: Optional[str] = None

    def to_dict(self) -> Dict[str, Any]:
        """As plain JSON values."""
        return dict(self._asdict())


def lock_file() -> str:
    """The file that all users of a machine lock: in /run/lock where all may write there, else in /tmp.

    ``EDGEPROF_BOARD_LOCKS`` names another folder; those who set it to different ones do not hear of each other.
    """
    chosen = os.environ.get("EDGEPROF_BOARD_LOCKS")
    if chosen:
        return os.path.join(chosen, "edgeprof.lock")
    try:
        everyones = os.stat("/run/lock").st_mode & (stat.S_ISVTX | stat.S_IWOTH) == stat.S_ISVTX | stat.S_IWOTH
    except OSError:
        everyones = False
    return "/run/lock/edgeprof.lock" if everyones else "/tmp/edgeprof.lock"  # noqa: S108  (opened with care)


class Reservation:
    """The machine, reserved from now until ``release`` or this process's end; programs it starts do not inherit it.

    Args:
        owner: who reserves it, such as ``user@desk``.
        job: what for.
        wait: seconds to wait for one who has it already.
        path: the file to lock.

    Raises:
        Refused: another one holds it, or the lock file is not what it should be.
    """

    def __init__(self, owner: str, job: str, wait: float = 0.0, path: Optional[str] = None) -> None:
        self.path = path or lock_file()
        deadline = time.monotonic() + max(wait, PATIENCE)
        for _ in range(_REOPENED):
            self._file = _open(self.path, create=True)
            try:
                if not lock_within(self._file, deadline - time.monotonic()):
                    raise Refused(_held_by(holder(self.path)), RESERVED)
                same = _is_still(self._file, self.path)
            except BaseException:
                os.close(self._file)
                raise
            if same:
                break
            os.close(self._file)  # the file was removed meanwhile, and others lock the new one
        else:
            raise Refused("the machine cannot be reserved: somebody keeps removing {}".format(self.path), RESERVED)
        since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        self._write(json.dumps({"owner": owner[:200], "job": job[:200], "since": since}).encode())

    def release(self) -> None:
        """Give the machine back."""
        if self._file >= 0:
            self._write(b"")
            os.close(self._file)
            self._file = -1

    def _write(self, text: bytes) -> None:
        try:
            os.ftruncate(self._file, 0)
            os.pwrite(self._file, text, 0)
        except OSError:  # the lock counts; without the text nobody knows whose it is
            pass


def holder(path: Optional[str] = None) -> Holder:
    """Who has reserved this machine.  Raises Refused where that cannot be told."""
    try:
        file = _open(path or lock_file(), create=False)
    except FileNotFoundError:
        return Holder(False)
    try:
        if _lock(file, fcntl.LOCK_SH | fcntl.LOCK_NB):
            return Holder(False)
        return _read(os.pread(file, _TEXT_BYTES, 0))
    finally:
        os.close(file)


def lock_within(file: int, seconds: float, how: int = fcntl.LOCK_EX) -> bool:
    """Take a lock within so many seconds, asleep meanwhile; whether it was had.  For a process's main thread."""
    if _lock(file, how | fcntl.LOCK_NB):
        return True
    if seconds <= 0:
        return False

    def too_late(number: int, frame: object) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)
        raise TimeoutError

    handler, timer = signal.signal(signal.SIGALRM, too_late), signal.getitimer(signal.ITIMER_REAL)
    try:
        signal.setitimer(signal.ITIMER_REAL, seconds, _AGAIN)
        fcntl.flock(file, how)
        signal.setitimer(signal.ITIMER_REAL, 0)
        return True
    except TimeoutError:
        return _lock(file, how | fcntl.LOCK_NB)  # the last alarm may have come just after the lock
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, *timer)


def _lock(file: int, how: int) -> bool:
    try:
        fcntl.flock(file, how)
    except BlockingIOError:
        return False
    return True


def _open(path: str, create: bool) -> int:
    """Open the lock file, and nothing that another user may have put in its place."""
    flags = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        file = _open_or_create(path, flags) if create else os.open(path, os.O_RDONLY | flags)
    except FileNotFoundError:
        raise
    except OSError as error:
        why = "it is a link" if error.errno == errno.ELOOP else error.strerror
        raise Refused("the machine cannot be reserved: {} ({}); remove it".format(path, why)) from None
    facts = os.fstat(file)
    if not stat.S_ISREG(facts.st_mode) or facts.st_nlink > 1:
        os.close(file)
        raise Refused("the machine cannot be reserved: {} is not edgeprof's lock file; remove it".format(path))
    return file


def _open_or_create(path: str, flags: int) -> int:
    for _ in range(5):
        # Not O_CREAT alone: fs.protected_regular forbids it for another's file in a folder such as /tmp.
        try:
            return os.open(path, os.O_RDWR | flags)
        except FileNotFoundError:
            pass
        except PermissionError:  # another user's file that he keeps to himself can be locked all the same
            return os.open(path, os.O_RDONLY | flags)
        try:
            file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | flags, 0o666)
        except FileExistsError:
            continue
        os.fchmod(file, 0o666)  # whatever the umask: the lock is everyone's
        return file
    raise OSError(errno.EBUSY, "it comes and goes")


def _is_still(file: int, path: str) -> bool:
    try:
        there = os.lstat(path)
    except OSError:
        return False
    here = os.fstat(file)
    return (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino)


def _read(text: bytes) -> Holder:
    """Whoever may write the file, may write anything."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return Holder(True)
    if not isinstance(found, dict):
        return Holder(True)
    return Holder(True, *(_clean(found.get(name)) for name in ("owner", "job", "since")))


def _clean(value: Any) -> Optional[str]:
    if not isinstance(value, str) or not value:
        return None
    return "".join(char if char.isprintable() else "?" for char in value[:200])


def _held_by(found: Holder) -> str:
    whose = "{} has it".format(found.owner) if found.owner else "it is not known who has it"
    since = " since {}".format(found.since) if found.since else ""
    job = " for {}".format(found.job) if found.job else ""
    return "the machine is reserved for another run: {}{}{}; try again later, or wait longer".format(whose, since, job)
