"""Quantities as people type them: sizes, durations, and the budget of a capture."""

from __future__ import annotations

import re
from typing import Any

import click

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(i?)b?(?:/s)?", re.IGNORECASE)
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ns|us|µs|ms|s|)")
_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "": 1.0}


class SizeType(click.ParamType[int]):
    """Bytes: ``512M``, ``2GiB``, ``1500000``; K, M, G, T are powers of 1024 as in cgroup files and docker."""

    name = "size"

    def __init__(self, zero: bool = False) -> None:
        self._least = 0 if zero else 1

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        size = parse_size(str(value), 1024)
        if size is None or size < self._least:
            self.fail(f"{value!r} is not a size; write it like 512M or 2G", param, ctx)
        return int(size)


def parse_size(text: str, base: int) -> float | None:
    """A number with an optional K, M, G, T (powers of ``base``; KiB and so on: of 1024); None if it is not one."""
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        return None
    number, prefix, binary = match.groups()
    return float(number) * float(1024 if binary else base) ** (" kmgt".index(prefix.lower() or " "))


class DurationType(click.ParamType[float]):
    """Seconds: ``500ms``, ``200us``, ``1.5s``, ``2``."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        match = _DURATION.fullmatch(str(value).strip())
        seconds = float(match[1]) * _SECONDS[match[2]] if match else 0.0
        if not 0 < seconds < 1e9:
            self.fail(f"{value!r} is not a duration; write it like 500ms or 1.5s", param, ctx)
        return seconds


class BudgetType(click.ParamType[tuple[float | None, float | None]]):
    """``1%``, ``4MB/s`` or ``1%,4MB/s``: share of one core, raw bytes a second."""

    name = "budget"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[float | None, float | None]:
        if isinstance(value, tuple):
            return value
        cpu: float | None = None
        rate: float | None = None
        for part in str(value).split(","):
            text = part.strip()
            try:
                if text.endswith("%"):
                    cpu = float(text[:-1]) / 100
                    continue
            except ValueError:
                pass
            rate = parse_size(text, 1000)
            if rate is None:
                self.fail(f"{value!r} is not a budget; write it like 1% or 1%,4MB/s", param, ctx)
        if (cpu is not None and not 0 < cpu <= 1) or (rate is not None and rate < 1000):
            self.fail("a budget is between 0 and 100% of one core and at least 1kB/s", param, ctx)
        return cpu, rate
