"""The runs in progress below the folder that is served, and a follower of each that somebody looks at."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Iterable
from pathlib import Path

from edgeprof.profiler.live.follow import Follower
from edgeprof.profiler.live.progress import Watch, in_progress

MOST = 32
"""Runs that are followed at a time; of more, the one that was looked at longest ago is left."""
_AGAIN = 0.5
"""Seconds between two looks at the same run, however many browsers ask."""


class Followed:
    """A run that is looked at by one thread at a time."""

    def __init__(self, path: Path) -> None:
        self.follower = Follower(path)
        self.running = True
        self.lock = threading.Lock()
        self._due = 0.0

    def look(self) -> None:
        """Read what is new, if the last look was long enough ago; call it with the lock."""
        now = time.monotonic()
        if now < self._due or not self.running:
            return
        self.running = in_progress(self.follower.path)  # before the look, so that the last one sees all
        self.follower.look()
        self._due = now + _AGAIN


class Following:
    """What is in progress in some folders."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._watches: dict[Path, Watch] = {}
        self._followed: OrderedDict[str, Followed] = OrderedDict()
        self._lock = threading.Lock()

    def running(self, folders: Iterable[Path]) -> list[str]:
        """The ids (paths below the root) of the runs in progress in these folders, newest first."""
        with self._lock:
            found = [path for folder in folders for path in self._watches.setdefault(folder, Watch(folder)).runs()]
        found.sort(key=lambda path: path.name, reverse=True)
        return [path.relative_to(self._root).as_posix() for path in found]

    def of(self, run: str, path: Path) -> Followed:
        """The follower of a run by its id and capture directory."""
        with self._lock:
            if run not in self._followed:
                self._followed[run] = Followed(path)
            self._followed.move_to_end(run)
            while len(self._followed) > MOST:
                self._followed.popitem(last=False)
            return self._followed[run]
