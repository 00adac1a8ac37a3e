"""``edgeprof doctor``: what this machine can capture, and how to get the rest."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgeprof.cli.options import folder_option, json_option
from edgeprof.cli.output import bullets, heading, make_console, make_table, print_json

if TYPE_CHECKING:
    from rich.console import Console

MARKS = {True: "yes", False: "no", None: ""}
SENSORS = {
    "rail": "power rails",
    "zone": "temperatures",
    "engine": "engines",
    "cpu": "processors",
    "throttling": "throttling",
}
"""Kind of a sensor -> what a person calls it."""

_LONGEST = 300
_MOST_CHOICES = 64
_HIGHEST = 1e18
"""A greater figure than this is no reading of any sensor."""


@click.command()
@folder_option
@json_option
def command(folder: Path | None, as_json: bool) -> None:
    """Say which board this is and what can be captured here, and how to get the rest.

    Nothing is changed.  The exit code is 0 whatever is missing: a run captures what it can.
    """
    from edgeprof.profiler.agent.doctor import examine
    from edgeprof.profiler.dataset import runs_folder

    found = examine(str(runs_folder(folder))).to_dict()
    if as_json:
        print_json(found)
    else:
        print_examination(found, make_console())


def print_examination(found: Mapping[str, Any], console: Console) -> None:
    """Print what `edgeprof.profiler.agent.doctor.Examination.to_dict` holds, for a person with 80 columns."""
    console.print(make_table(("board", ""), _board_rows(found["board"])))
    facts = [(item["name"], MARKS[item["good"]], item["value"], item["remedy"]) for item in found["machine"]]
    console.print(make_table(("machine", "good", "what there is"), _with_remedies(facts)))
    if found["sensors"]:
        console.print(make_table(("sensors", "read here"), _sensor_rows(found["sensors"])))
    unread = [item for item in found["sensors"] if not item["readable"]]
    if unread:
        heading("Sensors that are not read", console)
        bullets(_reasons(unread), console)
        console.print()
    probes = [
        (item["name"], MARKS[bool(item["available"])], item["reason"], item["remedy"]) for item in found["collectors"]
    ]
    console.print(make_table(("collector", "works", "why not, and how to get it"), _with_remedies(probes)))


def _with_remedies(rows: Iterable[tuple[str, str, str, str]]) -> list[tuple[str, str, str]]:
    """A remedy gets a line of its own below what it mends: four columns are too many for a narrow terminal."""
    told = []
    for name, mark, value, remedy in rows:
        told.append((name, mark, value))
        if remedy:
            told.append(("", "", f"-> {remedy}"))
    return told


def _board_rows(board: Mapping[str, Any]) -> list[tuple[str, str]]:
    """A board of another version, or a hostile one, may leave out anything or send other types."""
    rows = [("name", _text(board.get("name")) or "not known: neither a device tree nor DMI names this machine")]
    if _text(board.get("soc")):
        rows.append(("processor", _text(board.get("soc"))))
    if _text(board.get("revision")):
        facts = board.get("revision_facts")
        number = _text(facts.get("board_revision")) if isinstance(facts, dict) else ""
        rows.append(("revision", f"{_text(board.get('revision'))} (board {number or 'of old style'})"))
    rows.append(("release", _text(board.get("system")) or "not known"))
    mode = board.get("power_mode")
    if not isinstance(mode, dict):
        rows.append(("power mode", "none: no nvpmodel, no cpufreq governor, no platform profile"))
    elif not _text(mode.get("name")):
        rows.append(("power mode", f"not known: {_text(mode.get('reason'))}"))
    else:
        number = f" ({mode['number']})" if isinstance(mode.get("number"), int) else ""
        rows.append(("power mode", f"{_text(mode['name'])}{number}, of {_text(mode.get('kind'))}"))
    choices = board.get("power_modes")
    if isinstance(choices, list) and choices:
        rows.append(("to choose from", ", ".join(map(_text, choices[:_MOST_CHOICES]))))
    return rows


def _text(value: object) -> str:
    return value[:_LONGEST] if isinstance(value, str) else ""


def _sensor_rows(sensors: Iterable[Mapping[str, Any]]) -> list[tuple[str, str]]:
    from edgeprof.profiler.units import human

    told: dict[str, list[str]] = {}
    for item in sensors:
        names = told.setdefault(item["kind"], [])
        value = item.get("value")
        if item["readable"] and isinstance(value, (int, float)) and abs(value) < _HIGHEST:
            names.append(f"{item['name']} {human(value, _text(item.get('unit')))}")
        elif item["readable"]:
            names.append(item["name"])
    return [(SENSORS.get(kind, kind), ", ".join(names) or "none") for kind, names in told.items()]


def _reasons(unread: Iterable[Mapping[str, Any]]) -> list[str]:
    """One line for all sensors that share a reason and a remedy."""
    names: dict[tuple[str, str], list[str]] = {}
    for item in unread:
        names.setdefault((item["reason"], item["remedy"]), []).append(item["name"])
    return [
        f"{', '.join(shared)}: {reason}" + (f" (to get it: {remedy})" if remedy else "")
        for (reason, remedy), shared in names.items()
    ]
