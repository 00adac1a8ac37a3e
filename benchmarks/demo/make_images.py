"""Makes a data set of camera-like JPEG files on disk, and empties the page cache of it.

Ten classes, a folder each: what an image shows (a shape, in a range of colours, before a scene of soft light
and 1/f texture, with sensor noise) depends on its class, so a network can learn it.  The same seed gives the
same images.  A finished data set is used again; its files leave the page cache each time, without root.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import shutil
import sys
import time
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

CLASSES = ("disc", "ring", "square", "frame", "bar", "cross", "triangle", "arrow", "stripes", "dots")
WIDTH, HEIGHT = 400, 300


def scene(rng: np.random.Generator) -> np.ndarray:
    """A background of float32 RGB in 0..255, shape (HEIGHT, WIDTH, 3): coloured light plus 1/f texture."""
    picture = np.zeros((HEIGHT, WIDTH, 3), np.float32) + rng.uniform(60, 180, 3).astype(np.float32)
    for cells, strength in ((3, 60), (8, 30), (24, 18), (75, 12)):
        patch = rng.normal(0, strength, (cells, cells + 1, 3)).astype(np.float32)
        for channel in range(3):
            layer = Image.fromarray(patch[..., channel]).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)
            picture[..., channel] += np.asarray(layer)
    return picture


def draw_object(label: int, rng: np.random.Generator) -> tuple[Image.Image, tuple[int, int, int]]:
    """The class's shape as a mask of the picture's size, turned and placed at random, and its colour."""
    side = int(rng.integers(130, 220))
    stamp = Image.new("L", (100, 100))
    pen = ImageDraw.Draw(stamp)
    match CLASSES[label]:
        case "disc":
            pen.ellipse((10, 10, 90, 90), fill=255)
        case "ring":
            pen.ellipse((10, 10, 90, 90), outline=255, width=16)
        case "square":
            pen.rectangle((18, 18, 82, 82), fill=255)
        case "frame":
            pen.rectangle((16, 16, 84, 84), outline=255, width=14)
        case "bar":
            pen.rectangle((38, 5, 62, 95), fill=255)
        case "cross":
            pen.rectangle((40, 8, 60, 92), fill=255)
            pen.rectangle((8, 40, 92, 60), fill=255)
        case "triangle":
            pen.polygon((50, 10, 90, 85, 10, 85), fill=255)
        case "arrow":
            pen.polygon((50, 5, 85, 45, 15, 45), fill=255)
            pen.rectangle((40, 45, 60, 95), fill=255)
        case "stripes":
            for x in (15, 40, 65):
                pen.rectangle((x, 12, x + 12, 88), fill=255)
        case "dots":
            for x in (15, 60):
                for y in (15, 60):
                    pen.ellipse((x, y, x + 28, y + 28), fill=255)
    stamp = stamp.resize((side, side)).rotate(float(rng.uniform(-40, 40)), Image.Resampling.BILINEAR)
    mask = Image.new("L", (WIDTH, HEIGHT))
    mask.paste(stamp, (int(rng.integers(0, WIDTH - side)), int(rng.integers(0, HEIGHT - side))))
    hue = int((label * 25 + rng.integers(-8, 9)) % 256)
    red, green, blue = Image.new("HSV", (1, 1), (hue, 210, int(rng.integers(150, 256)))).convert("RGB").getpixel((0, 0))
    return mask, (red, green, blue)


def make_image(task: tuple[Path, int, int]) -> int:
    """Draw image ``number`` and write it; returns its size in bytes."""
    folder, number, seed = task
    rng = np.random.default_rng((seed, number))
    label = number % len(CLASSES)
    mask, colour = draw_object(label, rng)
    picture = Image.fromarray(np.clip(scene(rng), 0, 255).astype(np.uint8))
    picture.paste(colour, mask=mask)
    noisy = np.asarray(picture, np.float32) + rng.normal(0, 7, (HEIGHT, WIDTH, 3)).astype(np.float32)
    path = folder / CLASSES[label] / f"{number:06d}.jpg"
    Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8)).save(path, quality=88)
    return path.stat().st_size


def make_data_set(folder: Path, images: int, seed: int) -> None:
    """Write all images below ``folder``; a data set that was cut short is never taken for a whole one."""
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    for name in CLASSES:
        (partial / name).mkdir(parents=True)
    started = time.monotonic()
    with multiprocessing.Pool() as pool:
        tasks = ((partial, number, seed) for number in range(images))
        size = sum(pool.imap_unordered(make_image, tasks, chunksize=32))
    (partial / "data_set.json").write_text(json.dumps({"images": images, "seed": seed}))
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)
    print(f"made {images} images, {size / 1e6:.0f} MB, in {time.monotonic() - started:.0f} s: {folder}")


def is_whole(folder: Path, images: int, seed: int) -> bool:
    """Whether ``folder`` holds the data set that these arguments describe."""
    try:
        return bool(json.loads((folder / "data_set.json").read_text()) == {"images": images, "seed": seed})
    except (OSError, ValueError):
        return False


def leave_page_cache(folder: Path) -> None:
    """Ask the kernel to drop every file's pages.  Dirty pages cannot be dropped, so they are written first."""
    for path in sorted(folder.rglob("*.jpg")):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)


def main() -> int:
    """Make the data set unless it is there, and make its files cold."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--images", type=int, default=2000, help="how many (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of the random numbers (default: %(default)s)")
    arguments = parser.parse_args()
    if not is_whole(arguments.folder, arguments.images, arguments.seed):
        make_data_set(arguments.folder, arguments.images, arguments.seed)
    leave_page_cache(arguments.folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
