"""A file a sample, as people keep images and texts: class folders, with the labels in a table beside them.

Trajectories are .npy files of many tracks each, one a drive, as loggers write them.
"""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from edgeprof.workloads.data.describe import DataSet
from edgeprof.workloads.data.errors import DataError
from edgeprof.workloads.data.formats import Layout
from edgeprof.workloads.data.frames import IMAGE_CLASSES
from edgeprof.workloads.data.prose import TEXT_CLASSES
from edgeprof.workloads.data.sample import FIELDS, Sample

TABLES = {
    "images": "labels.csv",
    "steering": "labels.csv",
    "text": "labels.csv",
    "detection": "labels.json",
    "segmentation": "labels.csv",
    "trajectories": "labels.csv",
}
"""Where labels are; for trajectories the number of tracks in each file."""
TRACKS = 512
"""In a file."""


class Writer:
    """Writes the files, and at the end the table of labels."""

    def __init__(self, folder: Path, kind: str, expected: int) -> None:
        self._folder, self._kind = folder, kind
        self._files: list[str] = []
        self._more: list[str] = []
        self._table = _Table(TABLES[kind])
        self._tracks: list[Any] = []
        self._made: set[Path] = set()
        self._bytes = 0

    def add(self, sample: Sample) -> None:
        """Write a sample's file or files."""
        if self._kind == "trajectories":
            self._tracks.append(sample["track"])
            if len(self._tracks) == TRACKS:
                self._write_tracks()
            return
        name = f"{len(self._files):08d}"
        row: dict[str, Any] = {}
        for field in FIELDS[self._kind]:
            value = sample[field.name]
            if field.type in ("jpeg", "png", "text"):
                path = f"{self._parent(field.name, sample)}/{name}.{field.suffix.rpartition('.')[2]}"
                self._write(path, value)
                (self._files if field is FIELDS[self._kind][0] else self._more).append(path)
                row["file" if field is FIELDS[self._kind][0] else field.name] = path
            else:
                row[field.name] = value.tolist() if isinstance(value, np.ndarray) else value
        self._table.add(row)

    @property
    def written(self) -> int:
        """Bytes of the files, of the table so far and of the tracks that wait."""
        return self._bytes + len(self._table) + sum(int(track.nbytes) for track in self._tracks)

    def close(self) -> Layout:
        """Write the table."""
        if self._tracks:
            self._write_tracks()
        self._write(TABLES[self._kind], self._table.content())
        return Layout([*self._files, *self._more, TABLES[self._kind]])

    def abandon(self) -> None:
        """Nothing is open."""

    def _parent(self, field: str, sample: Sample) -> str:
        if self._kind == "images":
            return IMAGE_CLASSES[int(sample["label"])]
        if self._kind == "text":
            return TEXT_CLASSES[int(sample["label"])]
        return f"{field}s"

    def _write_tracks(self) -> None:
        path = f"drives/{len(self._files):08d}.npy"
        file = io.BytesIO()
        np.save(file, np.stack(self._tracks), allow_pickle=False)
        self._write(path, file.getvalue())
        self._files.append(path)
        self._table.add({"file": path, "tracks": len(self._tracks)})
        self._tracks = []

    def _write(self, path: str, content: Any) -> None:
        target = self._folder / path
        if target.parent not in self._made:
            target.parent.mkdir(parents=True, exist_ok=True)
            self._made.add(target.parent)
        target.write_bytes(content)
        self._bytes += len(content)


class _Table:
    """Rows as CSV, or as JSON where they hold lists; its length is known before it is written."""

    def __init__(self, name: str) -> None:
        self._json = name.endswith(".json")
        self._text = io.StringIO()
        self._writer: csv.DictWriter[str] | None = None

    def __len__(self) -> int:
        return self._text.tell()

    def add(self, row: dict[str, Any]) -> None:
        if self._json:
            self._text.write((",\n" if self._text.tell() else "") + json.dumps(row))
            return
        if self._writer is None:
            self._writer = csv.DictWriter(self._text, list(row), lineterminator="\n")
            self._writer.writeheader()
        self._writer.writerow(row)

    def content(self) -> bytes:
        text = self._text.getvalue()
        return (f'{{"samples": [\n{text}\n]}}\n' if self._json else text).encode()


