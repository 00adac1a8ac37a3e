"""From a specification to cells: the cross product of its axes, less what is left out, each with a lasting id."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgeprof.profiler.matrix.axes import WORKLOAD, Value, level, levels
from edgeprof.profiler.matrix.errors import WrongMatrix
from edgeprof.profiler.matrix.spec import BRACES, MatrixSpec

SCHEMA = 1
"""Part of every id: raised when the same options come to mean something else."""
MOST_CELLS = 10_000

Refusal = Callable[[Sequence[str]], "str | None"]
"""Says why ``edgeprof run`` would refuse these words; None: it would run them."""


@dataclass(frozen=True)
class Cell:
    """One combination.

    Attributes:
        id: the same for the same options, whatever else the matrix says.
        levels: of each axis, as text.
        options: all options, axes and fixed together.
        words: for ``edgeprof run``: options, then the workload or ``--`` and the command.
    """

    id: str
    levels: Mapping[str, str]
    options: Mapping[str, Value]
    words: tuple[str, ...]

    def label(self) -> str:
        """The levels in one line."""
        return " ".join(f"{name}={text}" for name, text in self.levels.items())


@dataclass(frozen=True)
class LeftOut:
    """A combination that is not run, and why."""

    levels: Mapping[str, str]
    reason: str


@dataclass(frozen=True)
class Plan:
    """What a matrix comes to."""

    spec: MatrixSpec
    cells: tuple[Cell, ...]
    left_out: tuple[LeftOut, ...]

    def options(self) -> dict[str, Mapping[str, Value]]:
        """All options of each cell, by its id."""
        return {cell.id: cell.options for cell in self.cells}

    def order(self) -> list[tuple[int, Cell]]:
        """Every run as (repeat, cell): each round of repeats is a random permutation of the cells.

        The place in a round comes from a hash of seed, round and cell: another cell does not change the order of the
        others, and no version of a random generator does.
        """
        return [
            (repeat, cell)
            for repeat in range(1, self.spec.repeats + 1)
            for cell in sorted(self.cells, key=lambda cell: self._place(repeat, cell))
        ]

    def _place(self, repeat: int, cell: Cell) -> bytes:
        return hashlib.sha256(f"{self.spec.seed}/{repeat}/{cell.id}".encode()).digest()


def make_plan(spec: MatrixSpec, refusal: Refusal) -> Plan:
    """The cells of a matrix.

    Raises:
        WrongMatrix: there are none, too many, or two that are the same run.
    """
    count = math.prod(len(values) for values in spec.axes.values())
    if count > MOST_CELLS:
        raise WrongMatrix(
            f"{spec.path}: the axes make {count} cells, and {MOST_CELLS} is the most; take some levels out"
        )
    cells: list[Cell] = []
    left_out: list[LeftOut] = []
    refused = 0
    known: dict[tuple[str, ...], str | None] = {}
    for values in itertools.product(*spec.axes.values()):
        chosen = dict(zip(spec.axes, values, strict=True))
        reason = _excluded(spec, levels(chosen))
        if reason is None:
            cell = _cell(spec, chosen)
            own = cell.words.index("--") + 1 if spec.command else len(cell.words)  # a command's own words cannot matter
            if cell.words[:own] not in known:
                known[cell.words[:own]] = refusal(cell.words)
            reason = known[cell.words[:own]]
            refused += reason is not None
            if reason is None:
                cells.append(cell)
                continue
        left_out.append(LeftOut(levels(chosen), reason))
    if not cells:
        why = f"; the first: {left_out[0].reason}" if refused else ""
        raise WrongMatrix(f"{spec.path}: none of its {count} cells can be run{why}; change its axes or constraints")
    _refuse_twins(spec, cells)
    return Plan(spec, tuple(cells), tuple(left_out))


def _excluded(spec: MatrixSpec, chosen: Mapping[str, str]) -> str | None:
    for constraint in spec.constraints:
        if constraint.kind == "exclude" and constraint.matches(chosen):
            return f"excluded in line {constraint.line}"
    allowed = [constraint for constraint in spec.constraints if constraint.kind == "only"]
    if allowed and not any(constraint.matches(chosen) for constraint in allowed):
        return f"not among `only` in line {', '.join(str(constraint.line) for constraint in allowed)}"
    return None


def _cell(spec: MatrixSpec, chosen: Mapping[str, Value]) -> Cell:
    options = {**spec.fixed, **chosen}
    words = [word for name, value in options.items() for word in spec.known[name].words(value)]
    if spec.command:
        words += ["--", *_filled(spec, options)]
    else:
        words.append(str(options[WORKLOAD]))
    return Cell(cell_id(spec, options), levels(chosen), options, tuple(words))


def _filled(spec: MatrixSpec, options: Mapping[str, Value]) -> list[str]:
    """The command's words with levels in place of their names in braces."""
    return [
        BRACES.sub(lambda match: level(options[match[1]]) if match[1] in options else match[0], word)
        for word in spec.command
    ]


def cell_id(spec: MatrixSpec, options: Mapping[str, Value]) -> str:
    """Ten hexadecimal digits from what is run: options in any order, in axes or fixed, however they are written."""
    meant = {name: _plain(spec.known[name].check(value)) for name, value in options.items() if value is not None}
    content = {"schema": SCHEMA, "options": meant, "command": list(spec.command)}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:10]


def _plain(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value if isinstance(value, (bool, int, float, type(None))) else str(value)


def _refuse_twins(spec: MatrixSpec, cells: Sequence[Cell]) -> None:
    """Two cells that differ in an option's default alone would be counted as two."""
    seen: dict[str, Cell] = {}
    for cell in cells:
        key = json.dumps(
            [_meaning(spec, cell), list(cell.words[-1:]) if not spec.command else _filled(spec, cell.options)]
        )
        twin = seen.setdefault(key, cell)
        if twin is not cell:
            raise WrongMatrix(
                f"{spec.path}: the cells ({twin.label()}) and ({cell.label()}) are the same run; take one level out"
            )


def _meaning(spec: MatrixSpec, cell: Cell) -> dict[str, Any]:
    """The options as they take effect, defaults filled in."""
    meaning = {}
    for name, value in sorted(cell.options.items()):
        option = spec.known[name].option
        if option is not None:
            unset = option.default if isinstance(option.default, (str, int, float, bool)) else None
            meaning[name] = _plain(spec.known[name].check(unset if value is None else value))
    return meaning
