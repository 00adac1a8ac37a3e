"""The axes that a matrix may have: the options of ``edgeprof run`` themselves, so that both always agree.

An axis bears its option's long name with ``_`` for ``-``: ``--data-size`` is ``data_size``.  Two more are no options:
``workload``, and what an own command names in braces (``{lr}``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import click

from edgeprof.profiler.matrix.errors import near

Value = Any
"""Of an axis, as YAML gives it: text, number, boolean, null (the option is not given), or a list for an option that
may be repeated."""

WORKLOAD = "workload"
DEFAULT = "default"
"""The level of null: the option is left out."""

_OWNED = frozenset(("output", "name", "factor", "report", "ingest", "as_json", "quiet", "help"))
"""Parameters of ``edgeprof run`` that the matrix sets itself, or that change nothing about a run."""


class WrongValue(ValueError):
    """A value that an axis does not take; the message says which it takes."""


@dataclass(frozen=True)
class Axis:
    """One thing that can be varied.

    Attributes:
        name: in the specification.
        option: of ``edgeprof run``; None: the workload's name, or a word of the user's own command.
        of_workload: whether the option concerns built-in workloads only.
        choices: of the workload: the names there are; a file of YAML is a scenario of the user's own.
    """

    name: str
    option: click.Option | None = None
    of_workload: bool = False
    choices: tuple[str, ...] = ()

    def words(self, value: Value) -> list[str]:
        """The option as words of a command line; none where it is left out or is no option."""
        option = self.option
        if option is None or value is None:
            return []
        if option.is_flag:
            names = option.opts if value else option.secondary_opts
            return [_longest(names)] if names else []
        return [f"{_longest(option.opts)}={_word(item)}" for item in _items(value)]

    def check(self, value: Value) -> Any:
        """The value as the option understands it: equal for ``64M`` and ``65536K``.

        Raises:
            WrongValue
        """
        if value is None:
            if self.option is None:
                raise WrongValue("null stands for an option that is not given, and this is no option")
            return None
        option = self.option
        if option is None or not option.multiple:
            if not isinstance(value, (str, int, float)):
                raise WrongValue(f"{value!r} is not one text or number")
        elif not all(isinstance(item, (str, int, float)) for item in _items(value)):
            raise WrongValue(f"{value!r} is not a text or a list of texts")
        if option is None:
            return self._chosen(_word(value))
        if option.is_flag:
            if not isinstance(value, bool):
                raise WrongValue(f"{value!r} is neither true nor false")
            return value
        return self._converted(option, value)

    def _chosen(self, word: str) -> str:
        if self.choices and word not in self.choices and not word.endswith((".yaml", ".yml")):
            hint = near(word, self.choices)
            raise WrongValue(f"there is none of this name{hint or '; `edgeprof workloads` lists them'}")
        return word

    @staticmethod
    def _converted(option: click.Option, value: Value) -> Any:
        if any(isinstance(item, bool) for item in _items(value)):
            raise WrongValue(f"YAML reads this as {value!r}; put it in quotes if it is a text")
        words = [_word(item) for item in _items(value)]
        with click.Context(click.Command("run")) as context:
            try:
                return option.type_cast_value(context, words if option.multiple else words[0])
            except click.BadParameter as error:
                choices = option.type.choices if isinstance(option.type, click.Choice) else ()
                hint = near(words[0], map(str, choices))
                raise WrongValue(error.message.strip().rstrip(".") + hint) from None


def axes_of(run: click.Command, of_workload: Iterable[str] = (), workloads: Iterable[str] = ()) -> dict[str, Axis]:
    """All axes that the options of ``edgeprof run`` make, by name.

    Args:
        run: the command.
        of_workload: names of the parameters that concern built-in workloads only.
        workloads: names of what is built in.
    """
    only = frozenset(of_workload)
    axes = {WORKLOAD: Axis(WORKLOAD, choices=tuple(workloads))}
    for option in run.params:
        if isinstance(option, click.Option) and option.name not in _OWNED:
            name = _longest(option.opts).lstrip("-").replace("-", "_")
            axes[name] = Axis(name, option, option.name in only)
    return axes


def level(value: Value) -> str:
    """A value as the text that names it in tables: ``default`` for null."""
    if value is None:
        return DEFAULT
    if isinstance(value, bool):
        return "true" if value else "false"
    return ",".join(map(_word, _items(value)))


def levels(values: Mapping[str, Value]) -> dict[str, str]:
    """The level of each axis."""
    return {name: level(value) for name, value in values.items()}


def _items(value: Value) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _word(value: Any) -> str:
    return level(value) if isinstance(value, bool) else str(value)


def _longest(names: Iterable[str]) -> str:
    return max(names, key=len)
