"""``edgeprof workloads``: the built-in workloads, and the frameworks that run them."""

from __future__ import annotations

from typing import Any

import click

from edgeprof.cli.options import json_option
from edgeprof.cli.output import make_console, make_table, print_json
from edgeprof.profiler.units import human
from edgeprof.workloads.catalog import WORKLOADS, Workload
from edgeprof.workloads.frameworks import FRAMEWORK, missing, version
from edgeprof.workloads.scenarios.spec import names


@click.command()
@json_option
def command(as_json: bool) -> None:
    """List the built-in workloads with their size and source; `edgeprof run NAME` captures one."""
    frameworks = {name: _framework(name) for name in FRAMEWORK}
    if as_json:
        workloads = [_as_dict(entry) for entry in WORKLOADS.values()]
        print_json({"workloads": workloads, "scenarios": names(), "frameworks": frameworks})
        return
    console = make_console()
    entries = list(WORKLOADS.values())
    headings = ["name", "parameters", "weights", "data", "trained by", "inference by"]
    console.print(make_table(headings, map(_row, entries), right=range(1, 3)))
    console.print(make_table(["name", "kind", "model"], [[entry.name, entry.kind, entry.source] for entry in entries]))
    console.print(make_table(["framework", "version", "here"], map(_framework_row, frameworks.values())))
    click.echo(f"Scenarios of several workloads at once: {', '.join(names())}")


def _row(entry: Workload) -> list[str]:
    size = human(4 * entry.parameters, "bytes")
    return [entry.name, f"{entry.parameters:,}", size, entry.data, _by(entry.train), _by(entry.infer)]


def _by(frameworks: tuple[str, ...]) -> str:
    return "all" if set(frameworks) == set(FRAMEWORK) else ", ".join(frameworks)


def _as_dict(entry: Workload) -> dict[str, Any]:
    return {
        "name": entry.name,
        "kind": entry.kind,
        "task": entry.task,
        "data": entry.data,
        "parameters": entry.parameters,
        "float32_bytes": 4 * entry.parameters,
        "batch": entry.batch,
        "image": entry.image,
        "length": entry.length or None,
        "frameworks": {"train": entry.train, "infer": entry.infer, "keras": entry.keras},
        "source": entry.source,
    }


def _framework(name: str) -> dict[str, Any]:
    lacking = missing(name)
    return {
        "title": FRAMEWORK[name].title,
        "version": version(name),
        "available": lacking is None,
        "reason": str(lacking) if lacking else None,
        "extra": FRAMEWORK[name].extra,
    }


def _framework_row(framework: dict[str, Any]) -> list[str]:
    return [framework["title"], framework["version"] or "-", framework["reason"] or "yes"]
