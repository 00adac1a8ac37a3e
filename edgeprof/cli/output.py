"""What commands print: JSON, tables on the terminal, and the summary of a run."""

from __future__ import annotations

import json
import math
import shlex
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from edgeprof.profiler.conditions import marks_of
from edgeprof.profiler.dataset import metrics_of, phases_of
from edgeprof.profiler.units import human

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from edgeprof.profiler.run import Run

Charts = Callable[["Run", "Console"], None]
"""Prints the charts of a run."""

PIPE_WIDTH = 1000
"""Columns of a table that goes to a file or a pipe, where no terminal tells a width."""

TEXT_WIDTH = 120
"""Sentences are wrapped at the terminal's width, and here at most."""

COMMAND_SHOWN = 300
"""Characters of a run's command that are shown; the manifest has it whole."""

UNTOLD_VERDICT = {
    "bound_by": "unknown",
    "confidence": "low",
    "evidence": ["The run has no tables yet."],
    "advice": ["Make them with `edgeprof ingest RUN`."],
}

PHASE_COLUMNS = (
    ("time", "wall_time"),
    ("times", "phase_count"),
    ("read", "block_read_bytes"),
    ("written", "block_write_bytes"),
    ("RSS peak", "rss_peak"),
    ("CPU time", "cpu_time"),
    ("I/O pressure", "psi_io_some"),
    ("major faults", "major_faults"),
)
"""Heading and metric of each column of the phases table."""


def print_json(content: Any) -> None:
    """Print JSON; a number that JSON cannot hold becomes null."""
    click.echo(json.dumps(_finite(content), indent=2, allow_nan=False, default=str))


def _finite(content: Any) -> Any:
    if isinstance(content, float):
        return content if math.isfinite(content) else None
    if isinstance(content, Mapping):
        return {str(key): _finite(value) for key, value in content.items()}
    if isinstance(content, (list, tuple)):
        return [_finite(value) for value in content]
    return content


def make_console(stderr: bool = False) -> Console:
    """A console on standard output or error: colours only on a terminal, and never with NO_COLOR."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() else PIPE_WIDTH
    return Console(width=width, stderr=stderr, highlight=False, markup=False, emoji=False)


_SPACES = "\u00a0\u2009\u202f"  # no-break and thin spaces, which Python does not call printable


def plain(text: object) -> str:
    """Text from a run without what could steer a terminal: control characters become their escapes."""
    escaped = (char.encode("unicode_escape").decode("ascii") for char in str(text))
    return "".join(
        char if char.isprintable() or char in _SPACES else escape
        for char, escape in zip(str(text), escaped, strict=True)
    )


def make_table(headings: Sequence[str], rows: Iterable[Sequence[object]], right: Sequence[int] = ()) -> Table:
    """A table of text; columns in ``right`` are aligned right, None shows as a dash."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for number, heading in enumerate(headings):
        table.add_column(Text(plain(heading)), justify="right" if number in right else "left", overflow="fold")
    for row in rows:
        table.add_row(*("-" if cell is None else Text(plain(cell)) for cell in row))
    return table


def wanted_width(table: Table, console: Console) -> int:
    """Columns that a table takes when nothing in it is folded."""
    return console.measure(table, options=console.options.update(max_width=1_000_000)).maximum


def summary(run: Run) -> dict[str, Any]:
    """A run as plain JSON values: what ``edgeprof show RUN --json`` prints.  Raises DamagedMetrics."""
    manifest = run.manifest
    return {
        "run": {**manifest["run"], "path": str(run.path)},
        "factors": manifest["factors"],
        "metrics": metrics_of(run),
        "phases": phases_of(run),
        "collectors": manifest["collectors"],
        "overhead": manifest["overhead"],
        "verdict": manifest.get("verdict") or UNTOLD_VERDICT,
        "roles": manifest.get("roles"),
        "marks": marks_of(run),
        **({"guest": summary(run.guest)} if run.guest else {}),
    }


def print_line(text: str, console: Console) -> None:
    """Print a line as it is: nothing in it is a mark-up, and it is not wrapped."""
    console.print(_text(text), soft_wrap=True)