class Store:
    """Reads a sample's file when it is asked for; the labels are kept in memory."""

    def __init__(self, dataset: DataSet) -> None:
        self._dataset = dataset
        self._rows = own_rows(dataset) if dataset.own else table_rows(dataset)
        if dataset.kind == "trajectories":
            tracks = [row["tracks"] for row in self._rows]
            self._ends = np.cumsum(tracks)
            self._open: tuple[int, Any] = (-1, None)

    def __getitem__(self, index: int) -> Sample:
        if self._dataset.kind == "trajectories":
            return {"track": self._track(index)}
        row = self._rows[index]
        sample: Sample = {}
        for field in FIELDS[self._dataset.kind]:
            if field.type in ("jpeg", "png", "text"):
                name = row["file"] if field is FIELDS[self._dataset.kind][0] else row[field.name]
                sample[field.name] = read_file(self._dataset.path / name)
            else:
                sample[field.name] = row[field.name]
        return sample

    def close(self) -> None:
        """Nothing stays open."""

    def _track(self, index: int) -> Any:
        number = int(np.searchsorted(self._ends, index, "right"))
        if self._open[0] != number:
            path = self._dataset.path / self._rows[number]["file"]
            try:
                self._open = (number, np.load(path, mmap_mode="r", allow_pickle=False))
            except (OSError, ValueError, EOFError) as error:
                raise DataError(f"{path} cannot be read ({error}); make the data set anew") from None
        first = int(self._ends[number - 1]) if number else 0
        try:
            return self._open[1][index - first]
        except IndexError:
            raise DataError(f"{self._rows[number]['file']} holds too few tracks; make the data set anew") from None


def read_file(path: Path) -> bytes:
    """Raises DataError."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(
            f"{path} cannot be read ({error.strerror}); restore or remove it, or make the data set anew"
        ) from None


def own_rows(dataset: DataSet) -> list[dict[str, Any]]:
    """The user's own files, as rows of a table."""
    assert dataset.labels is not None
    return [{"file": name, "label": label} for name, label in zip(dataset.files, dataset.labels, strict=True)]


def table_rows(dataset: DataSet) -> list[dict[str, Any]]:
    """The table of a made data set, checked.  Raises DataError."""
    path = dataset.path / TABLES[dataset.kind]
    content = read_file(path)
    try:
        if path.suffix == ".json":
            found = json.loads(content)["samples"]
        else:
            found = list(csv.DictReader(io.StringIO(content.decode())))
        rows = [_row(dataset.kind, row) for row in found]
        count = sum(row["tracks"] for row in rows) if dataset.kind == "trajectories" else len(rows)
        if count != dataset.samples:
            raise ValueError(f"it has {count} samples, not {dataset.samples}")
        return rows
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, csv.Error) as error:
        raise DataError(f"{path} is damaged ({error!r}); remove {dataset.path} so that it is made anew") from None


def _row(kind: str, row: dict[str, Any]) -> dict[str, Any]:
    """Raises ValueError, KeyError or TypeError."""
    checked: dict[str, Any] = {"file": _inside(row["file"])}
    if kind == "trajectories":
        checked["tracks"] = int(row["tracks"])
        return checked
    for field in FIELDS[kind][1:]:
        value = row[field.name]
        if field.type == "int":
            checked[field.name] = int(value)
        elif field.type == "float":
            checked[field.name] = float(value)
        elif field.type in ("floats", "ints"):
            kind_of_number = np.float32 if field.type == "floats" else np.int64
            checked[field.name] = np.array(value, kind_of_number).reshape(field.shape)
        else:
            checked[field.name] = _inside(value)
    return checked


def _inside(name: str) -> str:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\0" in name:
        raise ValueError(f"{name!r} is outside")
    return name
