"""The machines that the runs were captured on: what each is, what could be captured there, and its runs.

Address: ``board=KEY`` for the one that is told more of.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dash import html

from edgeprof.dashboards.app import parts
from edgeprof.dashboards.app.index import Snapshot
from edgeprof.dashboards.app.page import Context, Page
from edgeprof.dashboards.app.rows import text_of
from edgeprof.dashboards.app.view import View, link
from edgeprof.dashboards.report import account
from edgeprof.dashboards.report.data import RunData
from edgeprof.dashboards.report.text import clean
from edgeprof.profiler.errors import EdgeprofError
from edgeprof.profiler.units import counted, human

BOARDS_SHOWN = 200
_COLUMNS = (
    *("id", "started", "state", "board", "unit_power_mode", "host_board", "host_hostname", "host_machine"),
    *("host_kernel", "host_os", "host_cpus", "host_cpu_model", "host_memory_bytes", "host_virtualization"),
)
_NOT_SENSED = frozenset(("self", "phases"))
"""Collectors that say nothing of a machine: edgeprof's own cost, and what the program marks."""


@dataclass(frozen=True)
class Machine:
    """A machine: its runs' rows of the index, the newest first; times and ids as the index has them.

    Attributes:
        name: its board's, else its host's name.
    """

    name: str
    host: str
    rows: Sequence[Mapping[str, Any]]

    @property
    def key(self) -> str:
        """What names it in addresses."""
        return f"{self.name} {self.host}".strip()

    def texts(self, column: str) -> list[str]:
        """The values of a column that its runs have, most frequent first."""
        counts = Counter(_text(row[column]) for row in self.rows if row.get(column) is not None)
        return [value for value, _ in counts.most_common()]

    @property
    def newest(self) -> Mapping[str, Any]:
        """The row of its last run."""
        return self.rows[0]


def machines(known: Snapshot) -> tuple[list[Machine], int]:
    """All machines, the one that ran last first, and how many runs do not tell theirs."""
    having = [name for name in _COLUMNS if name in known.table.column_names]
    found: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    untold = 0
    for row in known.table.select(having).to_pylist():
        host = _text(row.get("host_hostname"))
        name = _text(row.get("board")) or _text(row.get("host_board")) or _text(row.get("host_cpu_model"))
        if not name and not host:
            untold += 1
            continue
        found.setdefault((name or host, host), []).append(row)
    made = [
        Machine(name, host, sorted(rows, key=lambda row: str(row.get("started") or ""), reverse=True))
        for (name, host), rows in found.items()
    ]
    return sorted(made, key=lambda machine: str(machine.newest.get("started") or ""), reverse=True), untold


def _text(value: str | float | None) -> str:
    return "" if value is None else text_of(value)


def layout(context: Context, view: View) -> Any:
    """The page for a view."""
    known = context.index.snapshot()
    found, untold = machines(known)
    if not found:
        return parts.empty(
            "", "no run of this folder tells its machine", "capture a run on a board with `edgeprof run -- COMMAND`"
        )
    chosen = next((machine for machine in found if machine.key == view.get("board")), found[0])
    children: list[Any] = [parts.section("machines", "Machines", _overview(context, found[:BOARDS_SHOWN]))]
    if len(found) > BOARDS_SHOWN:
        children.append(html.P(f"The {BOARDS_SHOWN} that ran last of {len(found)}.", className="limit"))
    if known.reading:
        children.append(html.P(f"{counted(known.reading, 'run')} still to be read.", className="limit"))
    if untold > known.reading:
        children.append(html.P(f"{counted(untold - known.reading, 'run')} cannot be read.", className="limit"))
    return [*children, _machine(context, chosen)]


def _overview(context: Context, found: Sequence[Machine]) -> Any:
    rows = []
    for machine in found:
        data, _ = _opened(context, machine)
        captured, missing = _sensed(data) if data is not None else ([], [])
        rows.append(
            [
                parts.anchor(machine.name, link("/boards", board=machine.key)),
                machine.host,
                _listed(machine.texts("host_kernel")),
                _memory(machine),
                _listed(machine.texts("unit_power_mode")) or "-",
                _rails(data),
                f"{len(captured)} of {len(captured) + len(missing)}" if data is not None else "-",
                str(len(machine.rows)),
                _last(machine),
            ]
        )
    heads = ["Board", "Host", "Kernel", "Memory", "Power mode", "Power rails", "Captured", "Runs", "Last run (UTC)"]
    return parts.table(heads, rows, "Machines", numbers=(3, 6, 7))


def _memory(machine: Machine) -> str:
    value = machine.newest.get("host_memory_bytes")  # text where a manifest of the folder has text there
    return _text(value) if isinstance(value, str) else human(value, "bytes")


