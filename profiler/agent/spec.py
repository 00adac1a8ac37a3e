"""RunSpec: what to run, where to put the capture, and what to collect."""

import json
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Callable, Dict, List, Optional

from edgeprof.collectors.base import Roots


class CaptureError(Exception):
    """A failure of edgeprof's own that ends the run; one sentence that says what to do next.

    ``exit_code`` is between 120 and 125, apart from what workloads use; see `Interrupted` for others.
    """

    def __init__(self, message: str, exit_code: int = 120) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class Interrupted(CaptureError):
    """A signal ended edgeprof before the workload was started; the exit code is the shells' own for that."""

    def __init__(self, number: int) -> None:
        super().__init__("interrupted before the workload was started", 128 + number)


LONGEST_WAIT = 86400.0
"""Seconds that a run may be made to wait for its start."""

USAGE, LAUNCH, STORAGE, INTERNAL = 120, 121, 122, 125
"""Exit codes: wrong call; the workload cannot be started; the capture cannot be written; a bug in edgeprof."""


@dataclass(frozen=True)
class RunSpec:
    """One capture, as the user asked for it.

    Attributes:
        command: program and arguments, run as they are, never through a shell.
        folder: where capture directories are made.
        name: short name of the run; it becomes part of the directory's name.
        rate: samples a second.
        budget_cpu: share of one core that the agent may use.
        budget_bytes: raw bytes a second that the agent may write.
        collect: names of the collectors to use.
        deep: also capture what is costly (page cache, scheduler insertions).
        auto: instrument an unmodified PyTorch program.
        memory_limit: bytes that the workload's cgroup may use.
        cpus: CPUs' worth of time that the workload's cgroup may use.
        options: collector name -> its own options; ``power_mode`` -> those of `power_mode.Tools`.
        factors: dotted factor name -> value, as stated by the user.
        environment: variables that the workload gets besides edgeprof's own environment.
        roots: other places for /proc, /sys and /dev (keys ``proc``, ``sys``, ``dev``).
        stand_in: the command only stands for the workload, which a container engine starts below the run's cgroup:
            it stays outside, and finds that cgroup's folders by controller, as JSON, in ``EDGEPROF_CGROUP``.
        steady: seconds to wait at most until temperatures, clocks and load hold still; None: no wait.
        power_mode: to set for the run: an nvpmodel's name or number, a cpufreq governor, or a platform profile.
        idle: seconds in which the power of the idle machine is measured before the run; 0: it is not.
    """

    command: List[str]
    folder: str = "edgeprof-runs"
    name: str = ""
    rate: float = 10.0
    budget_cpu: float = 0.01
    budget_bytes: float = 4e6
    collect: List[str] = field(default_factory=list)
    deep: bool = False
    auto: bool = False
    memory_limit: Optional[int] = None
    cpus: Optional[float] = None
    options: Dict[str, Dict[str, Any]] = field(default_factory=dict)
    factors: Dict[str, Any] = field(default_factory=dict)
    environment: Dict[str, str] = field(default_factory=dict)
    roots: Dict[str, str] = field(default_factory=dict)
    stand_in: bool = False
    steady: Optional[float] = None
    power_mode: str = ""
    idle: float = 0.0

    def to_dict(self) -> Dict[str, Any]:
        """The spec as plain JSON values, for the manifest."""
        return asdict(self)

    @classmethod
    def from_json(cls, text: str) -> "RunSpec":
        """Read a spec.  Raises CaptureError naming the first field that is wrong."""
        try:
            values = json.loads(text)
        except ValueError as error:
            raise CaptureError("the run's spec is not JSON: {}".format(error), USAGE) from None
        known = {item.name for item in fields(cls)}
        if not isinstance(values, dict) or "command" not in values:
            raise CaptureError("the run's spec needs a 'command' list", USAGE)
        for name, value in values.items():
            if name not in known:
                raise CaptureError("the run's spec has an unknown field {!r}".format(name), USAGE)
            if not _IS_RIGHT[name](value):
                raise CaptureError("the run's spec has a wrong {!r}: {!r}".format(name, value), USAGE)
        return cls(**values)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value < float("inf")


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and "\0" not in value


def _is_flag(value: Any) -> bool:
    return isinstance(value, bool)


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and all(_is_text(item) for item in value)


_IS_RIGHT: Dict[str, Callable[[Any], bool]] = {
    "command": _are_texts,
    "folder": _is_text,
    "name": _is_text,
    "rate": _is_number,
    "budget_cpu": _is_number,
    "budget_bytes": _is_number,
    "collect": _are_texts,
    "deep": _is_flag,
    "auto": _is_flag,
    "stand_in": _is_flag,
    "memory_limit": lambda value: value is None or (isinstance(value, int) and _is_number(value)),
    "cpus": lambda value: value is None or _is_number(value),
    "steady": lambda value: value is None or (_is_number(value) and value <= LONGEST_WAIT),
    "power_mode": lambda value: _is_text(value) and len(value) <= 200,
    "idle": lambda value: value is not False and (value == 0 or (_is_number(value) and value <= LONGEST_WAIT)),
    "options": lambda value: isinstance(value, dict) and all(isinstance(item, dict) for item in value.values()),
    "factors": lambda value: isinstance(value, dict),
    "environment": lambda value: (
        isinstance(value, dict) and all(map(_is_text, value)) and all(map(_is_text, value.values()))
    ),
    "roots": lambda value: (
        isinstance(value, dict) and set(value) <= set(Roots._fields) and all(map(_is_text, value.values()))
    ),
}
"""Field -> whether a value that came as JSON is of its kind."""


def is_right(name: str, value: Any) -> bool:
    """Whether a value is of the kind that a field of `RunSpec` takes."""
    return _IS_RIGHT[name](value)
