"""The picture of an evaluation: mean latency of every contender at every workload, as a ratio to mq-deadline."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import Any

from edgeprof.kmodule.evaluation import table
from edgeprof.kmodule.evaluation.plan import BASELINE
from edgeprof.kmodule.evaluation.results import Results
from edgeprof.profiler.files import write_text

REPORT_FILE = "report.html"
_PANELS = (
    ("total", "completion", "time to completion"),
    ("all", "mean", "mean, all"),
    ("waited", "mean", "mean, waited for"),
)
_STYLE = """
body { font: 14px sans-serif; margin: 2em; max-width: 90em }
table { border-collapse: collapse; margin: 1em 0 }
td, th { padding: .2em .6em; text-align: right }
td:first-child, th:first-child { text-align: left }
tr:nth-child(even) { background: #f3f3f3 }
"""


def figure(results: Results) -> Any:
    """A Plotly figure: a panel for each of completion, all requests and those waited for; a point a disk, workload
    and contender, with its interval."""
    from plotly.subplots import make_subplots

    cells = [(disk, workload) for disk, workload, _ in results.cells]
    drawn = make_subplots(rows=len(_PANELS), cols=1, shared_xaxes=True, vertical_spacing=0.05)
    contenders = [name for name in results.contenders if name != BASELINE]
    for row, (of, what, title) in enumerate(_PANELS, 1):
        for number, name in enumerate(contenders):
            points = [
                (cell, found) for cell in cells if (found := results.compared.get((*cell, name, of, what))) is not None
            ]
            drawn.add_scatter(
                x=[[disk for (disk, _), _ in points], [workload for (_, workload), _ in points]],
                y=[found.value for _, found in points],
                error_y={
                    "array": [(found.high or found.value) - found.value for _, found in points],
                    "arrayminus": [found.value - (found.low or found.value) for _, found in points],
                    "thickness": 1,
                    "width": 2,
                },
                mode="markers",
                marker={"symbol": number, "size": 8, "color": _COLOURS[number % len(_COLOURS)]},
                name=name,
                legendgroup=name,
                showlegend=row == 1,
                row=row,
                col=1,
            )
        drawn.add_hline(y=1, line_width=1, row=row, col=1)
        drawn.update_yaxes(type="log", title=title, row=row, col=1)
    drawn.update_layout(template="plotly_white", height=900, width=1300, legend={"orientation": "h", "y": 1.05})
    return drawn


_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#000000")
"""Okabe and Ito's colours, told apart also by the colour-blind."""


def write_report(results: Results, folder: Path) -> Path:
    """One file that works offline: the figure, and the tables."""
    parts = [figure(results).to_html(full_html=False, include_plotlyjs=True)]
    parts.append(_html("Over all workloads, ratio to mq-deadline", table.overall(results)))
    for name, judged in results.goals.items():
        parts.append(_html(f"Goals of {name}: {table.counted(judged)}", table.goals(judged)))
    for disk, workload, _ in results.cells:
        parts.append(_html(f"{disk}, {workload}", table.by_cell(results, disk, workload)))
    path = folder / REPORT_FILE
    write_text(
        path,
        f"<!doctype html><meta charset=utf-8><title>I/O schedulers</title><style>{_STYLE}</style>" + "\n".join(parts),
    )
    return path


def _html(title: str, content: table.Table) -> str:
    headings, rows = content
    lines = ["".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in row) for tag, row in [("th", headings)]]
    lines += ["".join(f"<td>{escape(cell)}</td>" for cell in row) for row in rows]
    return f"<h2>{escape(title)}</h2><table>" + "".join(f"<tr>{line}</tr>" for line in lines) + "</table>"
