"""Reads data sets through tf.data, in a process of its own; the test beside it looks at what it writes.

    python data_through_tensorflow.py MADE DAMAGED OUTPUT

MADE holds sound data sets, DAMAGED others; OUTPUT gets a .npz file for each of the first and one of sentences.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import numpy as np
import tensorflow as tf

from edgeprof.workloads.data.describe import DataSet, describe
from edgeprof.workloads.data.errors import DataError
from edgeprof.workloads.data.loaders import tf_batches
from tests.integration.data_sets import AT_RANDOM, IN_ORDER, TRAINING

BATCH = 4
SIZE = (32, 48)


def arrays(dataset: DataSet, workers: int, spec: Any = IN_ORDER, size: Any = None) -> dict[str, np.ndarray]:
    batches = list(tf_batches(replace(spec, workers=workers), dataset, BATCH, 0, spec is TRAINING, size))
    assert all(isinstance(value, tf.Tensor) for batch in batches for value in batch.values())
    return {name: np.concatenate([batch[name].numpy() for batch in batches]) for name in batches[0]}


def example(dataset: DataSet) -> dict[str, np.ndarray]:
    """The first record as TensorFlow's own documentation reads it."""
    types = {"label": tf.int64, "classes": tf.int64, "boxes": tf.float32, "track": tf.float32, "angle": tf.float32}
    shapes = {"boxes": [6, 4], "classes": [6], "track": [50, 6]}
    names = {
        "images": ("image", "label"),
        "steering": ("image", "angle"),
        "trajectories": ("track",),
        "text": ("text", "label"),
        "detection": ("image", "boxes", "classes"),
        "segmentation": ("image", "mask"),
    }[dataset.kind]
    features = {name: tf.io.FixedLenFeature(shapes.get(name, []), types.get(name, tf.string)) for name in names}
    count = sum(1 for _ in tf.data.TFRecordDataset([str(dataset.path / name) for name in dataset.files]))
    assert count == dataset.samples, (count, dataset.samples)
    record = next(iter(tf.data.TFRecordDataset([str(dataset.path / dataset.files[0])])))
    parsed = tf.io.parse_single_example(record, features)
    return {f"example_{name}": parsed[name].numpy() for name in names}


def main() -> None:
    made, damaged, output = map(Path, sys.argv[1:])
    for path in sorted(made.iterdir()):
        dataset = describe(path)
        found = arrays(dataset, 0)
        content = dict(found)
        if dataset.kind in ("images", "text"):
            parallel = arrays(dataset, 2)
            assert all(np.array_equal(found[name], parallel[name]) for name in found), path
            random = arrays(dataset, 2, AT_RANDOM, SIZE)
            content.update({f"random_{name}": value for name, value in random.items()})
        if dataset.kind == "text":
            content["trained"] = np.array(len(arrays(dataset, 2, TRAINING)["tokens"]))
        if dataset.format == "tfrecord":
            content.update(example(dataset))
        np.savez(output / f"{dataset.kind}-{dataset.format}.npz", **content)
    sentences = {}
    for path in sorted(damaged.iterdir()):
        try:
            arrays(describe(path), 2, IN_ORDER, SIZE)
            sentences[path.name] = "no error"
        except DataError as error:
            sentences[path.name] = str(error)
    (output / "sentences.json").write_text(json.dumps(sentences))


if __name__ == "__main__":
    main()
