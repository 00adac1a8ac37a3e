"""Samples that are camera frames: images, steering, detection, segmentation."""

from __future__ import annotations

import io
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgeprof.workloads.data.sample import OBJECTS, Sample
from edgeprof.workloads.data.scene import PLACES, WEATHERS, Frame, random_scene, render
from edgeprof.workloads.data.textures import cut, grain

IMAGE_CLASSES = tuple(f"{weather}-{place}" for place in PLACES for weather in WEATHERS)
"""Of the kind images: what the light and the land beside the road tell."""


class Look(NamedTuple):
    """How the frames of a kind are taken.

    Attributes:
        side: default of the shorter side, pixels.
        aspect: width over height.
        coarse: the scene is drawn at 1/coarse of the size and scaled up, as the soft picture of a dashboard camera.
        noise: standard deviation of the sensor's noise, levels.
        quality, subsampling: of the JPEG file (Pillow's).
    """

    side: int
    aspect: float
    coarse: int
    noise: int
    quality: int
    subsampling: int


LOOKS = {
    "images": Look(350, 400 / 350, 1, 4, 96, 0),
    "steering": Look(160, 2.0, 1, 5, 88, 2),
    "detection": Look(720, 16 / 9, 2, 3, 75, 2),
    "segmentation": Look(720, 16 / 9, 2, 3, 75, 2),
}
"""By kind; the real data sets that they are like are in docs/data.md."""


def frame_size(kind: str, side: int) -> tuple[int, int]:
    """Height and width of a kind's frames; ``side`` 0 is the default."""
    look = LOOKS[kind]
    height = side or look.side
    return height, round(height * look.aspect)


def make_frame(kind: str, side: int, seed: int, index: int) -> Sample:
    """Sample ``index`` of a data set, encoded."""
    rng = np.random.default_rng((seed, index))
    look = LOOKS[kind]
    height, width = frame_size(kind, side)
    label = index % len(IMAGE_CLASSES)
    weather, place = label % len(WEATHERS), label // len(WEATHERS)
    if kind != "images":
        weather, place = (int(number) for number in rng.integers(0, (len(WEATHERS), len(PLACES))))
    vehicles = {"images": int(rng.integers(0, 5)), "steering": int(rng.integers(0, 3))}.get(kind, OBJECTS)
    scene = random_scene(rng, weather, place, 0.008 if kind == "steering" else 0.0015, vehicles)
    frame = render(scene, -(-height // look.coarse), -(-width // look.coarse), rng)
    sample: Sample = {"image": _jpeg(frame, height, width, look, rng)}
    if kind == "images":
        sample["label"] = label
    elif kind == "steering":
        sample["angle"] = float(np.float32(scene.steering()))
    elif kind == "detection":
        sample["boxes"] = np.array(frame.boxes, np.float32)
        sample["classes"] = np.array([vehicle.kind for vehicle in scene.vehicles], np.int64)
    else:
        sample["mask"] = _png(frame.mask, height, width)
    return sample


def _jpeg(frame: Frame, height: int, width: int, look: Look, rng: np.random.Generator) -> bytes:
    from PIL import Image, ImageChops

    image = Image.fromarray(frame.image)
    if image.size != (width, height):
        image = image.resize((width, height), Image.Resampling.BILINEAR)
    noise = Image.fromarray(np.ascontiguousarray(cut(grain(5, look.noise), height, width, rng)))
    file = io.BytesIO()
    ImageChops.add(image, noise, 1, -128).save(file, "JPEG", quality=look.quality, subsampling=look.subsampling)
    return file.getvalue()


def _png(mask: NDArray[np.uint8], height: int, width: int) -> bytes:
    from PIL import Image

    image = Image.fromarray(mask)
    if image.size != (width, height):
        image = image.resize((width, height), Image.Resampling.NEAREST)
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()
