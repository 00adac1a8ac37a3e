"""What is changed on the machine for one run's storage: journalled first, and undone on leaving."""

from __future__ import annotations

import os
import secrets
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from edgeprof.collectors.helper import HelperProcess
from edgeprof.profiler.agent.journal import UndoJournal, open_entries, state_folder
from edgeprof.profiler.agent.undo import clean, undo_all
from edgeprof.profiler.errors import EdgeprofError

Say = Callable[[str], None]


class Changes:
    """An undo journal of this run's own."""

    def __init__(self, journal: UndoJournal) -> None:
        self._journal = journal

    def record(self, kind: str, **details: Any) -> int:
        """Write down how to undo a change, before it is made; returns the entry's number."""
        return self._journal.record(kind, **details)

    def done(self, number: int) -> None:
        """Strike out what was not done after all, or is undone."""
        self._journal.done(number)

    def last(self) -> int:
        """Number of the newest entry."""
        return max(self._journal.open_entries, default=0)

    def undo(self, after: int = 0) -> list[str]:
        """Undo what was recorded after entry ``after``, newest first; returns what failed, in sentences."""
        entries = [entry for number, entry in self._journal.open_entries.items() if number > after]
        _, failed = undo_all(entries)
        stays = {entry["n"] for entry, _ in failed}
        for entry in entries:
            if entry["n"] not in stays:
                self._journal.done(entry["n"])
        return [sentence for _, sentence in failed]

    def taken(self, path: str) -> bool:
        """Whether another run has changed that setting and not put it back yet."""
        own = [entry for entry in self._journal.open_entries.values() if entry.get("path") == path]
        folder = str(Path(self._journal.path).parent)
        everyone = [*open_entries(folder, "write"), *open_entries(folder, "read_ahead")]
        return len([entry for entry in everyone if entry.get("path") == path]) > len(own)

    def run(self, argv: Sequence[str], seconds: float) -> str:
        """Run a tool that ends with edgeprof, however that ends; returns its last words if it failed, else nothing."""
        with tempfile.TemporaryFile() as said:
            try:
                tool = HelperProcess(argv, self._journal, stdout=said.fileno(), stderr=said.fileno())
            except OSError as error:
                return f"{argv[0]}: {error.strerror}"
            deadline = time.monotonic() + seconds
            while tool.alive() and time.monotonic() < deadline:
                time.sleep(0.002)
            slow = tool.alive()
            code = tool.stop(signal.SIGKILL)
            said.seek(0)
            lines = said.read(65536).decode("utf-8", "replace").split("\n")
        if slow:
            return f"{argv[0]} was not done in {seconds:g} s"
        words = [line.strip() for line in lines if line.strip()]
        return (words[-1] if words else f"{argv[0]} ended with code {code}") if code else ""


@contextmanager
def changes(say: Say, what: str = "storage") -> Iterator[Changes]:
    """A journal for a run's storage, or ``what`` else it has of its own; what is in it is undone on leaving.

    What cannot be undone, because something still uses it, stays in the journal for ``edgeprof clean``.

    Raises:
        EdgeprofError: no journal can be kept, so nothing may be changed.
    """
    try:
        folder = state_folder()
        left = clean(folder)
        journal = UndoJournal(folder, f"{what}-{os.getpid()}-{secrets.token_hex(3)}", f"a run that has its own {what}")
    except OSError as error:
        raise EdgeprofError(
            f"cannot keep an undo journal: {error.strerror} ({error.filename}); set EDGEPROF_STATE to a folder of yours"
        ) from None
    for sentence in left.undone:
        say("left by an interrupted run: " + sentence)
    made = Changes(journal)
    try:
        with _ends_by_signal():
            yield made
    finally:
        problems = made.undo()
        for sentence in problems:
            say(sentence)
        if problems:
            say(f"end what still uses the run's {what}, then `edgeprof clean` puts the rest back")
            journal.close()
        else:
            journal.remove()


@contextmanager
def _ends_by_signal() -> Iterator[None]:
    """Let signals that would end edgeprof at once end it by an exception, so that all is undone first.

    While a capture goes on, the agent itself takes them.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(number: int, frame: object) -> None:
        raise SystemExit(128 + number)

    changed = [number for number in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(number) is signal.SIG_DFL]
    for number in changed:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number in changed:
            signal.signal(number, signal.SIG_DFL)
