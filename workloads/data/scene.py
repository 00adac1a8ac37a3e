"""Driving frames: a road in perspective with lane markings, vehicles, land beside it and a sky above it.

The ground is flat and the camera a pinhole at the height of a windscreen, so that every pixel below the horizon has
a distance and a lateral position; what is drawn there follows from the road's geometry, and labels follow from it too.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgeprof.workloads.data.textures import SIDE, cloud, cut
from edgeprof.workloads.data.vehicles import Vehicle, draw_vehicle

MASK_CLASSES = ("sky", "background", "terrain", "road", "marking", "vehicle")
WEATHERS = ("clear", "overcast", "dusk", "fog", "night")
PLACES = ("highway", "street")

LANE = 3.6
"""Metres; the usual width of a lane on a motorway."""
LANES = 3
WHEELBASE = 2.7
CAMERA_HEIGHT = 1.4
FOCAL = 0.9
"""Of the image's width: a horizontal field of view of 58 degrees."""

Canvas = NDArray[np.float32]


@dataclass(frozen=True)
class Scene:
    """What a frame shows.

    Attributes:
        weather: index in `WEATHERS`.
        place: index in `PLACES`.
        curvature: of the road ahead, 1/m; positive to the right.
        offset: of the car from the middle of its lane, m; positive to the right.
        heading: of the car against the road, rad.
        phase: where the dashes of the markings begin, m.
        vehicles: far ones first.
    """

    weather: int
    place: int
    curvature: float
    offset: float
    heading: float
    phase: float
    vehicles: tuple[Vehicle, ...]

    def steering(self) -> float:
        """The angle (rad) that a careful driver would steer: along the road, and back to the middle of the lane.

        The first term is that of the kinematic bicycle model, the others a proportional controller (PilotNet learns
        the same from people; Bojarski et al., 2016).
        """
        return math.atan(WHEELBASE * self.curvature) - 0.05 * self.offset - 0.4 * self.heading


@dataclass(frozen=True)
class Frame:
    """A rendered scene: image uint8 [H, W, 3], mask uint8 [H, W] of `MASK_CLASSES`, boxes (cx, cy, w, h in 0..1)."""

    image: NDArray[np.uint8]
    mask: NDArray[np.uint8]
    boxes: list[tuple[float, float, float, float]]


@dataclass(frozen=True)
class _Light:
    sky: tuple[int, int, int]
    gain: float
    haze: tuple[int, int, int]
    sight: float  # metres at which half of the light is the haze's


_LIGHTS = (
    _Light((120, 170, 235), 1.0, (190, 205, 225), 900.0),
    _Light((185, 188, 192), 0.85, (185, 188, 192), 400.0),
    _Light((235, 150, 90), 0.7, (215, 150, 110), 500.0),
    _Light((200, 202, 204), 0.9, (200, 202, 204), 45.0),
    _Light((22, 26, 48), 0.3, (18, 20, 34), 250.0),
)


def random_scene(rng: np.random.Generator, weather: int, place: int, bend: float, vehicles: int) -> Scene:
    """A scene with ``vehicles`` others on the road; ``bend`` is the standard deviation of the curvature, 1/m."""
    slots = [(lane, step) for lane in (-2, -1, 0, 1, 2) for step in range(3)]
    chosen = rng.permutation(len(slots))[:vehicles]
    others = sorted((Vehicle.random(rng, *slots[index]) for index in chosen), key=lambda item: -item.distance)
    return Scene(
        weather=weather,
        place=place,
        curvature=float(np.clip(rng.normal(0, bend), -3 * bend, 3 * bend)),
        offset=float(rng.uniform(-0.8, 0.8)),
        heading=float(rng.uniform(-0.06, 0.06)),
        phase=float(rng.uniform(0, 9)),
        vehicles=tuple(others),
    )


def render(scene: Scene, height: int, width: int, rng: np.random.Generator) -> Frame:
    """Draw a scene without sensor noise."""
    light = _LIGHTS[scene.weather]
    horizon = round(height * (0.42 + 0.04 * float(rng.random())))
    canvas = np.empty((height, width, 3), np.float32)
    mask = np.zeros((height, width), np.uint8)
    _draw_sky(canvas[:horizon], light, rng)
    focal = FOCAL * width
    rows = np.arange(horizon, height, dtype=np.float32)[:, None] + np.float32(0.5)
    distance = np.float32(focal * CAMERA_HEIGHT) / (rows - np.float32(horizon))
    _draw_ground(canvas[horizon:], mask[horizon:], scene, distance, focal, rng)
    # Contrast falls with distance (Koschmieder's law, with a rational function in place of the exponential).
    clear = np.float32(light.sight) / (distance + np.float32(light.sight))
    haze = np.array(light.haze, np.float32)
    canvas[horizon:] = canvas[horizon:] * (clear * np.float32(light.gain))[..., None] + haze * (1 - clear)[..., None]
    _draw_background(canvas, mask, horizon, scene, light, rng)
    boxes = []
    for vehicle in scene.vehicles:
        across = _road_middle(scene, vehicle.distance) + vehicle.lane * LANE
        clear_there = light.sight / (vehicle.distance + light.sight)
        column = width / 2 + focal * across / vehicle.distance
        row = horizon + focal * CAMERA_HEIGHT / vehicle.distance
        shade = (light.gain * clear_there, np.array(light.haze, np.float32) * np.float32(1 - clear_there))
        box = draw_vehicle(canvas, mask, vehicle, column, row, focal / vehicle.distance, shade, scene.weather == 4)
        boxes.append(box)
    return Frame(np.clip(canvas, 0, 255).astype(np.uint8), mask, boxes)


