"""Batches through tf.data."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import numpy as np
import tensorflow as tf

from edgeprof.workloads.data.describe import DataSet
from edgeprof.workloads.data.errors import DataError
from edgeprof.workloads.data.formats import Shard, open_store, read_shard, shards_of
from edgeprof.workloads.data.formats.folder import own_rows, table_rows
from edgeprof.workloads.data.parts import buffer_of, is_random, order_of, part_of_samples, part_of_shards
from edgeprof.workloads.data.reading import View, name_of
from edgeprof.workloads.data.sample import FIELDS, FUTURE, PAST, STATES, TOKENS, Field, Sample, decode_text
from edgeprof.workloads.errors import MissingFramework
from edgeprof.workloads.spec import WorkloadSpec

Features = dict[str, Any]
"""Of a sample in tf.data's graph: tensors by name."""

KNOWN = (".jpg", ".jpeg", ".png", ".bmp", ".gif")
"""What tf.io decodes; other images go through Pillow."""


def batches(
    spec: WorkloadSpec, dataset: DataSet, batch: int, epoch: int, training: bool, view: View
) -> Iterator[Features]:
    """See `loaders.tf_batches`."""
    calls = spec.workers or None
    opened = ExitStack()
    pipeline = _encoded(spec, dataset, batch, epoch, training, calls, opened)
    pipeline = _map(pipeline, _decoder(dataset, view), calls)
    pipeline = pipeline.batch(batch, drop_remainder=True).prefetch(spec.prefetch)
    return _guarded(pipeline, dataset, opened)


def _encoded(
    spec: WorkloadSpec, dataset: DataSet, batch: int, epoch: int, training: bool, calls: int | None, opened: ExitStack
) -> tf.data.Dataset:
    """Samples as stored: images and text as strings.  What must be closed at the end goes to ``opened``."""
    if dataset.format in ("tfrecord", "webdataset", "parquet"):
        shards = part_of_shards(spec, dataset, batch, training, shards_of(dataset))
        shuffle = is_random(spec, training)
        if shuffle:
            order = np.random.default_rng((spec.seed, epoch)).permutation(len(shards))
            shards = [shards[index] for index in order.tolist()]
        if dataset.format == "tfrecord":
            pipeline = _records(dataset, shards, calls if shuffle else None)
        else:
            pipeline = _from_python(dataset, shards)
        if shuffle:
            pipeline = pipeline.shuffle(buffer_of(dataset), seed=spec.seed * 1_000_003 + epoch)
        return _map(pipeline, _parser(dataset.kind), calls) if dataset.format == "tfrecord" else pipeline
    order_list = order_of(spec, part_of_samples(spec, dataset, batch, training), epoch, training)
    if dataset.format == "folder" and dataset.kind != "trajectories":
        return _files(dataset, order_list, calls)
    return _by_index(dataset, order_list, calls, opened)


def _map(pipeline: tf.data.Dataset, function: Callable[[Any], Features], calls: int | None) -> tf.data.Dataset:
    """In stored order; ``calls`` None: one after the other."""
    return pipeline.map(function, calls, deterministic=True) if calls else pipeline.map(function)


def _records(dataset: DataSet, shards: list[Shard], calls: int | None) -> tf.data.Dataset:
    paths = [str(dataset.path / shard.file) for shard in shards]
    if calls is None:
        return tf.data.TFRecordDataset(paths)
    files = tf.data.Dataset.from_tensor_slices(paths)
    return files.interleave(tf.data.TFRecordDataset, cycle_length=calls, num_parallel_calls=calls, deterministic=True)


def _parser(kind: str) -> Callable[[Any], Features]:
    types = {"int": tf.int64, "ints": tf.int64, "float": tf.float32, "floats": tf.float32}
    features = {
        field.name: tf.io.FixedLenFeature(field.shape, types.get(field.type, tf.string)) for field in FIELDS[kind]
    }
    return lambda record: tf.io.parse_single_example(record, features)


def _files(dataset: DataSet, order: list[int], calls: int | None) -> tf.data.Dataset:
    rows = own_rows(dataset) if dataset.own else table_rows(dataset)
    columns: Features = {}
    for field in FIELDS[dataset.kind]:
        key = "file" if field is FIELDS[dataset.kind][0] else field.name
        values = [rows[index][key] for index in order]
        if field.type in ("jpeg", "png", "text"):
            values = [str(dataset.path / value) for value in values]
        columns[field.name] = np.array(values, _KINDS_OF_NUMBERS.get(field.type))
    in_files = [field.name for field in FIELDS[dataset.kind] if field.type in ("jpeg", "png", "text")]

    def read(features: Features) -> Features:
        return {**features, **{name: tf.io.read_file(features[name]) for name in in_files}}

    return _map(tf.data.Dataset.from_tensor_slices(columns), read, calls)


_KINDS_OF_NUMBERS = {"int": np.int64, "ints": np.int64, "float": np.float32, "floats": np.float32}


