"""What generated samples are like: labels follow from the scene, sizes and entropy are those of real data."""

from __future__ import annotations

import io
import math
import zlib
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from edgeprof.workloads.data.frames import IMAGE_CLASSES, frame_size, make_frame
from edgeprof.workloads.data.generate import make_chunk
from edgeprof.workloads.data.prose import TEXT_CLASSES, make_texts
from edgeprof.workloads.data.sample import FUTURE, OBJECTS, PAST, STATES, Value
from edgeprof.workloads.data.scene import MASK_CLASSES, WHEELBASE, Scene, render
from edgeprof.workloads.data.textures import SIDE, cloud, grain
from edgeprof.workloads.data.tokens import tokenize
from edgeprof.workloads.data.tracks import make_tracks
from edgeprof.workloads.data.vehicles import Vehicle

STRAIGHT = Scene(weather=0, place=0, curvature=0, offset=0, heading=0, phase=0, vehicles=())
ROAD = (MASK_CLASSES.index("road"), MASK_CLASSES.index("marking"))


def pixels(content: Value) -> np.ndarray:
    assert isinstance(content, bytes)
    return np.asarray(Image.open(io.BytesIO(content)))


def road_middle(scene: Scene, share: float) -> float:
    """The mean column of the road at a height of the picture, -0.5..0.5."""
    mask = render(scene, 200, 300, np.random.default_rng(1)).mask[int(200 * share)]
    return float(np.flatnonzero(np.isin(mask, ROAD)).mean()) / 300 - 0.5


def test_a_straight_road_is_in_the_middle() -> None:
    assert abs(road_middle(STRAIGHT, 0.6)) < 0.02
    assert STRAIGHT.steering() == 0


def test_a_bend_and_its_steering_angle_have_the_same_sign() -> None:
    right, left = replace(STRAIGHT, curvature=0.01), replace(STRAIGHT, curvature=-0.01)
    assert road_middle(right, 0.5) > 0.03 > -0.03 > road_middle(left, 0.5)
    assert right.steering() == pytest.approx(math.atan(WHEELBASE * 0.01)) == pytest.approx(-left.steering())


def test_a_car_beside_its_lane_steers_back() -> None:
    scene = replace(STRAIGHT, offset=0.8)
    assert road_middle(scene, 0.9) < 0 > scene.steering()


def test_boxes_lie_where_the_mask_has_vehicles() -> None:
    scene = replace(STRAIGHT, vehicles=(Vehicle(kind=1, lane=0, distance=15, paint=2),))
    frame = render(scene, 200, 300, np.random.default_rng(1))
    rows, columns = np.nonzero(frame.mask == MASK_CLASSES.index("vehicle"))
    cx, cy, width, height = frame.boxes[0]
    assert (columns.min(), columns.max() + 1) == (round((cx - width / 2) * 300), round((cx + width / 2) * 300))
    assert rows.min() == round((cy - height / 2) * 200)
    assert 0.6 < len(rows) / (width * 300 * height * 200) <= 1


@pytest.mark.parametrize("index", range(4))
def test_every_frame_of_detection_has_its_vehicles_in_sight(index: int) -> None:
    sample = make_frame("detection", 96, 3, index)
    boxes = np.asarray(sample["boxes"])
    assert boxes.shape == (OBJECTS, 4)
    assert (boxes[:, 2:] > 0).all()
    assert (boxes[:, :2] - boxes[:, 2:] / 2 >= -1e-6).all() and (boxes[:, :2] + boxes[:, 2:] / 2 <= 1 + 1e-6).all()


def test_a_mask_has_the_size_of_its_image_and_known_classes() -> None:
    sample = make_frame("segmentation", 0, 0, 1)
    mask = pixels(sample["mask"])
    assert mask.shape == pixels(sample["image"]).shape[:2] == frame_size("segmentation", 0) == (720, 1280)
    assert set(np.unique(mask)) <= set(range(len(MASK_CLASSES)))
    assert {"sky", "road", "vehicle"} <= {MASK_CLASSES[number] for number in np.unique(mask)}


@pytest.mark.parametrize(
    ("kind", "low", "high"),
    [("images", 95e3, 125e3), ("steering", 11e3, 17e3), ("detection", 55e3, 100e3), ("segmentation", 55e3, 100e3)],
)
def test_files_are_as_large_as_real_ones(kind: str, low: float, high: float) -> None:
    sizes = [len(np.frombuffer(make_frame(kind, 0, 5, index)["image"], np.uint8)) for index in range(10)]  # type: ignore[arg-type]
    assert low < np.mean(sizes) < high
    assert np.std(sizes) > 0


