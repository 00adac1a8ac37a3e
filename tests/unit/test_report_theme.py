"""Colours keep their contrast, and stay apart for colour-blind people, in both themes.

Contrast: WCAG 2.2, success criterion 1.4.11 (3:1 for graphical objects).  Simulated colour
blindness: Machado, Oliveira and Fernandes, "A physiologically-based model for simulation of
color vision deficiency", 2009, matrices for severity 1.0.  Distance: CIE 1976 in L*a*b*.
"""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from edgeprof.dashboards.report import theme

VISIONS = {
    "usual": np.eye(3),
    "protanopia": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "deuteranopia": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
    "tritanopia": np.array(
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]]
    ),
}
JUST_NOTICEABLE = 2.3
"""Mahy, Van Eycken and Oosterlinck, 1994; the palette keeps four times that."""


def linear(colour: str) -> np.ndarray:
    parts = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)


def luminance(colour: str) -> float:
    return float(linear(colour) @ [0.2126, 0.7152, 0.0722])


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def lab(rgb: np.ndarray) -> np.ndarray:
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    xyz = to_xyz @ np.clip(rgb, 0, 1) / np.array([0.9505, 1.0, 1.089])
    f = np.where(xyz > 216 / 24389, np.cbrt(xyz), (24389 / 27 * xyz + 16) / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize(
    ("palette", "background"),
    [(theme.LIGHT, theme.LIGHT_BACKGROUND), (theme.DARK, theme.DARK_BACKGROUND)],
    ids=["light", "dark"],
)
def test_every_colour_stands_out_from_the_background(palette: dict[str, str], background: str) -> None:
    faint = {name: round(contrast(colour, background), 2) for name, colour in palette.items()}
    assert all(value >= 3.0 for value in faint.values()), faint


@pytest.mark.parametrize("vision", VISIONS)
@pytest.mark.parametrize("palette", [theme.LIGHT, theme.DARK], ids=["light", "dark"])
def test_colours_stay_apart_for_colour_blind_people(palette: dict[str, str], vision: str) -> None:
    seen = {name: lab(VISIONS[vision] @ linear(colour)) for name, colour in palette.items()}
    near = {
        pair: round(float(np.linalg.norm(seen[pair[0]] - seen[pair[1]])), 1) for pair in itertools.combinations(seen, 2)
    }
    assert min(near.values()) >= 4 * JUST_NOTICEABLE, sorted(near.items(), key=lambda item: item[1])[:4]


def test_every_colour_of_a_figure_has_a_dark_partner() -> None:
    partners = theme.dark_partners()
    used = {
        *theme.CYCLE,
        *theme.OPERATIONS.values(),
        *theme.OWNERS.values(),
        theme.INK,
        *(stop[1] for stop in theme.DENSITY),
    }
    assert used <= set(partners)
    assert theme.faint(theme.BLUE).startswith(tuple(partners))
    assert len(set(partners.values())) == len(partners)
