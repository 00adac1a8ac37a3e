"""The filter of the list of runs: `framework_name=pytorch wall_time>10 name~demo`, as SQL with parameters."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from edgeprof.dashboards.app.rows import Column
from edgeprof.profiler.errors import EdgeprofError

LONGEST, MOST_TERMS = 500, 20

_TERM = re.compile(r'\s*(?:([A-Za-z_][\w.]*)(!=|!~|>=|<=|=|~|>|<))?("[^"]*"|[^\s"]+)(?=\s|$)')
_NUMBER = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?) ?([A-Za-zµ%/°]*)")
_PREFIXES = {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "m": 1e-3, "u": 1e-6, "µ": 1e-6, "n": 1e-9}
_PREFIXES |= {"Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30, "Ti": 2.0**40}
_SYMBOLS = {"bytes": "B", "share": "%", "count": ""}
_WHOLE = {("s", "min"): 60.0, ("s", "h"): 3600.0, ("share", "%"): 0.01}
"""Ways to write a value that are not a prefix before the unit's symbol."""
_NUMERIC = ("=", "!=", ">", ">=", "<", "<=")
_TEXTUAL = ("=", "!=", "~", "!~")
NOTHING = "none"
"""As a value: the run has none."""


class BadFilter(EdgeprofError):
    """A filter that means nothing."""


@dataclass(frozen=True)
class Condition:
    """A part of a WHERE clause, and the values of its parameters in order."""

    sql: str
    values: tuple[str | float, ...] = ()


def in_sql(names: Iterable[str]) -> dict[str, str]:
    """What columns are called in SQL: a run names them as it likes, and SQL would take no notice of case."""
    return {name: f"c{number}" for number, name in enumerate(names)}


def conditions(
    text: str, columns: Mapping[str, Column], numeric: Sequence[str], called: Mapping[str, str]
) -> list[Condition]:
    """The conditions that a filter states; all of them must hold.

    A term is ``NAME OP VALUE`` without spaces (``=``, ``!=``; of text ``~`` contains, ``!~`` does not; of numbers
    ``<``, ``<=``, ``>``, ``>=``), where a value with spaces stands in double quotes, ``none`` is no value, and a number
    may have a unit (``1.5GB``, ``20ms``, ``80%``).  Any other word must occur in the run's id, name or command.

    Args:
        columns: the names that may be used.
        numeric: those of them that hold numbers.
        called: what they are called in SQL, of `in_sql`.

    Raises:
        BadFilter
    """
    if len(text) > LONGEST:
        raise BadFilter(f"the filter has more than {LONGEST} characters; shorten it")
    found: list[Condition] = []
    position, text = 0, text.strip()
    while position < len(text):
        match = _TERM.match(text, position)
        if match is None:
            word = text[position:].split()[0]
            raise BadFilter(f"{word!r} is not understood; write NAME=VALUE, and quote a value that has spaces")
        name, operator, value = match.groups()
        if not name and re.search("[<>=~]", value) and not value.startswith('"'):
            raise BadFilter(f"{value!r} is not understood; write NAME=VALUE without spaces, as in wall_time>10")
        value = value[1:-1] if value.startswith('"') else value
        found.append(_compared(name, operator, value, columns, numeric, called) if name else _word(value, called))
        position = match.end()
    if len(found) > MOST_TERMS:
        raise BadFilter(f"the filter has more than {MOST_TERMS} terms; shorten it")
    return found


def _word(word: str, called: Mapping[str, str]) -> Condition:
    texts = [called[name] for name in ("id", "name", "command") if name in called]
    # Cast, as a column in which no run has a value is one of numbers.
    parts = " or ".join(f"contains(lower(cast({column} as varchar)), lower(?))" for column in texts)
    return Condition(f"({parts})", (word,) * len(texts))


def _compared(
    name: str,
    operator: str,
    value: str,
    columns: Mapping[str, Column],
    numeric: Sequence[str],
    called: Mapping[str, str],
) -> Condition:
    name = name.replace(".", "_")
    if name not in columns:
        near = difflib.get_close_matches(name, columns, n=1)
        raise BadFilter(f"no run has {name!r}" + (f"; did you mean {near[0]!r}?" if near else "; see the columns"))
    column = called[name]
    if value.lower() == NOTHING and operator in ("=", "!="):
        return Condition(f"{column} is {'not ' if operator == '!=' else ''}null")
    if name in numeric:
        if operator not in _NUMERIC:
            raise BadFilter(f"{name} is a number; compare it with {' '.join(_NUMERIC)}")
        return Condition(f"{column} {operator} ?", (_number(name, value, columns[name].unit),))
    if operator not in _TEXTUAL:
        raise BadFilter(f"{name} is text; compare it with {' '.join(_TEXTUAL)}")
    known = f"lower(coalesce({column}, ''))"
    if operator in ("=", "!="):
        return Condition(f"{known} {operator} lower(?)", (value,))
    return Condition(f"{'not ' if operator == '!~' else ''}contains({known}, lower(?))", (value,))


def _number(name: str, text: str, unit: str) -> float:
    match = _NUMBER.fullmatch(text)
    base = unit.partition("/")[0]
    symbol = _SYMBOLS.get(base, base)
    if match is not None:
        number, given = float(match[1]), match[2].partition("/")[0]
        if (base, given) in _WHOLE:
            return number * _WHOLE[base, given]
        prefix = given.removesuffix(symbol) if symbol else given
        if prefix in _PREFIXES and (prefix != "m" or given != "m"):
            return number * _PREFIXES[prefix]
    example = {"B": "1.5GB", "s": "20ms", "%": "80%"}.get(symbol, f"10{symbol}")
    raise BadFilter(f"{text!r} is no value of {name}; write a number such as {example}")
