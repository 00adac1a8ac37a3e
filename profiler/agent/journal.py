"""The undo journal: what edgeprof changes on a machine is written here before it is changed.

One file a run, JSON lines, in a state folder that lives as long as the changes do: /run for root,
the user's runtime folder otherwise.  The first line names the owner; ``{"done": n}`` strikes entry n out.
"""

import errno
import json
import os
import stat
from typing import Any, Dict, List, NamedTuple, Optional

from edgeprof.collectors.helper import start_time

LASTING = "/var/lib/edgeprof"
"""Root's journals of what a reboot does not undo."""


def state_folder() -> str:
    """Where journals are kept; ``EDGEPROF_STATE`` overrides it.  Created on first use, for this user only.

    Raises:
        OSError: of the first choice, when none of the places can be used.
    """
    problem: Optional[OSError] = None
    for folder in _state_folders():
        try:
            return _checked(folder)
        except OSError as error:
            problem = problem or error
    assert problem is not None
    raise problem


def _checked(folder: str) -> str:
    os.makedirs(folder, mode=0o700, exist_ok=True)
    facts = os.lstat(folder)
    # Undoing is done with this user's rights: entries may only be written by this user.
    if not stat.S_ISDIR(facts.st_mode) or facts.st_uid != os.geteuid() or facts.st_mode & stat.S_IWOTH:
        raise PermissionError(errno.EPERM, "it can be changed by others", folder)
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), folder)
    return folder


def lasting_folder() -> str:
    """Where journals of changes that outlive a reboot are kept: only root can make such.

    Raises:
        OSError: see `state_folder`.
    """
    if os.geteuid() != 0 or os.environ.get("EDGEPROF_STATE"):
        return state_folder()
    return _checked(LASTING)


def folders() -> List[str]:
    """All folders with journals of this user.

    Raises:
        OSError: see `state_folder`.
    """
    first = state_folder()
    if os.geteuid() != 0 or os.environ.get("EDGEPROF_STATE") or not os.path.isdir(LASTING):
        return [first]
    return [first, lasting_folder()]


def _state_folders() -> List[str]:
    chosen = os.environ.get("EDGEPROF_STATE")
    if chosen:
        return [chosen]
    if os.geteuid() == 0:
        return ["/run/edgeprof"]
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    folders = [os.path.join(runtime, "edgeprof")] if runtime else []
    folders.append(os.path.join(os.path.expanduser("~"), ".local", "state", "edgeprof"))
    folders.append("/tmp/edgeprof-{}".format(os.geteuid()))  # noqa: S108  (checked above: a user without a home)
    return folders


def boot_id(proc: str = "/proc") -> str:
    """The kernel's name for this boot; empty when it cannot be read."""
    try:
        with open(proc + "/sys/kernel/random/boot_id") as file:
            return file.read().strip()
    except OSError:
        return ""


class UndoJournal:
    """The journal of one run, open for writing.

    Raises:
        OSError: the state folder cannot be written; then nothing may be changed.
    """

    def __init__(self, folder: str, run_id: str, capture: str) -> None:
        self.path = os.path.join(folder, run_id + ".journal")
        self._count = 0
        self.open_entries: Dict[int, Dict[str, Any]] = {}
        pid = os.getpid()
        # It gets its name once it names its owner: another edgeprof that cleans up must not see it before.
        temporary = os.path.join(folder, ".{}.{}-{}.tmp".format(run_id, pid, start_time(pid)))
        self._file = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            self._write({"owner": pid, "start_time": start_time(pid), "boot_id": boot_id(), "capture": capture})
            os.rename(temporary, self.path)
        except OSError:
            os.unlink(temporary)
            self.close()
            raise

    def record(self, kind: str, **details: Any) -> int:
        """Write one undo entry durably, before the change it stands for; returns its number."""
        self._count += 1
        entry = dict(details, n=self._count, kind=kind)
        self._write(entry)
        self.open_entries[self._count] = entry
        return self._count

    def done(self, number: int) -> None:
        """Strike out an entry that has been undone."""
        if self.open_entries.pop(number, None) is not None:
            self._write({"done": number})

    def remove(self) -> None:
        """Delete the journal: everything in it was undone."""
        self.close()
        try:
            os.unlink(self.path)
        except FileNotFoundError:
            pass

    def close(self) -> None:
        """Close the file and leave it for ``edgeprof clean``."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _write(self, entry: Dict[str, Any]) -> None:
        os.write(self._file, json.dumps(entry).encode() + b"\n")
        os.fsync(self._file)


class SavedJournal(NamedTuple):
    """A journal as found on disk: its owner and the entries that are still to be undone, oldest first."""

    path: str
    owner: int
    owner_start: int
    boot_id: str
    capture: str
    entries: List[Dict[str, Any]]


def read_journal(path: str) -> Optional[SavedJournal]:
    """Read a journal; lines that are cut or foreign are skipped.  None: there is no owner line to trust.

    Raises:
        OSError: it cannot be read.
    """
    with open(path, "rb") as file:
        lines = file.read(1 << 20).splitlines()
    head: Dict[str, Any] = {}
    entries: Dict[int, Dict[str, Any]] = {}
    for line in lines:
        try:
            item = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if not isinstance(item, dict):
            continue
        if isinstance(item.get("owner"), int) and isinstance(item.get("start_time"), int):
            head = head or item
        elif isinstance(item.get("done"), int):
            entries.pop(item["done"], None)
        elif isinstance(item.get("n"), int) and isinstance(item.get("kind"), str):
            entries[item["n"]] = item
    if not head:
        return None
    return SavedJournal(
        path,
        head["owner"],
        head["start_time"],
        str(head.get("boot_id") or ""),
        str(head.get("capture") or ""),
        [entries[number] for number in sorted(entries)],
    )


def open_entries(folder: str, kind: str) -> List[Dict[str, Any]]:
    """Entries of one kind that the journals in ``folder`` have not struck out; a journal that cannot be read has none.

    Raises:
        OSError: the folder cannot be read.
    """
    found: List[Dict[str, Any]] = []
    for name in sorted(os.listdir(folder)):
        if not name.endswith(".journal"):
            continue
        try:
            saved = read_journal(os.path.join(folder, name))
        except OSError:  # its run has ended since, or it is another user's
            continue
        if saved is not None and saved.boot_id == boot_id():
            found.extend(entry for entry in saved.entries if entry["kind"] == kind)
    return found
