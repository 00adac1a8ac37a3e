"""The figures of a model's report, as plotly takes them; colours are the page's template's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from edgeprof.dashboards.report.text import clean, label


@dataclass(frozen=True)
class Figure:
    """One figure: its place in the page, words, and what plotly draws."""

    key: str
    heading: str
    words: str
    traces: list[dict[str, Any]]
    layout: dict[str, Any]


def figures(curves: Mapping[str, Mapping[str, Any]]) -> list[Figure]:
    """The three figures of each part that was judged."""
    return [
        make(f"{part}-{number}", clean(part), found)
        for part, found in curves.items()
        for number, make in enumerate((_rates, _calibration, _density))
    ]


def _rates(key: str, part: str, found: Mapping[str, Any]) -> Figure:
    traces: list[dict[str, Any]] = [
        {"type": "scatter", "mode": "lines", "name": label(name), "x": points["false"], "y": points["true"]}
        | {"line": {"width": 3 if number == 0 else 1.5}}
        for number, (name, points) in enumerate(found["roc"].items())
    ]
    return Figure(
        key,
        f"Alarms, part {part}",
        "Of the requests that missed their deadline, how many were foretold (up), against how many alarms were false"
        " (right), as the alarm is set lower.",
        traces,
        _layout("false alarms", "misses foretold"),
    )


def _calibration(key: str, part: str, found: Mapping[str, Any]) -> Figure:
    points = found["calibration"]
    trace = {
        "type": "scatter",
        "mode": "lines+markers",
        "x": points["margin"],
        "y": points["missed"],
        "customdata": points["requests"],
        "hovertemplate": "%{y:.1%} of %{customdata} requests missed<extra></extra>",
    }
    return Figure(
        key,
        f"Misses by predicted margin, part {part}",
        "Requests in groups by how far the prediction lies beyond the deadline, in powers of two: right of 0 a miss"
        " is foretold.",
        [trace],
        _layout("predicted latency over deadline, log2", "missed") | {"showlegend": False},
    )


def _density(key: str, part: str, found: Mapping[str, Any]) -> Figure:
    edges, counts = found["density"]["edges"], found["density"]["counts"]
    middle = [(one + other) / 2 for one, other in pairwise(edges)]
    columns = [list(row) for row in zip(*counts, strict=True)]
    trace = {
        "type": "heatmap",
        "x": middle,
        "y": middle,
        "z": [[value or None for value in row] for row in columns],
        "hovertemplate": "predicted %{x:.1f}, true %{y:.1f}: %{z} requests<extra></extra>",
    }
    diagonal = {"type": "line", "x0": edges[0], "y0": edges[0], "x1": edges[-1], "y1": edges[-1]}
    return Figure(
        key,
        f"Predicted and true latency, part {part}",
        "How many requests were predicted to take so long (right) and took so long (up), log2(1 + µs).",
        [trace],
        _layout("predicted", "true") | {"shapes": [diagonal | {"line": {"width": 1, "dash": "dot"}}]},
    )


def _layout(right: str, up: str) -> dict[str, Any]:
    return {
        "height": 440,
        "margin": {"l": 64, "r": 20, "t": 20, "b": 56},
        "xaxis": {"title": {"text": right}},
        "yaxis": {"title": {"text": up}},
        "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom"},
    }
