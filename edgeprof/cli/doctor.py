"""``edgeprof doctor``: what this machine can capture, and how to get the rest."""

from __future__ import annotations

from pathlib import Path

import click

from edgeprof.cli.options import folder_option, json_option
from edgeprof.cli.output import make_console, make_table, print_json

MARKS = {True: "yes", False: "no", None: ""}


@click.command()
@folder_option
@json_option
def command(folder: Path | None, as_json: bool) -> None:
    """Say what this machine can capture, collector by collector, and how to get the rest.

    Nothing is changed.  The exit code is 0 whatever is missing: a run captures what it can.
    """
    from edgeprof.profiler.dataset import runs_folder
    from edgeprof.profiler.doctor import examine

    found = examine(runs_folder(folder))
    if as_json:
        print_json(found.to_dict())
        return
    console = make_console()
    facts = [(check.name, MARKS[check.good], check.value, check.remedy) for check in found.machine]
    console.print(make_table(("machine", "good", "what there is", "to improve it"), facts))
    probes = [
        (item["name"], MARKS[bool(item["available"])], item["reason"], item["remedy"]) for item in found.collectors
    ]
    console.print(make_table(("collector", "works", "why not", "to get it"), probes))
