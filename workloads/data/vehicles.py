"""Other vehicles, seen from behind as shaded boxes with windows, lights, wheels and a shadow."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

VEHICLE_CLASSES = ("car", "truck", "bus")
_SIZES = ((1.8, 1.5), (2.5, 3.4), (2.5, 3.0))
"""Width and height, m."""
_PAINTS = (
    (200, 200, 205),
    (40, 42, 46),
    (150, 30, 30),
    (30, 60, 130),
    (225, 225, 220),
    (110, 115, 120),
    (190, 160, 40),
)
_VEHICLE_MASK = 5

Canvas = NDArray[np.float32]
Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Vehicle:
    """One vehicle: `kind` is an index in `VEHICLE_CLASSES`, `lane` counts from the camera's own, `distance` is in m."""

    kind: int
    lane: int
    distance: float
    paint: int

    @classmethod
    def random(cls, rng: np.random.Generator, lane: int, step: int) -> Vehicle:
        """A vehicle in a lane; ``step`` 0, 1, 2 is near, middle, far.  Outer lanes are only seen further ahead."""
        nearest = (7.0, 8.0, 15.0)[abs(lane)]
        distance = (nearest + 14.0 * step) + 6.0 * float(rng.random())
        kind = int(np.searchsorted((0.7, 0.88), float(rng.random())))
        return cls(kind, lane, distance, int(rng.integers(len(_PAINTS))))


def draw_vehicle(
    canvas: Canvas,
    mask: NDArray[np.uint8],
    vehicle: Vehicle,
    column: float,
    row: float,
    scale: float,
    shade: tuple[float, Canvas],
    lit: bool,
) -> Box:
    """Draw it with its wheels' foot at (row, column), ``scale`` pixels a metre; returns its box (cx, cy, w, h in 0..1).

    Args:
        shade: gain of its colours, and the haze that is added.
        lit: whether its lights are on.
    """
    height, width = canvas.shape[:2]
    wide, high = (size * scale for size in _SIZES[vehicle.kind])
    gain, haze = shade

    def area(left: float, top: float, right: float, bottom: float) -> tuple[slice, slice]:
        """A part of the vehicle in shares of its width (from its middle) and height (from the ground), as pixels."""
        rows = slice(_within(row - top * high, height), _within(row - bottom * high, height))
        return rows, slice(_within(column + left * wide, width), _within(column + right * wide, width))

    def fill(where: tuple[slice, slice], colour: Canvas) -> None:
        canvas[where] = colour * np.float32(gain) + haze

    paint = np.array(_PAINTS[vehicle.paint], np.float32)
    dark, glass = np.array((24, 24, 26), np.float32), np.array((58, 68, 78), np.float32)
    canvas[area(-0.55, 0.06, 0.55, -0.08)] *= np.float32(0.4)
    fill(area(-0.46, 0.2, -0.3, 0.0), dark)
    fill(area(0.3, 0.2, 0.46, 0.0), dark)
    body = area(-0.5, 0.6, 0.5, 0.12) if vehicle.kind == 0 else area(-0.5, 1.0, 0.5, 0.12)
    rows = max(0, body[0].stop - body[0].start)
    fill(body, np.linspace(1.1, 0.7, rows, dtype=np.float32)[:, None, None] * paint)
    if vehicle.kind == 0:
        fill(area(-0.4, 1.0, 0.4, 0.6), paint * np.float32(0.9))
        fill(area(-0.34, 0.94, 0.34, 0.62), glass)
    elif vehicle.kind == 1:
        fill(area(-0.01, 0.98, 0.01, 0.2), dark)  # the slit between the doors
    else:
        fill(area(-0.42, 0.92, 0.42, 0.6), glass)
    lamp = np.array((255, 60, 40) if lit else (170, 25, 25), np.float32) / np.float32(gain if lit else 1.0)
    fill(area(-0.47, 0.45, -0.36, 0.34), lamp)
    fill(area(0.36, 0.45, 0.47, 0.34), lamp)
    fill(area(-0.14, 0.34, 0.14, 0.24), np.array((220, 220, 215), np.float32))
    whole = area(-0.5, 1.0, 0.5, 0.0)
    mask[body] = _VEHICLE_MASK
    if vehicle.kind == 0:
        mask[area(-0.4, 1.0, 0.4, 0.6)] = _VEHICLE_MASK
    top, bottom, left, right = whole[0].start, whole[0].stop, whole[1].start, whole[1].stop
    return (left + right) / 2 / width, (top + bottom) / 2 / height, (right - left) / width, (bottom - top) / height


def _within(place: float, end: int) -> int:
    return min(max(round(place), 0), end)
