"""What a data set is: read from its ``dataset.json``, or found out of a user's own folder."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from edgeprof.workloads.data.errors import DataError
from edgeprof.workloads.data.sample import TOKENS, VOCABULARY
from edgeprof.workloads.data.spec import KINDS
from edgeprof.workloads.errors import MissingFramework
from edgeprof.workloads.spec import FORMATS

SCHEMA = 1
GENERATOR = 1
"""Raised whenever the same spec would give other bytes; data sets of older ones are made anew."""
DESCRIPTION = "dataset.json"
LARGEST_DESCRIPTION = 256 << 20
NO_PICTURES = ("BUFR", "EPS", "GRIB", "HDF5", "MPEG", "PDF", "WMF")
"""What Pillow only recognises, writes, or leaves to other programs."""


@dataclass(frozen=True)
class DataSet:
    """A data set on disk.

    Attributes:
        path: its folder.
        kind, format: of `KINDS` and `FORMATS`.
        samples: how many.
        bytes: of all its files together (their lengths, not the blocks they take).
        seed: that it was made with; None: the user's own.
        image: height and width of every image; None: no images, or of several sizes.
        classes: how many; 0: labels are not classes.
        class_names: their names.
        sequence: steps and features of a sequence (of a trajectory: of its past); a text has (words, 1).
        vocabulary: ids of words, the padding's 0 included.
        files: what the loaders read, relative to `path`, samples in stored order.
        counts: samples of each file, where files are shards.
        sizes: bytes of each file, where there are few.
        labels: class of each file of the user's own folder.
    """

    path: Path
    kind: str
    format: str
    samples: int
    bytes: int
    seed: int | None
    image: tuple[int, int] | None
    classes: int
    class_names: tuple[str, ...]
    sequence: tuple[int, int] | None
    vocabulary: int | None
    files: tuple[str, ...]
    counts: tuple[int, ...] | None = None
    sizes: tuple[int, ...] | None = None
    labels: tuple[int, ...] | None = None

    @property
    def own(self) -> bool:
        """Whether it is the user's own folder."""
        return self.seed is None

    def to_json(self) -> dict[str, Any]:
        """What ``dataset.json`` holds."""
        content = {"schema": SCHEMA, "generator": GENERATOR}
        names = [name for name in self.__dataclass_fields__ if name not in ("path", "labels")]
        return {**content, **{name: getattr(self, name) for name in names}}


def describe(path: Path | str) -> DataSet:
    """Describe the data set in a folder.

    Raises:
        DataError: there is none, or its description is damaged.
    """
    path = Path(path)
    if not path.is_dir():
        raise DataError(f"there is no folder {path}; name one with images or .txt files in a folder for each class")
    description = path / DESCRIPTION
    return _made(path, description) if description.exists() else _own(path)


def check_files(dataset: DataSet) -> None:
    """Compare the files with their recorded sizes.

    Raises:
        DataError: naming the first one that was cut, has grown, or is gone.
    """
    for name, size in zip(dataset.files, dataset.sizes or (), strict=False):
        try:
            found = (dataset.path / name).stat().st_size
        except OSError as error:
            raise DataError(
                f"{dataset.path / name} cannot be read ({error.strerror}); make the data set anew"
            ) from None
        if found != size:
            raise DataError(
                f"{dataset.path / name} has {found} bytes where {size} were written; remove {dataset.path} so that "
                "it is made anew"
            )


def _made(path: Path, description: Path) -> DataSet:
    try:
        if description.stat().st_size > LARGEST_DESCRIPTION:
            raise ValueError("it is too large")
        content = json.loads(description.read_bytes())
        if not isinstance(content, dict):
            raise ValueError("it is not an object")
        if isinstance(content.get("schema"), int) and content["schema"] > SCHEMA:
            raise DataError(f"{path} was made by a newer edgeprof; upgrade this one, or remove the folder")
        return _checked(path, content)
    except OSError as error:
        raise DataError(f"{description} cannot be read ({error.strerror}); make the data set anew") from None
    except (ValueError, RecursionError) as error:
        raise DataError(f"{description} is damaged ({error}); remove {path} so that it is made anew") from None


