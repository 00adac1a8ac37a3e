"""The specification of a matrix: read from YAML, every name and value checked before anything is run."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgeprof.profiler.matrix.axes import WORKLOAD, Axis, Value, WrongValue, level
from edgeprof.profiler.matrix.errors import WrongMatrix, near
from edgeprof.profiler.matrix.quantities import parse_bytes, parse_time
from edgeprof.profiler.matrix.yaml_lines import Place, read_yaml

KEYS = (
    *("name", "workload", "command", "fixed", "axes", "constraints", "repeats", "seed", "budget", "timeout"),
    "baseline",
)
DEFAULT_REPEATS = 5
DEFAULT_TIMEOUT = 3600.0
MOST_REPEATS = 10_000

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_OWN_AXIS = re.compile(r"[a-z]+(_[a-z]+)*")
BRACES = re.compile(r"\{([a-z_]+)\}")
_RESERVED = "data"
"""Stands in a command's words for its data set: `edgeprof.profiler.experiment.DATA_WORD`."""


@dataclass(frozen=True)
class Constraint:
    """``exclude`` drops the cells that match; where there are any ``only``, a cell must match one of them.

    ``match`` holds the levels, one of which each axis must have; ``line`` is its place in the file.
    """

    kind: str
    match: Mapping[str, frozenset[str]]
    line: int

    def matches(self, levels: Mapping[str, str]) -> bool:
        """Whether a cell is meant."""
        return all(levels[name] in wanted for name, wanted in self.match.items())


@dataclass(frozen=True)
class MatrixSpec:
    """What to run.

    Attributes:
        path: the file that it was read from.
        name: of the matrix.
        command: the user's own, with ``{axis}`` where a level goes; empty where built-in workloads are run.
        axes: values of each axis, in the file's order.
        fixed: options of all cells.
        known: every axis of ``axes`` and ``fixed``.
        constraints: which cells of the cross product are run.
        repeats: processes a cell.
        seed: of the order.
        time: seconds that all runs together may take; None: no limit.
        bytes: that the folder may hold; None: no limit.
        timeout: seconds that one run may take.
        baseline: level by axis to compare with.
    """

    path: Path
    name: str
    command: tuple[str, ...]
    axes: Mapping[str, tuple[Value, ...]]
    fixed: Mapping[str, Value]
    known: Mapping[str, Axis]
    constraints: tuple[Constraint, ...] = ()
    repeats: int = DEFAULT_REPEATS
    seed: int = 0
    time: float | None = None
    bytes: int | None = None
    timeout: float = DEFAULT_TIMEOUT
    baseline: Mapping[str, str] = field(default_factory=dict)

    def levels_of(self, name: str) -> list[str]:
        """The levels of an axis, in the file's order."""
        return [level(value) for value in self.axes[name]]


def read_spec(path: Path, known: Mapping[str, Axis]) -> MatrixSpec:
    """Read a matrix.

    Args:
        path: of the YAML file.
        known: all axes that there are; see `edgeprof.profiler.matrix.axes.axes_of`.

    Raises:
        WrongMatrix
    """
    content, lines = read_yaml(path)
    return _Reader(path, lines, known).read(content)


def name_of(path: Path) -> str:
    """The name of the matrix in a file, with nothing else checked.  Raises WrongMatrix."""
    content, lines = read_yaml(path)
    reader = _Reader(path, lines, {})
    return reader.name(reader.mapping(content, (), "the matrix"))


