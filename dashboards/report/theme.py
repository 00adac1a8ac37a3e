"""Colours and plotly layouts, light and dark.

The hues are those of Okabe and Ito ("Color Universal Design", 2008), which people with each
kind of colour blindness tell apart.  Some are made darker for the light theme and lighter
for the dark one, so that each reaches a contrast of 3:1 with its background (WCAG 2.2,
1.4.11); a unit test checks contrast and simulated colour blindness.

A figure is made in the light colours; the page's script replaces each by its dark partner.
"""

from __future__ import annotations

from typing import Any

LIGHT = {
    "blue": "#0068a8",
    "vermillion": "#bf4300",
    "green": "#009e73",
    "purple": "#cc5fa0",
    "orange": "#bb8a00",
    "sky": "#2b98e0",
    "grey": "#5a6472",
    "ink": "#1f2933",
}
DARK = {
    "blue": "#2b8fdc",
    "vermillion": "#ff7a3d",
    "green": "#17b890",
    "purple": "#ea9bd0",
    "orange": "#e8bd3a",
    "sky": "#9bdcfa",
    "grey": "#8a8f98",
    "ink": "#e6eaf0",
}
LIGHT_BACKGROUND, DARK_BACKGROUND = "#ffffff", "#161b22"

BLUE, VERMILLION, GREEN, PURPLE = LIGHT["blue"], LIGHT["vermillion"], LIGHT["green"], LIGHT["purple"]
ORANGE, SKY, GREY, INK = LIGHT["orange"], LIGHT["sky"], LIGHT["grey"], LIGHT["ink"]

CYCLE = (BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY, GREY)
"""Order for series that have no colour of their own."""

READ, WRITE = BLUE, VERMILLION
OPERATIONS = {"read": READ, "write": WRITE, "discard": PURPLE, "flush": GREEN, "other": GREY}
OWNERS = {"run": BLUE, "kernel": ORANGE, "profiler": PURPLE, "other": GREY}
OWNER_NAMES = {
    "run": "this run",
    "kernel": "kernel threads",
    "profiler": "edgeprof itself",
    "other": "other processes",
}

_LIGHT_RAMP = ("#c9dff0", "#8cbcdf", "#4a94c8", "#1b68a3", "#08365f")
_DARK_RAMP = ("#1d4566", "#2a6c9f", "#4a98d2", "#8cc3ec", "#e3f2ff")
DENSITY = [[step / 4, colour] for step, colour in enumerate(_LIGHT_RAMP)]
"""One-hue scale for counts: further from the background is more."""


def faint(colour: str, share: float = 0.3) -> str:
    """A see-through form of a palette colour, for areas."""
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},{share:g})"


def dark_partners() -> dict[str, str]:
    """Light colour -> dark colour, for every colour that a figure may use.

    Areas are found by the part of ``faint`` before its opacity.
    """
    pairs = {LIGHT[name]: DARK[name] for name in LIGHT}
    pairs.update(zip(_LIGHT_RAMP, _DARK_RAMP, strict=False))
    pairs.update({_rgb(LIGHT[name]): _rgb(DARK[name]) for name in LIGHT})
    return pairs


def _rgb(colour: str) -> str:
    return faint(colour, 0).rpartition(",")[0] + ","


def template(dark: bool) -> dict[str, Any]:
    """A plotly template (``layout.template``): quiet grid, system font, no background of its own."""
    palette = DARK if dark else LIGHT
    line, grid = ("#4b5563", "#2b323c") if dark else ("#b6bec9", "#e8ebef")
    axis = {
        "gridcolor": grid,
        "linecolor": line,
        "tickcolor": line,
        "zerolinecolor": grid,
        "zerolinewidth": 1,
        "showline": False,
        "ticks": "",
        "automargin": True,
        "title": {"standoff": 8, "font": {"size": 12, "color": palette["grey"]}},
    }
    return {
        "layout": {
            "font": {"family": "system-ui, sans-serif", "size": 13, "color": palette["ink"]},
            "paper_bgcolor": "rgba(0,0,0,0)",
            "plot_bgcolor": "rgba(0,0,0,0)",
            "colorway": [palette[name] for name in LIGHT],
            "xaxis": {**axis, "showline": True, "ticks": "outside", "ticklen": 4},
            "yaxis": axis,
            "legend": {"bgcolor": "rgba(0,0,0,0)", "traceorder": "normal"},
            "hoverlabel": {
                "bgcolor": DARK_BACKGROUND if dark else LIGHT_BACKGROUND,
                "bordercolor": line,
                "font": {"color": palette["ink"], "size": 12},
                "namelength": 40,
            },
            "modebar": {"bgcolor": "rgba(0,0,0,0)", "color": line, "activecolor": palette["blue"]},
            "annotationdefaults": {"font": {"color": palette["ink"]}, "showarrow": False},
        }
    }
