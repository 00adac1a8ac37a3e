"""Which run goes to which board next: in the plan's order, a cell's repeats all on the board of its first.

This machine alone is a shelf of one board without a name.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from edgeprof.profiler.matrix.errors import near
from edgeprof.profiler.matrix.plan import Cell
from edgeprof.profiler.matrix.state import Key

BOARD = "board"
"""The axis, and the option of ``edgeprof run``, that names a board or a kind of them."""


@dataclass(frozen=True)
class Board:
    """One board of a shelf; boards of one kind are equal to one another."""

    name: str
    kind: str = ""


HERE = Board("")
"""This machine."""


@dataclass
class _Waiting:
    """Runs of one cell that are left; ``turns`` holds (place in the order, repeat), the next one first."""

    cell: Cell
    on: frozenset[str]
    turns: list[tuple[int, int]] = field(default_factory=list)
    pin: str = ""


def boards_of(cell: Cell, boards: Sequence[Board]) -> list[Board]:
    """The boards that may run a cell: the one that its ``board`` names, those of the kind that it names, or all.

    This machine runs any: for it, the board is an option like others.
    """
    wanted = cell.options.get(BOARD)
    if not wanted or HERE in boards:
        return list(boards)
    return [board for board in boards if board.name == wanted] or [board for board in boards if board.kind == wanted]


def unserved(cells: Iterable[Cell], boards: Sequence[Board]) -> dict[str, str]:
    """Why no board can run a cell, by the cell's id; cells that are not in it can be run."""
    known = sorted({word for board in boards for word in (board.name, board.kind) if word})
    found = {}
    for cell in cells:
        if not boards_of(cell, boards):
            wanted = str(cell.options[BOARD])
            found[cell.id] = f"no board is called {wanted!r} or is of that kind{near(wanted, known)}"
    return found


class Placement:
    """The runs that are left, each with the boards that may run it.

    Args:
        order: every run of the plan, as `edgeprof.profiler.matrix.plan.Plan.order` gives them.
        due: which of them are left.
        boards: those there are; cells that none of them serves stay open.
        pins: the board of each cell that has run on one.
        moves: how often each cell has moved; read at each question.
        retries: how often a cell may begin anew on another board that may run it.
    """

    def __init__(
        self,
        order: Sequence[tuple[int, Cell]],
        due: Iterable[Key],
        boards: Sequence[Board],
        pins: Mapping[str, str] | None = None,
        moves: Mapping[str, int] | None = None,
        retries: int = 0,
    ) -> None:
        self._boards = {board.name: board for board in boards}
        self._retries, self._moves = retries, moves if moves is not None else {}
        self._order: dict[str, list[tuple[int, int]]] = {}
        self._queues: dict[frozenset[str], list[tuple[int, str]]] = {}
        self._own: dict[str, list[tuple[int, str]]] = {board.name: [] for board in boards}
        self._queues_of: dict[str, list[list[tuple[int, str]]]] = {board.name: [] for board in boards}
        wanted = set(due)
        self._cells: dict[str, _Waiting] = {}
        served: dict[object, frozenset[str]] = {}
        for place, (repeat, cell) in enumerate(order):
            waiting = self._cells.get(cell.id)
            if waiting is None:
                key = cell.options.get(BOARD)
                if key not in served:
                    served[key] = frozenset(board.name for board in boards_of(cell, boards))
                waiting = self._cells[cell.id] = _Waiting(cell, served[key])
                pin = (pins or {}).get(cell.id, "")
                waiting.pin = "" if HERE in boards and pin == key else pin
            self._order.setdefault(cell.id, []).append((place, repeat))
            if (cell.id, repeat) in wanted:
                waiting.turns.append((place, repeat))
        self.left = sum(len(waiting.turns) for waiting in self._cells.values())
        for waiting in self._cells.values():
            self._queue(waiting)

    @property
    def boards(self) -> list[Board]:
        """Those that are still there."""
        return list(self._boards.values())

    def left_of(self, cell: str) -> int:
        """Runs of a cell that are not begun."""
        return len(self._cells[cell].turns)

    def astray(self) -> dict[str, str]:
        """Cells with runs left whose board is not there, with that board's name."""
        return {
            name: waiting.pin
            for name, waiting in self._cells.items()
            if waiting.turns and waiting.pin and waiting.pin not in self._boards
        }

    def waits(self, board: str) -> bool:
        """Whether a board has something to run."""
        return self._first(board) is not None

    def take(self, board: str) -> tuple[Cell, int] | None:
        """The run that a free board begins next, which pins its cell; None: there is none for it."""
        queue = self._first(board)
        if queue is None:
            return None
        _, name = heapq.heappop(queue)
        waiting = self._cells[name]
        _, repeat = heapq.heappop(waiting.turns)
        waiting.pin = board
        self.left -= 1
        self._queue(waiting)
        return waiting.cell, repeat

    def put_back(self, key: Key) -> None:
        """A run that was taken must be begun again, on the same board."""
        waiting = self._cells[key[0]]
        place = next(place for place, repeat in self._order[key[0]] if repeat == key[1])
        heapq.heappush(waiting.turns, (place, key[1]))
        self.left += 1
        self._queue(waiting)

    def lose(self, board: str) -> list[str]:
        """A board is gone; returns the cells with runs left that it had pinned."""
        self._boards.pop(board, None)
        self._own.pop(board, None)
        self._queues_of.pop(board, None)
        return [name for name, waiting in self._cells.items() if waiting.pin == board and waiting.turns]

    def may_move(self, cell: str) -> bool:
        """Whether a cell may begin anew on another board, and there is one."""
        on = self._cells[cell].on
        return self._moves.get(cell, 0) < self._retries and any(name in self._boards for name in on)

    def begin_anew(self, cell: str) -> None:
        """All runs of a cell are to be begun, on whatever board may run it."""
        waiting = self._cells[cell]
        self.left += len(self._order[cell]) - len(waiting.turns)
        waiting.turns = sorted(self._order[cell])
        waiting.pin = ""
        self._queue(waiting)

    def _queue(self, waiting: _Waiting) -> None:
        """Note the next run of a cell where it can be taken; what was noted before and is outdated is passed over."""
        if not waiting.turns:
            return
        entry = waiting.turns[0][0], waiting.cell.id
        if waiting.pin:
            if waiting.pin in self._own:
                heapq.heappush(self._own[waiting.pin], entry)
            return
        queue = self._queues.get(waiting.on)
        if queue is None:
            queue = self._queues[waiting.on] = []
            for name in waiting.on & self._queues_of.keys():
                self._queues_of[name].append(queue)
        heapq.heappush(queue, entry)

    def _first(self, board: str) -> list[tuple[int, str]] | None:
        """The queue whose first run is the next one for a board."""
        found = None
        for queue in (self._own.get(board), *self._queues_of.get(board, ())):
            while queue and not self._is_current(queue[0], board):
                heapq.heappop(queue)
            if queue and (found is None or queue[0] < found[0]):
                found = queue
        return found

    def _is_current(self, entry: tuple[int, str], board: str) -> bool:
        waiting = self._cells[entry[1]]
        return bool(waiting.turns) and waiting.turns[0][0] == entry[0] and waiting.pin in ("", board)