class _Reader:
    """Checks a content against the axes there are."""

    def __init__(self, path: Path, lines: Mapping[Place, int], known: Mapping[str, Axis]) -> None:
        self.path, self.lines, self.known = path, lines, known

    def read(self, content: Any) -> MatrixSpec:
        top = self.mapping(content, (), "the matrix")
        for key in top:
            if key not in KEYS:
                raise self.wrong((key,), f"there is no key {key!r}{near(key, KEYS)}; there are: {', '.join(KEYS)}")
        command = self._command(top.get("command"))
        self.known = {**self.known, **self._own_axes(command, top)}
        fixed = self._fixed(top, command)
        axes = self._axes(top, command, fixed)
        if not command and WORKLOAD not in axes and WORKLOAD not in fixed:
            raise self.wrong((), "it does not say what to run: add `workload: NAME`, an axis `workload`, or `command:`")
        budget = self._budget(top.get("budget"))
        timeout = self._time(top.get("timeout", DEFAULT_TIMEOUT), ("timeout",))
        return MatrixSpec(
            path=self.path,
            name=self.name(top),
            command=command,
            axes=axes,
            fixed=fixed,
            known={name: self.known[name] for name in (*axes, *fixed)},
            constraints=self._constraints(top.get("constraints"), axes),
            repeats=self._whole(top.get("repeats", DEFAULT_REPEATS), ("repeats",), 1, MOST_REPEATS),
            seed=self._whole(top.get("seed", 0), ("seed",), 0, 1 << 63),
            time=budget[0],
            bytes=budget[1],
            timeout=timeout,
            baseline=self._baseline(top.get("baseline"), axes),
        )

    def wrong(self, place: Place, sentence: str) -> WrongMatrix:
        """The complaint with file and line."""
        while place and place not in self.lines:
            place = place[:-1]
        return WrongMatrix(f"{self.path}:{self.lines.get(place, 1)}: {sentence}")

    def mapping(self, content: Any, place: Place, what: str) -> dict[str, Any]:
        """A mapping with names as keys."""
        if not isinstance(content, dict):
            raise self.wrong(place, f"{what} must be a mapping of names, such as `name: value`")
        for key in content:
            if not isinstance(key, str):
                raise self.wrong((*place, str(key)), f"{key!r} is no name; put it in quotes if it is meant as one")
        return content

    def name(self, top: Mapping[str, Any]) -> str:
        """The name of the matrix; its file's where none is given."""
        name = top.get("name", self.path.stem)
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise self.wrong(("name",), f"{name!r} is no name for a matrix; take letters, digits, '.', '_' and '-'")
        return name

    def _command(self, content: Any) -> tuple[str, ...]:
        if content is None:
            return ()
        if not isinstance(content, list) or not content or not all(isinstance(w, (str, int, float)) for w in content):
            raise self.wrong(("command",), "the command must be a list of words, such as [python, train.py]")
        return tuple(level(word) for word in content)

    def _own_axes(self, command: tuple[str, ...], top: Mapping[str, Any]) -> dict[str, Axis]:
        """Names that the command bears in braces are axes of its own, also where a workload's option is called so."""
        named = {name for word in command for name in BRACES.findall(word)} - {_RESERVED}
        used = {name for key in ("axes", "fixed") if isinstance(top.get(key), dict) for name in top[key]}
        own = {}
        for name in named & used:
            if not _OWN_AXIS.fullmatch(name):
                raise self.wrong(("axes", name), f"{name!r} is no name for an axis; take small letters and '_' between")
            if name not in self.known or self.known[name].of_workload:
                own[name] = Axis(name)
        return own

    def _axis(self, name: str, place: Place, command: tuple[str, ...]) -> Axis:
        axis = self.known.get(name)
        if axis is None:
            named = [own for word in command for own in BRACES.findall(word)]
            hint = near(name, [*named, *self.known])
            more = f" (or name it in a word of the command: {{{name}}})" if command else ""
            raise self.wrong(place, f"there is no axis {name!r}{hint or '; `edgeprof run --help` lists them'}{more}")
        if command and (axis.of_workload or name == WORKLOAD) and name != _RESERVED:
            raise self.wrong(
                place,
                f"{name!r} has no effect on a command of your own; name it in a word as {{{name}}}, or run a workload",
            )
        return axis

    def _value(self, axis: Axis, value: Value, place: Place) -> Any:
        try:
            return axis.check(value)
        except WrongValue as error:
            raise self.wrong(place, f"{level(value)!r} is not a value of {axis.name!r}: {error}") from None

    def _fixed(self, top: Mapping[str, Any], command: tuple[str, ...]) -> dict[str, Value]:
        fixed: dict[str, Value] = {}
        if top.get("workload") is not None:
            fixed[WORKLOAD] = top["workload"]
            self._value(self._axis(WORKLOAD, ("workload",), command), top["workload"], ("workload",))
        if top.get("fixed") is None:
            return fixed
        for name, value in self.mapping(top["fixed"], ("fixed",), "`fixed`").items():
            place = ("fixed", name)
            if name in fixed:
                raise self.wrong(place, "the workload is named twice; keep one of them")
            self._value(self._axis(name, place, command), value, place)
            fixed[name] = value
        return fixed

    def _axes(
        self, top: Mapping[str, Any], command: tuple[str, ...], fixed: Mapping[str, Value]
    ) -> dict[str, tuple[Value, ...]]:
        content = self.mapping(top.get("axes"), ("axes",), "`axes`")
        if not content:
            raise self.wrong(("axes",), "`axes` is empty; name at least one, such as `batch: [8, 16]`")
        axes: dict[str, tuple[Value, ...]] = {}
        for name, values in content.items():
            place = ("axes", name)
            axis = self._axis(name, place, command)
            if name in fixed:
                raise self.wrong(place, f"{name!r} is fixed and an axis; keep one of them")
            if not isinstance(values, list) or not values:
                raise self.wrong(place, f"{name!r} must be a list of values, such as `{name}: [...]`")
            seen: list[Any] = []
            for number, value in enumerate(values):
                converted = self._value(axis, value, (*place, number))
                if converted in seen or level(value) in map(level, values[:number]):
                    raise self.wrong((*place, number), f"{name!r} has the value {level(value)} twice; keep one of them")
                seen.append(converted)
            axes[name] = tuple(values)
        return axes

    def _constraints(self, content: Any, axes: Mapping[str, tuple[Value, ...]]) -> tuple[Constraint, ...]:
        if content is None:
            return ()
        if not isinstance(content, list):
            raise self.wrong(("constraints",), "`constraints` must be a list, such as `- exclude: {batch: 64}`")
        found = []
        for number, item in enumerate(content):
            place: Place = ("constraints", number)
            if not isinstance(item, dict) or len(item) != 1 or next(iter(item)) not in ("exclude", "only"):
                raise self.wrong(place, "a constraint is `exclude: {axis: value, ...}` or `only: {axis: value, ...}`")
            kind, match = next(iter(item.items()))
            place = (*place, kind)
            wanted = {}
            for name, value in self.mapping(match, place, f"`{kind}`").items():
                several = value if isinstance(value, list) else [value]
                wanted[name] = frozenset(self._level(name, one, axes, (*place, name)) for one in several)
            if not wanted:
                raise self.wrong(place, f"`{kind}` names no axis; write it like `{kind}: {{batch: 64}}`")
            found.append(Constraint(kind, wanted, self.lines.get(place, 1)))
        return tuple(found)

    def _level(self, name: str, value: Value, axes: Mapping[str, tuple[Value, ...]], place: Place) -> str:
        if name not in axes:
            raise self.wrong(place, f"{name!r} is not an axis of this matrix{near(name, axes)}")
        try:
            return find_level(self.known[name], axes[name], value)
        except WrongValue as error:
            raise self.wrong(place, str(error)) from None

    def _baseline(self, content: Any, axes: Mapping[str, tuple[Value, ...]]) -> dict[str, str]:
        if content is None:
            return {}
        values = self.mapping(content, ("baseline",), "`baseline`")
        return {name: self._level(name, value, axes, ("baseline", name)) for name, value in values.items()}

    def _budget(self, content: Any) -> tuple[float | None, int | None]:
        if content is None:
            return None, None
        values = self.mapping(content, ("budget",), "`budget`")
        for key in values:
            if key not in ("time", "bytes"):
                raise self.wrong(("budget", key), f"a budget has `time` and `bytes`, not {key!r}")
        time = self._time(values["time"], ("budget", "time")) if "time" in values else None
        size = parse_bytes(values["bytes"]) if "bytes" in values else None
        if "bytes" in values and size is None:
            raise self.wrong(("budget", "bytes"), f"{values['bytes']!r} is not a size; write it like 20G")
        return time, size

    def _time(self, value: Any, place: Place) -> float:
        seconds = parse_time(value)
        if seconds is None:
            raise self.wrong(place, f"{value!r} is not a time; write it like 90s, 10m or 2h")
        return seconds

    def _whole(self, value: Any, place: Place, least: int, most: int) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise self.wrong(place, f"{place[-1]!r} must be a whole number from {least} to {most}, not {value!r}")
        return value


def find_level(axis: Axis, values: tuple[Value, ...], wanted: Value) -> str:
    """The level of an axis that a value stands for: by its text, or as the option understands it.

    Raises:
        WrongValue: it is none of them.
    """
    texts = [level(value) for value in values]
    if level(wanted) in texts:
        return level(wanted)
    try:
        converted = axis.check(wanted)
        return next(level(value) for value in values if axis.check(value) == converted)
    except (WrongValue, StopIteration):
        hint = near(level(wanted), texts)
        raise WrongValue(
            f"{level(wanted)!r} is none of the levels of {axis.name!r} ({', '.join(texts)}){hint}"
        ) from None
