"""What a sample of each kind is: as it is stored (encoded) and as a model gets it (decoded)."""

from __future__ import annotations

import io
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgeprof.workloads.data.errors import DataError
from edgeprof.workloads.data.tokens import tokenize
from edgeprof.workloads.errors import MissingFramework

PAST, FUTURE, STATES = 20, 30, 6
"""Of a trajectory: 2 s observed and 3 s to predict at 10 Hz, as in Argoverse 1 (Chang et al., 2019), and the
columns x, y (m), heading (rad), speed (m/s), acceleration (m/s2), steering angle (rad)."""
OBJECTS = 6
"""Vehicles in every frame of the kind detection."""
TOKENS = 128
"""Words of a text that a model gets, unless it asks for another number."""
VOCABULARY = 30_000
"""Ids of words; below that of DistilBERT (30,522) and GPT-2 (50,257)."""

Array = NDArray[Any]
Value = bytes | int | float | Array
Sample = dict[str, Value]
"""As stored: encoded images and text are bytes; in the format numpy they are arrays."""
Decoded = dict[str, Array]
"""As a model gets it: ``image`` uint8 [H, W, 3], ``label`` int64 [], and so on (docs/data.md)."""


class Field(NamedTuple):
    """One stored value of a sample.

    Attributes:
        name: in every format's own naming, too.
        type: how it is stored; ``floats`` is float32, ``ints`` int64, both of the fixed `shape`.
        suffix: of a file that holds it alone.
    """

    name: str
    type: Literal["jpeg", "png", "text", "int", "float", "floats", "ints"]
    suffix: str
    shape: tuple[int, ...] = ()


_IMAGE = Field("image", "jpeg", "jpg")
FIELDS: dict[str, tuple[Field, ...]] = {
    "images": (_IMAGE, Field("label", "int", "cls")),
    "steering": (_IMAGE, Field("angle", "float", "angle")),
    "trajectories": (Field("track", "floats", "npy", (PAST + FUTURE, STATES)),),
    "text": (Field("text", "text", "txt"), Field("label", "int", "cls")),
    "detection": (
        _IMAGE,
        Field("boxes", "floats", "boxes.npy", (OBJECTS, 4)),
        Field("classes", "ints", "classes.npy", (OBJECTS,)),
    ),
    "segmentation": (_IMAGE, Field("mask", "png", "mask.png")),
}
"""By kind."""


def decode(sample: Sample, kind: str, size: tuple[int, int] | None, length: int, where: str) -> Decoded:
    """Decode one sample with Pillow.

    Args:
        size: height and width to resize images to; None: as stored.
        length: words of a text.
        where: names the sample in an error.

    Raises:
        DataError: it cannot be decoded.
    """
    try:
        return _DECODERS[kind](sample, size, length)
    except DataError as error:
        raise DataError(f"{where} cannot be read: {error}; restore or remove it, or make the data set anew") from None
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{where} is not a sample of kind {kind} ({error!r}); make the data set anew") from None


def decode_image(content: Value, size: tuple[int, int] | None, mode: str = "RGB") -> Array:
    """A uint8 array [H, W, 3] (mode RGB) or [H, W] (mode L); masks (L) are resized to the nearest pixel."""
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError:
        raise MissingFramework("Pillow", "data") from None
    try:
        if isinstance(content, bytes):
            image: Image.Image = Image.open(io.BytesIO(content))
            image = image if image.mode == mode else image.convert(mode)
        elif size is None or content.shape[:2] == size:  # type: ignore[union-attr]
            return np.array(content, np.uint8)
        else:
            image = Image.fromarray(np.asarray(content, np.uint8))
        if size is not None and (image.height, image.width) != size:
            method = Image.Resampling.BILINEAR if mode == "RGB" else Image.Resampling.NEAREST
            image = image.resize((size[1], size[0]), method)
        return np.array(image, np.uint8)
    except UnidentifiedImageError:
        raise DataError("it is not an image that Pillow knows") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"the image is damaged ({error})") from None


def decode_text(content: Value, length: int) -> Array:
    """The first ``length`` words as ids, int64, padded with 0; ids that were stored stay."""
    if isinstance(content, bytes):
        return tokenize(content.decode("utf-8", "replace"), length, VOCABULARY)
    stored = np.asarray(content, np.int64)[:length]
    return np.pad(stored, (0, length - len(stored)))


def _images(sample: Sample, size: tuple[int, int] | None, length: int) -> Decoded:
    return {"image": decode_image(sample["image"], size), "label": np.array(sample["label"], np.int64)}


def _steering(sample: Sample, size: tuple[int, int] | None, length: int) -> Decoded:
    return {"image": decode_image(sample["image"], size), "angle": np.array(sample["angle"], np.float32)}


def _trajectories(sample: Sample, size: tuple[int, int] | None, length: int) -> Decoded:
    track = np.array(sample["track"], np.float32).reshape(PAST + FUTURE, STATES)
    return {"past": track[:PAST], "future": track[PAST:, :2].copy()}


def _text(sample: Sample, size: tuple[int, int] | None, length: int) -> Decoded:
    return {"tokens": decode_text(sample["text"], length), "label": np.array(sample["label"], np.int64)}


def _detection(sample: Sample, size: tuple[int, int] | None, length: int) -> Decoded:
    return {
        "image": decode_image(sample["image"], size),
        "boxes": np.array(sample["boxes"], np.float32).reshape(OBJECTS, 4),
        "classes": np.array(sample["classes"], np.int64).reshape(OBJECTS),
    }


def _segmentation(sample: Sample, size: tuple[int, int] | None, length: int) -> Decoded:
    return {"image": decode_image(sample["image"], size), "mask": decode_image(sample["mask"], size, "L")}


_DECODERS = {
    "images": _images,
    "steering": _steering,
    "trajectories": _trajectories,
    "text": _text,
    "detection": _detection,
    "segmentation": _segmentation,
}
