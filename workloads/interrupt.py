"""Ctrl-C that is never lost and prints nothing.

Python drops an exception that is raised in a fork's hooks, and prints it: a Ctrl-C just when a loader's process starts
would be lost.  So it is remembered, too, and raised again between two steps.
"""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType

_main = 0
_seen = False


def install() -> None:
    """From now on Ctrl-C interrupts this process; its loaders' processes wait to be told to end."""
    global _main
    _main = os.getpid()
    signal.signal(signal.SIGINT, _interrupted)
    sys.unraisablehook = _unraisable


def check() -> None:
    """Raise the KeyboardInterrupt that was lost, if one was."""
    if _seen:
        raise KeyboardInterrupt


def _interrupted(number: int, frame: FrameType | None) -> None:
    global _seen
    if os.getpid() == _main:
        _seen = True
        raise KeyboardInterrupt


def _unraisable(dropped: sys.UnraisableHookArgs) -> None:
    """Print what Python drops, but not after Ctrl-C: an object that it left half made fails in its `__del__`."""
    if not _seen and not issubclass(dropped.exc_type, KeyboardInterrupt):
        sys.__unraisablehook__(dropped)
