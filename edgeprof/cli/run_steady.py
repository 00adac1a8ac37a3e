"""Options of ``edgeprof run`` for the conditions that a run begins under: steadiness, power mode, idle power."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

Function = TypeVar("Function", bound=Callable[..., Any])

IDLE_SECONDS = 10.0
_MOST_SECONDS = 86400

_OPTIONS = (
    click.option(
        "--steady",
        type=click.FloatRange(1, _MOST_SECONDS),
        metavar="SECONDS",
        help="Wait at most this long until temperatures, clocks and load hold still; mark the run where they do not.",
    ),
    click.option(
        "--power-mode",
        default="",
        metavar="NAME",
        help="Set this power mode for the run: nvpmodel's name or number, a cpufreq governor, or a platform profile.",
    ),
    click.option(
        "--idle",
        type=click.FloatRange(1, _MOST_SECONDS),
        metavar="SECONDS",
        is_flag=False,
        flag_value=IDLE_SECONDS,
        help=f"First measure the power of the idle machine; without a number for {IDLE_SECONDS:g} s.",
    ),
)


def steady_options(function: Function) -> Function:
    """Add them to a command."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


def steady_of(options: dict[str, Any]) -> dict[str, Any]:
    """The fields of a RunSpec that the options ask for."""
    return {"steady": options["steady"], "power_mode": options["power_mode"], "idle": options["idle"] or 0.0}