def _checked(path: Path, content: dict[str, Any]) -> DataSet:
    """Raises ValueError naming the first wrong entry."""

    def entry(name: str, right: Callable[[Any], bool]) -> Any:
        value = content.get(name)
        if not right(value):
            raise ValueError(f"its {name!r} is wrong")
        return value

    def number(value: Any) -> bool:
        return type(value) is int and 0 <= value < 1 << 62

    def numbers(value: Any, length: int | None = None) -> bool:
        return isinstance(value, list) and all(map(number, value)) and (length is None or len(value) == length)

    def strings(value: Any) -> bool:
        return isinstance(value, list) and all(isinstance(item, str) for item in value)

    entry("schema", lambda value: value == SCHEMA)
    files = entry("files", lambda value: strings(value) and value and all(map(_is_inside, value)))
    pair = {
        name: entry(name, lambda value: value is None or (numbers(value, 2) and all(value)))
        for name in ("image", "sequence")
    }
    each = {
        name: entry(name, lambda value: value is None or numbers(value, len(files))) for name in ("counts", "sizes")
    }
    samples = entry("samples", number)
    if each["counts"] is not None and sum(each["counts"]) != samples:
        raise ValueError("its 'counts' are wrong")
    return DataSet(
        path=path,
        kind=entry("kind", lambda value: value in KINDS),
        format=entry("format", lambda value: value in FORMATS),
        samples=samples,
        bytes=entry("bytes", number),
        seed=entry("seed", number),
        image=(pair["image"][0], pair["image"][1]) if pair["image"] else None,
        classes=entry("classes", number),
        class_names=tuple(entry("class_names", strings)),
        sequence=(pair["sequence"][0], pair["sequence"][1]) if pair["sequence"] else None,
        vocabulary=entry("vocabulary", lambda value: value is None or number(value)),
        files=tuple(files),
        counts=tuple(each["counts"]) if each["counts"] is not None else None,
        sizes=tuple(each["sizes"]) if each["sizes"] is not None else None,
    )


def _is_inside(name: str) -> bool:
    """Whether a relative name stays below the folder."""
    path = PurePosixPath(name)
    return bool(name) and "\0" not in name and not path.is_absolute() and ".." not in path.parts


def _own(path: Path) -> DataSet:
    """The user's images or texts: a class is a folder below ``path``, with whatever lies below that."""
    try:
        from PIL import Image
    except ImportError:
        raise MissingFramework("Pillow", "data") from None

    pictures = {suffix for suffix, name in Image.registered_extensions().items() if name not in NO_PICTURES}
    found: dict[str, list[tuple[str, str]]] = {"images": [], "text": []}
    total = {"images": 0, "text": 0}

    def complain(error: OSError) -> None:
        raise DataError(f"{error.filename} cannot be read ({error.strerror}); name a folder that can be read whole")

    for folder, below, names in os.walk(path, onerror=complain):
        below[:] = sorted(name for name in below if not name.startswith("."))
        inside = Path(folder).relative_to(path)
        for name in sorted(names):
            suffix = Path(name).suffix.lower()
            kind = "images" if suffix in pictures else "text" if suffix == ".txt" else None
            if kind and not name.startswith("."):
                found[kind].append((inside.parts[0] if inside.parts else "", (inside / name).as_posix()))
                try:
                    total[kind] += (Path(folder) / name).stat().st_size
                except OSError as error:  # a link that leads nowhere
                    complain(error)
    kind = max(found, key=lambda kind: len(found[kind]))
    if not found[kind]:
        raise DataError(
            f"{path} holds neither images nor .txt files; put them in a folder for each class, such as "
            f"{path / 'cat' / '1.jpg'}"
        )
    classes = {name: number for number, name in enumerate(sorted({name for name, _ in found[kind]}))}
    files = sorted(found[kind])
    return DataSet(
        path=path,
        kind=kind,
        format="folder",
        samples=len(files),
        bytes=total[kind],
        seed=None,
        image=None,
        classes=len(classes),
        class_names=tuple(classes),
        sequence=(TOKENS, 1) if kind == "text" else None,
        vocabulary=VOCABULARY if kind == "text" else None,
        files=tuple(name for _, name in files),
        labels=tuple(classes[name] for name, _ in files),
    )
