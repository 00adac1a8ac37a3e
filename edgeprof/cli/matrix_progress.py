"""What ``edgeprof matrix run`` shows: a bar on a terminal, a line for each run elsewhere."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING

import click

from edgeprof.cli.output import plain
from edgeprof.profiler.units import human

if TYPE_CHECKING:
    from rich.progress import Progress

    from edgeprof.profiler.matrix.plan import Cell
    from edgeprof.profiler.matrix.state import Ended

_REFRESH = 0.5


class Lines:
    """Plain lines on standard error, for pipes, logs and CI."""

    def __init__(self, quiet: bool = False) -> None:
        self._quiet = quiet
        self._done = self._total = 0
        self._numbers: dict[tuple[str, int], int] = {}

    def __enter__(self) -> Lines:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        return

    def say(self, line: str) -> None:
        """A sentence."""
        if not self._quiet:
            click.echo(f"edgeprof: {plain(line)}", err=True)

    def begin(self, cell: Cell, repeat: int, board: str, done: int, total: int, left: float) -> None:
        """A run begins."""
        self._done, self._total = done, total
        where = f"{board}: " if board else ""
        self._numbers[cell.id, repeat] = done + 1
        self.say(f"[{done + 1}/{total}] {where}{label(cell, repeat)}; about {human(left, 's')} left")

    def tick(self) -> None:
        """Nothing is said while it goes on."""

    def end(self, cell: Cell, repeat: int, end: Ended) -> None:
        """It has ended."""
        number = self._numbers.pop((cell.id, repeat), self._done + 1)
        if end.failed:
            where = f" on {end.board}" if end.board else ""
            self.say(f"[{number}/{self._total}] failed{where} after {human(end.seconds, 's')}: {end.failed}")


class Bar(Lines):
    """A bar that stays at the bottom of the terminal; it is drawn from the waiting loop, twice a second at most."""

    def __init__(self) -> None:
        super().__init__()
        self._drawn = self._reckoned = time.monotonic()
        self._ended = 0
        self._left = 0.0
        self._going: dict[tuple[str, int], str] = {}
        self._progress = _bar()
        self._task = self._progress.add_task("", total=None, cell="", rest="")

    def __enter__(self) -> Bar:
        self._progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._progress.stop()

    def say(self, line: str) -> None:
        """A sentence above the bar."""
        from rich.text import Text

        self._progress.console.print(Text(f"edgeprof: {plain(line)}"), soft_wrap=True)

    def begin(self, cell: Cell, repeat: int, board: str, done: int, total: int, left: float) -> None:
        """A run begins."""
        self._left, self._reckoned = left, time.monotonic()
        self._ended, self._total = done - len(self._going), total
        self._going[cell.id, repeat] = f"{board}: {label(cell, repeat)}" if board else label(cell, repeat)
        self._draw(soon=not board)

    def tick(self) -> None:
        """Draw it anew: drawing is work on the machine that is measured."""
        self._draw(soon=False)

    def end(self, cell: Cell, repeat: int, end: Ended) -> None:
        """It has ended."""
        self._going.pop((cell.id, repeat), None)
        if end.failed:
            where = f" on {end.board}" if end.board else ""
            self.say(f"failed{where} after {human(end.seconds, 's')}: {label(cell, repeat)}: {end.failed}")
        if not end.interrupted:
            self._ended += 1
        self._draw(soon=not end.board)

    def _draw(self, soon: bool) -> None:
        now = time.monotonic()
        if not soon and now - self._drawn < _REFRESH:
            return
        self._drawn = now
        several = f"{len(self._going)} boards, " if len(self._going) > 1 else ""
        newest = next(reversed(self._going.values()), "")
        rest = _rest(max(0.0, self._left - (now - self._reckoned)))
        self._progress.update(
            self._task, completed=self._ended, total=self._total or None, cell=several + newest, rest=rest
        )
        self._progress.refresh()


def _bar() -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    console = Console(stderr=True, highlight=False, markup=False, emoji=False)
    return Progress(
        BarColumn(24),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rest]}", markup=False),
        TextColumn("{task.fields[cell]}", markup=False, style="dim"),
        console=console,
        auto_refresh=False,
    )


def _rest(seconds: float) -> str:
    return f"{human(round(seconds), 's')} left"


def label(cell: Cell, repeat: int) -> str:
    """A run in one line."""
    return plain(f"{cell.label()} #{repeat}")


def watch(quiet: bool) -> Lines:
    """What suits the place that standard error goes to."""
    return Bar() if sys.stderr.isatty() and not quiet else Lines(quiet)
