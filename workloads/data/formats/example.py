"""tf.train.Example without TensorFlow: the few rules of protobuf's wire format that it needs.

Example { Features features = 1; }
Features { map<string, Feature> feature = 1; }: a message of key = 1 and value = 2 for each entry
Feature { oneof { BytesList = 1; FloatList = 2; Int64List = 3; } }, each with ``repeated value = 1``

Sources: tensorflow/core/example/{example,feature}.proto; protobuf's "Encoding" page.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

import numpy as np

from edgeprof.workloads.data.errors import DataError
from edgeprof.workloads.data.sample import FIELDS, Array, Sample, Value

BYTES, FLOATS, INTS = 1, 2, 3
_VARINT, _FIXED64, _DELIMITED, _FIXED32 = 0, 1, 2, 5
_LONGEST_VARINT = 10

Feature = list[bytes] | Array
"""Bytes, or an array of float32 or int64."""


def encode_sample(sample: Sample) -> bytes:
    """A sample as a serialized Example; features in the order of their names: equal samples are equal bytes."""
    return encode({name: _feature(value) for name, value in sample.items()})


def decode_sample(content: bytes, kind: str) -> Sample:
    """The sample in a serialized Example.  Raises DataError."""
    features = decode(content)
    sample: Sample = {}
    for field in FIELDS[kind]:
        feature = features.get(field.name)
        stored = isinstance(feature, list)
        if feature is None or stored != (field.type in ("jpeg", "png", "text")) or (stored and len(feature) != 1):
            raise DataError(f"the Example has no {field.name!r} as a sample of kind {kind} has it")
        if isinstance(feature, list):
            sample[field.name] = feature[0]
            continue
        expected = np.int64 if field.type in ("int", "ints") else np.float32
        if feature.dtype != expected or feature.size != int(np.prod(field.shape)):
            raise DataError(f"the Example's {field.name!r} has another type or length")
        shaped = feature.reshape(field.shape)
        sample[field.name] = shaped if field.shape else shaped.item()
    return sample


def encode(features: dict[str, Feature]) -> bytes:
    """A serialized Example."""
    entries = b""
    for name in sorted(features):
        value = features[name]
        if isinstance(value, list):
            kind, content = BYTES, b"".join(_delimited(1, item) for item in value)
        elif value.dtype == np.float32:
            kind, content = FLOATS, _delimited(1, value.astype("<f4").tobytes())
        else:
            kind, content = INTS, _delimited(1, b"".join(_varint(int(item) & (1 << 64) - 1) for item in value.flat))
        feature = _delimited(kind, content)
        entries += _delimited(1, _delimited(1, name.encode()) + _delimited(2, feature))
    return _delimited(1, entries)


def decode(content: bytes) -> dict[str, Feature]:
    """The features of a serialized Example; unknown fields are passed over.  Raises DataError."""
    try:
        found: dict[str, Feature] = {}
        for features in _messages(content, 1):
            for entry in _messages(features, 1):
                name = b"".join(list(_messages(entry, 1))[-1:]).decode()
                found[name] = _decode_feature(b"".join(list(_messages(entry, 2))[-1:]))
        return found
    except (ValueError, OverflowError) as error:
        raise DataError(f"the Example is damaged ({error})") from None


def _feature(value: Value) -> Feature:
    if isinstance(value, bytes):
        return [value]
    array = np.asarray(value)
    return array.astype(np.int64 if array.dtype.kind in "iu" else np.float32)


def _decode_feature(content: bytes) -> Feature:
    result: Feature = []
    for number, wire, value in _fields(content):
        if wire != _DELIMITED or not isinstance(value, bytes):
            continue
        if number == BYTES:
            result = list(_messages(value, 1))
        elif number == FLOATS:
            result = np.frombuffer(b"".join(_packed(value, _FIXED32)), "<f4").astype(np.float32)
        elif number == INTS:
            result = np.array([_signed(item) for part in _packed(value, _VARINT) for item in _varints(part)], np.int64)
    return result


def _packed(content: bytes, single: int) -> Iterator[bytes]:
    """Values of a repeated number, packed or one by one, as packed pieces."""
    for number, wire, value in _fields(content):
        if number == 1 and wire == _DELIMITED and isinstance(value, bytes):
            if single == _FIXED32 and len(value) % 4:
                raise ValueError("a list of floats is cut")
            yield value
        elif number == 1 and wire == single:
            yield value if isinstance(value, bytes) else _varint(value)


def _messages(content: bytes, wanted: int) -> Iterator[bytes]:
    for number, wire, value in _fields(content):
        if number == wanted and wire == _DELIMITED and isinstance(value, bytes):
            yield value


def _fields(content: bytes) -> Iterator[tuple[int, int, bytes | int]]:
    """Number, wire type and value of each field.  Raises ValueError where the message is cut."""
    place = 0
    while place < len(content):
        key, place = _read_varint(content, place)
        number, wire = key >> 3, key & 7
        if wire == _VARINT:
            value, place = _read_varint(content, place)
            yield number, wire, value
            continue
        if wire == _DELIMITED:
            length, place = _read_varint(content, place)
        elif wire in (_FIXED32, _FIXED64):
            length = 4 if wire == _FIXED32 else 8
        else:
            raise ValueError(f"wire type {wire}")
        if length > len(content) - place:
            raise ValueError("it is cut")
        yield number, wire, content[place : place + length]
        place += length


def _read_varint(content: bytes, place: int) -> tuple[int, int]:
    value = 0
    for count in range(_LONGEST_VARINT):
        if place + count >= len(content):
            raise ValueError("it is cut")
        byte = content[place + count]
        value |= (byte & 0x7F) << 7 * count
        if byte < 0x80:
            return value & (1 << 64) - 1, place + count + 1
    raise ValueError("a number is too long")


def _varints(content: bytes) -> Iterator[int]:
    place = 0
    while place < len(content):
        value, place = _read_varint(content, place)
        yield value


def _varint(value: int) -> bytes:
    parts = bytearray()
    while value > 0x7F:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    parts.append(value)
    return bytes(parts)


def _signed(value: int) -> int:
    return int(struct.unpack("<q", struct.pack("<Q", value))[0])


def _delimited(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | _DELIMITED) + _varint(len(content)) + content
