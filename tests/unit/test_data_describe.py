"""What a folder is, and what is wrong with it."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from edgeprof.workloads.data.describe import DESCRIPTION, DataSet, check_files, describe
from edgeprof.workloads.data.errors import DataError
from edgeprof.workloads.data.formats import make_writer
from edgeprof.workloads.errors import MissingFramework

MADE = DataSet(
    path=Path(),
    kind="images",
    format="tfrecord",
    samples=5,
    bytes=300,
    seed=2,
    image=(64, 96),
    classes=2,
    class_names=("a", "b"),
    sequence=None,
    vocabulary=None,
    files=("0.tfrecord", "1.tfrecord"),
    counts=(2, 3),
    sizes=(100, 200),
)


def write(folder: Path, content: dict[str, Any]) -> Path:
    (folder / DESCRIPTION).write_text(json.dumps(content))
    return folder


def picture(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 6)).save(path)


def test_a_description_is_read_as_it_was_written(tmp_path: Path) -> None:
    assert describe(write(tmp_path, MADE.to_json())) == replace(MADE, path=tmp_path)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("schema", 0),
        ("kind", "sounds"),
        ("format", None),
        ("samples", -1),
        ("samples", 6),
        ("samples", True),
        ("bytes", "300"),
        ("seed", None),
        ("image", [64]),
        ("image", [0, 5]),
        ("classes", 1.5),
        ("class_names", [1, 2]),
        ("sequence", "20"),
        ("files", []),
        ("files", ["../0.tfrecord", "1.tfrecord"]),
        ("files", ["/etc/passwd", "1.tfrecord"]),
        ("files", ["a\0b", "1.tfrecord"]),
        ("counts", [2]),
        ("counts", [2, -3]),
        ("sizes", [100, 1 << 70]),
    ],
)
def test_a_wrong_entry_is_named(tmp_path: Path, name: str, value: Any) -> None:
    with pytest.raises(DataError, match=rf"is damaged \(.*{'counts' if value == 6 else name}.*remove"):
        describe(write(tmp_path, {**MADE.to_json(), name: value}))


@given(st.data())
def test_any_damage_is_one_sentence(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    folder = tmp_path_factory.mktemp("made")
    text = bytearray(json.dumps(MADE.to_json()).encode())
    place = data.draw(st.integers(0, len(text) - 1))
    text[place : place + data.draw(st.integers(0, 20))] = data.draw(st.binary(max_size=4))
    (folder / DESCRIPTION).write_bytes(text)
    told = ""
    try:
        describe(folder)
    except DataError as error:
        told = str(error)
    assert "\n" not in told


def test_a_newer_description_asks_for_a_newer_edgeprof(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="newer edgeprof"):
        describe(write(tmp_path, {**MADE.to_json(), "schema": 2}))


def test_a_file_that_was_cut_or_is_gone_is_named(tmp_path: Path) -> None:
    dataset = describe(write(tmp_path, MADE.to_json()))
    (tmp_path / "0.tfrecord").write_bytes(bytes(100))
    with pytest.raises(DataError, match=r"1\.tfrecord cannot be read \(No such file"):
        check_files(dataset)
    (tmp_path / "1.tfrecord").write_bytes(bytes(199))
    with pytest.raises(DataError, match=r"1\.tfrecord has 199 bytes where 200 were written"):
        check_files(dataset)
    (tmp_path / "1.tfrecord").write_bytes(bytes(200))
    check_files(dataset)


def test_class_folders_of_images_are_found(tmp_path: Path) -> None:
    for name in ("dog/2.PNG", "cat/deep/1.jpg", "cat/0.bmp", "cat/.hidden.jpg", ".cache/x.jpg"):
        picture(tmp_path / name)
    (tmp_path / "cat/notes.txt").write_text("not a picture")
    (tmp_path / "cat/data.h5").write_text("Pillow knows the name, not the content")
    dataset = describe(tmp_path)
    assert (dataset.kind, dataset.format, dataset.seed, dataset.image) == ("images", "folder", None, None)
    assert dataset.files == ("cat/0.bmp", "cat/deep/1.jpg", "dog/2.PNG")
    assert dataset.labels == (0, 0, 1)
    assert dataset.class_names == ("cat", "dog")
    assert dataset.bytes == sum((tmp_path / name).stat().st_size for name in dataset.files)


def test_texts_and_images_without_classes_are_found(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one")
    (tmp_path / "b.txt").write_text("two")
    dataset = describe(tmp_path)
    assert (dataset.kind, dataset.samples, dataset.classes, dataset.sequence) == ("text", 2, 1, (128, 1))
    assert dataset.vocabulary == 30_000


def test_a_link_that_leads_nowhere_is_named(tmp_path: Path) -> None:
    (tmp_path / "1.jpg").symlink_to("gone")
    with pytest.raises(DataError, match=r"1\.jpg cannot be read \(No such file or directory\)"):
        describe(tmp_path)


def test_a_folder_without_data_says_what_is_wanted(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"neither images nor \.txt files; put them in a folder for each class"):
        describe(tmp_path)
    with pytest.raises(DataError, match="there is no folder"):
        describe(tmp_path / "absent")
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="there is no folder"):
        describe(tmp_path / "file")


@pytest.mark.parametrize(("data_format", "module"), [("lmdb", "lmdb"), ("hdf5", "h5py"), ("webdataset", "webdataset")])
def test_a_missing_library_names_its_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data_format: str, module: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)  # as if it were not installed
    with pytest.raises(MissingFramework, match=rf"{module} is not installed here; .*'edgeprof\[data\]'"):
        make_writer(data_format, tmp_path, "text", 1000)