def print_summary(run: Run, console: Console, charts: Charts | None = None) -> None:
    """Print a run for a person: verdict, figures, charts, phases, what is missing and why, overhead."""
    told = summary(run)
    _print_head(told["run"], console)
    _print_marks(told["marks"], console)
    _print_verdict(told["verdict"], console)
    _print_roles(told["roles"], console)
    _print_figures(told["metrics"], console)
    if charts is not None:
        charts(run, console)
    _print_phases(told["phases"], told["run"].get("wall_time"), console)
    _print_missing(told["collectors"], told["metrics"], console)
    _print_overhead(told["overhead"], told["metrics"], console)
    notes = [*run.manifest.get("notes", ()), *(run.manifest.get("ingest") or {}).get("notes", ())]
    if notes:
        heading("Notes", console)
        bullets(notes, console)


def print_closing(run: Run, console: Console, charts: Charts) -> None:
    """Print the end of a run on its terminal: verdict, key figures and charts; `edgeprof show` tells the rest."""
    from edgeprof.dashboards.report.data import RunData
    from edgeprof.dashboards.report.summary import tiles

    told = summary(run)
    _print_head(told["run"], console)
    _print_marks(told["marks"], console)
    _print_verdict(told["verdict"], console)
    _print_roles(told["roles"], console)
    known = [tile for tile in tiles(RunData(run)) if tile.value is not None]
    half = (len(known) + 1) // 2
    pairs = [known[row::half] for row in range(half)]
    cells = [[cell for tile in pair for cell in (tile.title, tile.value)] for pair in pairs]
    if cells:
        console.print(make_table(["", "", "", ""], [[*row, *[""] * (4 - len(row))] for row in cells], right=(1, 3)))
    charts(run, console)
    _print_overhead(told["overhead"], told["metrics"], console)


def outcome(info: Mapping[str, Any]) -> str:
    """How a run ended: ``exit 0``, ``signal 9``, ``interrupted``."""
    if info.get("signal") is not None:
        return f"signal {info['signal']}"
    if info.get("exit_code") is not None:
        return f"exit {info['exit_code']}"
    return str(info.get("status") or "unknown")


def _text(content: object, style: str = "") -> Text:
    from rich.text import Text

    return Text(plain(content), style=style)


def heading(title: str, console: Console) -> None:
    """Print the heading of a part, below an empty line."""
    console.print()
    console.print(_text(title, "bold"))


def bullets(lines: Iterable[object], console: Console) -> None:
    """Print each line behind a dash, wrapped at the terminal's width."""
    import textwrap

    width = min(console.width, TEXT_WIDTH)
    for line in lines:
        text = textwrap.fill(
            plain(line), width, initial_indent="  - ", subsequent_indent="    ", break_on_hyphens=False
        )
        console.print(text, markup=False, highlight=False, soft_wrap=True)


def _print_head(info: Mapping[str, Any], console: Console) -> None:
    command = shlex.join(map(str, info.get("command") or ()))
    if len(command) > COMMAND_SHOWN:
        command = command[:COMMAND_SHOWN] + " ..."
    console.print(_text(info.get("name") or "", "bold"), _text(f"({outcome(info)})"))
    console.print(_text(command, "dim"))
    wall = info.get("wall_time")
    when = f"{info.get('started') or 'start unknown'}, {human(wall, 's') if wall is not None else 'end unknown'}"
    console.print(_text(f"{info.get('id')}: {when}", "dim"))


def _print_marks(marks: Sequence[str], console: Console) -> None:
    if marks:
        console.print()
        console.print(_text("Marked: its figures may not be comparable with those of other runs", "bold yellow"))
        bullets(marks, console)


def _print_verdict(verdict: Mapping[str, Any], console: Console) -> None:
    console.print()
    bound, confidence = verdict.get("bound_by"), verdict.get("confidence")
    known = bound != "unknown"
    sentence = f"Bound by {bound} ({confidence} confidence)" if known else "What the run was bound by is not known"
    console.print(_text(sentence, "bold yellow" if known else "bold"))
    bullets(verdict.get("evidence") or (), console)
    advice = verdict.get("advice") or ()
    if advice:
        console.print(_text("Try:"))
        bullets(advice, console)


ROLE_COLUMNS = (
    ("steps", "steps", "count"),
    ("p50", "latency_p50", "s"),
    ("p99", "latency_p99", "s"),
    ("worst", "latency_max", "s"),
    ("deadline", "deadline", "s"),
    ("missed", "misses", "count"),
    ("CPU time", "cpu_time", "s"),
    ("waited for CPU", "wait_cpu", "s"),
    ("for storage", "wait_io", "s"),
)
"""Heading, field of `edgeprof.profiler.analysis.roles.RoleFigures`, and unit of each column of the roles table."""


