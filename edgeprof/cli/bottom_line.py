"""A line that stays at the bottom of the terminal while other programs write above it.

The terminal's scrolling region ends above the line (DECSTBM), as in apt and dpkg: what others write scrolls there and
is not disturbed.  Each change is one write, so that it does not fall into the middle of another program's.
Sequences: ECMA-48, and DEC's VT100 for saving the cursor and for the region; xterm's ctlseqs.txt lists them.
"""

from __future__ import annotations

import os
import termios
import time

LEAST_ROWS, LEAST_COLUMNS = 6, 30
"""In a smaller terminal the line would take what the programs need."""

_SAVE, _RESTORE = "\x1b7", "\x1b8"
_WHOLE = "\x1b[r"
_DOWN_UP = "\x1bD\x1b[A"
"""Down, which scrolls in the last row, and up again: then the cursor stands above the last row."""
_PLAIN, _TO_END = "\x1b[0m", "\x1b[K"
_TRIES, _PAUSE = 20, 0.01


class BottomLine:
    """The last row of the terminal behind a descriptor."""

    def __init__(self, terminal: int) -> None:
        self._terminal = terminal
        self._shown = False
        self._rows = 0

    def columns(self) -> int | None:
        """Columns that the line may take now; None where it may not be shown.

        It is not shown in a terminal that is very small, or while a program reads single keys: editors, pagers and
        shells use the whole screen.
        """
        size = os.get_terminal_size(self._terminal)
        if size.lines < LEAST_ROWS or size.columns < LEAST_COLUMNS:
            return None
        local_modes = termios.tcgetattr(self._terminal)[3]
        return size.columns - 1 if local_modes & termios.ICANON else None

    def show(self, text: str) -> None:
        """Put ``text``, of `columns` at most, on the last row, which is reserved for it.

        That is said anew each time: a resize, ``reset`` or another program may have changed the region.  After a
        resize the old row is left as it is: the terminal may have let text scroll into it already.
        """
        rows = os.get_terminal_size(self._terminal).lines
        self._shown, self._rows = True, rows
        self._write(
            f"{_SAVE}{_WHOLE}{_RESTORE}{_DOWN_UP}"
            f"{_SAVE}\x1b[1;{rows - 1}r\x1b[{rows};1H{_PLAIN}{text}{_PLAIN}{_TO_END}{_RESTORE}"
        )

    @property
    def moved(self) -> bool:
        """Whether the last row is another one than when the line was put there."""
        return self._shown and os.get_terminal_size(self._terminal).lines != self._rows

    def hide(self) -> None:
        """Give the row back, empty, with the cursor where it was."""
        if not self._shown:
            return
        rows = os.get_terminal_size(self._terminal).lines
        self._shown = False
        self._write(f"{_SAVE}{_WHOLE}\x1b[{rows};1H{_PLAIN}\x1b[2K{_RESTORE}")

    def yield_screen(self) -> None:
        """Give the row back to a program that uses the whole screen, as it is."""
        if self._shown:
            self._shown = False
            self.reset()

    def reset(self) -> None:
        """Let the whole screen scroll, whatever it did before."""
        self._write(f"{_SAVE}{_WHOLE}{_RESTORE}")

    def _write(self, text: str) -> None:
        left = text.encode("utf-8", "replace")
        for _ in range(_TRIES):
            try:
                left = left[os.write(self._terminal, left) :]
            except BlockingIOError:  # another program has made the terminal non-blocking, and it is full
                time.sleep(_PAUSE)
            if not left:
                return