def _road_middle(scene: Scene, distance: float) -> float:
    """Where the middle of the car's lane is at a distance, metres to the right of the camera's axis."""
    return 0.5 * scene.curvature * distance * distance - scene.heading * distance - scene.offset


def _draw_sky(canvas: Canvas, light: _Light, rng: np.random.Generator) -> None:
    height, width = canvas.shape[:2]
    fade = np.linspace(0.75, 1.1, height, dtype=np.float32)[:, None]
    clouds = cut(cloud(1), height, width, rng)
    brightness = fade + np.float32(0.12) * clouds
    canvas[:] = brightness[..., None] * np.array(light.sky, np.float32)


def _draw_ground(
    canvas: Canvas, mask: NDArray[np.uint8], scene: Scene, distance: Canvas, focal: float, rng: np.random.Generator
) -> None:
    """Road, markings and the land beside it; ``distance`` is that of each row, [rows, 1]."""
    width = canvas.shape[1]
    columns = np.arange(width, dtype=np.float32)[None, :] + np.float32(0.5 - width / 2)
    middle = (
        np.float32(0.5 * scene.curvature) * distance * distance
        - np.float32(scene.heading) * distance
        - np.float32(scene.offset)
    )
    lateral = columns * (distance / np.float32(focal)) - middle
    sideways = np.abs(lateral)
    edge = LANES * LANE / 2
    road = sideways < np.float32(edge + 0.4)
    # A line must not vanish between two columns: it is at least a pixel wide.
    half = np.maximum(np.float32(0.07), distance / np.float32(2 * focal))
    dash = (distance + np.float32(scene.phase)) % np.float32(9) < np.float32(3)
    lines = (np.abs(sideways - np.float32(edge)) < half * 2) | ((np.abs(sideways - np.float32(LANE / 2)) < half) & dash)

    corner = rng.integers(0, SIDE, 2)
    along = ((distance * np.float32(14)).astype(np.int32) + int(corner[0])) & (SIDE - 1)
    across = ((lateral * np.float32(14)).astype(np.int32) + int(corner[1])) & (SIDE - 1)
    texture = cloud(2, 128).ravel()[along * SIDE + across]
    grass = np.array((88, 104, 52) if scene.place == 0 else (140, 134, 126), np.float32)
    grass = grass * np.float32(0.8 + 0.4 * float(rng.random()))
    asphalt = np.float32(80 + 40 * float(rng.random()))
    bright = np.where(road, asphalt * (1 + np.float32(0.3) * texture), np.float32(0))
    bright = np.where(lines, np.float32(215) + 30 * texture, bright)
    land = 1 + np.float32(0.9) * texture
    for channel in range(3):
        canvas[..., channel] = np.where(road, bright, land * grass[channel])
    mask[:] = np.where(lines, 4, np.where(road, 3, 2))


def _draw_background(
    canvas: Canvas, mask: NDArray[np.uint8], horizon: int, scene: Scene, light: _Light, rng: np.random.Generator
) -> None:
    """Trees and hills along a motorway, houses along a street; they stand on the horizon."""
    height, width = canvas.shape[:2]
    tall = horizon * 0.35
    if scene.place == 0:
        outline = cut(cloud(3, 4), 1, width, rng)[0]
        tops = np.clip(tall * (0.6 + outline), 2, horizon - 1).astype(np.int32)
        colour, rough = np.array((52, 70, 40), np.float32), 0.8
    else:
        tops = np.empty(width, np.int32)
        left = 0
        while left < width:
            right = left + max(4, int(width * rng.uniform(0.04, 0.14)))
            # Houses close to the edges of the picture are closer to the camera.
            near = abs((left + right) / width - 1)
            tops[left:right] = int(np.clip(horizon * (0.15 + 0.7 * near * rng.uniform(0.5, 1.0)), 2, horizon - 1))
            left = right
        colour, rough = np.array((128, 112, 100), np.float32), 0.35
    deepest = int(tops.max())
    band = slice(horizon - deepest, horizon)
    rows = np.arange(deepest, 0, -1, dtype=np.int32)[:, None]
    there = rows <= tops[None, :]
    bright = 1 + np.float32(rough) * cut(cloud(4, 32), deepest, width, rng)
    if scene.place == 1:
        step = max(4, height // 40)
        windows = ((rows // step) % 2 == 1) & ((np.arange(width)[None, :] // step) % 2 == 1)
        bright = np.where(windows, bright * np.float32(1.8 if scene.weather == 4 else 0.55), bright)
    clear = np.float32(light.sight / (150 + light.sight))
    haze = np.array(light.haze, np.float32) * (1 - clear)
    drawn = bright[..., None] * (colour * np.float32(light.gain) * clear) + haze
    canvas[band] = np.where(there[..., None], drawn, canvas[band])
    mask[band] = np.where(there, 1, mask[band])