def _signature(dataset: DataSet) -> dict[str, tf.TensorSpec]:
    """Of what `_plain` makes of a stored sample."""
    signature = {}
    for field in FIELDS[dataset.kind]:
        if field.type in _KINDS_OF_NUMBERS:
            signature[field.name] = tf.TensorSpec(field.shape, tf.as_dtype(_KINDS_OF_NUMBERS[field.type]))
        elif dataset.format != "numpy":
            signature[field.name] = tf.TensorSpec((), tf.string)
        elif field.type == "text":
            signature[field.name] = tf.TensorSpec((TOKENS,), tf.int64)
        else:
            shape = (*(dataset.image or (None, None)), *((3,) if field.type == "jpeg" else ()))
            signature[field.name] = tf.TensorSpec(shape, tf.uint8)
    return signature


def _plain(field: Field, sample: Sample) -> Any:
    value = sample[field.name]
    if isinstance(value, bytes):
        return value
    if field.type in _KINDS_OF_NUMBERS:
        return np.asarray(value, _KINDS_OF_NUMBERS[field.type]).reshape(field.shape)
    return np.asarray(value, np.int64 if field.type == "text" else np.uint8)


def _from_python(dataset: DataSet, shards: list[Shard]) -> tf.data.Dataset:
    def read() -> Iterator[Features]:
        for shard in shards:
            for sample in read_shard(dataset, shard):
                yield {field.name: _plain(field, sample) for field in FIELDS[dataset.kind]}

    return tf.data.Dataset.from_generator(read, output_signature=_signature(dataset))


def _by_index(dataset: DataSet, order: list[int], calls: int | None, opened: ExitStack) -> tf.data.Dataset:
    store = open_store(dataset)
    opened.callback(store.close)
    fields, signature = FIELDS[dataset.kind], _signature(dataset)

    def fetch(index: Any) -> list[Any]:
        sample = store[int(index)]
        return [_plain(field, sample) for field in fields]

    def read(index: Any) -> Features:
        values = tf.numpy_function(fetch, [index], [signature[field.name].dtype for field in fields])
        return {
            field.name: tf.ensure_shape(value, signature[field.name].shape)
            for field, value in zip(fields, values, strict=True)
        }

    return _map(tf.data.Dataset.from_tensor_slices(np.array(order, np.int64)), read, calls)


def _decoder(dataset: DataSet, view: View) -> Callable[[Features], Features]:
    """Features as stored to what a model gets; JPEG is decoded and resized by TensorFlow."""
    foreign = dataset.own and not all(name.lower().endswith(KNOWN) for name in dataset.files)

    def image(content: Any) -> Any:
        if content.dtype == tf.string:
            if foreign:
                content = tf.numpy_function(_by_pillow, [content], tf.uint8)
                content.set_shape((None, None, 3))
            elif dataset.own:
                content = tf.io.decode_image(content, 3, expand_animations=False)
            else:
                content = tf.io.decode_jpeg(content, 3)
        if view.size is None or content.shape[:2] == view.size:
            return content
        return tf.cast(tf.round(tf.image.resize(content, view.size)), tf.uint8)

    def mask(content: Any) -> Any:
        content = tf.io.decode_png(content, 1) if content.dtype == tf.string else content[..., None]
        if view.size is not None:
            content = tf.image.resize(content, view.size, "nearest")
        return content[..., 0]

    def tokens(content: Any) -> Any:
        kind = tf.numpy_function(lambda value: decode_text(value, view.length), [content], tf.int64)
        return tf.ensure_shape(kind, (view.length,))

    def decode(features: Features) -> Features:
        decoded: Features = {}
        for name, value in features.items():
            if name == "track":
                value = tf.reshape(value, (PAST + FUTURE, STATES))
                decoded["past"], decoded["future"] = value[:PAST], value[PAST:, :2]
            elif name == "text":
                decoded["tokens"] = tokens(value)
            else:
                decoded[name] = {"image": image, "mask": mask}.get(name, lambda value: value)(value)
        return decoded

    return decode


def _by_pillow(content: bytes) -> Any:
    from edgeprof.workloads.data.sample import decode_image

    return decode_image(content, None)


def _guarded(pipeline: tf.data.Dataset, dataset: DataSet, opened: ExitStack) -> Iterator[Features]:
    try:
        with opened:
            yield from pipeline
    except tf.errors.OpError as error:
        raise DataError(_culprit(dataset) or _told(dataset, str(error.message))) from None


def _told(dataset: DataSet, message: str) -> str:
    """The sentence of a DataError in TensorFlow's message, or the message itself."""
    for line in message.splitlines():
        _, mark, sentence = line.partition("DataError: ")
        if mark:
            return sentence.strip()
    first = message.strip().splitlines()[0] if message.strip() else "TensorFlow does not say why"
    return f"{dataset.path} cannot be read ({first[:300]}); remove it so that it is made anew"


def _culprit(dataset: DataSet) -> str | None:
    """What Pillow and the readers of ours say of the first damaged sample: TensorFlow names no file."""
    from edgeprof.workloads.data.sample import decode

    try:
        if dataset.format in ("tfrecord", "webdataset", "parquet"):
            for shard in shards_of(dataset):
                for sample in read_shard(dataset, shard):
                    decode(sample, dataset.kind, None, TOKENS, f"a sample of {dataset.path / shard.file}")
        else:
            store = open_store(dataset)
            for index in range(dataset.samples):
                decode(store[index], dataset.kind, None, TOKENS, name_of(dataset, index))
    except (DataError, MissingFramework) as error:
        return str(error)
    return None
