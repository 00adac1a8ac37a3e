"""Request sizes: how large the run's reads and writes are when they reach the block layer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from edgeprof.dashboards.report.downsample import Floats, Ints
from edgeprof.dashboards.report.figures.base import LEGEND_ABOVE, Absent, DataTable, Outcome, Picture, absent, compact
from edgeprof.dashboards.report.figures.requests import of_run, positive
from edgeprof.dashboards.report.theme import OPERATIONS
from edgeprof.profiler.units import count, human, request_size

if TYPE_CHECKING:
    from edgeprof.dashboards.report.data import RunData

KEY, TITLE = "sizes", "Request sizes"
_DONE = {"read": "read", "write": "written"}


def build(data: RunData) -> Outcome:
    """Bars by power of two, one colour each for reads and writes."""
    if not data.has("block_io"):
        return absent(data, KEY, TITLE, "block_io")
    sizes: dict[str, Floats] = {}
    limits: list[str] = []
    for operation in ("read", "write"):
        chosen = of_run(data, operation)
        values = positive(data.number("block_io", "bytes")[chosen.mask])
        if len(values):
            sizes[operation] = values
            limits += chosen.limits
    if not sizes:
        return Absent(
            KEY,
            TITLE,
            "no read or write of the run reached a block device",
            "start with a cold page cache to see reads",
        )
    return _picture(sizes, list(dict.fromkeys(limits)))


def _picture(sizes: dict[str, Floats], limits: list[str]) -> Picture:
    classes = {name: _classes(values) for name, values in sizes.items()}
    low = min(int(values.min()) for values in classes.values())
    high = max(int(values.max()) for values in classes.values())
    names = [request_size(1 << power) for power in range(low, high + 1)]
    counts = {name: np.bincount(values - low, minlength=len(names)) for name, values in classes.items()}
    totals = {name: np.bincount(values - low, sizes[name], len(names)) for name, values in classes.items()}
    rows = [[name] for name in names]
    for operation in sizes:
        for row, number, amount in zip(rows, counts[operation], totals[operation], strict=True):
            row += [count(int(number)), human(float(amount), "bytes")]
    heads = ("Size", *(head for name in sizes for head in (f"{name.capitalize()}s", f"Bytes {_DONE[name]}")))
    return Picture(
        key=KEY,
        title=TITLE,
        figure=_figure(names, counts, totals),
        caption="Requests by size when they reached the block layer, after the file system and read-ahead have split "
        "or joined what the program asked for. Each class goes from the size named up to the next. The vertical axis "
        "is logarithmic.",
        label="Bars of the number of requests by size for " + " and ".join(f"{name}s" for name in sizes) + ".",
        limits=limits,
        table=DataTable(heads, rows),
    )


def _figure(names: list[str], counts: dict[str, Any], totals: dict[str, Any]) -> Any:
    import plotly.graph_objects as go

    figure = go.Figure()
    for operation, number in counts.items():
        figure.add_trace(
            go.Bar(
                x=names,
                y=compact(np.where(number > 0, number, np.nan)),
                name=f"{operation}s",
                marker={"color": OPERATIONS[operation]},
                customdata=[human(float(value), "bytes") for value in totals[operation]],
                hovertemplate="%{y} requests, %{customdata} in all",
            )
        )
    most = max(int(number.max()) for number in counts.values())
    figure.update_xaxes(type="category", title="size (and up to the next)")
    figure.update_yaxes(
        type="log", dtick=1, tickformat="~s", title="requests", range=[np.log10(0.7), np.log10(most) + 0.15]
    )
    figure.update_layout(
        height=340,
        hovermode="x unified",
        bargap=0.25,
        showlegend=True,
        legend=LEGEND_ABOVE,
        margin={"l": 60, "r": 16, "t": 30, "b": 50},
    )
    return figure


def _classes(values: Floats) -> Ints:
    """Exponent of the power of two at or below each size."""
    exponents: Ints = (np.frexp(values)[1] - 1).astype(np.int64)
    return exponents