def _print_roles(roles: Mapping[str, Any] | None, console: Console) -> None:
    if not roles:
        return
    heading("Roles", console)
    rows = [
        [item["role"], *(None if item.get(key) is None else human(item[key], unit) for _, key, unit in ROLE_COLUMNS)]
        for item in roles.get("figures") or ()
    ]
    headings = ["role", *(heading for heading, _, _ in ROLE_COLUMNS)]
    console.print(make_table(headings, rows, right=range(1, len(headings))))
    bullets(roles.get("sentences") or (), console)


def _print_figures(metrics: Mapping[str, Mapping[str, Any]], console: Console) -> None:
    known = [(name, human(item["value"], item["unit"])) for name, item in metrics.items() if item["value"] is not None]
    if not known:
        return
    heading("Figures", console)
    half = (len(known) + 1) // 2
    pairs = [(*known[row], *(known[row + half] if row + half < len(known) else ("", ""))) for row in range(half)]
    from rich.table import Table

    table = Table.grid(padding=(0, 3))
    for name, value, other, other_value in pairs:
        table.add_row("", _text(name), _text(value, "cyan"), _text(other), _text(other_value, "cyan"))
    console.print(table)


def _print_phases(phases: Sequence[Mapping[str, Any]], wall: float | None, console: Console) -> None:
    if not phases:
        return
    heading("Phases", console)

    def cell(metrics: Mapping[str, Any], name: str) -> str | None:
        item = metrics.get(name)
        return human(item["value"], item["unit"]) if item and item["value"] is not None else None

    rows = []
    for phase in phases:
        metrics = phase["metrics"]
        seconds = (metrics.get("wall_time") or {}).get("value")
        share = human(seconds / wall, "share") if seconds is not None and wall else None
        rows.append([phase["name"], share, *(cell(metrics, name) for _, name in PHASE_COLUMNS)])
    headings = ["phase", "share", *(heading for heading, _ in PHASE_COLUMNS)]
    for columns in range(len(headings), 2, -1):  # the last columns go where the terminal is too narrow
        table = make_table(headings[:columns], [row[:columns] for row in rows], right=range(1, columns))
        if wanted_width(table, console) <= console.width:
            break
    console.print(table)


def _print_missing(collectors: Sequence[Any], metrics: Mapping[str, Mapping[str, Any]], console: Console) -> None:
    lines = []
    for item in collectors:
        if not item.get("available", True):
            remedy = f" (to get it: {item['remedy']})" if item.get("remedy") else ""
            lines.append(f"{item.get('name')}: {item.get('reason') or 'not available'}{remedy}")
        elif item.get("mode") not in (None, "full"):
            lines.append(f"{item.get('name')}: {item['mode']}; {'; '.join(map(str, item.get('notes') or ()))}")
    said = {str(item.get("reason")) for item in collectors}
    reasons: dict[str, list[str]] = {}
    for name, metric in metrics.items():
        if metric["value"] is None and metric["reason"] not in said:
            reasons.setdefault(str(metric["reason"]), []).append(name)
    lines += [f"{', '.join(names)}: {reason}" for reason, names in reasons.items()]
    if lines:
        heading("Not captured", console)
        bullets(lines, console)


def _print_overhead(overhead: Mapping[str, Any], metrics: Mapping[str, Mapping[str, Any]], console: Console) -> None:
    heading("edgeprof itself", console)
    lost = (metrics.get("lost_records") or {}).get("value", overhead.get("lost_records"))
    parts = [
        f"{human(overhead.get('cpu_seconds'), 's')} of CPU time",
        f"{human(overhead.get('cpu_share'), 'share')} of one core while the run went on",
        f"{human(overhead.get('bytes_written'), 'bytes')} written",
        f"at most {human(overhead.get('peak_rss_bytes'), 'bytes')} of memory",
        f"records lost: {'not known' if lost is None else human(lost, 'count')}",
    ]
    if (overhead.get("budget") or {}).get("kept") is False:
        parts.append("its CPU budget was exceeded")
    bullets([", ".join(parts)], console)