def _last(machine: Machine) -> Any:
    run = machine.newest
    when = str(run.get("started") or run["id"]).partition(".")[0].replace("T", " ").removesuffix("Z")
    return parts.anchor(when, link("/run", run=str(run["id"])))


def _listed(values: Sequence[str], most: int = 2) -> str:
    more = f" and {len(values) - most} more" if len(values) > most else ""
    return ", ".join(values[:most]) + more


def _opened(context: Context, machine: Machine) -> tuple[RunData | None, str]:
    """The newest run of a machine that can be read, or why none can."""
    problem = ""
    for row in machine.rows[:5]:
        try:
            return RunData(context.run(str(row["id"]))), ""
        except EdgeprofError as error:
            problem = problem or str(error)
    return None, problem


def _sensed(data: RunData) -> tuple[list[str], list[str]]:
    """Collectors that captured there, and those that could not."""
    about = [item for item in data.collectors if item.get("name") not in _NOT_SENSED]
    names = [(clean(item.get("name") or "?"), item.get("available") is not False) for item in about]
    return [name for name, could in names if could], [name for name, could in names if not could]


def _rails(data: RunData | None) -> str:
    """Names of the power rails that a run's sensors have; or that there are none."""
    if data is None:
        return "-"
    names = [clean(name) for name in data.text("power", "rail").present()] if data.has("power") else []
    return _listed(names, most=4) if names else "none"


def _machine(context: Context, machine: Machine) -> Any:
    data, problem = _opened(context, machine)
    children: list[Any] = []
    if data is None:
        children.append(parts.notice(problem))
        return parts.section("machine", machine.name, *children)
    host = data.manifest.get("host")
    children.append(
        parts.table(["What", "As the last run found it"], _facts(machine, host), f"Facts of {machine.name}")
    )
    lines = account.collector_lines(data)
    children.append(html.H3("What could be captured"))
    children.append(
        parts.table(
            ["Collector", "State", "Why, and what would help"],
            [[line.name, html.Span(line.state, className=f"state {line.kind}"), _why(line)] for line in lines],
            "What could be captured",
        )
        if lines
        else html.P("The manifest names no collector.", className="why")
    )
    if data.has("power"):
        children += [html.H3("Power rails"), parts.table(["Rail", "Mean power"], _rail_rows(data), "Power rails")]
    kernels = machine.texts("host_kernel")
    if len(kernels) > 1:
        runs = [str(row["id"]) for row in machine.rows[:40]]
        text = f"Compare its {len(kernels)} kernels"
        children.append(html.P(parts.anchor(text, link("/compare", run=runs, by="host_kernel"))))
    return parts.section("machine", machine.name, *children)


def _facts(machine: Machine, host: object) -> list[list[str]]:
    facts = host if isinstance(host, Mapping) else {}
    rows = [
        ["Host", machine.host or "-"],
        ["Kernels", _listed(machine.texts("host_kernel"), most=6) or "-"],
        ["Memory", _memory(machine)],
        ["Power modes", _listed(machine.texts("unit_power_mode"), most=6) or "not known"],
        ["Runs", ", ".join(f"{count} {state}" for state, count in Counter(_states(machine)).most_common())],
    ]
    for name, words in (
        ("board_release", "Release"),
        ("os", "System"),
        ("machine", "Architecture"),
        ("cpu_model", "Processor"),
        ("cpus", "Processors"),
        ("governor", "Governor"),
        ("virtualization", "Virtualisation"),
    ):
        if facts.get(name) is not None:
            rows.append([words, clean(facts[name])])
    devices = facts.get("devices")
    for device in devices.values() if isinstance(devices, Mapping) else ():
        if isinstance(device, Mapping):
            size = device.get("bytes")
            about = [human(size, "bytes")] if isinstance(size, int) and size < 1 << 63 else []
            about += [clean(device[name]) for name in ("model", "scheduler") if device.get(name)]
            rows.append([f"Disk {clean(device.get('name') or '?')}", ", ".join(about)])
    return rows


def _why(line: account.CollectorLine) -> str:
    words = [remark.rstrip(".") for remark in line.remarks]
    return "; ".join([*words, f"to get it: {line.remedy}"] if line.remedy else words)


def _states(machine: Machine) -> list[str]:
    return [_text(row.get("state")) for row in machine.rows]


def _rail_rows(data: RunData) -> list[list[str]]:
    names, power = data.text("power", "rail"), data.number("power", "power")
    rows = []
    for name in names.present():
        values = power[names.is_(name)]
        values = values[values == values]  # without NaN
        rows.append([clean(name), human(float(values.mean()) if len(values) else None, "W")])
    return rows


PAGE = Page("/boards", "Boards", layout)