def test_classes_of_images_differ_in_what_they_show() -> None:
    def mean_colour(index: int) -> np.ndarray:
        return np.asarray(pixels(make_frame("images", 64, 1, index)["image"]).mean((0, 1)))

    classes = len(IMAGE_CLASSES)
    of_class = [[mean_colour(label + classes * round_) for round_ in range(3)] for label in range(0, classes, 4)]
    within = np.mean([np.std(colours, axis=0).mean() for colours in of_class])
    between = np.std([np.mean(colours, axis=0) for colours in of_class], axis=0).mean()
    assert between > 3 * within


def test_text_compresses_like_english_and_uses_words_by_zipf() -> None:
    samples = [sample for number in range(3) for sample in make_chunk("text", 0, 0, number)]
    text = b"".join(np.asarray(sample["text"]).item() for sample in samples)
    assert 0.33 < len(zlib.compress(text)) / len(text) < 0.45  # 0.36 for English Wikipedia (enwik8)
    assert 5 < len(text) / len(text.split()) < 7.5
    words = text.decode().lower().replace(".", "").replace(",", "").split()
    counts = np.sort(np.unique(words, return_counts=True)[1])[::-1]
    slope = np.polyfit(np.log(np.arange(10, 1000)), np.log(counts[10:1000]), 1)[0]
    assert -1.3 < slope < -0.7


def test_words_of_a_text_tell_its_class() -> None:
    train, test = make_texts(0, 0, 400), make_texts(0, 1, 100)

    def counts(samples: list[dict[str, Value]]) -> np.ndarray:
        table = np.zeros((len(samples), 30_000))
        for row, sample in enumerate(samples):
            np.add.at(table[row], tokenize(np.asarray(sample["text"]).item().decode(), 400, 30_000), 1)
        return np.asarray(table[:, 1:])

    labels = np.array([sample["label"] for sample in train])
    by_class = np.stack([counts(train)[labels == label].sum(0) + 0.1 for label in range(len(TEXT_CLASSES))])
    likelihood = counts(test) @ np.log(by_class / by_class.sum(1, keepdims=True)).T
    right = (likelihood.argmax(1) == [sample["label"] for sample in test]).mean()
    assert right > 0.8


def test_the_past_of_a_track_tells_its_future_but_not_all_of_it() -> None:
    tracks = make_tracks(0, 0, 500)
    assert tracks.shape == (500, PAST + FUTURE, STATES)
    assert tracks.dtype == np.float32
    assert np.abs(tracks[:, PAST - 1, :3]).max() < 0.4  # seen from here: only the noise is left
    speed, end = tracks[:, PAST - 1, 3], tracks[:, -1, :2]
    straight_on = np.stack([speed * 0.1 * FUTURE, np.zeros(500)], 1)
    miss = np.linalg.norm(end - straight_on, axis=1)
    assert 0.5 < np.median(miss) < 0.3 * np.median(np.linalg.norm(end, axis=1))


@pytest.mark.parametrize("kind", ["images", "detection", "trajectories", "text"])
def test_a_chunk_is_a_function_of_its_seed_and_number(kind: str) -> None:
    def content(seed: int, number: int) -> list[bytes]:
        chunk = make_chunk(kind, 32, seed, number)
        return [np.asarray(value).tobytes() for sample in chunk[:3] for value in sample.values()]

    assert content(1, 0) == content(1, 0)
    assert content(1, 0) != content(2, 0)
    assert content(1, 0) != content(1, 1)


def test_textures_have_no_seam_and_noise_has_its_strength() -> None:
    tile = cloud(1)
    assert np.abs(tile[0] - tile[-1]).mean() < 2 * np.abs(np.diff(tile, axis=0)).mean()
    noise = grain(5, 4)
    assert noise.shape == (SIDE, 2 * SIDE, 3)
    assert noise.std() == pytest.approx(4, rel=0.1)
    assert noise.mean() == pytest.approx(128, abs=0.1)


def test_tokens_are_the_same_everywhere_and_padded() -> None:
    tokens = tokenize("A car, a CAR!", 8, 30_000)
    assert tokens[0] == tokens[3] and tokens[1] == tokens[4]
    assert (tokens[6:] == 0).all() and (tokens[:6] > 0).all()
    assert tokenize("car", 1, 30_000)[0] == 1 + zlib.crc32(b"car") % 29_999
