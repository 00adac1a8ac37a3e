"""A workload's Keras model as a LiteRT (TensorFlow Lite) file."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeprof.workloads.backends.base import samples_in
from edgeprof.workloads.models import calibration

if TYPE_CHECKING:
    from edgeprof.workloads.catalog import Workload
    from edgeprof.workloads.data.describe import DataSet
    from edgeprof.workloads.spec import WorkloadSpec

_CALIBRATED = 16
"""Samples that the ranges of int8 are found on."""
_SETTLED = 8
"""Samples that normalisation layers get their means from."""
_TYPES = {"image": "uint8", "past": "float32", "tokens": "int32"}


def whole(spec: WorkloadSpec, entry: Workload, dataset: DataSet) -> Any:
    """The Keras model that is converted; the same seed gives the same weights.

    It takes images uint8 [B, H, W, 3], tokens int32 [B, L], or features float32 [B, T, F].
    """
    os.environ.update(KERAS_BACKEND="tensorflow", TF_CPP_MIN_LOG_LEVEL="3", CUDA_VISIBLE_DEVICES="")
    import keras

    from edgeprof.workloads.models.keras import build, shape_of

    random.seed(spec.seed)  # Keras draws the seeds of its weights from it
    # the converter has no integer form of a loop, so recurrent layers are laid out step by step for it
    shape = shape_of(entry, spec.size, dataset)._replace(unroll=spec.precision == "int8")
    model = build(entry.name, spec.size, shape, samples_in(spec, entry))
    _settle(model, entry, spec.size)
    given = keras.Input(model.input.shape[1:], model.input.shape[0], _TYPES[calibration.INPUT[entry.data]])
    return keras.Model(given, model(keras.ops.cast(given, model.input.dtype)))


def write(spec: WorkloadSpec, entry: Workload, dataset: DataSet, path: Path) -> int:
    """Convert the model to ``path`` for batches of the spec's size; returns its parameters."""
    model = whole(spec, entry, dataset)
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    if spec.precision == "float16":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.target_spec.supported_types = [tf.float16]
    elif spec.precision == "int8":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.representative_dataset = lambda: _examples(model, entry, spec.size)
    path.write_bytes(converter.convert())
    return sum(prod(weight.shape) for weight in model.trainable_weights)


def _examples(model: Any, entry: Workload, size: str) -> Iterator[list[Any]]:
    batch = model.input.shape[0]
    examples = calibration.inputs(entry, size, max(_CALIBRATED, batch)).astype(model.input.dtype)
    for at in range(0, len(examples) - batch + 1, batch):
        yield [examples[at : at + batch]]


def _settle(model: Any, entry: Workload, size: str) -> None:
    """Give batch normalisation means and variances of real inputs: as initialised, a deep model's answers vanish."""
    import keras

    norms = [layer for layer in model._flatten_layers() if isinstance(layer, keras.layers.BatchNormalization)]
    if not norms:
        return
    for norm in norms:
        norm.momentum = 0.0
    model(calibration.inputs(entry, size, _SETTLED), training=True)
