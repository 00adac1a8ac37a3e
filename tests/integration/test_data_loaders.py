"""Every format through every loader: the same samples in stored order, all of them at random, damage named."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edgeprof.workloads.data.describe import DataSet, describe
from edgeprof.workloads.data.errors import DataError
from edgeprof.workloads.data.loaders import numpy_batches, torch_batches
from edgeprof.workloads.data.make import make
from edgeprof.workloads.data.spec import KINDS, DataSpec
from edgeprof.workloads.spec import FORMATS, WorkloadSpec
from tests.helpers import ROOT
from tests.integration.data_sets import (
    AT_RANDOM,
    BY_INDEX,
    IN_ORDER,
    SEED,
    TRAINING,
    Made,
    forget_sizes,
    make_all,
    truth,
)

BATCH = 4
needs_torch = pytest.mark.skipif(find_spec("torch") is None, reason="no PyTorch here: pip install 'edgeprof[torch]'")
Loaded = dict[str, np.ndarray]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make_all(tmp_path_factory.mktemp("made"))


@pytest.fixture(scope="module")
def through_tensorflow(made: Made, damaged: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what tf.data gave for each data set."""
    if find_spec("tensorflow") is None:
        pytest.skip("no TensorFlow here: pip install 'edgeprof[tensorflow]'")
    output = tmp_path_factory.mktemp("tensorflow")
    script = ROOT / "tests/integration/data_through_tensorflow.py"
    folder = next(iter(damaged.values())).parent
    done = subprocess.run(
        [sys.executable, script, made.folder, folder, output],
        capture_output=True,
        text=True,
        timeout=240,
        env={**os.environ, "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""},
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return output


def joined(batches: Iterator[dict[str, Any]]) -> Loaded:
    found = list(batches)
    assert all(len(value) == BATCH for batch in found for value in batch.values())
    return {name: np.concatenate([np.asarray(batch[name]) for batch in found]) for name in found[0]}


def through_numpy(spec: WorkloadSpec, dataset: DataSet, epoch: int = 0, size: Any = None) -> Loaded:
    return joined(numpy_batches(spec, dataset, BATCH, epoch, spec is TRAINING, size))


def through_torch(spec: WorkloadSpec, dataset: DataSet, epoch: int = 0, size: Any = None) -> Loaded:
    return joined(torch_batches(spec, dataset, BATCH, epoch, spec.lifecycle == "train", size))


def same_beginning(found: Loaded, expected: Loaded) -> None:
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        assert found[name].dtype == values.dtype
        np.testing.assert_array_equal(found[name][: len(values)], values)


def fingerprints(found: Loaded) -> list[bytes]:
    """Each sample as bytes."""
    return [
        b"".join(found[name][row].tobytes() for name in sorted(found)) for row in range(len(next(iter(found.values()))))
    ]


@pytest.mark.parametrize("data_format", FORMATS)
@pytest.mark.parametrize("kind", KINDS)
def test_plain_batches_are_the_samples_of_the_seed(made: Made, kind: str, data_format: str) -> None:
    same_beginning(through_numpy(IN_ORDER, made.dataset(kind, data_format)), truth(kind, 8))


@needs_torch
@pytest.mark.parametrize("data_format", FORMATS)
@pytest.mark.parametrize("kind", KINDS)
def test_torch_batches_are_the_samples_of_the_seed(made: Made, kind: str, data_format: str) -> None:
    same_beginning(through_torch(IN_ORDER, made.dataset(kind, data_format)), truth(kind, 8))


@needs_torch
@pytest.mark.parametrize("data_format", FORMATS)
def test_torch_workers_read_the_same(made: Made, data_format: str) -> None:
    dataset = made.dataset("text", data_format)
    spec = replace(IN_ORDER, workers=2)
    found, alone = through_torch(spec, dataset), through_torch(IN_ORDER, dataset)
    if data_format in BY_INDEX:
        same_beginning(found, alone)
    else:  # shards are shared among workers; each drops its last incomplete batch
        assert set(fingerprints(found)) <= set(fingerprints(through_torch(IN_ORDER, dataset))) | set(
            fingerprints(truth("text", 500))
        )
        assert dataset.samples - 2 * (BATCH - 1) <= len(found["label"]) <= dataset.samples


@needs_torch
@pytest.mark.parametrize("loader", [through_numpy, through_torch])
@pytest.mark.parametrize("data_format", FORMATS)
def test_at_random_every_sample_comes_once_and_epochs_differ(
    made: Made, data_format: str, loader: Callable[..., Loaded]
) -> None:
    dataset = made.dataset("text", data_format)
    first, again, second = (loader(AT_RANDOM, dataset, epoch)["tokens"].tolist() for epoch in (0, 0, 1))
    assert first == again
    assert first != second
    stored = truth("text", dataset.samples)["tokens"].tolist()
    count = dataset.samples // BATCH * BATCH
    assert len({tuple(tokens) for tokens in first}) == len(first) == count
    assert {tuple(tokens) for tokens in first} <= {tuple(tokens) for tokens in stored}
    assert first != stored[:count]


@needs_torch
@pytest.mark.parametrize("data_format", FORMATS)
def test_what_validates_was_not_trained_with(made: Made, data_format: str) -> None:
    dataset = made.dataset("text", data_format)
    trained = fingerprints(joined(torch_batches(TRAINING, dataset, BATCH, 0, training=True)))
    validated = fingerprints(joined(torch_batches(TRAINING, dataset, BATCH, 0, training=False)))
    assert not set(trained) & set(validated)
    assert len(validated) >= BATCH
    assert len(trained) > len(validated)


@needs_torch
@pytest.mark.parametrize("loader", [through_numpy, through_torch])
@pytest.mark.parametrize("data_format", ["folder", "webdataset", "numpy"])
@pytest.mark.parametrize("kind", ["images", "segmentation"])
def test_images_and_masks_are_resized(made: Made, kind: str, data_format: str, loader: Callable[..., Loaded]) -> None:
    same_beginning(loader(IN_ORDER, made.dataset(kind, data_format), size=(20, 30)), truth(kind, 8, (20, 30)))


@pytest.mark.parametrize("length", [10, 200])
@pytest.mark.parametrize("data_format", ["folder", "numpy"])
def test_texts_are_cut_and_padded(made: Made, data_format: str, length: int) -> None:
    batch = next(numpy_batches(IN_ORDER, made.dataset("text", data_format), BATCH, 0, False, length=length))
    expected = truth("text", BATCH)["tokens"]
    assert batch["tokens"].shape == (BATCH, length)
    np.testing.assert_array_equal(batch["tokens"][:, :10], expected[:, :10])
    assert data_format != "numpy" or (batch["tokens"][:, 128:] == 0).all()


def test_less_than_a_batch_is_an_error(made: Made) -> None:
    dataset = made.dataset("images", "numpy")
    with pytest.raises(DataError, match="samples, less than one batch of 500; ask for a smaller batch"):
        list(numpy_batches(IN_ORDER, dataset, 500, 0, False))


@pytest.mark.parametrize("data_format", FORMATS)
@pytest.mark.parametrize("kind", KINDS)
def test_tf_data_gives_the_samples_of_the_seed(
    made: Made, through_tensorflow: Path, kind: str, data_format: str
) -> None:
    expected = truth(kind, 8)
    with np.load(through_tensorflow / f"{kind}-{data_format}.npz") as found:
        for name, values in expected.items():
            assert found[name].dtype == values.dtype
            if name == "image" and data_format != "numpy":  # TensorFlow's own decoder differs by some levels
                assert np.abs(found[name][:8].astype(float) - values).mean() < 3
            else:
                np.testing.assert_array_equal(found[name][:8], values)
        assert len(found[next(iter(expected))]) == made.dataset(kind, data_format).samples // BATCH * BATCH
        if kind == "text":
            rows = {row.tobytes() for row in found["random_tokens"]}
            assert len(rows) == len(found["tokens"])
            assert not np.array_equal(found["random_tokens"], found["tokens"])
            assert BATCH <= found["trained"] < len(rows)
        if kind == "images":
            assert found["random_image"].shape[1:] == (32, 48, 3)
            assert found["random_image"].dtype == np.uint8


@pytest.mark.parametrize("kind", KINDS)
def test_tensorflow_parses_our_examples(through_tensorflow: Path, kind: str) -> None:
    from edgeprof.workloads.data.generate import make_chunk

    sample = make_chunk(kind, 64, SEED, 0)[0]
    with np.load(through_tensorflow / f"{kind}-tfrecord.npz", allow_pickle=True) as found:
        for name, value in sample.items():
            got = found[f"example_{name}"]
            if isinstance(value, bytes):
                assert got.item() == value
            else:
                np.testing.assert_array_equal(got, value)


@pytest.fixture(scope="module")
def damaged(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Data sets that were damaged where their description does not tell."""
    folder = tmp_path_factory.mktemp("damaged")
    paths: dict[str, Path] = {}
    for data_format in FORMATS:
        kind = "text" if data_format == "numpy" else "images"
        path = make(DataSpec(kind, data_format, 120_000, 64, SEED), folder / "making", lambda line: None)
        paths[data_format] = path.rename(folder / data_format)
        forget_sizes(paths[data_format])
    shutil.rmtree(folder / "making")
    names = {name: describe(path).files for name, path in paths.items()}
    (paths["folder"] / names["folder"][3]).write_bytes(b"\xff\xd8 not a picture")
    for name in ("tfrecord", "webdataset", "parquet", "hdf5", "numpy"):
        file = paths[name] / names[name][-1]
        os.truncate(file, file.stat().st_size * 2 // 3)
    remove_key(paths["lmdb"] / names["lmdb"][0])
    own = folder / "own"
    for number in range(6):
        (own / "cat").mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 30), (number, 0, 0)).save(own / "cat" / f"{number}.png")
    shutil.copytree(own, folder / "sound")
    for number in range(4):
        (folder / "sound/dog").mkdir(exist_ok=True)
        Image.new("RGB", (30, 50)).save(folder / "sound/dog" / f"{number}.webp")
    content = (own / "cat/1.png").read_bytes()
    (own / "cat/1.png").write_bytes(content[: len(content) // 2])
    return {**paths, "own": own}


def remove_key(path: Path) -> None:
    import lmdb

    with lmdb.open(str(path), subdir=False, lock=False) as environment, environment.begin(write=True) as transaction:
        assert transaction.delete(b"00000003")


WORDS = {
    "folder": r"folder/fog-highway/00000\w*\.jpg cannot be read: it is not an image that Pillow knows",
    "tfrecord": r"\.tfrecord is damaged in the record at byte \d+ \(it is cut\)",
    "webdataset": r"\.tar.*(unexpected end of data|holds \d+ samples where \d+ were written|is damaged)",
    "lmdb": r"data\.lmdb is damaged \(sample 3 is missing\)",
    "hdf5": r"data\.h5 is damaged",
    "parquet": r"\.parquet is damaged",
    "numpy": r"\.npy is damaged",
    "own": r"cat/1\.png cannot be read: the image is damaged",
}


@pytest.mark.parametrize("name", WORDS)
def test_damage_is_named_in_one_sentence(damaged: dict[str, Path], name: str) -> None:
    with pytest.raises(DataError, match=WORDS[name]) as caught:
        list(numpy_batches(IN_ORDER, describe(damaged[name]), BATCH, 0, False, (32, 48)))
    assert "\n" not in str(caught.value)


@needs_torch
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("name", WORDS)
def test_damage_is_named_through_torch(damaged: dict[str, Path], name: str, workers: int) -> None:
    spec = replace(IN_ORDER, workers=workers)
    with pytest.raises(DataError, match=WORDS[name]) as caught:
        list(torch_batches(spec, describe(damaged[name]), BATCH, 0, False, (32, 48)))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", WORDS)
def test_damage_is_named_through_tensorflow(through_tensorflow: Path, name: str) -> None:
    import re

    sentence = json.loads((through_tensorflow / "sentences.json").read_text())[name]
    assert re.search(WORDS[name], sentence), sentence
    assert "\n" not in sentence


@needs_torch
def test_own_images_of_other_formats_and_sizes_are_read(damaged: dict[str, Path], through_tensorflow: Path) -> None:
    dataset = describe(damaged["own"].parent / "sound")
    found = through_torch(IN_ORDER, dataset, size=(32, 48))
    assert found["label"].tolist() == [0, 0, 0, 0, 0, 0, 1, 1]
    assert found["image"][:, 0, 0, 0].tolist() == [0, 1, 2, 3, 4, 5, 0, 0]
    assert json.loads((through_tensorflow / "sentences.json").read_text())["sound"] == "no error"


@pytest.mark.parametrize("data_format", sorted(set(FORMATS) - {"folder"}))
def test_a_cut_file_is_noticed_before_anything_is_read(tmp_path: Path, data_format: str) -> None:
    path = make(DataSpec("text", data_format, 50_000), tmp_path, lambda line: None)
    dataset = describe(path)
    file = path / dataset.files[0]
    os.truncate(file, file.stat().st_size - 1)
    with pytest.raises(DataError, match=r"bytes where .* were written; remove"):
        numpy_batches(IN_ORDER, dataset, BATCH, 0, False)


@needs_torch
def test_a_worker_that_is_killed_is_a_sentence(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    from edgeprof.workloads.data import reading

    parent = os.getpid()

    def die(*arguments: object) -> None:
        assert os.getpid() != parent
        os.kill(os.getpid(), 9)

    monkeypatch.setattr(reading, "decode", die)
    with pytest.raises(DataError, match=r"DataLoader worker .*(killed|exited unexpectedly).*use fewer workers"):
        list(torch_batches(replace(IN_ORDER, workers=1), made.dataset("images", "folder"), BATCH, 0, False))


@needs_torch
def test_own_texts_of_any_encoding_are_read(tmp_path: Path) -> None:
    for number, content in enumerate((b"a small car", b"caf\xe9 \xff\xfe", b"", "Straße".encode())):
        folder = tmp_path / "ab"[number % 2]
        folder.mkdir(exist_ok=True)
        (folder / f"{number}.txt").write_bytes(content)
    found = through_torch(IN_ORDER, describe(tmp_path))
    assert found["label"].tolist() == [0, 0, 1, 1]
    assert (found["tokens"][2:3] > 0).any() or (found["tokens"][1] == 0).all()
